//! What was put into one key, and what is known of each put.

use std::fmt;

use kv_core::Version;

use crate::rising::RisingKey;

/// All puts into a key, and what follows for the reads of it.
#[derive(Default)]
pub(crate) struct ToldOfKey {
    /// The put of number 1, 2 and so on.
    pub(crate) puts: Vec<Put>,
    /// The least version that a read may show.
    pub(crate) floor: Option<Version>,
    /// The last number acknowledged; 0 before the first.
    pub(crate) acknowledged: usize,
}

/// One put, whose number is its place.
pub(crate) struct Put {
    pub(crate) end: End,
    /// As the client was told, or as a read has shown.
    pub(crate) version: Option<Version>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Done,
    NotDone,
    Unknown,
}

impl ToldOfKey {
    /// # Errors
    /// If the put cannot have that version.
    pub(crate) fn learn(
        &mut self,
        key: RisingKey,
        number: usize,
        version: Version,
    ) -> Result<(), String> {
        let put = self.puts.get_mut(number - 1).unwrap();
        let known = *put.version.get_or_insert(version);
        if put.end == End::NotDone {
            return Err(format!("{key} {number}: not done, but shown at {version}; {self}"));
        }
        if known != version {
            return Err(format!("{key} {number}: {version}, but known as {known}; {self}"));
        }
        Ok(())
    }
}

impl fmt::Display for ToldOfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the last puts:")?;
        let puts = (1..).zip(&self.puts);
        for (number, put) in puts.skip(self.puts.len().saturating_sub(SHOWN_MAX)) {
            let end = match put.end {
                End::Open => "open",
                End::Done => "done",
                End::NotDone => "not done",
                End::Unknown => "unknown",
            };
            write!(f, " {number} {end}")?;
            if let Some(version) = put.version {
                write!(f, " at {version}")?;
            }
            f.write_str(",")?;
        }
        write!(f, " acknowledged through {}", self.acknowledged)
    }
}

/// How many puts of a key a failure shows.
const SHOWN_MAX: usize = 20;
