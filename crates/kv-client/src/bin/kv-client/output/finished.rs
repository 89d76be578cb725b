//! How a command ended.

use std::time::Duration;

use kv_client::ClientError;
use kv_core::{Answer, CommandResult, Done, Key, KeyExpiry, NodeId, Status, TimeToLive};

use super::exit::ExitStatus;
use super::status::{Health, Service};

/// How a command ended, to be printed.
pub(crate) struct Finished {
    pub(crate) command: &'static str,
    pub(crate) key: Option<Key>,
    /// Whether it is one of several, so that people must be told which.
    pub(crate) names_key: bool,
    /// Where it stands in the input, from 1, if that is a pipe.
    pub(crate) line: Option<u64>,
    /// The server that the client is connected to, or that answered.
    pub(crate) server: Option<NodeId>,
    pub(crate) elapsed: Duration,
    pub(crate) result: Result<Success, Failure>,
}

/// What a command brought.
pub(crate) enum Success {
    Done(Done),
    /// Whether there is the key. The answer has no results.
    Existence(bool, Done),
    /// So many keys there are.
    Counted(u64),
    /// So many keys were removed.
    Removed(u64),
    /// What a scan or a dump brought has been printed.
    Listed,
    Status {
        status: Box<Status>,
        /// With every counter.
        all: bool,
    },
    Health(Health),
    /// This server is the sequencer.
    Led(NodeId),
    Paused,
    /// A transaction has begun.
    Begun,
    /// So many lines took effect together; no request was needed for none.
    Committed(usize, Option<Done>),
    /// So many lines were dropped.
    Discarded(usize),
}

/// Why a command brought nothing.
pub(crate) enum Failure {
    Error(ClientError),
    Interrupted(Interrupted),
    NotCommitted(NotCommitted),
}

/// Why what stands in a transaction was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCommitted {
    #[error("not done: another line of the transaction failed")]
    OtherLine,
    #[error("not committed: a line of the transaction was refused, so nothing was done")]
    RefusedLine,
}

/// What Ctrl-C left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted{}{}", effect.text(), lines_text(*lines_dropped))]
pub(crate) struct Interrupted {
    pub(crate) effect: Effect,
    /// How many lines waited, which are not run.
    pub(crate) lines_dropped: usize,
}

/// What a command that was interrupted may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// No server has got it.
    NotSent,
    /// It has none.
    None,
    /// It may still take effect.
    Possible,
}

impl Finished {
    pub(crate) fn status(&self) -> ExitStatus {
        match &self.result {
            Ok(Success::Done(done)) if is_missing(&done.answer) => ExitStatus::NotFound,
            Ok(Success::Existence(false, _)) => ExitStatus::NotFound,
            Ok(Success::Status { status, .. }) => Service::of(status).exit_status(),
            Ok(Success::Health(health)) => health.exit_status(),
            Ok(_) => ExitStatus::Done,
            Err(Failure::Error(error)) => ExitStatus::of_error(error),
            Err(Failure::Interrupted(_)) => ExitStatus::Unclear,
            Err(Failure::NotCommitted(_)) => ExitStatus::NotDone,
        }
    }

    pub(crate) const fn is_interrupted(&self) -> bool {
        matches!(self.result, Err(Failure::Interrupted(_)))
    }

    /// The key that the command has shown to exist.
    pub(crate) fn known_key(&self) -> Option<&Key> {
        match &self.result {
            Ok(Success::Done(done)) if !is_missing(&done.answer) => self.key.as_ref(),
            Ok(Success::Existence(true, _)) => self.key.as_ref(),
            Ok(_) | Err(_) => None,
        }
    }
}

impl Effect {
    const fn text(self) -> &'static str {
        match self {
            Self::NotSent => "; it was not sent, nothing was done",
            Self::None => "",
            Self::Possible => "; it may still take effect",
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

/// Whether an answer says of one command that there is no such key, or nothing to change.
pub(crate) fn is_missing(answer: &Answer) -> bool {
    let Answer::Results(results) = answer else {
        return false;
    };
    matches!(
        results.as_slice(),
        [CommandResult::Value(None)
            | CommandResult::Changed(false)
            | CommandResult::TimeToLive(TimeToLive::Missing)
            | CommandResult::Expiry(KeyExpiry::Missing)]
    )
}

fn lines_text(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "; 1 waiting line dropped".to_owned(),
        _ => format!("; {count} waiting lines dropped"),
    }
}
