//! States that the runs of a sweep must reach.

use std::collections::BTreeSet;

use kv_core::ConsistencyEngine;

use crate::cluster::Cluster;

/// A state of an engine that runs must reach, or they show nothing of how it is borne: "sometimes"
/// where a promise says "always".
#[derive(Debug)]
pub struct Sometimes<E: ConsistencyEngine> {
    /// What it is called.
    pub name: &'static str,
    /// Whether a cluster is in it. It is asked at each moment of a run's first phase.
    pub is_so: fn(&Cluster<E>) -> bool,
    /// How many of 1,000 runs must reach it, but one at least.
    pub per_mille: u64,
    /// Nothing is asked of fewer runs.
    pub runs_min: u64,
}

impl<E: ConsistencyEngine> Clone for Sometimes<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: ConsistencyEngine> Copy for Sometimes<E> {}

/// Which states a run has reached.
#[derive(Debug)]
pub(crate) struct Reached<E: ConsistencyEngine> {
    left: Vec<Sometimes<E>>,
    pub(crate) names: BTreeSet<&'static str>,
}

impl<E: ConsistencyEngine> Reached<E> {
    pub(crate) const fn new() -> Self {
        Self { left: Vec::new(), names: BTreeSet::new() }
    }

    pub(crate) fn watch_for(&mut self, sometimes: &[Sometimes<E>]) {
        self.left.extend(sometimes);
    }

    pub(crate) fn look(&mut self, cluster: &Cluster<E>) {
        let names = &mut self.names;
        self.left.retain(|state| {
            let is_so = (state.is_so)(cluster);
            if is_so {
                names.insert(state.name);
            }
            !is_so
        });
    }
}
