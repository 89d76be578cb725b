//! The clients' sessions: each of their requests takes effect once, decided where it is applied.
//!
//! Source: Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.3.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kv_core::{
    Answer, CommandResult, Done, NotDone, Operation, Outcome, RequestIdentity, Served, SessionId,
    Unknown, Version, Wire, wire_enum, wire_struct,
};

/// An operation in the log, with what names its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) identity: Option<RequestIdentity>,
    pub(crate) operation: Operation,
}

wire_struct!(Logged { identity, operation });

/// All sessions. Replicated state: a function of the entries applied.
///
/// There are at most [`SESSIONS_MAX`], and at most [`ANSWERS_BYTES_MAX`] of answers in all; of more
/// those end that were used the longest ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    /// By the time of their last use.
    by_use: BTreeSet<(u64, SessionId)>,
    answers_bytes: usize,
}

/// What is known of the requests of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    /// In log time, a little behind.
    used_ms: u64,
    acknowledged_below: u64,
    /// The answers to requests that were applied, from `acknowledged_below` on.
    answers: BTreeMap<u64, Answered>,
}

/// The answer to a request that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
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

/// What becomes of a request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is carried out.
    New,
    /// It is not, and this is the answer.
    Answered(Outcome),
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Opens the session that the operation of this number asks for.
    pub(crate) fn open(&mut self, number: u64, now_ms: u64) {
        let (id, session) = (SessionId(number), Session::new(now_ms));
        self.by_use.insert((now_ms, id));
        self.by_id.insert(id, session);
        self.keep_bounds();
    }

    /// What becomes of a request at a moment of log time.
    pub(crate) fn look_up(&mut self, identity: &RequestIdentity, now_ms: u64) -> Verdict {
        let RequestIdentity { session: id, number, acknowledged_below } = *identity;
        let Some(session) = self.by_id.get_mut(&id) else {
            return Verdict::Answered(Outcome::NotDone(NotDone::SessionExpired));
        };
        if now_ms.saturating_sub(session.used_ms) >= USE_NOTED_MS {
            self.by_use.remove(&(session.used_ms, id));
            session.used_ms = now_ms;
            self.by_use.insert((now_ms, id));
        }
        self.answers_bytes -= session.acknowledge(acknowledged_below);
        if let Some(answered) = session.answers.get(&number) {
            return Verdict::Answered(answered.outcome());
        }
        let window = session.acknowledged_below
            ..session.acknowledged_below.saturating_add(RequestIdentity::WINDOW);
        if window.contains(&number) {
            return Verdict::New;
        }
        // It was given up, or its client keeps to no window. An earlier copy of it may have taken
        // effect.
        Verdict::Answered(Outcome::Unknown(Unknown { version: None, acks: 0, needed: 0 }))
    }

    /// Keeps the answer to a request that operation `number` carried out.
    pub(crate) fn keep(&mut self, identity: &RequestIdentity, number: u64, outcome: &Outcome) {
        if let Some(session) = self.by_id.get_mut(&identity.session) {
            let answered = Answered { operation: number, kept: Kept::of(outcome, number) };
            self.answers_bytes += answered.size_bytes();
            session.answers.insert(identity.number, answered);
            self.keep_bounds();
        }
    }

    /// Ends sessions that were not used for long, a few at a time.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        for _ in 0..EXPIRED_AT_ONCE {
            let oldest = self.by_use.first().map(|(used_ms, _)| *used_ms);
            if oldest.is_none_or(|used_ms| now_ms.saturating_sub(used_ms) < UNUSED_MS_MAX) {
                return;
            }
            self.end_oldest();
        }
    }

    /// The sessions in the byte forms that a checkpoint holds.
    pub(crate) fn to_lines(&self) -> Vec<Bytes> {
        let line = |(id, session): (&SessionId, &Session)| {
            let answers = session.answers.iter();
            let answers = answers.map(|(number, answered)| (*number, answered.clone()));
            SessionLine {
                id: *id,
                used_ms: session.used_ms,
                acknowledged_below: session.acknowledged_below,
                answers: answers.collect(),
            }
            .to_bytes()
        };
        self.by_id.iter().map(line).collect()
    }

    /// Puts a session of a checkpoint where it was.
    pub(crate) fn restore(&mut self, line: SessionLine) {
        let SessionLine { id, used_ms, acknowledged_below, answers } = line;
        let answers: BTreeMap<u64, Answered> =
            answers.into_iter().map(|(number, answered)| (number, answered.detached())).collect();
        self.answers_bytes += answers.values().map(Answered::size_bytes).sum::<usize>();
        self.by_use.insert((used_ms, id));
        self.by_id.insert(id, Session { used_ms, acknowledged_below, answers });
    }

    fn keep_bounds(&mut self) {
        while self.by_id.len() > SESSIONS_MAX || self.answers_bytes > ANSWERS_BYTES_MAX {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        let oldest = self.by_use.pop_first();
        if let Some(session) = oldest.and_then(|(_, id)| self.by_id.remove(&id)) {
            self.answers_bytes -= session.size_bytes();
        }
    }
}

impl Session {
    const fn new(now_ms: u64) -> Self {
        Self { used_ms: now_ms, acknowledged_below: 1, answers: BTreeMap::new() }
    }

    /// Forgets the answers that the client needs no more; how many bytes that frees.
    fn acknowledge(&mut self, below: u64) -> usize {
        let mut freed = 0;
        self.acknowledged_below = self.acknowledged_below.max(below);
        while let Some(first) = self.answers.first_entry() {
            if *first.key() >= self.acknowledged_below {
                break;
            }
            freed += first.remove().size_bytes();
        }
        freed
    }

    fn size_bytes(&self) -> usize {
        self.answers.values().map(Answered::size_bytes).sum()
    }
}

impl Answered {
    fn outcome(&self) -> Outcome {
        let version = Some(Version::Log(self.operation));
        let kept = match &self.kept {
            Kept::Written => Some(written(self.operation)),
            Kept::Whole(bytes) => Outcome::from_bytes(bytes.clone()).ok(),
            Kept::Nothing => None,
        };
        // It was carried out, but what it brought was too large to be kept.
        kept.unwrap_or(Outcome::Unknown(Unknown { version, acks: 0, needed: 0 }))
    }

    const fn size_bytes(&self) -> usize {
        ANSWER_OVERHEAD
            + match &self.kept {
                Kept::Whole(bytes) => bytes.len(),
                Kept::Written | Kept::Nothing => 0,
            }
    }

    /// The same without the buffer that it was read into.
    fn detached(self) -> Self {
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
fn written(number: u64) -> Outcome {
    Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Written]),
        version: Some(Version::Log(number)),
        served: Served::Linearizable,
    })
}

/// A session in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionLine {
    id: SessionId,
    used_ms: u64,
    acknowledged_below: u64,
    answers: Vec<(u64, Answered)>,
}

wire_struct!(SessionLine { id, used_ms, acknowledged_below, answers });

const SESSIONS_MAX: usize = 10_000;

/// Larger answers are not kept: whoever sends such a request again learns that it took effect, and
/// not what it brought.
const ANSWER_BYTES_MAX: usize = 4 << 10;

const ANSWERS_BYTES_MAX: usize = 16 << 20;

/// What an answer takes beside its bytes, about.
const ANSWER_OVERHEAD: usize = 64;

/// A session ends after this time without a request.
const UNUSED_MS_MAX: u64 = 60 * 60 * 1_000;

/// The time of the last use is noted when it is this much later.
const USE_NOTED_MS: u64 = 1_000;

/// How many sessions one entry ends at most.
const EXPIRED_AT_ONCE: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(session: u64, number: u64, acknowledged_below: u64) -> RequestIdentity {
        RequestIdentity { session: SessionId(session), number, acknowledged_below }
    }

    fn outcome(number: u64) -> Outcome {
        if number.is_multiple_of(2) {
            return written(number);
        }
        Outcome::Done(Done {
            answer: Answer::Results(vec![CommandResult::Length(number)]),
            version: Some(Version::Log(number)),
            served: Served::Linearizable,
        })
    }

    fn unclear(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Answered(Outcome::Unknown(Unknown { version: None, .. })))
    }

    #[test]
    fn a_request_is_new_once_and_has_one_answer() {
        let mut sessions = Sessions::default();
        sessions.open(5, 0);
        assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::New);
        sessions.keep(&identity(5, 1, 1), 7, &outcome(7));
        assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::Answered(outcome(7)));
        assert_eq!(sessions.look_up(&identity(5, 2, 1), 0), Verdict::New);
    }

    #[test]
    fn a_request_of_no_session_is_not_carried_out() {
        let expired = Verdict::Answered(Outcome::NotDone(NotDone::SessionExpired));
        assert_eq!(Sessions::default().look_up(&identity(5, 1, 1), 0), expired);
    }

    #[test]
    fn what_was_given_up_never_takes_effect() {
        let mut sessions = Sessions::default();
        sessions.open(5, 0);
        assert_eq!(sessions.look_up(&identity(5, 9, 9), 0), Verdict::New);
        assert!(unclear(&sessions.look_up(&identity(5, 8, 1), 0)));
        assert!(unclear(&sessions.look_up(&identity(5, 9 + RequestIdentity::WINDOW, 1), 0)));
    }

    #[test]
    fn an_answer_that_is_too_large_is_known_to_have_been_one() {
        let mut sessions = Sessions::default();
        sessions.open(5, 0);
        let results = vec![CommandResult::Written; ANSWER_BYTES_MAX];
        let Outcome::Done(done) = outcome(7) else { panic!() };
        let large = Outcome::Done(Done { answer: Answer::Results(results), ..done });
        sessions.keep(&identity(5, 1, 1), 7, &large);
        let version = Some(Version::Log(7));
        let unknown = Outcome::Unknown(Unknown { version, acks: 0, needed: 0 });
        assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::Answered(unknown));
    }

    #[test]
    fn a_session_that_is_used_lasts_and_others_expire() {
        let mut sessions = Sessions::default();
        sessions.open(1, 0);
        sessions.open(2, 0);
        sessions.look_up(&identity(2, 1, 1), UNUSED_MS_MAX / 2);
        sessions.expire(UNUSED_MS_MAX - 1);
        assert_eq!(sessions.len(), 2);
        sessions.expire(UNUSED_MS_MAX);
        assert_eq!(sessions.by_id.keys().collect::<Vec<_>>(), [&SessionId(2)]);
    }

    #[test]
    fn of_too_many_sessions_those_end_that_were_used_the_longest_ago() {
        let mut sessions = Sessions::default();
        let count = u64::try_from(SESSIONS_MAX).unwrap();
        (1..=count).for_each(|number| sessions.open(number, 0));
        sessions.look_up(&identity(1, 1, 1), USE_NOTED_MS);
        sessions.open(count + 1, USE_NOTED_MS);
        assert_eq!(sessions.len(), SESSIONS_MAX);
        let ids = [1, 2, 3].map(|id| sessions.by_id.contains_key(&SessionId(id)));
        assert_eq!(ids, [true, false, true]);
    }

    proptest! {
        /// A checkpoint holds all, and the account of bytes is right.
        #[test]
        fn sessions_survive_a_checkpoint(
            steps in proptest::collection::vec((0..4_u64, 1..12_u64, 1..12_u64, 0..5_000_u64), 0..60),
        ) {
            let mut sessions = Sessions::default();
            (0..3).for_each(|number| sessions.open(number, 0));
            for (place, (session, number, below, now)) in (10..).zip(steps) {
                let identity = identity(session, number, below);
                if sessions.look_up(&identity, now) == Verdict::New {
                    sessions.keep(&identity, place, &outcome(place));
                }
                let counted: usize = sessions.by_id.values().map(Session::size_bytes).sum();
                prop_assert_eq!(counted, sessions.answers_bytes);
                let mut restored = Sessions::default();
                for line in sessions.to_lines() {
                    restored.restore(SessionLine::from_bytes(line).unwrap());
                }
                prop_assert_eq!(&restored, &sessions);
            }
        }
    }
}
