//! What servers exchange when they meet.

use std::time::Duration;

use kv_core::Incarnation;

use crate::core::{Core, Step};
use crate::deadline::{Backoff, Due};
use crate::ids::Slot;
use crate::message::{Cut, Hello, Part, Welcome};
use crate::peers::{Greeting, Meeting};
use crate::vector::Vector;

impl Core {
    /// Answers a hello. One that is stale, because its sender is in a later incarnation by now, is
    /// answered too: it may be from a server that does not know yet which incarnation it had.
    ///
    /// Returns what the sender's disk reflects, if it has lost data.
    pub(crate) fn on_hello(
        &mut self,
        step: &mut Step<'_>,
        slot: Slot,
        hello: Hello,
        meeting: Meeting,
    ) -> Option<Vector> {
        if !self.is_legal_report(&hello.report) {
            self.counters.bad_messages += 1;
            return None;
        }
        let highest = self.peers.get(slot).map_or(Incarnation::UNKNOWN, |peer| peer.incarnation);
        let has_lost = self.has_lost(slot, &hello, meeting == Meeting::Stale);
        let welcome = Welcome {
            run: hello.run,
            sent: hello.sent,
            highest,
            latest: self.clock.latest().max(self.state.floor),
            members: self.state.members().collect(),
            has_lost,
        };
        match meeting {
            Meeting::Stale => {}
            Meeting::Joining => self.note_joining(step, slot, &hello.report),
            Meeting::Known | Meeting::New => self.note_report(step, slot, &hello.report, false),
        }
        self.send(step, slot, Part::Welcome(welcome));
        match meeting {
            Meeting::Stale => None,
            Meeting::Joining => Some(Vector::default()),
            Meeting::Known | Meeting::New => {
                (has_lost || !hello.report.is_whole).then_some(hello.report.vector)
            }
        }
    }

    /// Says hello to a peer, again and again until it answers or is lost.
    pub(crate) fn greet(&mut self, step: &mut Step<'_>, slot: Slot) {
        self.end_greeting(slot);
        self.peers.clocks_asked.get_or_insert(step.now.mono);
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.greeting =
                Some(Greeting { armed: None, backoff: Backoff::new(&self.config.timing) });
        }
        self.on_hello_timeout(step, slot);
    }

    pub(crate) fn on_hello_timeout(&mut self, step: &mut Step<'_>, slot: Slot) {
        let Some(greeting) = self.peers.get_mut(slot).and_then(|peer| peer.greeting.as_mut())
        else {
            return;
        };
        let at = greeting.backoff.next(step.now.mono, &self.config.timing);
        greeting.armed = None;
        self.deadlines.arm(&mut greeting.armed, at, Due::Hello(slot));
        let report = Box::new(self.report(step.now.mono, Cut::default()));
        let hello = Hello { run: self.run, sent: step.now.mono, report };
        self.send(step, slot, Part::Hello(hello));
    }

    /// Asks for the peers' clocks if that was not done within `period`.
    pub(crate) fn refresh_clocks(&mut self, step: &mut Step<'_>, period: Duration) {
        let now = step.now.mono;
        let asked = &mut self.peers.clocks_asked;
        if asked.is_some_and(|at| now < at.saturating_add(period)) {
            return;
        }
        *asked = Some(now);
        for slot in self.peers.connected().iter() {
            if self.peers.get(slot).is_some_and(|peer| peer.greeting.is_none()) {
                self.greet(step, slot);
            }
        }
    }

    pub(crate) fn end_greeting(&mut self, slot: Slot) {
        let greeting = self.peers.get_mut(slot).and_then(|peer| peer.greeting.take());
        if let Some(mut greeting) = greeting {
            self.deadlines.disarm(&mut greeting.armed, Due::Hello(slot));
        }
    }
}
