//! What goes into the log and to the disk.

use bytes::Bytes;

use crate::core::{Core, Out};
use crate::durable::journal::{Durable, LogOnDisk};
use crate::durable::record::Record;
use crate::log::entry::{Entry, EntryHeader, Origin};
use crate::log::epoch::{Epoch, LogIndex};

impl Core {
    pub(crate) fn persist(&mut self, record: Record, durable: Durable, out: &mut Out) {
        self.journal.persist(record, durable, out);
    }

    /// Writes a part of something that takes effect only by a later record.
    pub(crate) fn stage(&mut self, record: Record, durable: Durable, out: &mut Out) {
        self.staged_after.get_or_insert(self.journal.asked());
        self.persist(record, durable, out);
    }

    /// Writes entries that were appended to the log after `previous`, in records of about the size
    /// of a message.
    pub(crate) fn persist_entries(
        &mut self,
        mut previous: LogIndex,
        entries: Vec<Entry>,
        out: &mut Out,
    ) {
        let bytes_max = self.config.limits.message_bytes_max;
        let whole_bytes: usize = entries.iter().map(Entry::size_bytes).sum();
        if whole_bytes <= bytes_max {
            return self.persist_part(previous, entries, out);
        }
        let mut part = Vec::new();
        let mut size_bytes = 0;
        for entry in entries {
            size_bytes += entry.size_bytes();
            if size_bytes > bytes_max && !part.is_empty() {
                size_bytes = entry.size_bytes();
                self.persist_part(previous, std::mem::take(&mut part), out);
                previous = entry.index().previous();
            }
            part.push(entry);
        }
        self.persist_part(previous, part, out);
    }

    fn persist_part(&mut self, previous: LogIndex, entries: Vec<Entry>, out: &mut Out) {
        if let Some(last) = entries.last().map(Entry::index) {
            let (promised, commit) = (self.promised, self.replica.commit());
            let log = LogOnDisk { last, ..self.replica.asked() };
            let record = Record::Entries { promised, commit, previous, entries };
            self.persist(record, Durable::Log { promised, log }, out);
        }
    }

    /// The entries from `first` up to `last` that fit into a message; at least one, if there is one.
    pub(crate) fn entries_from(&self, first: LogIndex, last: LogIndex) -> Vec<Entry> {
        let bytes_max = self.config.limits.message_bytes_max;
        let mut entries = Vec::new();
        let mut size_bytes = 0;
        for entry in self.replica.log().from(first).take_while(|entry| entry.index() <= last) {
            size_bytes += entry.size_bytes();
            if size_bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    /// Makes the entry that follows the last one, in this server's epoch.
    pub(crate) fn next_entry(&self, operations: &[(Origin, Bytes)]) -> Entry {
        let last = self.replica.log().last();
        let header = EntryHeader {
            index: last.index.next(),
            epoch: self.promised,
            log_time_ms: last.log_time_ms.max(self.wall_ms()),
            operations_before: last.operations,
            operations: 0,
            previous_hash: last.hash,
        };
        Entry::new(header, operations)
    }

    /// Opens an epoch of this server with its first entry, which is written in one record with the
    /// promise of the epoch and the incarnation.
    pub(crate) fn open(&mut self, epoch: Epoch, out: &mut Out) {
        self.raise_promise(epoch);
        if let Some(identity) = &mut self.identity {
            identity.incarnation = epoch.incarnation;
        }
        let Some(identity) = self.identity else {
            return;
        };
        let entry = self.next_entry(&[]);
        self.replica.append(entry.clone());
        let log = self.replica.asked();
        self.persist(Record::Opened { entry }, Durable::Opened { identity, epoch, log }, out);
        self.counters.epochs_opened += 1;
        tracing::info!(%epoch, "opening an epoch");
    }
}
