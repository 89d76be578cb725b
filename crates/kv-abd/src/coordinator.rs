//! Requests of a server's own clients, each of which asks a quorum and then stores at a quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    Answer, CommandResult, Done, Key, NodeId, NotDone, Outcome, RequestId, Served, Unknown, Value,
    Versioned,
};

use crate::message::{CallId, Held, Message};

/// A request that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) key: Key,
    pub(crate) aim: Aim,
    pub(crate) phase: Phase,
    /// Who has answered the present question.
    pub(crate) answered: BTreeSet<NodeId>,
    pub(crate) resend_at: Duration,
    pub(crate) backoff: Duration,
    pub(crate) give_up_at: Duration,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To know the value.
    Read,
    /// To write one, or to delete with `None`.
    Write(Option<Value>),
}

/// How far a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It asks what the key holds.
    Asking {
        /// The newest that was found so far.
        newest: Option<Held>,
        /// Whether all who answered hold just that.
        agree: bool,
    },
    /// It stores this.
    Storing(Held),
}

/// The requests under way, by the number of the question that each asks at present.
pub(crate) type Requests = BTreeMap<u64, Request>;

impl Request {
    /// The question, as it goes to peers.
    pub(crate) fn question(&self, call: CallId) -> Message {
        let key = self.key.clone();
        match &self.phase {
            Phase::Asking { .. } => Message::Ask { call, key },
            Phase::Storing(held) => Message::Store { call, key, held: held.clone() },
        }
    }

    /// Notes what somebody holds; nothing if the request does not ask that any more.
    pub(crate) fn note_found(&mut self, from: NodeId, held: Option<Held>) {
        let Phase::Asking { newest, agree } = &mut self.phase else {
            return;
        };
        let is_first = self.answered.is_empty();
        if !self.answered.insert(from) {
            return;
        }
        let tag = |held: &Option<Held>| held.as_ref().map(|held| held.tag);
        *agree = (is_first || tag(newest) == tag(&held)) && *agree;
        if tag(&held) > tag(newest) {
            *newest = held;
        }
    }

    /// What the client is told once a read knows what the key holds.
    pub(crate) fn read(held: Option<&Held>) -> Outcome {
        let version = held.map(|held| held.tag.version());
        let found = held.and_then(|Held { tag, value }| {
            Some(Versioned { value: value.clone()?, version: tag.version() })
        });
        Outcome::Done(Done {
            answer: Answer::Results(vec![CommandResult::Value(found)]),
            version,
            served: Served::Linearizable,
        })
    }

    /// What the client is told once all is stored.
    pub(crate) fn stored(&self, held: &Held) -> Outcome {
        match self.aim {
            Aim::Read => Self::read(Some(held)),
            Aim::Write(_) => Outcome::Done(Done {
                answer: Answer::Results(vec![CommandResult::Written]),
                version: Some(held.tag.version()),
                served: Served::Linearizable,
            }),
        }
    }

    /// What the client is told when its time is up. Only a write that was being stored may have taken
    /// effect.
    pub(crate) fn given_up(&self, needed: u16) -> Outcome {
        let answered = u16::try_from(self.answered.len()).unwrap_or(u16::MAX);
        match (&self.aim, &self.phase) {
            (Aim::Write(_), Phase::Storing(held)) => {
                let version = Some(held.tag.version());
                Outcome::Unknown(Unknown { version, acks: answered, needed })
            }
            (Aim::Write(_), Phase::Asking { .. }) | (Aim::Read, _) => {
                Outcome::NotDone(NotDone::TimedOut { answered, needed })
            }
        }
    }
}
