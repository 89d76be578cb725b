//! A test's hand on the wire.

use std::fmt;
use std::time::Duration;

use kv_core::NodeId;

/// What becomes of a message that an engine sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes its way.
    Pass,
    /// It is lost.
    Drop,
    /// It goes its way, and a copy is kept for the test.
    Copy,
    /// It is kept for the test and goes no further.
    Take,
}

/// A message that was kept for the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured<M> {
    /// The virtual time at which it was sent.
    pub at: Duration,
    /// Its sender.
    pub from: NodeId,
    /// Its receiver.
    pub to: NodeId,
    /// What was sent.
    pub message: M,
}

/// Decides the fate of each message: sender, receiver, message.
pub(crate) type Decide<M> = Box<dyn FnMut(NodeId, NodeId, &M) -> Fate>;

/// The test's rule and what it kept.
pub(crate) struct Intercept<M> {
    pub(crate) decide: Option<Decide<M>>,
    pub(crate) captured: Vec<Captured<M>>,
}

impl<M: Clone> Intercept<M> {
    pub(crate) const fn new() -> Self {
        Self { decide: None, captured: Vec::new() }
    }

    /// Keeps the message if the rule says so; true if it goes its way.
    pub(crate) fn lets_pass(
        &mut self,
        at: Duration,
        (from, to): (NodeId, NodeId),
        message: &M,
    ) -> bool {
        let fate = self.decide.as_mut().map_or(Fate::Pass, |decide| decide(from, to, message));
        if matches!(fate, Fate::Copy | Fate::Take) {
            self.captured.push(Captured { at, from, to, message: message.clone() });
        }
        matches!(fate, Fate::Pass | Fate::Copy)
    }
}

impl<M> fmt::Debug for Intercept<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercept")
            .field("rule", &self.decide.is_some())
            .field("captured", &self.captured.len())
            .finish()
    }
}
