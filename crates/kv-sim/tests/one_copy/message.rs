//! What the servers of the one-copy engine say to each other, and what its holder persists.

use kv_core::{
    CommandResult, Done, Incarnation, Key, NodeId, Operation, Outcome, RequestOptions, Served,
    Value, Version, Versioned, wire_enum, wire_struct,
};

/// Names a forwarded request: who forwarded it, in which incarnation, and which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub from: NodeId,
    pub incarnation: Incarnation,
    pub number: u64,
}

wire_struct!(Ticket { from, incarnation, number });

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// To the holder: please do this.
    Ask {
        ticket: Ticket,
        /// All lower numbers of that incarnation will never be asked again.
        settled_below: u64,
        op: Operation,
        options: RequestOptions,
    },
    /// From the holder: this is how it ended.
    Answer { ticket: Ticket, outcome: Outcome },
}

wire_enum!(Message, "one-copy message", {
    0 => Ask { ticket, settled_below, op, options },
    1 => Answer { ticket, outcome },
});

/// A write, with the request that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who asked; `None` for a client of the holder itself.
    pub ticket: Option<Ticket>,
    pub settled_below: u64,
    pub version: u64,
    pub key: Key,
    /// The new value, `None` for a delete.
    pub value: Option<Value>,
}

wire_struct!(Record { ticket, settled_below, version, key, value });

impl Record {
    /// What its client is told.
    pub fn outcome(&self) -> Outcome {
        written(self.version)
    }
}

/// A write's answer.
pub fn written(version: u64) -> Outcome {
    done(CommandResult::Written, Version::Log(version))
}

/// A read's answer.
pub fn read(found: Option<&(Value, u64)>, version: u64) -> Outcome {
    let value = found.map(|(value, version)| Versioned {
        value: value.clone(),
        version: Version::Log(*version),
    });
    done(CommandResult::Value(value), Version::Log(version))
}

fn done(result: CommandResult, version: Version) -> Outcome {
    Outcome::Done(Done {
        answer: kv_core::Answer::Results(vec![result]),
        version: Some(version),
        served: Served::Linearizable,
    })
}
