//! Commands that take effect together, and what must hold for that.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::key::{Key, Value};
use crate::version::Version;
use crate::wire::{DecodeError, Wire};
use crate::{wire_enum, wire_struct};

/// A deterministic list of commands, evaluated where it is applied.
///
/// At least one command, at most [`Batch::LEN_MAX`], and at most [`Batch::BYTES_MAX`] in all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) commands: Vec<Command>,
}

/// One step of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Reads a key.
    Get {
        /// Which.
        key: Key,
    },
    /// Writes a key.
    Put {
        /// Which.
        key: Key,
        /// Its new value.
        value: Value,
        /// How long the key lasts; for ever if `None`, whatever time it had before.
        time_to_live: Option<Duration>,
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: Key,
    },
    /// Adds to the decimal number that a key holds; a missing key counts as 0. How long the key
    /// lasts stays as it is.
    Increment {
        /// Which.
        key: Key,
        /// What to add.
        by: i64,
    },
    /// Appends to a key's value; a missing key counts as empty. How long the key lasts stays as it
    /// is.
    Append {
        /// Which.
        key: Key,
        /// What to append.
        suffix: Value,
    },
    /// Sets how long a key lasts, and leaves its value and its version as they are.
    Expire {
        /// Which.
        key: Key,
        /// How long from here on; for ever if `None`.
        time_to_live: Option<Duration>,
    },
    /// Reads how long a key lasts.
    TimeToLive {
        /// Which.
        key: Key,
    },
    /// Writes a key and leaves how long it lasts exactly as it is. A missing key is written to last
    /// for ever.
    Rewrite {
        /// Which.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Sets the moment at which a key expires, and leaves its value and its version as they are. A
    /// moment that is over removes the key.
    ExpireAt {
        /// Which.
        key: Key,
        /// When.
        expiry: ExpiryMs,
    },
    /// Reads the moment at which a key expires.
    Expiry {
        /// Which.
        key: Key,
    },
}

wire_enum!(Command, "command", {
    0 => Get { key },
    1 => Put { key, value, time_to_live },
    2 => Delete { key },
    3 => Increment { key, by },
    4 => Append { key, suffix },
    5 => Expire { key, time_to_live },
    6 => TimeToLive { key },
    7 => Rewrite { key, value },
    8 => ExpireAt { key, expiry },
    9 => Expiry { key },
});

/// A moment at which a key expires, in milliseconds since the Unix epoch, by the cluster's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpiryMs(pub u64);

impl Wire for ExpiryMs {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

/// What must hold for a batch to take effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The key that is looked at.
    pub key: Key,
    /// What is asked of it.
    pub check: Check,
}

wire_struct!(Condition { key, check });

/// What a condition asks of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The key is missing.
    Absent,
    /// The key has some value.
    Present,
    /// The key has this value.
    ValueIs(Value),
    /// The key's value is from this write.
    VersionIs(Version),
    /// The key is there and expires at this moment; never if `None`. A change of that alone is a
    /// change of no version.
    ExpiryIs(Option<ExpiryMs>),
}

wire_enum!(Check, "condition", {
    0 => Absent,
    1 => Present,
    2 => ValueIs(value),
    3 => VersionIs(version),
    4 => ExpiryIs(expiry),
});

impl Batch {
    /// The most commands, and the most conditions, in a batch.
    pub const LEN_MAX: usize = 4096;

    /// The most bytes of keys and values in a batch: it must fit into a frame with room to spare.
    pub const BYTES_MAX: usize = 24 << 20;

    /// Makes a batch.
    ///
    /// # Errors
    /// [`BatchError`] for no commands, or too many, or too many bytes.
    pub fn new(conditions: Vec<Condition>, commands: Vec<Command>) -> Result<Self, BatchError> {
        let count = conditions.len().max(commands.len());
        if commands.is_empty() {
            return Err(BatchError::Empty);
        }
        if count > Self::LEN_MAX {
            return Err(BatchError::TooMany { count });
        }
        let batch = Self { conditions, commands };
        match batch.size_bytes() {
            size if size > Self::BYTES_MAX => Err(BatchError::TooLarge { size }),
            _ => Ok(batch),
        }
    }

    /// What must hold, in the order in which it is looked at.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// What is done, in order, at least one.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// The only command of a batch that has one command and no conditions.
    #[must_use]
    pub fn single(&self) -> Option<&Command> {
        match (self.conditions.as_slice(), self.commands.as_slice()) {
            ([], [command]) => Some(command),
            _ => None,
        }
    }

    /// Whether it removes keys, and changes nothing else.
    pub(crate) fn removes_only(&self) -> bool {
        let removes = |command: &Command| matches!(command, Command::Delete { .. });
        self.commands.iter().any(removes)
            && self.commands.iter().all(|command| removes(command) || command.is_read_only())
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let of_check = |check: &Check| match check {
            Check::ValueIs(value) => value.as_bytes().len(),
            Check::Absent | Check::Present | Check::VersionIs(_) | Check::ExpiryIs(_) => 0,
        };
        let conditions = self.conditions.iter();
        let conditions = conditions.map(|c| c.key.as_bytes().len() + of_check(&c.check));
        conditions.chain(self.commands.iter().map(Command::size_bytes)).sum()
    }
}

impl Command {
    /// The key that the command is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Increment { key, .. }
            | Self::Append { key, .. }
            | Self::Expire { key, .. }
            | Self::TimeToLive { key }
            | Self::Rewrite { key, .. }
            | Self::ExpireAt { key, .. }
            | Self::Expiry { key } => key,
        }
    }

    /// The command's word on the command line and in the operation log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Delete { .. } => "delete",
            Self::Increment { .. } => "incr",
            Self::Append { .. } => "append",
            Self::Expire { time_to_live: Some(_), .. } => "expire",
            Self::Expire { time_to_live: None, .. } => "persist",
            Self::TimeToLive { .. } => "ttl",
            Self::Rewrite { .. } => "rewrite",
            Self::ExpireAt { .. } => "expire-at",
            Self::Expiry { .. } => "expiry",
        }
    }

    /// Whether the command changes nothing.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        match self {
            Self::Get { .. } | Self::TimeToLive { .. } | Self::Expiry { .. } => true,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::Increment { .. }
            | Self::Append { .. }
            | Self::Expire { .. }
            | Self::Rewrite { .. }
            | Self::ExpireAt { .. } => false,
        }
    }

    fn size_bytes(&self) -> usize {
        let value = match self {
            Self::Put { value, .. } | Self::Rewrite { value, .. } => value.as_bytes().len(),
            Self::Append { suffix, .. } => suffix.as_bytes().len(),
            Self::Get { .. }
            | Self::Delete { .. }
            | Self::Increment { .. }
            | Self::Expire { .. }
            | Self::TimeToLive { .. }
            | Self::ExpireAt { .. }
            | Self::Expiry { .. } => 0,
        };
        self.key().as_bytes().len() + value
    }
}

impl Wire for Batch {
    fn encode(&self, out: &mut BytesMut) {
        self.conditions.encode(out);
        self.commands.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let conditions = Vec::decode(input)?;
        let commands = Vec::decode(input)?;
        Self::new(conditions, commands).map_err(|error| match error {
            BatchError::Empty => DecodeError::Invalid { what: "batch: it has no commands" },
            BatchError::TooMany { count: size } => {
                DecodeError::TooLarge { what: "batch", size, limit: Self::LEN_MAX }
            }
            BatchError::TooLarge { size } => {
                DecodeError::TooLarge { what: "batch", size, limit: Self::BYTES_MAX }
            }
        })
    }
}

/// Why commands make no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A batch has at least one command.
    #[error("a batch has at least one command")]
    Empty,
    /// Over [`Batch::LEN_MAX`].
    #[error("a batch of {count} is too long: at most {max} are allowed", max = Batch::LEN_MAX)]
    TooMany {
        /// How many commands, or conditions if those are more.
        count: usize,
    },
    /// Over [`Batch::BYTES_MAX`].
    #[error("a batch of {size} bytes is too large: at most {max} are allowed",
        max = Batch::BYTES_MAX)]
    TooLarge {
        /// Bytes of all keys and values.
        size: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_batch_has_commands_and_limits() {
        assert_eq!(Batch::new(vec![], vec![]), Err(BatchError::Empty));
        let get = Command::Get { key: key("k") };
        assert_eq!(
            Batch::new(vec![], vec![get.clone(); Batch::LEN_MAX + 1]),
            Err(BatchError::TooMany { count: Batch::LEN_MAX + 1 })
        );
        let value = Value::new(vec![0; Value::LEN_MAX]).unwrap();
        let put = Command::Put { key: key("k"), value, time_to_live: None };
        assert_eq!(
            Batch::new(vec![], vec![put.clone(), put]),
            Err(BatchError::TooLarge { size: 2 * (Value::LEN_MAX + 1) })
        );
        assert!(Batch::new(vec![], vec![get]).is_ok());
    }

    #[test]
    fn an_empty_batch_on_the_wire_is_refused() {
        let bytes = Bytes::from_static(&[0; 8]);
        assert_eq!(
            Batch::from_bytes(bytes),
            Err(DecodeError::Invalid { what: "batch: it has no commands" })
        );
    }
}
