//! The answers to requests that were done.

use kv_core::{Answer, CommandResult, Done, Outcome, Served, Version, Versioned};

use crate::state::stamp::Entry;

/// The answer to a get: what the winning entry shows to a client.
pub(crate) fn read_done(entry: Option<&Entry>, servers: u16) -> Outcome {
    let versioned = entry.and_then(|entry| {
        Some(Versioned { value: entry.value.clone()?, version: entry.stamp.into() })
    });
    // A deleted key's version shows a session as well that it must not go back behind the delete.
    let deleted = entry.filter(|entry| entry.value.is_none());
    let version = deleted.map(|entry| entry.stamp.into());
    let answer = Answer::Results(vec![CommandResult::Value(versioned)]);
    done(answer, version, Served::Quorum { servers })
}

/// The answer to a put or a delete.
pub(crate) fn write_done(version: Version, servers: u16) -> Outcome {
    let answer = Answer::Results(vec![CommandResult::Written]);
    done(answer, Some(version), Served::Quorum { servers })
}

pub(crate) const fn done(answer: Answer, version: Option<Version>, served: Served) -> Outcome {
    Outcome::Done(Done { answer, version, served })
}
