//! The way to the server that orders requests, while another serves the client.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use kv_core::NodeId;
use kv_proto::Welcome;
use tokio::time::{Instant, sleep_until};

use super::Connection;
use super::dial::Target;
use super::error::DialFailure;

/// Takes a client to the server that orders requests: its requests need no forwarding there. The
/// present server goes on serving it until the other one has accepted it and all that is in flight
/// is answered.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// The server that orders requests, as the present server has told.
    sequencer: Option<NodeId>,
    attempt: Attempt,
    /// When it may next be dialled; `None` for at once.
    not_before: Option<Instant>,
    failures_in_row: u32,
}

#[derive(Default)]
enum Attempt {
    #[default]
    None,
    Dialling(Pin<Box<dyn Future<Output = Result<Arrival, DialFailure>> + Send>>),
    /// It has accepted the client, which waits for its last answers from the present server.
    Accepted {
        arrival: Box<Arrival>,
        until: Instant,
    },
}

/// A new connection and what its server said.
pub(crate) type Arrival = (Connection, Welcome);

impl Following {
    /// The present server has told which server orders requests.
    pub(crate) fn on_told(&mut self, sequencer: Option<NodeId>) {
        if sequencer != self.sequencer {
            self.sequencer = sequencer;
            self.attempt = Attempt::None;
            self.not_before = None;
            self.failures_in_row = 0;
        }
    }

    /// The client has lost or left a server. If that one is the sequencer, the servers need some
    /// time to name another, and the client must not return at once.
    pub(crate) fn on_lost(&mut self, server: NodeId) {
        self.attempt = Attempt::None;
        if self.sequencer == Some(server) {
            self.put_off();
        }
    }

    /// A server has served the client. Once that is the sequencer, the way there is no longer in vain.
    pub(crate) fn on_served(&mut self, server: NodeId) {
        if self.sequencer == Some(server) {
            self.failures_in_row = 0;
        }
    }

    /// Whom to dial, if that is due. `present` is the server that serves the client.
    pub(crate) fn wanted(&self, present: NodeId, now: Instant) -> Option<NodeId> {
        let is_due = self.not_before.is_none_or(|at| at <= now);
        let is_idle = matches!(self.attempt, Attempt::None);
        self.sequencer.filter(|sequencer| *sequencer != present && is_idle && is_due)
    }

    pub(crate) fn dial(&mut self, target: Target) {
        self.attempt = Attempt::Dialling(Box::pin(target.dial()));
    }

    /// Whether the sequencer has accepted the client, so that nothing more is to be sent to the
    /// present server.
    pub(crate) const fn has_arrived(&self) -> bool {
        matches!(self.attempt, Attempt::Accepted { .. })
    }

    /// The connection to the sequencer, once nothing is in flight to the present server.
    pub(crate) fn take(&mut self) -> Option<Arrival> {
        match std::mem::take(&mut self.attempt) {
            Attempt::Accepted { arrival, .. } => Some(*arrival),
            Attempt::None | Attempt::Dialling(_) => None,
        }
    }

    /// The attempt was of no use; the next one waits, longer each time.
    pub(crate) fn put_off(&mut self) {
        self.attempt = Attempt::None;
        let pause = PAUSE_MIN * 2u32.pow(self.failures_in_row.min(DOUBLINGS_MAX));
        self.failures_in_row += 1;
        self.not_before = Some(Instant::now() + pause);
    }

    /// Goes on with what is under way; it completes when something has changed. Nothing is lost if
    /// it is dropped.
    pub(crate) async fn progress(&mut self, present: NodeId) {
        match &mut self.attempt {
            Attempt::None => match self.not_before.filter(|at| *at > Instant::now()) {
                Some(at) if self.sequencer.is_some_and(|wanted| wanted != present) => {
                    sleep_until(at).await;
                }
                Some(_) | None => std::future::pending().await,
            },
            Attempt::Dialling(dial) => match dial.await {
                // Whoever does not know of itself that it is the sequencer may be it no more.
                Ok(arrival) if arrival.1.sequencer == Some(arrival.1.node) => {
                    let until = Instant::now() + DRAIN_MAX;
                    self.attempt = Attempt::Accepted { arrival: Box::new(arrival), until };
                }
                Ok((_, welcome)) => {
                    tracing::debug!(server = %welcome.node, "it does not order requests");
                    self.put_off();
                }
                Err(failure) => {
                    tracing::debug!(%failure, "the sequencer cannot be reached");
                    self.put_off();
                }
            },
            Attempt::Accepted { until, .. } => {
                sleep_until(*until).await;
                self.put_off();
            }
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Dialling(_) => "Dialling",
            Self::Accepted { .. } => "Accepted",
        })
    }
}

/// How long requests are held back until what is in flight is answered. A request that takes longer
/// keeps the client where it is.
const DRAIN_MAX: Duration = Duration::from_millis(50);

/// The pause after an attempt in vain; doubled after each further one, up to some 13 s.
const PAUSE_MIN: Duration = Duration::from_millis(100);

const DOUBLINGS_MAX: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_short_again_once_the_sequencer_has_served() {
        let (present, sequencer) = (NodeId::FIRST, NodeId::new(2).unwrap());
        let mut following = Following::default();
        following.on_told(Some(sequencer));
        for _ in 0..5 {
            following.put_off();
        }
        let is_wanted_soon = |following: &Following| {
            let soon = Instant::now() + PAUSE_MIN;
            following.wanted(present, soon) == Some(sequencer)
        };
        following.on_served(present);
        following.put_off();
        assert!(!is_wanted_soon(&following));
        following.on_served(sequencer);
        following.put_off();
        assert!(is_wanted_soon(&following));
    }
}
