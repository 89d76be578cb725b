//! How far a server is.

use bytes::{Bytes, BytesMut};

use crate::wire::{DecodeError, Wire};

/// Defines [`Positions`]: of each position its tag on the wire, its field and its name.
macro_rules! positions {
    ($($(#[$doc:meta])* $tag:literal => $field:ident, $name:literal;)*) => {
        /// How far a server's data, log, clock and disk are; `None` for what its engine does not
        /// have or does not know yet.
        ///
        /// Log positions count entries from 1, with 0 for none.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Positions {
            $($(#[$doc])* pub $field: Option<u64>,)*
        }

        impl Positions {
            /// The known positions, each with its name.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                let named = [$(($name, self.$field)),*].into_iter();
                named.filter_map(|(name, value)| value.map(|value| (name, value)))
            }

            fn tagged(&self) -> Vec<(u16, u64)> {
                let tagged = [$(($tag, self.$field)),*].into_iter();
                tagged.filter_map(|(tag, value)| value.map(|value| (tag, value))).collect()
            }

            /// Sets a position; does nothing for a tag that names none.
            pub(super) const fn set(&mut self, tag: u16, value: u64) {
                match tag {
                    $($tag => self.$field = Some(value),)*
                    _ => {}
                }
            }
        }
    };
}

positions! {
    /// Keys with a value.
    1 => keys, "keys";
    /// Deleted keys that are still remembered.
    2 => tombstones, "tombstones";
    /// The log position of the last entry, on disk or not.
    3 => last, "last";
    /// The log position up to which this server's own disk has the log.
    4 => durable, "durable";
    /// The log position up to which this server knows entries to be committed.
    5 => committed, "commit";
    /// The log position up to which entries are applied to the keys.
    6 => applied, "applied";
    /// The round of the log's last epoch: it grows whenever a sequencer is chosen.
    7 => epoch_round, "epoch_round";
    /// The id of the server that was the sequencer of the log's last epoch.
    8 => epoch_owner, "epoch_owner";
    /// How many writes this incarnation has numbered; `None` while its number is not settled.
    9 => last_write_seq, "last_write_seq";
    /// The latest reading of the hybrid logical clock, in milliseconds since the Unix epoch.
    10 => clock_ms, "clock_ms";
    /// The last record that the journal has on disk, from 1 for the first.
    11 => journal_persisted, "journal_persisted";
    /// The last record that the checkpoint on disk covers, from 1 for the first.
    12 => checkpoint_covers, "checkpoint_covers";
    /// The incarnation of the sequencer of the log's last epoch.
    13 => epoch_incarnation, "epoch_incarnation";
    /// Numbers of writes that are missing below others of the same incarnation.
    14 => gaps, "gaps";
    /// Former incarnations of servers of which it is not settled yet what they wrote.
    15 => open_incarnations, "open_incarnations";
    /// By how many milliseconds the wall clock is ahead of the median of its peers', as last measured;
    /// `None` if it is not.
    16 => clock_ahead_ms, "clock_ahead_ms";
    /// By how many milliseconds it is behind; `None` if it is not.
    17 => clock_behind_ms, "clock_behind_ms";
}

/// A list of tags and values. Tags that this program does not know are skipped.
impl Wire for Positions {
    fn encode(&self, out: &mut BytesMut) {
        self.tagged().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let mut positions = Self::default();
        for (tag, value) in Vec::<(u16, u64)>::decode(input)? {
            positions.set(tag, value);
        }
        Ok(positions)
    }
}
