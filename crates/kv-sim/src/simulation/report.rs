//! Runs in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::oracle::Promise;
use kv_core::ConsistencyEngine;

use crate::cluster::Cluster;
use crate::fault::FaultCounts;

/// What happened in a run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many runs.
    pub runs: u64,
    /// How many inputs the engines were stepped with.
    pub steps: u64,
    /// How much virtual time went by.
    pub virtual_time: Duration,
    /// How often each kind of fault came to pass.
    pub faults: FaultCounts,
    /// How many operations were done.
    pub ok: u64,
    /// How many were definitely not done.
    pub fail: u64,
    /// How many ended in the unknown.
    pub info: u64,
    /// How many keys each promise judged, those of all runs added up.
    pub keys_judged: BTreeMap<Promise, u64>,
    /// How often the disks that hold an acknowledged write were counted.
    pub holders_counted: u64,
    /// In how many runs a server lost its disk, or an older copy took its place.
    pub runs_with_losses: u64,
    /// How many runs were of more than one server.
    pub runs_of_many: u64,
    /// In how many of these a sequencer was chosen anew; none of an engine without one.
    pub sequencer_chosen_anew: u64,
    /// The longest virtual time from the end of all faults until every server served and all held
    /// the same.
    pub slowest_heal: Duration,
    /// The seed of that run.
    pub slowest_heal_seed: u64,
    /// The traces' hashes, folded into one: equal sweeps have equal ones.
    pub trace_hash: u64,
}

impl Report {
    /// Whether a sequencer was chosen anew in a share of the runs of more than one server that shows
    /// how an engine bears it. Nothing is asked of few runs.
    #[must_use]
    pub const fn chooses_sequencers_enough(&self) -> bool {
        self.runs < RUNS_THAT_SHOW || 10 * self.sequencer_chosen_anew >= 3 * self.runs_of_many
    }

    /// Whether disks were lost in a share of the runs that shows how an engine bears it. Nothing is
    /// asked of few runs.
    #[must_use]
    pub const fn loses_disks_enough(&self) -> bool {
        self.runs < RUNS_THAT_SHOW || 10 * self.runs_with_losses >= 3 * self.runs
    }

    /// Adds another run, or many.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.virtual_time += other.virtual_time;
        self.faults.add(&other.faults);
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
        for (promise, keys) in &other.keys_judged {
            *self.keys_judged.entry(*promise).or_default() += keys;
        }
        self.holders_counted += other.holders_counted;
        self.runs_with_losses += other.runs_with_losses;
        self.runs_of_many += other.runs_of_many;
        self.sequencer_chosen_anew += other.sequencer_chosen_anew;
        if other.slowest_heal > self.slowest_heal {
            self.slowest_heal = other.slowest_heal;
            self.slowest_heal_seed = other.slowest_heal_seed;
        }
        self.trace_hash = self.trace_hash.rotate_left(1) ^ other.trace_hash;
    }
}

/// Whether a sequencer was chosen anew in a run, as the logs say at its end.
pub(super) fn was_chosen_anew<E: ConsistencyEngine>(cluster: &Cluster<E>) -> bool {
    let statuses = cluster.nodes().filter_map(|node| cluster.status(node));
    let mut rounds = statuses.filter_map(|status| status.positions.epoch_round);
    rounds.any(|round| round > 0)
}

/// Among so many runs or more, in three of ten a sequencer must be chosen anew, or a disk be lost.
const RUNS_THAT_SHOW: u64 = 100;
