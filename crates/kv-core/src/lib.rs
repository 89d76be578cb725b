//! The consistency engine contract and its vocabulary, without IO and without a runtime.
//!
//! Two types to read first: [`ConsistencyEngine`], the trait that every replication protocol
//! implements, with the contract between it and its driver; and [`driver::DriverCore`], the driver
//! without IO that servers and simulators build on. [`Operation`] and [`Outcome`] are what a client
//! asks and how it ended.
//!
//! Use it to run engines inside a program of your own, and to write an engine of your own. Start
//! with [`local::LocalCluster`], which runs a whole cluster in one thread. Over your own sockets and
//! disk, drive an engine by [`driver::DriverCore`]. An engine of your own keeps its keys in a
//! [`Store`], of which checkpoints and snapshots are read. The engines are in `kv-linear` and
//! `kv-eventual`; for a server with its sockets use `kv-server`.
//!
//! ```
//! use kv_core::local::LocalCluster;
//! use kv_core::{ClusterConfig, ConsistencyEngine, Key, NodeId, Operation, Outcome, Quorum, Value};
//!
//! /// Writes at one server and reads at another; with `kv_linear::LinearEngine`, for example.
//! fn write_and_read<E: ConsistencyEngine>() -> Result<Option<Outcome>, Box<dyn std::error::Error>> {
//!     let (one, two, three) = (NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?);
//!     let cluster = ClusterConfig::new([one, two, three], Quorum::Majority, Quorum::Majority)?;
//!     let mut cluster = LocalCluster::<E>::start(cluster, 7)?;
//!
//!     let colour = Key::new("colour")?;
//!     let put = Operation::put(colour.clone(), Value::new("green")?);
//!     match cluster.execute(one, put) {
//!         Some(Outcome::Done(done)) => assert!(done.version.is_some()),
//!         Some(Outcome::NotDone(reason)) => println!("not done: {reason}"),
//!         Some(Outcome::Unknown(unknown)) => println!("it may still be done: {unknown}"),
//!         None => println!("no answer in an hour"),
//!     }
//!     Ok(cluster.execute(two, Operation::get(colour)))
//! }
//! ```

mod broken;
mod cluster;
mod digest;
pub mod driver;
mod engine;
mod id_map;
mod integer;
mod key;
pub mod local;
mod request;
mod seed;
mod status;
mod store;
mod version;
mod wire;

pub use broken::Broken;
pub use cluster::id::{ClusterId, GroupId, IdError, Incarnation, NodeId, PersistSeq, RequestId};
pub use cluster::quorum::{Quorum, QuorumError};
pub use cluster::{ClusterConfig, ClusterConfigError};
pub use digest::digest;
pub use engine::checkpoint::{
    Checkpoint, CheckpointChange, CheckpointDelta, CheckpointItem, OpenView, RecoverError,
    SnapshotPart, ViewChunk, ViewScope, read_whole_view,
};
pub use engine::effect::{Effect, Effects, HaltReason};
pub use engine::{ConsistencyEngine, EngineConfig, Input, Limits, Now, Shortage, Timing};
pub use id_map::{IdHasher, IdMap, IdSet};
pub use integer::parse_integer;
pub use key::{Key, SizeError, Value};
pub use request::batch::{Batch, BatchError, Check, Command, Condition, ExpiryMs};
pub use request::not_done::{CannotLead, Feature, NotDone, Waiting};
pub use request::operation::{
    Dump, Level, Operation, RequestIdentity, RequestOptions, Scan, SessionId,
};
pub use request::outcome::{
    Answer, CommandResult, Done, KeyExpiry, NoResult, Outcome, Page, Served, TimeToLive, Unknown,
    Versioned,
};
pub use seed::SeedStream;
pub use status::{Counter, Outlook, PeerLag, Positions, Role, Status, Unit};
pub use store::{Store, ViewId, ViewRead};
pub use version::{HybridTime, Version};
pub use wire::{DecodeError, LIST_LEN_MAX, Wire};
