//! Peers come and go, and what servers tell each other when they meet.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::deadline::{Backoff, Due};
use crate::engine::{EventualEngine, Step, is_plausible_life};
use crate::message::{Hello, Part, Welcome};
use crate::peer::{Greeting, Slot};

impl EventualEngine {
    pub(crate) fn on_peer_up(
        &mut self,
        step: &mut Step<'_>,
        peer: NodeId,
        incarnation: Incarnation,
    ) {
        let Some(slot) = self.peers.slot(peer) else {
            self.counters.bad_inputs += 1;
            return;
        };
        self.peers.connect(slot);
        if is_plausible_life(incarnation) {
            self.meet(step, slot, incarnation);
        }
        self.membership.unresolve(slot);
        self.greet(step, slot);
        self.send_writes_to(step, slot);
        self.send_queries_to(step, slot);
    }

    pub(crate) fn on_peer_down(&mut self, step: &mut Step<'_>, peer: NodeId) {
        let Some(slot) = self.peers.slot(peer) else {
            self.counters.bad_inputs += 1;
            return;
        };
        self.peers.disconnect(slot);
        self.outbox.discard(slot);
        self.end_greeting(slot);
        self.fail_hopeless_reads(step);
        self.resolve(step, slot);
    }

    pub(crate) fn on_hello(&mut self, step: &mut Step<'_>, slot: Slot, hello: Hello) {
        let highest = self.peers.get(slot).map_or(Incarnation::UNKNOWN, |peer| peer.life);
        let welcome =
            Welcome { run: hello.run, sent: hello.sent, highest, latest: self.clock.latest() };
        self.send(step, slot, Part::Welcome(welcome));
    }

    pub(crate) fn on_welcome(
        &mut self,
        step: &mut Step<'_>,
        slot: Slot,
        welcome: Welcome,
        wall_ms: u64,
    ) {
        if welcome.run != self.membership.run() {
            self.counters.stale_messages += 1;
            return;
        }
        self.end_greeting(slot);
        self.peers.measure(slot, step.now, welcome.sent, wall_ms);
        self.observe_stamp(step, welcome.latest);
        self.meet_own_life(step, welcome.highest);
        self.resolve(step, slot);
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
        let hello = Hello { run: self.membership.run(), sent: step.now.mono };
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

    fn end_greeting(&mut self, slot: Slot) {
        let greeting = self.peers.get_mut(slot).and_then(|peer| peer.greeting.take());
        if let Some(mut greeting) = greeting {
            self.deadlines.disarm(&mut greeting.armed, Due::Hello(slot));
        }
    }
}
