//! Makes a scenario that fails smaller.
//!
//! Calls and faults are left out, many at a time and then one by one (Zeller & Hildebrandt,
//! *Simplifying and Isolating Failure-Inducing Input*, 2002); then servers; then waits and faults
//! become shorter, and the network, the disks and the bounds plain. What is tried counts if it fails
//! by the same kind of finding, with the same randomness or with another seed of it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, SeedStream};

use super::acts::joined;
use super::{Act, Ease, PANICKED, Scenario, Trial};
use crate::simulation::{FailureKind, SimulationFailure, failure_of};

/// The smallest scenario that was found to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// What it takes.
    pub scenario: Scenario,
    /// What comes of it; `None` if the engine panicked.
    pub failure: Option<SimulationFailure>,
    /// How many runs were made to find it.
    pub runs: u32,
    /// Whether there was no time for more.
    pub is_cut_short: bool,
}

impl Scenario {
    /// The smallest scenario that is found to fail as this one does, in at most so many runs and
    /// until `is_over` says that it is enough. `None` if this one does not fail.
    #[must_use]
    pub fn shrink<E: ConsistencyEngine>(
        self,
        trial: &Trial<'_, E>,
        runs_max: u32,
        is_over: &dyn Fn() -> bool,
    ) -> Option<Shrunk> {
        let failure = failure_of(|| self.run(trial))?;
        let kind = failure.as_ref().map(FailureKind::of);
        let best = Shrunk { scenario: self, failure, runs: 1, is_cut_short: false };
        let mut shrinking = Shrinking { best, kind, trial, runs_max, is_over };
        shrinking.ease(Ease::Links);
        loop {
            let before = shrinking.best.scenario.clone();
            shrinking.leave_out_kinds();
            shrinking.leave_out();
            shrinking.lower_sizes();
            Ease::ALL.into_iter().for_each(|ease| shrinking.ease(ease));
            shrinking.end_faults_sooner();
            shrinking.wait_less();
            if shrinking.best.scenario == before || shrinking.is_over() {
                shrinking.best.is_cut_short = shrinking.is_over();
                return Some(shrinking.best);
            }
        }
    }

    /// How many calls, faults and waits there are.
    fn len(&self) -> usize {
        self.acts.len()
    }

    /// What can be left out by itself.
    fn parts(&self) -> Vec<Part> {
        let parts = (0..).zip(&self.acts).filter_map(|(place, act)| match act {
            Act::Begin { fault, .. } => Some(Part::Fault(*fault)),
            Act::Ask { .. } | Act::Cancel { .. } | Act::EndAll => Some(Part::Act(place)),
            Act::Wait { .. } | Act::End { .. } => None,
        });
        parts.collect()
    }

    fn without(&self, parts: &BTreeSet<Part>) -> Self {
        let is_left = |(place, act): &(usize, &Act)| {
            let part = match act {
                Act::Begin { fault, .. } | Act::End { fault } => Part::Fault(*fault),
                Act::Wait { .. } | Act::Ask { .. } | Act::Cancel { .. } | Act::EndAll => {
                    Part::Act(*place)
                }
            };
            !parts.contains(&part)
        };
        let left = (0..).zip(&self.acts).filter(is_left).map(|(_, act)| act.clone());
        Self { acts: joined(left.collect()), ..self.clone() }
    }

    /// The same in a cluster of fewer servers: what concerned one that is not there concerns another.
    fn in_cluster_of(&self, nodes: u16) -> Self {
        let name = |node: NodeId| {
            let number = 1 + node.number().saturating_sub(1) % nodes.max(1);
            NodeId::new(number).unwrap_or(NodeId::FIRST)
        };
        let acts = self.acts.iter().filter_map(|act| act.clone().renamed(name)).collect();
        let (write, read) = (self.write.min(nodes), self.read.min(nodes));
        Self { nodes, write, read, acts, ..self.clone() }
    }
}

/// What can be left out: an act by its place, or a fault with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Act(usize),
    Fault(u64),
}

struct Shrinking<'a, E: ConsistencyEngine> {
    best: Shrunk,
    /// Another failure would be another fault.
    kind: Option<FailureKind>,
    trial: &'a Trial<'a, E>,
    runs_max: u32,
    is_over: &'a dyn Fn() -> bool,
}

impl<E: ConsistencyEngine> Shrinking<'_, E> {
    fn is_over(&self) -> bool {
        self.best.runs >= self.runs_max || (self.is_over)()
    }

    /// Leaves out all faults, or all that a client does.
    fn leave_out_kinds(&mut self) {
        let parts = self.best.scenario.parts();
        let faults = parts.iter().filter(|part| matches!(part, Part::Fault(_)));
        self.take_without(&faults.copied().collect());
        let clients: BTreeSet<u64> = self.best.scenario.acts.iter().filter_map(client_of).collect();
        for client in clients {
            let acts = (0..).zip(&self.best.scenario.acts);
            let own = acts.filter(|(_, act)| client_of(act) == Some(client));
            let own = own.map(|(place, _)| Part::Act(place)).collect();
            self.take_without(&own);
        }
    }

    /// Leaves out halves, then quarters, and so on down to single parts; the last ones first, as
    /// what happens after the fault showed is of no use.
    fn leave_out(&mut self) {
        let mut len = self.best.scenario.parts().len().div_ceil(2).max(1);
        loop {
            let mut until = self.best.scenario.parts().len();
            while until > 0 && !self.is_over() {
                let from = until.saturating_sub(len);
                let parts = self.best.scenario.parts();
                let tried = parts.get(from..until).unwrap_or_default().iter().copied().collect();
                self.take_without(&tried);
                until = from;
            }
            if len == 1 {
                return;
            }
            len = len.div_ceil(2);
        }
    }

    fn take_without(&mut self, parts: &BTreeSet<Part>) {
        if !parts.is_empty() {
            let smaller = self.best.scenario.without(parts);
            self.take_if_it_fails(smaller);
        }
    }

    /// Tries fewer servers, and smaller quorums.
    fn lower_sizes(&mut self) {
        for nodes in 1..self.best.scenario.nodes {
            if self.take_if_it_fails(self.best.scenario.in_cluster_of(nodes)) {
                break;
            }
        }
        for write in 1..self.best.scenario.write {
            if self.take_if_it_fails(Scenario { write, ..self.best.scenario.clone() }) {
                break;
            }
        }
        for read in 1..self.best.scenario.read {
            if self.take_if_it_fails(Scenario { read, ..self.best.scenario.clone() }) {
                break;
            }
        }
    }

    fn ease(&mut self, ease: Ease) {
        if !self.best.scenario.eased.contains(&ease) {
            let mut easier = self.best.scenario.clone();
            easier.eased.push(ease);
            self.take_if_it_fails(easier);
        }
    }

    /// Tries to end each fault right after the act that follows its begin, or halfway to that.
    fn end_faults_sooner(&mut self) {
        let faults = self.best.scenario.parts().into_iter();
        for part in faults {
            let Part::Fault(fault) = part else {
                continue;
            };
            for part_of_time in [0, 2] {
                let Some(sooner) = ended_sooner(&self.best.scenario, fault, part_of_time) else {
                    break;
                };
                if self.take_if_it_fails(sooner) {
                    break;
                }
            }
        }
    }

    /// Tries shorter waits, all at a time and then one by one.
    fn wait_less(&mut self) {
        for shorter in [plain, halved] {
            let mut all = self.best.scenario.clone();
            for act in &mut all.acts {
                if let Act::Wait { time } = act {
                    *time = shorter(*time);
                }
            }
            self.take_if_it_fails(all);
        }
        for place in 0..self.best.scenario.len() {
            for shorter in [plain, halved] {
                let mut one = self.best.scenario.clone();
                if let Some(Act::Wait { time }) = one.acts.get_mut(place) {
                    *time = shorter(*time);
                    if self.take_if_it_fails(one) {
                        break;
                    }
                }
            }
        }
    }

    /// Takes a scenario, or the same with another seed, in place of the best one if it fails alike.
    fn take_if_it_fails(&mut self, mut scenario: Scenario) -> bool {
        let rule = self.trial.declaration.quorums;
        (scenario.write, scenario.read) = rule.fit(scenario.nodes, scenario.write, scenario.read);
        if scenario == self.best.scenario {
            return false;
        }
        let mut seeds = SeedStream::new(scenario.seed);
        // Long ones take long, and have much that can still be left out.
        let attempts = if scenario.len() > SHORT { SEEDS_MAX / 4 } else { SEEDS_MAX };
        for attempt in 0..attempts {
            if self.is_over() {
                return false;
            }
            let seed = if attempt == 0 { scenario.seed } else { seeds.below(SEEDS_BELOW) };
            let candidate = Scenario { seed, ..scenario.clone() };
            self.best.runs += 1;
            if let Some(failure) = failure_of(|| candidate.run(self.trial))
                && failure.as_ref().map(FailureKind::of) == self.kind
            {
                (self.best.scenario, self.best.failure) = (candidate, failure);
                return true;
            }
        }
        false
    }
}

const fn client_of(act: &Act) -> Option<u64> {
    match act {
        Act::Ask { client, .. } | Act::Cancel { client } => Some(*client),
        Act::Wait { .. } | Act::Begin { .. } | Act::End { .. } | Act::EndAll => None,
    }
}

/// The same with a fault that ends after a part of the acts for which it lasts, or after one.
fn ended_sooner(scenario: &Scenario, fault: u64, part_of_time: usize) -> Option<Scenario> {
    let acts = &scenario.acts;
    let begin =
        acts.iter().position(|act| matches!(act, Act::Begin { fault: it, .. } if *it == fault))?;
    let end = acts.iter().position(|act| *act == Act::End { fault })?;
    let lasts = end.checked_sub(begin)?;
    let sooner = begin + 1 + lasts.checked_div(part_of_time).unwrap_or(1).max(1);
    if sooner >= end {
        return None;
    }
    let mut changed = scenario.clone();
    let act = changed.acts.remove(end);
    changed.acts.insert(sooner, act);
    changed.acts = joined(changed.acts);
    Some(changed)
}

/// A short wait that is easily read.
fn plain(time: Duration) -> Duration {
    time.min(Duration::from_millis(1))
}

/// Half of it, in whole milliseconds.
fn halved(time: Duration) -> Duration {
    let millis = u64::try_from((time / 2).as_millis()).unwrap_or(u64::MAX);
    time.min(Duration::from_millis(millis.max(1)))
}

/// The finding, and then what it takes.
impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, failure, runs, is_cut_short } = self;
        match failure {
            Some(failure) => write!(f, "{}", failure.to_string().trim_end())?,
            None => f.write_str(PANICKED)?,
        }
        let why = if *is_cut_short { ", for which there was time" } else { "" };
        write!(f, "\nafter this, none smaller was found in {runs} runs{why}:\n{scenario}")
    }
}

/// With so many seeds of its randomness a short scenario is tried before it counts as one that passes.
const SEEDS_MAX: u32 = 12;
const SEEDS_BELOW: u64 = 1_000;
const SHORT: usize = 60;
