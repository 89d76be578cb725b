//! Many seeds, on as many threads as are wanted.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use kv_core::ConsistencyEngine;

use crate::simulation::{Declaration, Report, Simulation, SimulationFailure};
use crate::sometimes::Sometimes;

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// The runs that passed, in figures.
    pub total: Report,
    /// The seeds that failed, and why; `None` of an engine that panicked.
    pub failed: BTreeMap<u64, Option<Box<SimulationFailure>>>,
}

impl Swept {
    /// The states that should have been reached by so many runs, and were not.
    pub fn not_reached<'a, E: ConsistencyEngine>(
        &'a self,
        sometimes: &'a [Sometimes<E>],
    ) -> impl Iterator<Item = &'static str> + 'a {
        not_reached(&self.total, sometimes)
    }
}

/// The states that should have been reached by the runs of a report, and were not.
pub(crate) fn not_reached<'a, E: ConsistencyEngine>(
    total: &'a Report,
    sometimes: &'a [Sometimes<E>],
) -> impl Iterator<Item = &'static str> + 'a {
    let missing = |state: &&Sometimes<E>| {
        let runs = total.sometimes.get(state.name).copied().unwrap_or_default();
        total.runs >= state.runs_min && (runs == 0 || 1_000 * runs < state.per_mille * total.runs)
    };
    sometimes.iter().filter(missing).map(|state| state.name)
}

/// Runs all of these seeds on so many threads, as [`Simulation`] does. What comes of it does not
/// depend on how many threads there are.
#[must_use]
pub fn sweep<E: ConsistencyEngine>(
    declaration: &Declaration,
    seeds: RangeInclusive<u64>,
    jobs: NonZeroUsize,
    sometimes: &[Sometimes<E>],
) -> Swept {
    let run = |seed| {
        let run = || {
            let mut simulation = Simulation::<E>::new(seed, declaration)?;
            simulation.watch_for(sometimes);
            simulation.run()
        };
        // An engine whose own assertion fails must not end the sweep.
        catch_unwind(AssertUnwindSafe(run))
            .map_err(|_| None)?
            .map_err(|failure| Some(Box::new(failure)))
    };
    let mut swept = Swept::default();
    in_order(
        seeds,
        jobs,
        || false,
        run,
        |seed, result| {
            match result {
                Ok(report) => swept.total.add(&report),
                Err(failure) => {
                    swept.failed.insert(seed, failure);
                }
            }
            ControlFlow::Continue(())
        },
    );
    swept
}

/// Runs seeds on several threads, and takes what comes of them in the order of the seeds. No further
/// seed is begun once `is_over` says so or `take` breaks off; those that are under way are taken.
pub(crate) fn in_order<R: Send>(
    seeds: RangeInclusive<u64>,
    jobs: NonZeroUsize,
    is_over: impl Fn() -> bool + Sync,
    run: impl Fn(u64) -> R + Sync,
    mut take: impl FnMut(u64, R) -> ControlFlow<()>,
) {
    if jobs.get() == 1 {
        // On this thread: what a test has set for it holds.
        for seed in seeds {
            if is_over() || take(seed, run(seed)).is_break() {
                return;
            }
        }
        return;
    }
    let (next, stopped) = (AtomicU64::new(*seeds.start()), AtomicBool::new(false));
    let (results, received) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (results, next, stopped) = (results.clone(), &next, &stopped);
            let (is_over, run, last) = (&is_over, &run, *seeds.end());
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) && !is_over() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last || results.send((seed, run(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut wanted = *seeds.start();
        let mut early = BTreeMap::new();
        for (seed, result) in received {
            early.insert(seed, result);
            while let Some(result) = early.remove(&wanted) {
                if !stopped.load(Ordering::Relaxed) && take(wanted, result).is_break() {
                    stopped.store(true, Ordering::Relaxed);
                }
                wanted = wanted.saturating_add(1);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_seeds_however_many_threads_there_are() {
        for jobs in [1, 2, 7] {
            let mut taken = Vec::new();
            let jobs = NonZeroUsize::new(jobs).unwrap();
            in_order(
                3..=40,
                jobs,
                || false,
                |seed| seed * 2,
                |seed, twice| {
                    taken.push((seed, twice));
                    ControlFlow::Continue(())
                },
            );
            assert_eq!(taken, (3..=40).map(|seed| (seed, seed * 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_is_taken_behind_the_seed_that_ends_it() {
        for jobs in [1, 4] {
            let mut taken = Vec::new();
            let jobs = NonZeroUsize::new(jobs).unwrap();
            in_order(
                1..=1_000,
                jobs,
                || false,
                |seed| seed,
                |seed, _| {
                    taken.push(seed);
                    if seed == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            );
            assert_eq!(taken, [1, 2, 3, 4, 5]);
        }
    }
}
