//! When a connection is next to show that this side lives.

use std::pin::Pin;
use std::rc::Rc;

use kv_proto::Liveness;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::connection::Connection;
use crate::net::reading::{Overdue, Reading};

/// The signs of life of one connection, both ways.
pub(crate) struct Pulse {
    liveness: Liveness,
    due: Instant,
    /// May ring before `due`, which costs less than to set it anew each time.
    sleep: Pin<Box<Sleep>>,
}

impl Pulse {
    pub(crate) fn new(liveness: Liveness) -> Self {
        let due = Instant::now() + liveness.interval;
        Self { liveness, due, sleep: Box::pin(sleep_until(due)) }
    }

    /// Completes when it is time to [`beat`](Self::beat).
    pub(crate) async fn due(&mut self) {
        self.sleep.as_mut().await;
        while self.due > Instant::now() {
            self.sleep.as_mut().reset(self.due);
            self.sleep.as_mut().await;
        }
    }

    /// Shows the other side that this one lives, if it is time for that. To be called after every
    /// read as well: a socket that always has more to read leaves a timer no turn.
    pub(crate) fn beat(&mut self, now: Instant, connection: &Rc<Connection>) {
        if now >= self.due {
            connection.show_life();
            self.due = now + self.liveness.interval;
        }
    }

    /// Whether the other side takes too long.
    pub(crate) fn overdue(&self, reading: &Reading) -> Option<Overdue> {
        reading.overdue(Instant::now(), self.liveness.silence_max)
    }
}
