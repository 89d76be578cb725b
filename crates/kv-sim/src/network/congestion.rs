//! Connections to peers that take no more for a while.

use std::collections::{BTreeMap, VecDeque};

use super::Link;
use crate::cluster::event::Event;

/// What waits in connections whose other side is behind.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    links: BTreeMap<Link, Backlog>,
}

#[derive(Debug)]
struct Backlog {
    /// How many more messages the connection takes.
    room: u64,
    /// What was sent and arrives once the other side reads again.
    waiting: VecDeque<Event>,
}

impl Congestion {
    /// From here on nothing arrives, and the connection takes so many more messages.
    pub(super) fn begin(&mut self, link: Link, room: u64) {
        self.links.entry(link).or_insert(Backlog { room, waiting: VecDeque::new() });
    }

    /// The other side reads again; what waited, in order.
    pub(super) fn end(&mut self, link: Link) -> VecDeque<Event> {
        self.links.remove(&link).map(|backlog| backlog.waiting).unwrap_or_default()
    }

    /// The connections on which nothing arrives.
    pub(super) fn links(&self) -> Vec<Link> {
        self.links.keys().copied().collect()
    }

    /// Notes that a message is sent; whether the connection takes no more by it.
    pub(super) fn note_sent(&mut self, link: Link) -> bool {
        let backlog = self.links.get_mut(&link).filter(|backlog| backlog.room > 0);
        backlog.is_some_and(|backlog| {
            backlog.room -= 1;
            backlog.room == 0
        })
    }

    /// Whether a connection takes no more.
    pub(super) fn is_full(&self, link: Link) -> bool {
        self.links.get(&link).is_some_and(|backlog| backlog.room == 0)
    }

    /// Whether some connection takes no more while something waits in it.
    pub(super) fn holds_something_back(&self) -> bool {
        self.links.values().any(|backlog| backlog.room == 0 && !backlog.waiting.is_empty())
    }

    /// Takes what arrives if the other side reads nothing; otherwise gives it back.
    pub(super) fn hold_back(&mut self, link: Link, event: Event) -> Option<Event> {
        match self.links.get_mut(&link) {
            Some(backlog) => {
                backlog.waiting.push_back(event);
                None
            }
            None => Some(event),
        }
    }
}
