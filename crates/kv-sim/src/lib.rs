//! A deterministic, seeded cluster for any consistency engine.
//!
//! Two types to read first: [`Cluster`], N engines with a network, disks and clocks in virtual
//! time, which watches the engines' contract while it runs; and [`SimConfig`], all that decides a
//! run. There are no threads, no sockets and no system clock: equal configurations driven by the
//! same calls do the same, byte for byte.

mod clock;
mod cluster;
mod config;
pub mod conformance;
mod connection;
mod disk;
mod event;
mod history;
mod intercept;
mod linearizability;
mod link;
mod network;
mod process;
mod queue;
mod request;
mod server;
mod tape;
mod trace;
mod violation;
mod workload;

pub use clock::WallOffset;
pub use cluster::Cluster;
pub use config::{DiskConfig, NetworkConfig, SimConfig};
pub use history::{Event, History, Process, Refusal, Seen};
pub use intercept::{Captured, Fate};
pub use linearizability::{
    Budget, Counterexample, CounterexampleCall, HistoryError, Verdict, linearizability,
};
pub use process::Restart;
pub use request::{Request, RequestState};
pub use tape::{Tape, TapedBatch, TapedLife};
pub use violation::{Breach, Violation};
