//! A deterministic, seeded cluster for any consistency engine.
//!
//! Two types to read first: [`Cluster`], N engines with a network, disks and clocks in virtual
//! time, which watches the engines' contract while it runs; and [`SimConfig`], all that decides a
//! run. There are no threads, no sockets and no system clock: equal configurations driven by the
//! same calls do the same, byte for byte.
//!
//! [`Simulation`] makes whole runs of seeds, [`sweep()`] many of them on all processors; a seed that
//! fails becomes a [`scenario`] that shrinks, and [`schedule`]s are short from the start.
//! [`conformance`] holds an engine to its contract; `kv-check` judges what its clients saw.

mod client;
mod cluster;
#[cfg(feature = "cli")]
pub mod command;
mod config;
pub mod conformance;
mod disk;
mod fault;
mod injection;
#[cfg(feature = "model")]
pub mod model;
mod network;
pub mod scenario;
pub mod schedule;
mod server;
mod simulation;
mod sometimes;
mod sweep;
mod violation;
mod workload;

pub use client::{ClientConfig, Clients, OperationKind};
pub use cluster::holders::probe::Probe;
pub use cluster::process::{Restart, Started};
pub use cluster::tape::{Tape, TapedBatch, TapedIncarnation};
pub use cluster::{Cluster, OnDisk};
#[cfg(feature = "cli")]
pub use command::cli;
pub use config::{DiskConfig, NetworkConfig, SimConfig};
pub use fault::{Fault, FaultCounts};
pub use injection::Injection;
pub use kv_check::evidence::VersionScope;
pub use kv_check::{Request, RequestState};
pub use network::intercept::{Captured, Fate};
pub use server::clock::WallOffset;
pub use simulation::{
    Availability, Away, BackupTaken, Declaration, FaultSpan, FaultsBetween, Needs, Oracle, Plan,
    QuorumRule, Report, ShownBy, Simulation, SimulationFailure,
};
pub use sometimes::Sometimes;
pub use sweep::{Swept, sweep};
pub use violation::{Breach, Violation};
