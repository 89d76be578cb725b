//! Whether the server that a client is connected to serves it.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{NodeId, NotDone, Waiting};
use tokio::time::Instant;

use crate::event::Event;

/// What the server of the present connection has done for the client so far.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// Since when it has said no more than that it cannot serve yet, and why.
    refuses: Option<(Instant, NotDone)>,
    /// Whether it has told of itself that it serves nobody, and not only in its answers to requests:
    /// then what is in flight is not answered soon either.
    serves_nobody: bool,
    /// Since when nobody has asked it anything.
    idle_since: Option<Instant>,
}

impl Service {
    pub(crate) fn on_served(&mut self) {
        *self = Self { idle_since: self.idle_since, ..Self::default() };
    }

    pub(crate) fn on_refused(&mut self, now: Instant, reason: &NotDone) {
        let since = self.refuses.as_ref().map_or(now, |(since, _)| *since);
        self.refuses = Some((since, reason.clone()));
    }

    /// The server has told whether it serves. One that answers reads is asked.
    pub(crate) fn on_told(&mut self, now: Instant, waiting: Option<Waiting>) {
        let waiting = waiting.filter(|waiting| !waiting.serves_reads());
        // One that stops answers what it has.
        self.serves_nobody = waiting.is_some_and(|waiting| waiting != Waiting::Stopping);
        match waiting {
            Some(waiting) => self.on_refused(now, &NotDone::Waiting(waiting)),
            None => self.refuses = None,
        }
    }

    /// No request waits any more.
    pub(crate) fn on_idle(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
    }

    /// Somebody asks. After a long time in which nobody did, what the server serves shows from here on.
    pub(crate) fn on_asked(&mut self, now: Instant) {
        let was_idle = self.idle_since.take().is_some_and(|since| now - since >= STAY_MAX);
        if let Some((since, _)) = self.refuses.as_mut().filter(|_| was_idle) {
            *since = now;
        }
    }

    pub(crate) const fn serves_nobody(&self) -> bool {
        self.serves_nobody
    }

    /// When the client goes on to another server, if this one serves nothing until then.
    pub(crate) fn leave_at(&self) -> Option<Instant> {
        let (since, reason) = self.refuses.as_ref()?;
        let is_stopping = *reason == NotDone::Waiting(Waiting::Stopping);
        Some(*since + if is_stopping { STAY_MIN } else { STAY_MAX })
    }

    /// Why the client goes on to another server, once it is time for that.
    pub(crate) fn reason_to_leave(&self, now: Instant) -> Option<&NotDone> {
        self.leave_at().filter(|at| *at <= now)?;
        self.refuses.as_ref().map(|(_, reason)| reason)
    }
}

/// Whether a request alone asked for more servers than can be reached, while as many can as those
/// need that ask for no more: these the server serves.
pub(crate) fn asks_more(reason: &NotDone, quorum_max: u16) -> bool {
    matches!(reason, NotDone::Unavailable { reachable, .. } if *reachable >= quorum_max)
}

/// What is told of servers that do not serve: of each once, until one serves, however often the
/// client goes round.
#[derive(Debug, Default)]
pub(crate) struct Search {
    told: BTreeSet<NodeId>,
    /// The last server that was told to be left, and its event.
    left: Option<Event>,
    is_quiet: bool,
    /// The connection that nothing was told of yet.
    untold: Option<Event>,
}

impl Search {
    /// Whether to tell that a server is left because it does not serve.
    pub(crate) fn on_left(&mut self, server: NodeId, event: &Event) -> bool {
        self.untold = None;
        self.is_quiet = !self.told.insert(server);
        if !self.is_quiet {
            self.left = Some(event.clone());
        }
        !self.is_quiet
    }

    /// A connection was lost in another way.
    pub(crate) fn on_lost(&mut self) {
        *self = Self::default();
    }

    /// Gives the event of a new connection back if it is to be told now.
    pub(crate) fn on_connected(&mut self, event: Event) -> Option<Event> {
        if self.is_quiet {
            self.untold = Some(event);
            None
        } else {
            Some(event)
        }
    }

    /// A server serves: what was not told of how the client came there.
    pub(crate) fn on_served(&mut self) -> Option<[Event; 2]> {
        if self.told.is_empty() {
            return None;
        }
        let search = std::mem::take(self);
        Some([search.left?, search.untold?])
    }
}

/// How long a client stays with a server that cannot serve yet: while servers start, longer than they
/// take to connect to each other.
const STAY_MAX: Duration = Duration::from_millis(500);

/// How long it stays with one that stops.
const STAY_MIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::error::LostReason;

    #[test]
    fn more_servers_than_the_configuration_needs_say_nothing_of_the_others() {
        let unavailable = |reachable, needed| NotDone::Unavailable { reachable, needed };
        assert!(asks_more(&unavailable(2, 3), 2));
        assert!(!asks_more(&unavailable(1, 3), 2));
        assert!(!asks_more(&NotDone::Waiting(Waiting::Joining), 1));
    }

    #[test]
    fn a_server_is_left_once_it_has_only_refused_for_a_while() {
        let mut service = Service::default();
        let start = Instant::now();
        let reason = NotDone::Unavailable { reachable: 1, needed: 2 };
        service.on_refused(start, &reason);
        assert_eq!(service.reason_to_leave(start), None);
        let later = start + STAY_MAX;
        service.on_refused(later, &reason);
        assert_eq!(service.reason_to_leave(later), Some(&reason));
        service.on_served();
        assert_eq!(service.reason_to_leave(later), None, "it serves others");
        service.on_refused(start, &NotDone::Waiting(Waiting::Stopping));
        assert!(service.reason_to_leave(start + STAY_MIN).is_some());
    }

    #[test]
    fn a_server_that_refused_nobody_but_an_idle_client_is_asked_again() {
        let mut service = Service::default();
        let start = Instant::now();
        service.on_told(start, Some(Waiting::Election));
        service.on_idle(start);
        let later = start + STAY_MAX * 10;
        assert!(service.reason_to_leave(later).is_some());
        service.on_asked(later);
        assert_eq!(service.reason_to_leave(later), None);
        assert!(service.reason_to_leave(later + STAY_MAX).is_some());
    }

    #[test]
    fn a_server_is_left_by_a_client_whose_requests_are_short_and_one_at_a_time() {
        let mut service = Service::default();
        let start = Instant::now();
        service.on_told(start, Some(Waiting::Election));
        for asked in [Duration::ZERO, STAY_MAX * 3 / 5] {
            service.on_idle(start + asked);
            service.on_asked(start + asked);
        }
        assert!(service.reason_to_leave(start + STAY_MAX).is_some());
    }

    #[test]
    fn a_server_that_answers_reads_is_not_left_for_what_it_tells() {
        let mut service = Service::default();
        let start = Instant::now();
        let node = NodeId::FIRST;
        for waiting in [Waiting::OwnDisk, Waiting::DiskFull { node }] {
            service.on_told(start, Some(waiting));
            assert_eq!(service.reason_to_leave(start + STAY_MAX), None);
            assert!(!service.serves_nobody());
        }
        service.on_told(start, Some(Waiting::Sequencer { node }));
        assert!(service.serves_nobody());
        service.on_told(start, Some(Waiting::Stopping));
        assert!(!service.serves_nobody());
    }

    #[test]
    fn a_search_that_goes_round_is_told_once() {
        let left = |number| {
            let server = NodeId::new(number).unwrap();
            let reason = NotDone::Waiting(Waiting::Joining);
            (server, Event::Lost { server, why: LostReason::NotServing { reason } })
        };
        // Any event will do in place of that of a connection.
        let connected = |number| left(number).1;
        let mut search = Search::default();
        for (number, next) in [(1, 2), (2, 1)] {
            let (server, event) = left(number);
            assert!(search.on_left(server, &event));
            assert!(search.on_connected(connected(next)).is_some());
        }
        for (number, next) in [(1, 2), (2, 1)] {
            let (server, event) = left(number);
            assert!(!search.on_left(server, &event));
            assert!(search.on_connected(connected(next)).is_none());
        }
        assert!(search.on_served().is_some());
        assert!(search.on_served().is_none());
        let (server, event) = left(1);
        assert!(search.on_left(server, &event), "a new search");
    }
}
