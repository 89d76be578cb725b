//! What clients saw, in the order in which they saw it.

use kv_core::{Batch, KeyExpiry, Value};

/// Calls and their ends on one clock: an event stands after another if it happened later.
///
/// A process has at most one call open; one that ended with [`Event::Info`] calls no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The events in order, each with its process.
    pub events: Vec<(Process, Event)>,
}

/// Names a client that calls one operation after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u64);

/// A call begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It begins.
    Invoke(Batch),
    /// It took effect and brought one result for each command.
    Ok(Vec<Seen>),
    /// It had no effect and never will.
    Fail(Refusal),
    /// Whether it took effect is unknown; it may still.
    Info,
}

/// What one command of a call brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A get: what the key held.
    Value(Option<Value>),
    /// A put or a delete.
    Written,
    /// An increment: the new number.
    Number(i64),
    /// An append: the new length in bytes.
    Length(u64),
    /// When the key expires.
    Expiry(KeyExpiry),
    /// Something that nobody noted: the command took effect, and that is all.
    Unnoted,
}

/// Why a call had no effect, as far as that says something of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was never carried out: this says nothing of the state.
    NeverTried,
    /// A condition did not hold.
    Condition {
        /// Which one, from 0; those before it held.
        index: usize,
        /// What the key held, if that was told.
        found: Option<Option<Value>>,
    },
    /// A command could not be carried out on what its key held.
    Command {
        /// Which one, from 0; those before it could.
        index: usize,
    },
}
