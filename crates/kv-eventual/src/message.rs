//! What servers say to each other.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{HybridTime, Incarnation, Key, NodeId, Scan, digest, wire_enum, wire_struct};

use crate::ids::{ReadId, WriteId, WriteSeq};
use crate::state::record::Write;
use crate::state::stamp::{Entry, Stamp};
use crate::vector::Vector;

/// Everything that one server had for another at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's incarnation; [`Incarnation::UNKNOWN`] while it is joining. A server that has
    /// restarted speaks for its former one until the next is on its disk.
    pub sender: Incarnation,
    /// The sender's wall clock when it sent, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// What it says, in order.
    pub parts: Vec<Part>,
}

wire_struct!(Message { sender, wall_ms, parts });

/// One thing that a server says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Asks what the receiver knows of the sender.
    Hello(Hello),
    /// Answers a hello.
    Welcome(Welcome),
    /// Asks the receiver to hold a write of the sender's and to acknowledge it.
    Write(Write),
    /// The sender holds this write, or a newer one of the same key, on its disk.
    Ack(WriteId),
    /// The sender refuses this write: its stamp is too far in the future.
    Reject(WriteId),
    /// Asks what a key holds.
    Query(Query),
    /// Answers a query.
    Answer(Answer),
    /// Brings a write that the receiver was seen to lack; not acknowledged.
    Repair(Write),
    /// Asks for what the sender lacks.
    Pull(Pull),
    /// Answers a pull.
    Batch(Batch),
    /// Asks whether the receiver holds the same.
    Compare(Compare),
    /// Answers with what it holds where it does not.
    Compared(Compared),
    /// Asks for what these keys hold, each in a [`Part::Mend`].
    Want(Vec<Key>),
    /// Brings a record that a comparison has shown to be missing; not acknowledged.
    Mend(Write),
    /// Asks the receiver to hold a write of whichever server and to acknowledge it: a read has shown
    /// it, and is answered once enough servers hold it.
    Keep(Write),
    /// Asks what a range of keys holds.
    Look(Look),
    /// Answers such a question.
    Sight(Sight),
}

wire_enum!(Part, "message part", {
    0 => Hello(hello),
    1 => Welcome(welcome),
    2 => Write(write),
    3 => Ack(id),
    4 => Reject(id),
    5 => Query(query),
    6 => Answer(answer),
    7 => Repair(write),
    8 => Pull(pull),
    9 => Batch(batch),
    10 => Compare(compare),
    11 => Compared(compared),
    12 => Want(keys),
    13 => Mend(write),
    14 => Keep(write),
    15 => Look(look),
    16 => Sight(sight),
});

impl Part {
    /// About how many bytes it takes in a message, never less than its keys and values.
    pub(crate) fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write(write) | Self::Repair(write) | Self::Mend(write) | Self::Keep(write) => {
                write.size_bytes()
            }
            Self::Query(query) => query.key.as_bytes().len(),
            Self::Answer(answer) => {
                answer.key.as_bytes().len() + answer.entry.as_ref().map_or(0, Entry::size_bytes)
            }
            Self::Batch(batch) => batch.writes.iter().map(Write::size_bytes).sum(),
            Self::Look(Look { scan, .. }) => {
                let until = scan.until.as_ref().map_or(0, Bytes::len);
                scan.from.len() + until + scan.after.as_ref().map_or(0, |key| key.as_bytes().len())
            }
            Self::Sight(sight) => {
                let through = sight.through.as_ref().map_or(0, |key| key.as_bytes().len());
                sight.records.iter().map(Write::size_bytes).sum::<usize>() + through
            }
            Self::Compare(compare) => compare.size_bytes(),
            Self::Compared(compared) => compared.size_bytes(),
            Self::Want(keys) => keys.iter().map(|key| key.as_bytes().len() + PART_BYTES).sum(),
            Self::Hello(_) | Self::Welcome(_) | Self::Ack(_) | Self::Reject(_) | Self::Pull(_) => 0,
        };
        content + PART_BYTES
    }
}

/// Asks what a range of keys holds, deletes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Names the question.
    pub read: ReadId,
    /// The range, and how many keys that are there are wanted at the most.
    pub scan: Scan,
}

wire_struct!(Look { read, scan });

/// What a server holds of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The question.
    pub read: ReadId,
    /// Its records in ascending order of their keys.
    pub records: Vec<Write>,
    /// Up to this key, itself included, these are all; `None` for the end of the range.
    pub through: Option<Key>,
    /// Whether it counts towards the answers that are needed.
    pub counts: bool,
}

wire_struct!(Sight { read, records, through, counts });

/// Asks a peer what it knows of the sender, and shows both how far apart their clocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Random, one for each start of the sender's process.
    pub run: u64,
    /// The sender's monotonic clock when it sent.
    pub sent: Duration,
    /// What the sender's disk reflects, and whether that counts.
    pub report: Box<Report>,
}

wire_struct!(Hello { run, sent, report });

/// Answers a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The hello's `run`.
    pub run: u64,
    /// The hello's `sent`.
    pub sent: Duration,
    /// The highest incarnation of the receiver that the sender knows.
    pub highest: Incarnation,
    /// The highest stamp that the sender's clock has seen.
    pub latest: HybridTime,
    /// All servers that the sender has ever seen.
    pub members: Vec<NodeId>,
    /// The receiver's disk has lost what the receiver once told the sender that it has.
    pub has_lost: bool,
}

wire_struct!(Welcome { run, sent, highest, latest, members, has_lost });

/// What a server says of itself when it asks or answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The writes that its disk reflects.
    pub vector: Vector,
    /// Whether what it holds counts for reads.
    pub counts: bool,
    /// Whether it has noted no loss of data that it has not made up for.
    pub is_whole: bool,
    /// All servers that it has ever seen, itself included.
    pub members: Vec<NodeId>,
    /// How far its own writes are.
    pub cut: Cut,
    /// No delete that it has forgotten is later.
    pub floor: HybridTime,
}

wire_struct!(Report { vector, counts, is_whole, members, cut, floor });

/// A bound between a server's past and its future writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The server's incarnation.
    pub incarnation: Incarnation,
    /// The last write that it has numbered in it.
    pub seq: WriteSeq,
    /// Every write that it numbers from here on has a later stamp.
    pub time: HybridTime,
}

wire_struct!(Cut { incarnation, seq, time });

impl Default for Cut {
    /// The bound of a server that has not begun.
    fn default() -> Self {
        Self { incarnation: Incarnation::UNKNOWN, seq: WriteSeq(0), time: HybridTime::ZERO }
    }
}

/// Asks for the next batch of what the sender lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Which transfer; random.
    pub transfer: u64,
    /// Which batch of it, from 0. To ask for one means that all before it are on disk.
    pub number: u32,
    /// The [`Batch::instance`] of those before it; 0 in batch 0.
    pub instance: u64,
    /// In batch 0: what the sender reflects. A server that is to be sent everything asks with the
    /// vector of one that has nothing.
    pub begin: Option<Box<PullBegin>>,
}

wire_struct!(Pull { transfer, number, instance, begin });

/// How a transfer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullBegin {
    /// What the requester says of itself.
    pub report: Report,
    /// Whether it wants everything, whatever its vector.
    pub wants_all: bool,
}

wire_struct!(PullBegin { report, wants_all });

/// A batch of current records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which transfer.
    pub transfer: u64,
    /// Which batch.
    pub number: u32,
    /// Which transfer this is at its sender. If that forgets a transfer and begins it again, as a
    /// request that comes late has it, the batches are others.
    pub instance: u64,
    /// Records that the requester does not know.
    pub writes: Vec<Write>,
    /// In the last batch: what the sender says of itself as it was when the transfer began. With all
    /// batches on disk, the requester reflects that vector too.
    pub end: Option<Box<Report>>,
}

wire_struct!(Batch { transfer, number, instance, writes, end });

/// Asks whether the receiver holds the same in some ranges of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which comparison; random.
    pub comparison: u64,
    /// Which question of it, from 0.
    pub number: u32,
    /// The first range begins after this key; with the first of all keys for `None`.
    pub after: Option<Key>,
    /// The ranges, one after the other.
    pub ranges: Vec<HashedRange>,
}

wire_struct!(Compare { comparison, number, after, ranges });

impl Compare {
    fn size_bytes(&self) -> usize {
        let of_key = |key: &Option<Key>| key.as_ref().map_or(0, |key| key.as_bytes().len());
        let ranges = self.ranges.iter().map(|range| of_key(&range.up_to) + PART_BYTES);
        of_key(&self.after) + ranges.sum::<usize>()
    }
}

/// A range of keys, which begins where the one before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedRange {
    /// Its last key; `None` if it ends with the last of all keys.
    pub up_to: Option<Key>,
    /// The hash of what the sender holds in it.
    pub hash: u64,
}

wire_struct!(HashedRange { up_to, hash });

/// Answers a [`Compare`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Which comparison.
    pub comparison: u64,
    /// Which question.
    pub number: u32,
    /// What was compared ends with this key; with the last of all keys for `None`.
    pub through: Option<Key>,
    /// What the sender holds in each range that differs.
    pub listings: Vec<Listing>,
    /// No delete that the sender has forgotten is later.
    pub floor: HybridTime,
}

wire_struct!(Compared { comparison, number, through, listings, floor });

impl Compared {
    fn size_bytes(&self) -> usize {
        let listings = self.listings.iter().flat_map(|listing| &listing.records);
        listings.map(|summary| summary.key.as_bytes().len() + PART_BYTES).sum()
    }
}

/// All that a server holds in a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The range begins after this key; with the first of all keys for `None`.
    pub after: Option<Key>,
    /// Its last key; `None` if it ends with the last of all keys.
    pub up_to: Option<Key>,
    /// The records, by ascending keys.
    pub records: Vec<Summary>,
}

wire_struct!(Listing { after, up_to, records });

/// A record without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which key.
    pub key: Key,
    /// The position of its write in the order of writes.
    pub stamp: Stamp,
    /// The write's number among its origin's.
    pub seq: WriteSeq,
    /// The hash of the value; `None` for a tombstone.
    pub value: Option<u64>,
}

wire_struct!(Summary { key, stamp, seq, value });

impl Summary {
    pub(crate) fn of(key: &Key, entry: &Entry) -> Self {
        let value = entry.value.as_ref().map(|value| digest(value.as_bytes()));
        Self { key: key.clone(), stamp: entry.stamp, seq: entry.seq, value }
    }

    /// The write that made the record.
    pub(crate) const fn id(&self) -> WriteId {
        WriteId { origin: self.stamp.origin, incarnation: self.stamp.incarnation, seq: self.seq }
    }
}

/// Asks what a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which read asks.
    pub read: ReadId,
    /// Which key.
    pub key: Key,
}

wire_struct!(Query { read, key });

/// Says what a key holds on the sender's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which read asked.
    pub read: ReadId,
    /// Which key.
    pub key: Key,
    /// What it holds: a value, a tombstone, or nothing.
    pub entry: Option<Entry>,
    /// Whether the answer is one of those that the read needs; not if the sender lost data that it
    /// has not made up for.
    pub counts: bool,
}

wire_struct!(Answer { read, key, entry, counts });

/// The most that a part takes beside its keys and values.
const PART_BYTES: usize = 64;
