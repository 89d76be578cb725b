//! What clients ask in a run and which faults there are, as data: a seed that fails becomes one, and
//! is made smaller.
//!
//! A [`Simulation`] draws what happens as it goes, from its seed and from how
//! the cluster stands. [`Scenario::of_seed`] notes it. The scenario does the same again, byte for
//! byte, and can be cut, eased, written to a file, read back and run on a mended engine.

pub(crate) mod acts;
pub(crate) mod script;
mod shrink;
mod text;

pub use acts::{Act, Name};
pub use script::{Ease, Scenario};
pub use shrink::Shrunk;
pub use text::ScenarioError;

use std::fmt;
use std::time::Duration;

use kv_check::Request;
use kv_core::{Check, Condition, ConsistencyEngine, Limits, Operation};

use crate::cluster::holders::probe::Probe;
use crate::config::{DiskConfig, IN_FLIGHT_MAX, NetworkConfig, PART_BYTES_MAX, SimConfig};
use crate::simulation::{Declaration, Plan, Simulation, SimulationFailure, failure_of, shown};

/// An engine under trial, and how it is judged.
#[derive(Clone, Copy)]
pub struct Trial<'a, E: ConsistencyEngine> {
    /// What the engine survives.
    pub declaration: &'a Declaration,
    /// What it says of what it holds.
    pub probe: Option<Probe<E>>,
    /// What is changed in the cluster of each run; a test breaks a rule of disks or drivers so.
    pub alter: &'a dyn Fn(&mut SimConfig),
}

impl<'a, E: ConsistencyEngine> Trial<'a, E> {
    /// Of an engine by what it says of itself.
    #[must_use]
    pub fn new(declaration: &'a Declaration) -> Self {
        Self { declaration, probe: None, alter: &|_| {} }
    }
}

impl<E: ConsistencyEngine> fmt::Debug for Trial<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("declaration", self.declaration).finish_non_exhaustive()
    }
}

impl Scenario {
    /// Runs a seed and notes what happens in it; with what comes of it, where that is no pass. The
    /// inner `None` stands for an engine that panicked.
    ///
    /// # Errors
    /// [`SimulationFailure`] if an engine does not start on an empty disk.
    pub fn of_seed<E: ConsistencyEngine>(
        seed: u64,
        trial: &Trial<'_, E>,
    ) -> Result<(Self, Option<Option<SimulationFailure>>), SimulationFailure> {
        let mut plan = Plan::of(seed, trial.declaration)?;
        (trial.alter)(&mut plan.cluster);
        let cluster = plan.cluster.cluster.clone();
        let mut simulation = Simulation::<E>::with_plan(plan, trial.declaration)?;
        if let Some(probe) = trial.probe {
            simulation.probe(probe);
        }
        simulation.record();
        let failure = failure_of(|| simulation.run().map(|_| ()));
        let recording = simulation.recorded();
        let mut scenario = Self {
            plan: seed,
            nodes: cluster.nodes(),
            write: cluster.write_quorum(),
            read: cluster.read_quorum(),
            seed,
            eased: Vec::new(),
            acts: acts::joined_but_the_last(recording.acts),
            late_cancels: recording.late_cancels,
        };
        scenario.name_versions(simulation.cluster().requests().map(|(_, request)| request));
        Ok((scenario, failure))
    }

    /// Does it all again, ends all faults, and judges as a [`Simulation`] does.
    ///
    /// # Errors
    /// [`SimulationFailure`] if the engine does not pass.
    pub fn run<E: ConsistencyEngine>(&self, trial: &Trial<'_, E>) -> Result<(), SimulationFailure> {
        self.begin(trial)?.replay(self)
    }

    /// Likewise, of an engine that may panic: the failure in words, or `None`.
    #[must_use]
    pub fn outcome<E: ConsistencyEngine>(&self, trial: &Trial<'_, E>) -> Option<String> {
        let failure = failure_of(|| self.run(trial))?;
        Some(failure.map_or_else(|| PANICKED.to_owned(), |failure| failure.to_string()))
    }

    /// Likewise; all that happens, line by line.
    ///
    /// # Errors
    /// [`SimulationFailure`] if an engine does not start on an empty disk.
    pub fn trace<E: ConsistencyEngine>(
        &self,
        trial: &Trial<'_, E>,
    ) -> Result<Vec<String>, SimulationFailure> {
        let mut simulation = self.begin(trial)?;
        simulation.keep_trace(TRACE_LINES_MAX);
        // What comes of it is another question.
        let _ = failure_of(|| simulation.replay(self));
        Ok(simulation.cluster().trace_lines().map(ToOwned::to_owned).collect())
    }

    /// What it is run with.
    fn begin<E: ConsistencyEngine>(
        &self,
        trial: &Trial<'_, E>,
    ) -> Result<Simulation<E>, SimulationFailure> {
        let mut plan = Plan::of(self.plan, trial.declaration)?;
        let same_cluster = SimConfig::new(self.nodes, self.write, self.read, self.seed)?;
        (plan.cluster.cluster, plan.cluster.seed) = (same_cluster.cluster, self.seed);
        // The clients' part is played.
        plan.clients.clients = 0;
        for ease in &self.eased {
            ease.apply(&mut plan.cluster);
        }
        (trial.alter)(&mut plan.cluster);
        let mut simulation = Simulation::<E>::with_plan(plan, trial.declaration)?;
        if let Some(probe) = trial.probe {
            simulation.probe(probe);
        }
        Ok(simulation)
    }

    /// Notes which values the versions name that conditions ask for.
    fn name_versions<'a>(&mut self, requests: impl Iterator<Item = &'a Request>) {
        let known: Vec<_> = requests.flat_map(shown).collect();
        for act in &mut self.acts {
            let Act::Ask { op: Operation::Batch(batch), names, .. } = act else {
                continue;
            };
            for Condition { key, check } in batch.conditions() {
                let Check::VersionIs(version) = check else {
                    continue;
                };
                let named = known.iter().find(|(of, _, at)| *of == key && at == version);
                names.extend(named.map(|(_, value, _)| Name {
                    key: key.clone(),
                    version: *version,
                    value: (*value).clone(),
                }));
            }
        }
    }
}

impl Ease {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Links, Self::Network, Self::Disks, Self::Processing, Self::Limits];

    fn apply(self, cluster: &mut SimConfig) {
        match self {
            Self::Links => cluster.streams_of_links = true,
            Self::Network => cluster.network = NetworkConfig::default(),
            Self::Disks => cluster.disk = DiskConfig::default(),
            Self::Processing => cluster.processing = Duration::ZERO..=Duration::ZERO,
            Self::Limits => {
                cluster.limits = Limits::default();
                cluster.in_flight_max = IN_FLIGHT_MAX;
                cluster.part_bytes_max = PART_BYTES_MAX;
                cluster.hand_back = false;
            }
        }
    }
}

pub(crate) const PANICKED: &str = "the engine panicked; its message stands above";
const TRACE_LINES_MAX: usize = 10_000_000;
