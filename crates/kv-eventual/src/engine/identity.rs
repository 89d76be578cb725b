//! How a server that starts takes an incarnation of its own, with what its former one left or with
//! nothing, and how incarnations are compared whenever two servers meet.

use std::time::Duration;

use kv_core::{Incarnation, SeedStream, Waiting};

use crate::core::{Core, Step};
use crate::deadline::Due;
use crate::ids::{Slot, SlotSet, is_plausible_incarnation};
use crate::state::journal::Then;
use crate::state::record::Record;

/// Where this server stands in taking an incarnation.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    phase: Phase,
    seeds: SeedStream,
    /// The highest incarnation of this server that a peer has reported.
    highest: Incarnation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It holds nothing and has not been stepped yet, so that it knows no time to count from.
    Unborn,
    /// It holds what its former incarnation left, and has not been stepped yet. Writes of that
    /// incarnation may be with others that its own disk has forgotten, so their numbers must not be
    /// given again: it takes the incarnation that follows.
    Returning,
    /// It asks its peers for the highest incarnation that they know of it.
    Asking {
        /// The peers that have answered or cannot be reached.
        resolved: SlotSet,
        armed: Option<Duration>,
    },
    /// Its new incarnation is being written to disk.
    Beginning,
    /// It takes writes.
    Serving,
}

impl Identity {
    pub(crate) const fn new(phase: Phase, seed: u64) -> Self {
        Self { phase, seeds: SeedStream::new(seed), highest: Incarnation::UNKNOWN }
    }

    /// Whether it has not been stepped yet and must take an incarnation.
    pub(crate) const fn is_new(&self) -> bool {
        matches!(self.phase, Phase::Unborn | Phase::Returning)
    }

    /// What it waits for before it takes writes.
    pub(crate) const fn waiting(&self) -> Option<Waiting> {
        match self.phase {
            Phase::Unborn | Phase::Asking { .. } => Some(Waiting::Joining),
            Phase::Returning | Phase::Beginning => Some(Waiting::OwnDisk),
            Phase::Serving => None,
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// A peer can be reached again and may have something to report.
    pub(crate) const fn unresolve(&mut self, slot: Slot) {
        if let Phase::Asking { resolved, .. } = &mut self.phase {
            resolved.remove(slot);
        }
    }

    /// Begins at the first step: to ask, or its next incarnation.
    pub(crate) fn begin_if_new(&mut self, core: &mut Core, step: &mut Step<'_>) {
        match self.phase {
            Phase::Unborn => self.begin_to_ask(core, step),
            Phase::Returning => self.begin_incarnation(core, step),
            Phase::Asking { .. } | Phase::Beginning | Phase::Serving => {}
        }
    }

    fn begin_to_ask(&mut self, core: &mut Core, step: &mut Step<'_>) {
        let until = step.now.mono.saturating_add(core.config.timing.join_wait);
        let mut armed = None;
        core.deadlines.arm(&mut armed, until, Due::Join);
        self.phase = Phase::Asking { resolved: SlotSet::default(), armed };
        self.begin_if_resolved(core, step);
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, step: &mut Step<'_>) {
        if let Phase::Asking { armed, .. } = &mut self.phase {
            *armed = None;
            self.begin_incarnation(core, step);
        }
    }

    /// Learns of an incarnation of this very server. One that is not followed by the current one,
    /// and is not the current one, means that this server must begin another: two incarnations
    /// could not be told apart by their numbers.
    pub(crate) fn meet(&mut self, core: &mut Core, step: &mut Step<'_>, incarnation: Incarnation) {
        if !is_plausible_incarnation(incarnation) {
            core.counters.bad_messages += 1;
            return;
        }
        let current = core.state.incarnation;
        self.highest = self.highest.max(incarnation);
        if incarnation != current && incarnation.counter() >= current.counter() && self.is_serving()
        {
            tracing::warn!(%incarnation, %current, "met another incarnation; begins a new one");
            self.begin_incarnation(core, step);
        }
    }

    /// Begins a new incarnation because the numbers of this one's writes cannot be trusted any
    /// more.
    pub(crate) fn abandon(&mut self, core: &mut Core, step: &mut Step<'_>) {
        self.begin_incarnation(core, step);
    }

    /// Its new incarnation is on disk; true if it takes writes from here on.
    pub(crate) fn on_persisted(&mut self, core: &mut Core, step: &mut Step<'_>) -> bool {
        let (highest, incarnation) = (self.highest, core.state.incarnation);
        if highest != incarnation && highest.counter() >= incarnation.counter() {
            self.begin_incarnation(core, step);
            return false;
        }
        core.counters.incarnations += 1;
        self.phase = Phase::Serving;
        tracing::info!(%incarnation, "serves");
        true
    }

    /// A peer has answered, or cannot be reached: joining waits for it no longer.
    pub(crate) fn resolve(&mut self, core: &mut Core, step: &mut Step<'_>, slot: Slot) {
        if let Phase::Asking { resolved, .. } = &mut self.phase {
            resolved.insert(slot);
            self.begin_if_resolved(core, step);
        }
    }

    fn begin_if_resolved(&mut self, core: &mut Core, step: &mut Step<'_>) {
        if let Phase::Asking { resolved, .. } = self.phase
            && core.peers.others().without(resolved).is_empty()
        {
            self.begin_incarnation(core, step);
        }
    }

    fn begin_incarnation(&mut self, core: &mut Core, step: &mut Step<'_>) {
        if let Phase::Asking { armed, .. } = &mut self.phase {
            core.deadlines.disarm(armed, Due::Join);
        }
        let highest = self.highest.max(core.state.incarnation);
        let nonce = u32::try_from(self.seeds.below(1 << 32)).unwrap_or(0);
        let record = Record::Incarnation {
            node: core.config.node,
            incarnation: Incarnation::following(highest, nonce),
            cluster: core.config.cluster.clone(),
        };
        self.phase = Phase::Beginning;
        core.persist(step, record, Then::Begin);
    }
}
