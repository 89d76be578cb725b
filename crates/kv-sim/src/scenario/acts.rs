//! What happens in a scenario.

use std::fmt;
use std::time::Duration;

use kv_check::CallText;
use kv_core::{
    Key, Level, NodeId, Operation, RequestOptions, Value, Version, wire_enum, wire_struct,
};

use crate::injection::Injection;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time")]
pub enum Act {
    /// Time goes by.
    Wait {
        /// How much.
        time: Duration,
    },
    /// A client puts a request to a server. Its session and the version that it has seen are those
    /// that it has by then, and it leaves out what no client would ask then.
    Ask {
        /// Which client.
        client: u64,
        /// Which server.
        server: NodeId,
        /// For what.
        op: Operation,
        /// How.
        options: RequestOptions,
        /// What the versions in the conditions name.
        names: Vec<Name>,
    },
    /// A client cancels its last request, if that is open.
    Cancel {
        /// Which client.
        client: u64,
    },
    /// A fault begins, if the engine bears it now.
    Begin {
        /// Names it.
        fault: u64,
        /// What it is.
        injection: Injection,
    },
    /// A fault ends, or the next part of it begins. One that is not ended lasts until the end.
    End {
        /// Which one.
        fault: u64,
    },
    /// All faults end.
    EndAll,
}

wire_enum!(Act, "act", {
    0 => Wait { time },
    1 => Ask { client, server, op, options, names },
    2 => Cancel { client },
    3 => Begin { fault, injection },
    4 => End { fault },
    5 => EndAll,
});

/// What a version names, so that a condition can ask for the same value in a run in which that has
/// another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Of which key.
    pub key: Key,
    /// The version.
    pub version: Version,
    /// The value.
    pub value: Value,
}

wire_struct!(Name { key, version, value });

impl Act {
    /// The same of a cluster in which servers have other names, if it can be there.
    pub(super) fn renamed(self, name: impl Fn(NodeId) -> NodeId) -> Option<Self> {
        match self {
            Self::Ask { client, server, op, options, names } => {
                Some(Self::Ask { client, server: name(server), op, options, names })
            }
            Self::Begin { fault, injection } => {
                Some(Self::Begin { fault, injection: injection.renamed(name)? })
            }
            Self::Wait { .. } | Self::Cancel { .. } | Self::End { .. } | Self::EndAll => Some(self),
        }
    }
}

/// Acts with what stands between them as one wait.
pub(super) fn joined(acts: Vec<Act>) -> Vec<Act> {
    let mut joined: Vec<Act> = Vec::with_capacity(acts.len());
    for act in acts {
        match (joined.last_mut(), act) {
            (Some(Act::Wait { time: before }), Act::Wait { time }) => *before += time,
            (_, act) => joined.push(act),
        }
    }
    joined
}

/// Likewise, but that the last wait stands by itself: clients look at their answers before it.
pub(super) fn joined_but_the_last(mut acts: Vec<Act>) -> Vec<Act> {
    let last = acts.pop();
    let mut joined = joined(acts);
    joined.extend(last);
    joined
}

/// `client 3 asks server 1: put b"k0" b"v4"`
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait { time } => write!(f, "wait {time:?}"),
            Self::Ask { client, server, op, options, .. } => {
                write!(f, "client {client} asks server {server}:")?;
                match op {
                    Operation::Batch(batch) => write!(f, "{}", CallText(batch))?,
                    Operation::Scan(_)
                    | Operation::Dump(_)
                    | Operation::OpenSession
                    | Operation::Lead { .. } => write!(f, " {op:?}")?,
                }
                if options.level == Some(Level::Sequential) && op.is_read_only() {
                    f.write_str(", sequential")?;
                }
                if options.identity.is_some() {
                    f.write_str(", in its session")?;
                }
                Ok(())
            }
            Self::Cancel { client } => write!(f, "client {client} cancels"),
            Self::Begin { fault, injection } => write!(f, "fault {fault}: {injection}"),
            Self::End { fault } => write!(f, "fault {fault} ends"),
            Self::EndAll => f.write_str("all faults end"),
        }
    }
}
