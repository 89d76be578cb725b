//! How values become bytes: little endian, fixed width, lengths in 32 bits.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A value with one byte form, the same on every machine.
///
/// Decoding takes what it needs from the front of `input` and never copies byte strings: they
/// stay slices of the frame that they came in. `decode(encode(x)) == x`, and arbitrary bytes give
/// an error, never a panic.
pub trait Wire: Sized {
    /// Appends the byte form.
    fn encode(&self, out: &mut BytesMut);

    /// Takes a value from the front of `input`.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not the form of any value; `input` is then half consumed.
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError>;

    /// The byte form alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(USUAL_LEN);
        self.encode(&mut out);
        out.freeze()
    }

    /// Reads a value that takes up all of `input`.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not the form of a value, or if some are left over.
    fn from_bytes(mut input: Bytes) -> Result<Self, DecodeError> {
        let value = Self::decode(&mut input)?;
        match input.len() {
            0 => Ok(value),
            left => Err(DecodeError::Trailing { left }),
        }
    }
}

/// Why bytes are not the form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("{needed} more bytes are needed but {left} are left")]
    Truncated {
        /// How many bytes the next part takes.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A tag names no known variant: the sender is newer, or the bytes are damaged.
    #[error("{tag} is no known kind of {what}")]
    UnknownTag {
        /// What was being read.
        what: &'static str,
        /// The tag found.
        tag: u8,
    },
    /// The bytes are well formed but no legal value.
    #[error("not a legal {what}")]
    Invalid {
        /// What was being read.
        what: &'static str,
    },
    /// A key, a value or a list is over its limit.
    #[error("{what} of {size} is over the limit of {limit}: send a smaller one")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// Its size in bytes, or in elements for a list.
        size: usize,
        /// The greatest size allowed.
        limit: usize,
    },
    /// Bytes follow the value.
    #[error("{left} bytes follow the value")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// The most elements that a list may have on the wire.
///
/// A list's elements take at least a byte each, so a length beyond what is left is refused before
/// anything is allocated; this bounds what a hostile length costs within a full frame.
pub const LIST_LEN_MAX: usize = 4 << 20;

macro_rules! wire_number {
    ($($number:ty, $get:ident, $put:ident;)*) => {$(
        impl Wire for $number {
            fn encode(&self, out: &mut BytesMut) {
                out.$put(*self);
            }

            fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
                need(input, size_of::<$number>())?;
                Ok(input.$get())
            }
        }
    )*};
}

wire_number! {
    u8, get_u8, put_u8;
    u16, get_u16_le, put_u16_le;
    u32, get_u32_le, put_u32_le;
    u64, get_u64_le, put_u64_le;
    i64, get_i64_le, put_i64_le;
}

impl Wire for bool {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid { what: "yes or no" }),
        }
    }
}

/// Nanoseconds in 64 bits; a longer duration is sent as the longest one (585 years).
impl Wire for Duration {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(u64::try_from(self.as_nanos()).unwrap_or(u64::MAX));
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self::from_nanos)
    }
}

/// Writes bytes as [`Bytes`] are written.
pub(crate) fn encode_bytes(bytes: &[u8], out: &mut BytesMut) {
    encode_len(bytes.len(), out);
    out.put_slice(bytes);
}

impl Wire for Bytes {
    fn encode(&self, out: &mut BytesMut) {
        encode_bytes(self, out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let len = decode_len(input)?;
        need(input, len)?;
        Ok(input.split_to(len))
    }
}

impl Wire for String {
    fn encode(&self, out: &mut BytesMut) {
        encode_bytes(self.as_bytes(), out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let bytes = Bytes::decode(input)?;
        Self::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Invalid { what: "text" })
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            None => out.put_u8(0),
            Some(value) => {
                out.put_u8(1);
                value.encode(out);
            }
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(None),
            1 => T::decode(input).map(Some),
            tag => Err(DecodeError::UnknownTag { what: "optional value", tag }),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut BytesMut) {
        encode_len(self.len(), out);
        for value in self {
            value.encode(out);
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let len = decode_len(input)?;
        if len > LIST_LEN_MAX {
            return Err(DecodeError::TooLarge { what: "list", size: len, limit: LIST_LEN_MAX });
        }
        need(input, len)?;
        // The capacity is bounded apart from the length: an element may be far larger in memory
        // than the byte that a hostile sender spends on it.
        let mut values = Self::with_capacity(len.min(1024));
        for _ in 0..len {
            values.push(T::decode(input)?);
        }
        Ok(values)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn encode(&self, out: &mut BytesMut) {
        T::encode(self, out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        T::decode(input).map(Self::new)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?, C::decode(input)?))
    }
}

/// Implements [`Wire`] for a struct: its fields in the order given.
#[macro_export]
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::Wire for $name {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $($crate::Wire::encode(&self.$field, out);)*
            }

            fn decode(input: &mut ::bytes::Bytes) -> Result<Self, $crate::DecodeError> {
                Ok(Self { $($field: $crate::Wire::decode(input)?,)* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum: a tag of one byte, then the variant's fields in the order
/// given. Each line is `tag => Variant`, `tag => Variant(a, b)` or `tag => Variant { a, b }`; the
/// text names the enum in errors.
#[macro_export]
macro_rules! wire_enum {
    ($name:ident, $what:literal, {
        $($tag:literal => $variant:ident $(($($inner:ident),*))? $({$($field:ident),*})?),* $(,)?
    }) => {
        impl $crate::Wire for $name {
            fn encode(&self, out: &mut ::bytes::BytesMut) {
                match self {
                    $(Self::$variant $(($($inner),*))? $({$($field),*})? => {
                        <u8 as $crate::Wire>::encode(&$tag, out);
                        $($($crate::Wire::encode($inner, out);)*)?
                        $($($crate::Wire::encode($field, out);)*)?
                    })*
                }
            }

            fn decode(input: &mut ::bytes::Bytes) -> Result<Self, $crate::DecodeError> {
                match <u8 as $crate::Wire>::decode(input)? {
                    $($tag => {
                        $($(let $inner = $crate::Wire::decode(input)?;)*)?
                        $($(let $field = $crate::Wire::decode(input)?;)*)?
                        Ok(Self::$variant $(($($inner),*))? $({$($field),*})?)
                    })*
                    tag => Err($crate::DecodeError::UnknownTag { what: $what, tag }),
                }
            }
        }
    };
}

fn encode_len(len: usize, out: &mut BytesMut) {
    // Lengths beyond 32 bits cannot occur: frames end at 32 MiB. A saturated length makes the
    // receiver refuse the value instead of reading a wrong one.
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

fn decode_len(input: &mut Bytes) -> Result<usize, DecodeError> {
    let len = u32::decode(input)?;
    usize::try_from(len).map_err(|_| DecodeError::Invalid { what: "length" })
}

fn need(input: &Bytes, needed: usize) -> Result<(), DecodeError> {
    let left = input.len();
    if left < needed { Err(DecodeError::Truncated { needed, left }) } else { Ok(()) }
}

/// Most values have a byte form no longer than this, so that one allocation is enough.
const USUAL_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Nested = (Vec<(u64, Bytes)>, Option<String>, (bool, Duration));

    proptest! {
        #[test]
        fn nested_values_survive_a_round_trip(
            list in proptest::collection::vec(
                (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            text in proptest::option::of(".*"),
            flag: bool,
            nanos: u64,
        ) {
            let list = list.into_iter().map(|(n, bytes)| (n, Bytes::from(bytes))).collect();
            let value: Nested = (list, text, (flag, Duration::from_nanos(nanos)));
            prop_assert_eq!(Nested::from_bytes(value.to_bytes()), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Nested::from_bytes(Bytes::from(bytes));
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_is_allocated() {
        let input = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(
            Vec::<u64>::from_bytes(input.clone()),
            Err(DecodeError::TooLarge { what: "list", size: 0xffff_ffff, limit: LIST_LEN_MAX })
        );
        assert_eq!(
            Bytes::from_bytes(input),
            Err(DecodeError::Truncated { needed: 0xffff_ffff, left: 1 })
        );
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let input = Bytes::from_static(&[1, 0, 9]);
        assert_eq!(u16::from_bytes(input), Err(DecodeError::Trailing { left: 1 }));
    }

    #[test]
    fn golden_bytes() {
        let value: (u16, Option<Bytes>, Vec<u8>) =
            (0x0102, Some(Bytes::from_static(b"ab")), vec![7, 8]);
        assert_eq!(&value.to_bytes()[..], &[2, 1, 1, 2, 0, 0, 0, b'a', b'b', 2, 0, 0, 0, 7, 8]);
    }
}
