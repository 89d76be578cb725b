//! The eventual engine: leaderless replication with read and write quorums, last writer wins.
//!
//! Use it where a cluster is to take writes at any server and to work while others are away, and
//! where the last of two concurrent writes may win; on its own in a program with sockets and a disk
//! of its own, or inside `kv-server`. For one order of all operations take `kv-linear`.
//!
//! Two types to read first: [`EventualEngine`], which implements
//! [`ConsistencyEngine`](kv_core::ConsistencyEngine), and [`Message`], what its servers say to
//! each other. The order of all writes is that of [`Entry`].
//!
//! Any server coordinates. A write goes to the coordinator's own disk and to all peers at once, and
//! is done when that disk and W in all hold it; a read is done when R servers have answered, and
//! the newest version wins. A server that restarts takes a new incarnation, so that nothing which
//! its disk forgot and a peer holds can be named twice. With W + R > N, a read that starts after a
//! write was acknowledged returns that version or a greater one *in version order*. That is not
//! linearizable: a server with a slow clock can stamp a later write lower. A write that times out
//! is unknown, is never rolled back, and can surface later.
//!
//! After DeCandia et al., *Dynamo* (2007), with versions after Kulkarni et al., *Logical Physical
//! Clocks* (2014).
//!
//! ```
//! use kv_core::local::LocalCluster;
//! use kv_core::{Answer, ClusterConfig, CommandResult, Key, NodeId, Operation, Outcome, Quorum, Value};
//! use kv_eventual::EventualEngine;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (one, two) = (NodeId::new(1)?, NodeId::new(2)?);
//! let cluster = ClusterConfig::new([one, two], Quorum::All, Quorum::Count(1))?;
//! let mut local = LocalCluster::<EventualEngine>::start(cluster, 7)?;
//!
//! let (key, value) = (Key::new("colour")?, Value::new("blue")?);
//! let put = local.execute(one, Operation::put(key.clone(), value.clone()));
//! assert!(matches!(put, Some(Outcome::Done(_))));
//!
//! let Some(Outcome::Done(done)) = local.execute(two, Operation::get(key)) else {
//!     return Err("the read has no answer".into());
//! };
//! let Answer::Results(results) = done.answer else {
//!     return Err("a get gives results".into());
//! };
//! let [CommandResult::Value(Some(found))] = results.as_slice() else {
//!     return Err("the key is missing".into());
//! };
//! assert_eq!(found.value, value);
//! # Ok(())
//! # }
//! ```

mod clock;
mod coordinator;
mod core;
mod counters;
mod deadline;
mod engine;
mod greeting;
mod ids;
mod message;
mod mutation;
mod peers;
mod replica;
mod standing;
mod state;
mod sync;
mod tombstones;
mod vector;

pub use clock::MAX_SKEW;
pub use engine::EventualEngine;
pub use ids::{ReadId, WriteId, WriteSeq};
pub use message::{
    Answer, Batch, Compare, Compared, Cut, HashedRange, Hello, Listing, Look, Message, Part, Pull,
    PullBegin, Query, Report, Sight, Summary, Welcome,
};
#[cfg(feature = "mutations")]
pub use mutation::Mutation;
pub use state::record::{Record, Write};
pub use state::stamp::{Entry, Stamp};
pub use vector::Vector;
pub use vector::seqs::Seqs;
