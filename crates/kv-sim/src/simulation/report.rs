//! Runs in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::oracle::Promise;

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
    /// How many acknowledged writes were looked for in backups.
    pub backed_up: u64,
    /// In how many runs each state was reached that was watched for.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// The longest virtual time from the end of all faults until every server served and all held
    /// the same.
    pub slowest_heal: Duration,
    /// The seed of that run.
    pub slowest_heal_seed: u64,
    /// The traces' hashes, folded into one: equal sweeps have equal ones.
    pub trace_hash: u64,
}

impl Report {
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
        self.backed_up += other.backed_up;
        for (state, runs) in &other.sometimes {
            *self.sometimes.entry(state).or_default() += runs;
        }
        if other.slowest_heal > self.slowest_heal {
            self.slowest_heal = other.slowest_heal;
            self.slowest_heal_seed = other.slowest_heal_seed;
        }
        self.trace_hash = self.trace_hash.rotate_left(1) ^ other.trace_hash;
    }
}
