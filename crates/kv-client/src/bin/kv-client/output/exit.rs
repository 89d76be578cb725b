//! How the program ends.

use std::process::ExitCode;

use kv_client::{Certainty, ClientError};
use kv_core::NotDone;

/// How the program, or one command, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Done,
    NotDone,
    Usage,
    NotFound,
    /// The cluster is unavailable, or the outcome is unknown.
    Unclear,
}

impl ExitStatus {
    /// Of several commands the first failure counts.
    #[must_use]
    pub(crate) fn or_later(self, later: Self) -> Self {
        if self == Self::Done { later } else { self }
    }

    pub(crate) fn of_error(error: &ClientError) -> Self {
        match error {
            ClientError::NotDone(reason) => Self::of_reason(reason),
            ClientError::Unavailable { .. }
            | ClientError::Refused { .. }
            | ClientError::TimedOut { .. } => Self::Unclear,
            ClientError::Unknown(_)
            | ClientError::Malformed { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Busy { .. }
            | ClientError::NoAnswer { .. }
            | ClientError::Lost { .. }
            | ClientError::Unexpected { .. }
            | ClientError::DumpInterrupted
            | ClientError::Stopped
            | _ => match error.certainty() {
                Certainty::NotDone => Self::NotDone,
                Certainty::Unknown => Self::Unclear,
            },
        }
    }

    const fn of_reason(reason: &NotDone) -> Self {
        match reason {
            NotDone::Unavailable { .. } | NotDone::Waiting(_) | NotDone::TimedOut { .. } => {
                Self::Unclear
            }
            NotDone::NotSupported(_)
            | NotDone::Quorum(_)
            | NotDone::ConditionFailed { .. }
            | NotDone::NotANumber { .. }
            | NotDone::ValueTooLarge { .. }
            | NotDone::Overloaded { .. }
            | NotDone::NotCaughtUp { .. }
            | NotDone::ClockSkew { .. }
            | NotDone::SessionExpired
            | NotDone::CannotLead(_)
            | _ => Self::NotDone,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::NotDone => 1,
            ExitStatus::Usage => 2,
            ExitStatus::NotFound => 3,
            ExitStatus::Unclear => 4,
        })
    }
}
