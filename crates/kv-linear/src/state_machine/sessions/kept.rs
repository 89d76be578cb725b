//! What is kept of the answers to requests of sessions.

use bytes::Bytes;
use kv_core::{
    Answer, CommandResult, Done, Outcome, Served, Unknown, Version, Wire, wire_enum, wire_struct,
};

/// The answer to a request that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The number of the operation that carried it out.
    operation: u64,
    kept: Kept,
}

wire_struct!(Answered { operation, kept });

/// What is kept of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    /// It was that of a single put or delete, as most are.
    Written,
    /// Its byte form.
    Whole(Bytes),
    /// Nothing, since it is too large.
    Nothing,
}

wire_enum!(Kept, "answer of a session", { 0 => Written, 1 => Whole(bytes), 2 => Nothing });

impl Answered {
    /// The answer to a request that operation `number` carried out.
    pub(super) fn new(outcome: &Outcome, number: u64) -> Self {
        Self { operation: number, kept: Kept::of(outcome, number) }
    }

    /// The same where only this many bytes may be kept.
    pub(super) fn within(self, bytes_max: usize) -> Self {
        let kept = if self.size_bytes() > bytes_max { Kept::Nothing } else { self.kept };
        Self { kept, ..self }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let version = Some(Version::Log(self.operation));
        let kept = match &self.kept {
            Kept::Written => Some(written(self.operation)),
            Kept::Whole(bytes) => Outcome::from_bytes(bytes.clone()).ok(),
            Kept::Nothing => None,
        };
        // It was carried out, but what it brought was too large to be kept.
        kept.unwrap_or(Outcome::Unknown(Unknown { version, acks: 0, needed: 0 }))
    }

    pub(super) const fn size_bytes(&self) -> usize {
        ANSWER_OVERHEAD
            + match &self.kept {
                Kept::Whole(bytes) => bytes.len(),
                Kept::Written | Kept::Nothing => 0,
            }
    }

    /// The same without the buffer that it was read into.
    pub(super) fn detached(self) -> Self {
        let kept = match self.kept {
            Kept::Whole(bytes) => Kept::Whole(Bytes::copy_from_slice(&bytes)),
            kept @ (Kept::Written | Kept::Nothing) => kept,
        };
        Self { kept, ..self }
    }
}

impl Kept {
    fn of(outcome: &Outcome, number: u64) -> Self {
        let is_written = matches!(outcome, Outcome::Done(Done {
            answer: Answer::Results(results),
            version: Some(Version::Log(version)),
            served: Served::Linearizable,
        }) if matches!(results.as_slice(), [CommandResult::Written]) && *version == number);
        if is_written {
            return Self::Written;
        }
        let bytes = outcome.to_bytes();
        if bytes.len() <= ANSWER_BYTES_MAX { Self::Whole(bytes) } else { Self::Nothing }
    }
}

/// The outcome of a single put or delete.
pub(super) fn written(number: u64) -> Outcome {
    Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Written]),
        version: Some(Version::Log(number)),
        served: Served::Linearizable,
    })
}

/// Larger answers are not kept: whoever sends such a request again learns that it took effect, and
/// not what it brought.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 10;

/// What an answer takes beside its bytes, about.
const ANSWER_OVERHEAD: usize = 64;
