//! Keys and values: any bytes, within limits.

mod short_bytes;

use std::borrow::Borrow;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::key::short_bytes::ShortBytes;
use crate::wire::{DecodeError, Wire, encode_bytes};

/// A key: 1 byte to 64 KiB, any bytes. A short one (23 bytes) takes no memory but its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(ShortBytes);

impl Key {
    /// The greatest length of a key, in bytes.
    pub const LEN_MAX: usize = 64 << 10;

    /// Makes a key of bytes.
    ///
    /// # Errors
    /// [`SizeError`] if there are none or more than [`Key::LEN_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, SizeError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(SizeError::EmptyKey),
            size if size > Self::LEN_MAX => Err(SizeError::KeyTooLarge { size }),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's bytes; long ones are shared, not copied.
    #[must_use]
    pub fn to_shared(&self) -> Bytes {
        self.0.to_shared()
    }

    /// The same key in memory of its own, so that it does not keep a read buffer alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(self.0.detached())
    }
}

/// A value: up to 16 MiB, any bytes. A short one (23 bytes) takes no memory but its own.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(ShortBytes);

impl Value {
    /// The greatest length of a value, in bytes.
    pub const LEN_MAX: usize = 16 << 20;

    /// Values shorter than this are copied when they are stored, so that a small value does not
    /// pin the large buffer that it was read into.
    pub const COPIED_BELOW: usize = 4 << 10;

    /// Makes a value of bytes.
    ///
    /// # Errors
    /// [`SizeError::ValueTooLarge`] if there are more than [`Value::LEN_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, SizeError> {
        let bytes = bytes.into();
        match bytes.len() {
            size if size > Self::LEN_MAX => Err(SizeError::ValueTooLarge { size }),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The value's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value's bytes; long ones are shared, not copied.
    #[must_use]
    pub fn to_shared(&self) -> Bytes {
        self.0.to_shared()
    }

    /// The same value, in memory of its own if it is small ([`Value::COPIED_BELOW`]).
    #[must_use]
    pub fn detached(&self) -> Self {
        if self.0.len() < Self::COPIED_BELOW { Self(self.0.detached()) } else { self.clone() }
    }
}

/// A key or a value is outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A key has at least one byte.
    #[error("a key has at least 1 byte")]
    EmptyKey,
    /// A key has at most [`Key::LEN_MAX`] bytes.
    #[error("key of {size} bytes is too large: at most {max} are allowed", max = Key::LEN_MAX)]
    KeyTooLarge {
        /// The key's length in bytes.
        size: usize,
    },
    /// A value has at most [`Value::LEN_MAX`] bytes.
    #[error("value of {size} bytes is too large: at most {max} are allowed", max = Value::LEN_MAX)]
    ValueTooLarge {
        /// The value's length in bytes.
        size: usize,
    },
}

impl From<SizeError> for DecodeError {
    fn from(error: SizeError) -> Self {
        match error {
            SizeError::EmptyKey => Self::Invalid { what: "key: it is empty" },
            SizeError::KeyTooLarge { size } => {
                Self::TooLarge { what: "key", size, limit: Key::LEN_MAX }
            }
            SizeError::ValueTooLarge { size } => {
                Self::TooLarge { what: "value", size, limit: Value::LEN_MAX }
            }
        }
    }
}

macro_rules! byte_string {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                &self.0
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut BytesMut) {
                encode_bytes(&self.0, out);
            }

            fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
                Ok(Self::new(Bytes::decode(input)?)?)
            }
        }
    )*};
}

byte_string!(Key, Value);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_byte_to_64_kib() {
        assert_eq!(Key::new(""), Err(SizeError::EmptyKey));
        assert!(Key::new(vec![0; Key::LEN_MAX]).is_ok());
        let size = Key::LEN_MAX + 1;
        assert_eq!(Key::new(vec![0; size]), Err(SizeError::KeyTooLarge { size }));
    }

    #[test]
    fn values_have_up_to_16_mib() {
        assert!(Value::new("").is_ok());
        assert!(Value::new(vec![0; Value::LEN_MAX]).is_ok());
        let size = Value::LEN_MAX + 1;
        assert_eq!(Value::new(vec![0; size]), Err(SizeError::ValueTooLarge { size }));
    }

    #[test]
    fn an_oversized_key_on_the_wire_is_named_with_its_size() {
        let bytes = Bytes::from(vec![0; Key::LEN_MAX + 1]).to_bytes();
        assert_eq!(
            Key::from_bytes(bytes),
            Err(DecodeError::TooLarge { what: "key", size: Key::LEN_MAX + 1, limit: Key::LEN_MAX })
        );
    }
}
