//! The consistency engine contract and its vocabulary, without IO and without a runtime.
//!
//! Two types to read first: [`ConsistencyEngine`], the trait that every replication protocol
//! implements, with the contract between it and its driver; and [`Effect`], what an engine asks
//! of that driver. [`Operation`] and [`Outcome`] are what a client asks and how it ended.
//!
//! To run engines inside a program of your own, start with [`local::LocalCluster`]; with sockets
//! and disks of your own, drive [`ConsistencyEngine::step`] yourself.

mod checkpoint;
mod cluster;
mod digest;
mod effect;
mod engine;
mod id;
mod key;
pub mod local;
mod operation;
mod outcome;
mod quorum;
mod seed;
mod status;
mod store;
mod version;
mod wire;

pub use checkpoint::{Checkpoint, CheckpointItem, RecoverError, StagedCheckpoint};
pub use cluster::{ClusterConfig, ClusterConfigError};
pub use digest::digest;
pub use effect::{Effect, Effects, HaltReason};
pub use engine::{AdminCommand, ConsistencyEngine, EngineConfig, Input, Limits, Now, Timing};
pub use id::{ClusterId, GroupId, IdError, Incarnation, NodeId, PersistSeq, RequestId};
pub use key::{Key, SizeError, Value};
pub use operation::{
    Batch, BatchError, Check, Command, Condition, Dump, Level, Operation, RequestOptions, Scan,
};
pub use outcome::{
    Answer, CommandResult, Done, Feature, NotDone, Outcome, Page, Served, Unknown, Versioned,
    Waiting,
};
pub use quorum::{Quorum, QuorumError};
pub use seed::SeedStream;
pub use status::Status;
pub use store::{MemoryStore, Store};
pub use version::{HybridTime, Version};
pub use wire::{DecodeError, LIST_LEN_MAX, Wire};
