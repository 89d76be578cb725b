//! A transfer to a peer: all current records that the peer lacks, batch by batch.

use std::collections::BTreeSet;

use kv_core::Key;

use crate::ids::WriteId;
use crate::message::{Batch, Report};
use crate::mutation::Mutation;
use crate::state::State;
use crate::state::record::Write;
use crate::vector::Vector;

/// A transfer under way, at its sender.
///
/// The requester takes the vector that stood at the beginning for its own in the end. That is true
/// only if it then has, of every write in it that it lacked, that version or a newer one. A record
/// that is replaced before it was sent is one that the requester would miss together with what
/// replaced it, so its key is *owed*, and what the key holds is sent beside the others.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    id: u64,
    /// Tells it from others that were begun under the same id.
    instance: u64,
    /// What the requester knew at the beginning.
    known: Vector,
    /// What this server said of itself at the beginning.
    offer: Report,
    /// The batch that was asked for last. It is sent again as it is: which copy the requester takes
    /// is not known, and it must not miss what another one held.
    last: Option<Batch>,
    /// The last record that the requester has for sure, in the order of their names.
    stored: Option<WriteId>,
    /// The last record in the batch that was sent last.
    sent: Option<WriteId>,
    owed: BTreeSet<Key>,
    /// How many bytes those keys have.
    owed_bytes: usize,
}

impl Transfer {
    pub(crate) const fn new((id, instance): (u64, u64), known: Vector, offer: Report) -> Self {
        Self {
            id,
            instance,
            known,
            offer,
            last: None,
            stored: None,
            sent: None,
            owed: BTreeSet::new(),
            owed_bytes: 0,
        }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn instance(&self) -> u64 {
        self.instance
    }

    /// Whether more is owed than is kept for a requester.
    pub(crate) fn owes_too_much(&self) -> bool {
        self.owed.len() > OWED_MAX || self.owed_bytes > OWED_BYTES_MAX
    }

    /// The batch of a number: the one that was asked for last, again, or the next one. `None` for
    /// all others.
    pub(crate) fn batch(&mut self, state: &State, number: u32, bytes_max: usize) -> Option<Batch> {
        match &self.last {
            Some(last) if last.number == number => return Some(last.clone()),
            Some(last) if last.number.wrapping_add(1) != number => return None,
            None if number != 0 => return None,
            Some(_) | None => {}
        }
        self.stored = self.sent;
        let (mut writes, mut bytes) = (Vec::new(), 0);
        let mut add = |key: &Key| {
            if let Some(entry) = state.get(key) {
                let write = Write { key: key.clone(), entry: entry.clone() };
                bytes += write.size_bytes();
                writes.push(write);
            }
            bytes < bytes_max
        };
        let mut has_room = true;
        while has_room && let Some(key) = self.owed.pop_first() {
            self.owed_bytes -= key.as_bytes().len();
            has_room = add(&key);
        }
        let mut is_end = false;
        while has_room {
            let Some((id, key)) = state.index.next_lacking(self.sent, &self.known) else {
                is_end = true;
                break;
            };
            has_room = add(key);
            self.sent = Some(id);
        }
        is_end |= state.broken.is(Mutation::JoinsBeforeTheEnd);
        // A delete may have been forgotten since, and then is not among the records.
        let floor = self.offer.floor.max(state.floor);
        let end = is_end.then(|| Box::new(Report { floor, ..self.offer.clone() }));
        let batch = Batch { transfer: self.id, number, instance: self.instance, writes, end };
        self.last = Some(batch.clone());
        Some(batch)
    }

    /// Learns that a record was replaced, or removed, by a later one.
    pub(crate) fn on_replaced(&mut self, state: &State, id: WriteId, key: &Key) {
        if state.broken.is(Mutation::OwesNothing) {
            return;
        }
        let is_unsent = self.stored.is_none_or(|stored| id > stored);
        if is_unsent && self.offer.vector.contains(id) && !self.known.contains(id) {
            self.owe(key.clone());
        }
    }

    fn owe(&mut self, key: Key) {
        let bytes = key.as_bytes().len();
        if self.owed.insert(key) {
            self.owed_bytes += bytes;
        }
    }
}

/// The most keys that are owed to a requester before its transfer is given up.
const OWED_MAX: usize = 100_000;

/// The most bytes that those keys have.
const OWED_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, NodeId, Value};

    use super::*;
    use crate::ids::WriteSeq;
    use crate::state::record::Record;
    use crate::state::stamp::{Entry, Stamp};

    fn write(origin: u16, seq: u64, name: &str) -> Record {
        let stamp = Stamp {
            time: HybridTime::from_millis(10 * seq + u64::from(origin)),
            origin: NodeId::new(origin).unwrap(),
            incarnation: Incarnation(1 << 32),
        };
        let entry = Entry { stamp, seq: WriteSeq(seq), value: Some(Value::new("v").unwrap()) };
        Record::Write(Write { key: Key::new(name.to_owned()).unwrap(), entry })
    }

    fn state(records: impl IntoIterator<Item = Record>) -> State {
        let mut state = State::empty(NodeId::FIRST);
        records.into_iter().for_each(|record| state.apply(record));
        state.replaced = Some(Vec::new());
        state
    }

    fn apply(state: &mut State, transfer: &mut Transfer, record: Record) {
        state.apply(record);
        for (id, key) in std::mem::take(state.replaced.as_mut().unwrap()) {
            transfer.on_replaced(state, id, &key);
        }
    }

    fn begin(state: &State, known: &State) -> Transfer {
        let offer = Report { vector: state.vector.clone(), ..Report::default() };
        Transfer::new((9, 1), known.vector.clone(), offer)
    }

    fn names(batch: &Batch) -> Vec<String> {
        let name = |write: &Write| String::from_utf8_lossy(write.key.as_bytes()).into_owned();
        batch.writes.iter().map(name).collect()
    }

    #[test]
    fn it_brings_what_is_lacking_in_batches_and_the_vector_at_the_end() {
        let sender = state([write(2, 1, "a"), write(2, 2, "b"), write(2, 3, "c")]);
        let requester = state([write(2, 2, "b")]);
        let mut transfer = begin(&sender, &requester);
        let first = transfer.batch(&sender, 0, 1).unwrap();
        assert_eq!((names(&first), first.end.is_some()), (vec!["a".to_owned()], false));
        assert_eq!(transfer.batch(&sender, 0, 1), Some(first), "it was lost on the way");
        let second = transfer.batch(&sender, 1, 1_000).unwrap();
        assert_eq!((names(&second), second.end.is_some()), (vec!["c".to_owned()], true));
        assert_eq!((transfer.batch(&sender, 0, 1), transfer.batch(&sender, 3, 1)), (None, None));
    }

    /// Without it, the requester would know of write 2 and hold neither it nor what came after.
    #[test]
    fn what_replaces_a_record_that_was_not_sent_yet_is_sent_too() {
        let mut sender = state([write(2, 1, "a"), write(2, 2, "b")]);
        let mut transfer = begin(&sender, &state([]));
        assert_eq!(names(&transfer.batch(&sender, 0, 1).unwrap()), ["a"]);
        // The name of the newer write is one that was passed already.
        apply(&mut sender, &mut transfer, write(1, 7, "b"));
        let last = transfer.batch(&sender, 1, 1_000).unwrap();
        assert_eq!((names(&last), last.end.is_some()), (vec!["b".to_owned()], true));
        assert_eq!(last.writes[0].entry.stamp.origin, NodeId::FIRST);
    }

    #[test]
    fn what_is_replaced_in_a_batch_that_is_asked_for_again_comes_with_the_next_one() {
        let mut sender = state([write(2, 1, "a"), write(2, 2, "b"), write(2, 3, "c")]);
        let mut transfer = begin(&sender, &state([]));
        let first = transfer.batch(&sender, 0, two()).unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        apply(&mut sender, &mut transfer, write(1, 7, "b"));
        apply(&mut sender, &mut transfer, write(1, 8, "b"));
        assert_eq!(transfer.batch(&sender, 0, two()), Some(first));
        let last = transfer.batch(&sender, 1, 1_000).unwrap();
        assert_eq!(
            (names(&last), last.end.is_some()),
            (vec!["b".to_owned(), "c".to_owned()], true)
        );
        assert_eq!(last.writes[0].entry.seq, WriteSeq(8));
    }

    /// The request for it came twice, and the requester had taken the first answer: a second one that
    /// went further, as there was room in place of what was replaced, kept from it what came between.
    #[test]
    fn every_copy_of_a_batch_is_the_same_whatever_happens_between() {
        let mut sender =
            state([write(2, 1, "a"), write(2, 2, "b"), write(2, 3, "c"), write(2, 4, "d")]);
        let mut transfer = begin(&sender, &state([]));
        let first = transfer.batch(&sender, 0, two()).unwrap();
        assert_eq!(names(&first), ["a", "b"]);
        sender.apply(Record::Removed {
            floor: HybridTime::ZERO,
            records: vec![(write_key("a"), WriteId { seq: WriteSeq(1), ..id_of(2) })],
        });
        assert_eq!(transfer.batch(&sender, 0, two()), Some(first));
        assert_eq!(names(&transfer.batch(&sender, 1, 1_000).unwrap()), ["c", "d"]);
    }

    /// A bound that a second record of one letter's key reaches.
    fn two() -> usize {
        let Record::Write(write) = write(1, 1, "a") else { unreachable!("it is a write") };
        write.size_bytes() + 1
    }

    fn write_key(name: &'static str) -> Key {
        Key::new(name).unwrap()
    }

    fn id_of(origin: u16) -> WriteId {
        let Record::Write(write) = write(origin, 1, "any") else { unreachable!("it is a write") };
        write.entry.id()
    }
}
