//! A deterministic, seeded cluster for any consistency engine.
//!
//! Two types to read first: [`Cluster`], N engines with a network, disks and clocks in virtual
//! time, which watches the engines' contract while it runs; and [`SimConfig`], all that decides a
//! run. There are no threads, no sockets and no system clock: equal configurations driven by the
//! same calls do the same, byte for byte.
//!
//! [`Simulation`] makes whole runs of seeds, and [`schedule`] short ones that shrink.
//! [`conformance`] holds an engine to its contract; [`linearizability`] and [`oracle`] judge what
//! its clients saw.

mod client;
mod clock;
mod cluster;
mod config;
pub mod conformance;
mod connection;
mod damage;
mod disk;
mod event;
mod fault;
mod history;
mod history_file;
mod intercept;
mod linearizability;
mod link;
mod network;
mod observation;
mod observed;
mod op_log;
pub mod oracle;
mod probe;
mod process;
mod queue;
mod request;
mod scan;
pub mod schedule;
mod server;
mod simulation;
mod storage;
mod submission;
mod tape;
mod trace;
mod transcript;
mod version_names;
mod violation;
mod witness;
mod workload;

pub use client::{ClientConfig, Clients, OperationKind};
pub use clock::WallOffset;
pub use cluster::{Cluster, OnDisk};
pub use config::{DiskConfig, NetworkConfig, SimConfig};
pub use fault::{Fault, FaultCounts};
pub use history::{Event, History, Process, Refusal, Seen};
pub use history_file::{HistoryFileError, HistoryFlaw};
pub use intercept::{Captured, Fate};
pub use linearizability::{
    Bound, Budget, CallText, Counterexample, CounterexampleCall, HistoryError, Verdict,
    linearizability, linearizability_until,
};
pub use op_log::{InitialState, OpLogError};
pub use probe::Probe;
pub use process::{Restart, Started};
pub use request::{Request, RequestState};
pub use scan::disorderly_page;
pub use simulation::{Declaration, Oracle, Plan, Report, Simulation, SimulationFailure};
pub use tape::{Tape, TapedBatch, TapedLife};
pub use violation::{Breach, Violation};
