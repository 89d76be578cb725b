//! Makes a schedule that fails smaller.
//!
//! Moves are left out, many at a time and then one by one (Zeller & Hildebrandt, *Simplifying and
//! Isolating Failure-Inducing Input*, 2002). What a move less shows may hang on how long messages and
//! syncs take, so that other seeds of these are tried as well.

use kv_core::{ConsistencyEngine, SeedStream};

use super::{Move, Schedule, Smallest};
use crate::simulation::{Declaration, FailureKind, SimulationFailure, failure_of};

/// What comes of a schedule that fails; the inner `None` if the engine panicked.
pub(super) fn fails<E: ConsistencyEngine>(
    schedule: &Schedule,
    declaration: &Declaration,
) -> Option<Option<SimulationFailure>> {
    failure_of(|| schedule.run::<E>(declaration))
}

/// The smallest schedule that was found to fail in the same way.
pub(super) fn shrink<E: ConsistencyEngine>(
    schedule: Schedule,
    failure: Option<SimulationFailure>,
    declaration: &Declaration,
) -> Smallest {
    let kind = failure.as_ref().map(FailureKind::of);
    let best = Smallest { schedule, failure, passed: 0, shrinking_runs: 0 };
    let mut shrinking = Shrinking { best, kind, declaration };
    loop {
        let before = shrinking.best.schedule.clone();
        shrinking.leave_out_moves::<E>();
        shrinking.lower_sizes::<E>();
        shrinking.ease_moves::<E>();
        if shrinking.best.schedule == before || shrinking.is_over() {
            return shrinking.best;
        }
    }
}

struct Shrinking<'a> {
    best: Smallest,
    /// Another failure would be another fault.
    kind: Option<FailureKind>,
    declaration: &'a Declaration,
}

impl Shrinking<'_> {
    fn is_over(&self) -> bool {
        self.best.shrinking_runs >= RUNS_MAX
    }

    /// Leaves out halves of the moves, then quarters, and so on down to single ones.
    fn leave_out_moves<E: ConsistencyEngine>(&mut self) {
        let mut len = self.best.schedule.moves.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.best.schedule.moves.len() && !self.is_over() {
                let mut smaller = self.best.schedule.clone();
                let until = (from + len).min(smaller.moves.len());
                smaller.moves.drain(from..until);
                if !self.take_if_it_fails::<E>(&smaller) {
                    from += len;
                }
            }
            if len == 1 {
                return;
            }
            len = len.div_ceil(2);
        }
    }

    /// Tries fewer servers, and smaller quorums.
    fn lower_sizes<E: ConsistencyEngine>(&mut self) {
        for of in [Schedule::nodes_mut, Schedule::write_mut, Schedule::read_mut] {
            let size = *of(&mut self.best.schedule);
            for less in 1..size {
                let mut smaller = self.best.schedule.clone();
                *of(&mut smaller) = less;
                if self.is_over() || self.take_if_it_fails::<E>(&smaller) {
                    break;
                }
            }
        }
    }

    /// Tries moves that are easier to follow: the first server, client and key, a short wait.
    fn ease_moves<E: ConsistencyEngine>(&mut self) {
        for at in 0..self.best.schedule.moves.len() {
            let mut smaller = self.best.schedule.clone();
            let Some(next) = smaller.moves.get_mut(at) else { return };
            let easier = if let Move::Ask { server, kind, .. } = *next {
                Move::Ask { client: 0, server, kind, key: 0 }
            } else if let Move::Wait { .. } = *next {
                Move::Wait { millis: 10 }
            } else {
                *next
            };
            if *next != easier && !self.is_over() {
                *next = easier;
                self.take_if_it_fails::<E>(&smaller);
            }
        }
    }

    /// Takes a schedule, or the same with another seed, in place of the best one if it fails alike.
    fn take_if_it_fails<E: ConsistencyEngine>(&mut self, schedule: &Schedule) -> bool {
        let schedule = schedule.clone().fitted(self.declaration);
        if schedule == self.best.schedule {
            return false;
        }
        let mut seeds = SeedStream::new(schedule.seed);
        for attempt in 0..SEEDS_MAX {
            let seed = if attempt == 0 { schedule.seed } else { seeds.below(SEEDS_BELOW) };
            let candidate = Schedule { seed, ..schedule.clone() };
            self.best.shrinking_runs += 1;
            if let Some(failure) = fails::<E>(&candidate, self.declaration)
                && failure.as_ref().map(FailureKind::of) == self.kind
            {
                (self.best.schedule, self.best.failure) = (candidate, failure);
                return true;
            }
        }
        false
    }
}

impl Schedule {
    const fn nodes_mut(&mut self) -> &mut u16 {
        &mut self.nodes
    }

    const fn write_mut(&mut self) -> &mut u16 {
        &mut self.write
    }

    const fn read_mut(&mut self) -> &mut u16 {
        &mut self.read
    }
}

/// With so many seeds of the network a schedule is tried before it counts as one that passes.
const SEEDS_MAX: u32 = 12;
const SEEDS_BELOW: u64 = 1_000;
const RUNS_MAX: u32 = 4_000;
