//! Requests that came before this server could begin with them.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{NotDone, Outcome, RequestId, Waiting};

use crate::coordinator::request::Task;
use crate::core::{Core, Step};
use crate::deadline::Due;
use crate::ids::QueuePosition;

/// The requests that wait, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    queued: BTreeMap<QueuePosition, Queued>,
    last: QueuePosition,
}

#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) id: RequestId,
    pub(crate) task: Task,
    pub(crate) expires: Duration,
    armed: Option<Duration>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(crate) fn push(&mut self, core: &mut Core, id: RequestId, task: Task, expires: Duration) {
        self.last = self.last.next();
        let mut armed = None;
        core.deadlines.arm(&mut armed, expires, Due::Queued(self.last));
        self.queued.insert(self.last, Queued { id, task, expires, armed });
    }

    /// Takes all requests, those first that came first.
    pub(crate) fn take(&mut self, core: &mut Core) -> Vec<Queued> {
        let mut queued = std::mem::take(&mut self.queued);
        for (place, queued) in &mut queued {
            core.deadlines.disarm(&mut queued.armed, Due::Queued(*place));
        }
        queued.into_values().collect()
    }

    /// Refuses a request whose time is up; `waiting` is what it waited for.
    pub(crate) fn on_timeout(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        place: QueuePosition,
        waiting: Option<Waiting>,
    ) {
        if let Some(queued) = self.queued.remove(&place) {
            let reason = NotDone::Waiting(waiting.unwrap_or(Waiting::Joining));
            core.reply(step, queued.id, Outcome::NotDone(reason));
        }
    }
}
