//! What an outcome means to a client.

use kv_core::{Answer, Batch, BatchError, CommandResult, NotDone, Outcome, Page};

use crate::error::ReplyError;

/// The results of a batch that was done.
pub(super) fn results(outcome: Outcome) -> Result<Vec<CommandResult>, ReplyError> {
    match answer(outcome)? {
        Answer::Results(results) => Ok(results),
        Answer::Page(_) => Err(ReplyError::Unfit),
    }
}

/// The page that was read.
pub(super) fn page(outcome: Outcome) -> Result<Page, ReplyError> {
    match answer(outcome)? {
        Answer::Page(page) => Ok(page),
        Answer::Results(_) => Err(ReplyError::Unfit),
    }
}

/// Whether a batch failed by what the keys hold, so that its commands are to be looked at one by
/// one.
pub(super) const fn is_of_the_state(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NotDone(reason) => reason.is_of_the_state(),
        Outcome::Done(_) | Outcome::Unknown(_) => false,
    }
}

fn answer(outcome: Outcome) -> Result<Answer, ReplyError> {
    match outcome {
        Outcome::Done(done) => Ok(done.answer),
        Outcome::NotDone(NotDone::ValueTooLarge { .. }) => Err(ReplyError::TooMuch),
        Outcome::NotDone(reason) => Err(ReplyError::NotDone { reason: Box::new(reason) }),
        Outcome::Unknown(unknown) => Err(ReplyError::Unknown { unknown }),
    }
}

impl From<BatchError> for ReplyError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Empty => Self::Syntax,
            BatchError::TooMany { .. } => Self::TooManyKeys { max: Batch::LEN_MAX / 2 },
            BatchError::TooLarge { .. } => Self::TooMuch,
        }
    }
}
