//! What servers say to each other.

use std::time::Duration;

use kv_core::{HybridTime, Incarnation, Key, wire_enum, wire_struct};

use crate::ids::{ReadId, WriteId};
use crate::state::record::Write;
use crate::state::stamp::Entry;

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
});

impl Part {
    /// About how many bytes it takes in a message, never less than its keys and values.
    pub(crate) fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write(write) | Self::Repair(write) => write.size_bytes(),
            Self::Query(query) => query.key.as_bytes().len(),
            Self::Answer(answer) => {
                answer.key.as_bytes().len() + answer.entry.as_ref().map_or(0, Entry::size_bytes)
            }
            Self::Hello(_) | Self::Welcome(_) | Self::Ack(_) | Self::Reject(_) => 0,
        };
        content + PART_BYTES
    }
}

/// Asks a peer what it knows of the sender, and shows both how far apart their clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Random, one for each start of the sender's process.
    pub run: u64,
    /// The sender's monotonic clock when it sent.
    pub sent: Duration,
}

wire_struct!(Hello { run, sent });

/// Answers a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The hello's `run`.
    pub run: u64,
    /// The hello's `sent`.
    pub sent: Duration,
    /// The highest incarnation of the receiver that the sender knows.
    pub highest: Incarnation,
    /// The highest stamp that the sender's clock has seen.
    pub latest: HybridTime,
}

wire_struct!(Welcome { run, sent, highest, latest });

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
}

wire_struct!(Answer { read, key, entry });

/// The most that a part takes beside its keys and values.
const PART_BYTES: usize = 64;
