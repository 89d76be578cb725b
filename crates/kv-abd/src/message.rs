//! What servers ask each other, and what they keep.

use kv_core::{Incarnation, Key, NodeId, Value, Version, wire_enum, wire_struct};

/// Orders the writes of a key: the greater tag is the newer write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// One more than any that its writer had met.
    pub number: u64,
    /// The server that coordinated the write: two servers may choose one number.
    pub writer: NodeId,
    /// That server's incarnation: one that restarts does not know which numbers it gave away.
    pub incarnation: Incarnation,
}

wire_struct!(Tag { number, writer, incarnation });

impl Tag {
    /// The version that clients see.
    #[must_use]
    pub const fn version(self) -> Version {
        let Self { number, writer, incarnation } = self;
        Version::Tag { number, writer, incarnation }
    }
}

/// What a server holds of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which write it is.
    pub tag: Tag,
    /// The value; `None` if the key was deleted.
    pub value: Option<Value>,
}

wire_struct!(Held { tag, value });

/// Names a question of a coordinator. A request that asks and then stores has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    /// The coordinator's incarnation, so that no answer counts for a later one.
    pub incarnation: Incarnation,
    /// Its number there.
    pub number: u64,
}

wire_struct!(CallId { incarnation, number });

/// What servers say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// What do you hold of this key?
    Ask {
        /// Which question it is.
        call: CallId,
        /// The key.
        key: Key,
    },
    /// This, on disk.
    Found {
        /// The question.
        call: CallId,
        /// What is held; `None` if the key was never written here.
        held: Option<Held>,
    },
    /// Hold this, unless you hold something newer.
    Store {
        /// Which question it is.
        call: CallId,
        /// The key.
        key: Key,
        /// What to hold.
        held: Held,
    },
    /// This, or something newer, is on disk.
    Stored {
        /// The question.
        call: CallId,
    },
}

wire_enum!(Message, "majority register message", {
    0 => Ask { call, key },
    1 => Found { call, held },
    2 => Store { call, key, held },
    3 => Stored { call },
});

/// What goes to the disk: a key, and what it holds from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// What it holds.
    pub held: Held,
}

wire_struct!(Record { key, held });
