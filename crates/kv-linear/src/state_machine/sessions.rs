//! The clients' sessions: each of their requests takes effect once, decided where it is applied.
//!
//! Source: Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.3.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kv_core::{
    NotDone, Operation, Outcome, RequestIdentity, SessionId, Unknown, Wire, wire_struct,
};

use self::kept::Answered;

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
/// those end that were used the longest ago. Beyond [`SESSION_BYTES_MAX`] of its own a session keeps
/// no answers whole, so that a few busy ones do not end the idle ones of others.
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
    /// In log time, a little behind; later by what log time has jumped since.
    used_ms: u64,
    acknowledged_below: u64,
    answers_bytes: usize,
    /// The answers to requests that were applied, from `acknowledged_below` on. Shared with the
    /// views that have not come to the session; copied when they change before that.
    answers: Arc<BTreeMap<u64, Answered>>,
}

/// A session as a view shows it.
#[derive(Clone, Debug)]
pub(crate) struct ViewedSession {
    id: SessionId,
    session: Session,
}

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
            let room = SESSION_BYTES_MAX.saturating_sub(session.answers_bytes);
            let answered = Answered::new(outcome, number).within(room);
            session.answers_bytes += answered.size_bytes();
            self.answers_bytes += answered.size_bytes();
            Arc::make_mut(&mut session.answers).insert(identity.number, answered);
            self.keep_bounds();
        }
    }

    /// Goes on to a later moment of log time. Ends sessions that were not used for long, a few at a
    /// time.
    ///
    /// Of a long time without an entry only a part counts: a clock that is set forward by an hour
    /// ends no session that is in use.
    pub(crate) fn advance(&mut self, from_ms: u64, now_ms: u64) {
        let skipped_ms = now_ms.saturating_sub(from_ms).saturating_sub(STEP_MS_MAX);
        if skipped_ms > 0 {
            for session in self.by_id.values_mut() {
                session.used_ms = session.used_ms.saturating_add(skipped_ms);
            }
            let used = self.by_id.iter().map(|(id, session)| (session.used_ms, *id));
            self.by_use = used.collect();
        }
        for _ in 0..EXPIRED_AT_ONCE {
            let oldest = self.by_use.first().map(|(used_ms, _)| *used_ms);
            if oldest.is_none_or(|used_ms| now_ms.saturating_sub(used_ms) < UNUSED_MS_MAX) {
                return;
            }
            self.end_oldest();
        }
    }

    /// The sessions as they are, for a view: no answer is copied.
    pub(crate) fn viewed(&self) -> VecDeque<ViewedSession> {
        let viewed = |(id, session): (&SessionId, &Session)| ViewedSession {
            id: *id,
            session: session.clone(),
        };
        self.by_id.iter().map(viewed).collect()
    }

    /// The sessions in the byte forms that a checkpoint holds.
    pub(crate) fn to_lines(&self) -> Vec<Bytes> {
        self.by_id.iter().map(|(id, session)| session.to_line(*id)).collect()
    }

    /// Puts a session of a checkpoint where it was.
    pub(crate) fn restore(&mut self, line: SessionLine) {
        let SessionLine { id, used_ms, acknowledged_below, answers } = line;
        let answers: BTreeMap<u64, Answered> =
            answers.into_iter().map(|(number, answered)| (number, answered.detached())).collect();
        let answers_bytes = answers.values().map(Answered::size_bytes).sum();
        self.answers_bytes += answers_bytes;
        self.by_use.insert((used_ms, id));
        let answers = Arc::new(answers);
        self.by_id.insert(id, Session { used_ms, acknowledged_below, answers_bytes, answers });
    }

    fn keep_bounds(&mut self) {
        while self.by_id.len() > SESSIONS_MAX || self.answers_bytes > ANSWERS_BYTES_MAX {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        let oldest = self.by_use.pop_first();
        if let Some(session) = oldest.and_then(|(_, id)| self.by_id.remove(&id)) {
            self.answers_bytes -= session.answers_bytes;
        }
    }
}

impl Session {
    fn new(now_ms: u64) -> Self {
        let answers = Arc::default();
        Self { used_ms: now_ms, acknowledged_below: 1, answers_bytes: 0, answers }
    }

    fn to_line(&self, id: SessionId) -> Bytes {
        let answers = self.answers.iter();
        let answers = answers.map(|(number, answered)| (*number, answered.clone()));
        SessionLine {
            id,
            used_ms: self.used_ms,
            acknowledged_below: self.acknowledged_below,
            answers: answers.collect(),
        }
        .to_bytes()
    }

    /// Forgets the answers that the client needs no more; how many bytes that frees.
    fn acknowledge(&mut self, below: u64) -> usize {
        let mut freed = 0;
        self.acknowledged_below = self.acknowledged_below.max(below);
        let below = self.acknowledged_below;
        let needed_no_more = |answers: &BTreeMap<u64, Answered>| {
            answers.first_key_value().is_some_and(|(first, _)| *first < below)
        };
        while needed_no_more(&self.answers) {
            let first = Arc::make_mut(&mut self.answers).pop_first();
            freed += first.map_or(0, |(_, answered)| answered.size_bytes());
        }
        self.answers_bytes -= freed;
        freed
    }
}

impl ViewedSession {
    /// The byte form that a checkpoint holds.
    pub(crate) fn to_line(&self) -> Bytes {
        self.session.to_line(self.id)
    }
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

const ANSWERS_BYTES_MAX: usize = 16 << 20;

/// The share of one session, which has no more than [`RequestIdentity::WINDOW`] answers.
const SESSION_BYTES_MAX: usize = 1 << 20;

/// A session ends after this time without a request.
const UNUSED_MS_MAX: u64 = 60 * 60 * 1_000;

/// How much of the time between two entries counts at most.
const STEP_MS_MAX: u64 = UNUSED_MS_MAX / 6;

/// The time of the last use is noted when it is this much later.
const USE_NOTED_MS: u64 = 1_000;

/// How many sessions one entry ends at most.
const EXPIRED_AT_ONCE: usize = 100;
