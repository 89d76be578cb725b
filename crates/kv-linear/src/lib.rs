//! The linearizable engine: total-order broadcast through a sequencer.
//!
//! Use it where a read must see every write that was acknowledged before it began, and where
//! compare-and-set, counters and transactions are needed; on its own in a program with sockets and
//! a disk of its own, or inside `kv-server`. If you need to work without a sequencer, use
//! `kv-eventual`.
//!
//! Two types to read first: [`LinearEngine`], a server as a state machine without IO, and
//! [`Message`], what servers say to each other. `kv_core::ConsistencyEngine` is how both are
//! driven.
//!
//! A server hands its clients' requests to the sequencer, which assigns each its position in one
//! log and sends the log to all ([`Prepare`]). An entry is committed when W servers, the sequencer
//! among them, hold it on disk; each server applies the committed entries in order, and answers its
//! own clients as it comes to theirs. A read takes no place in
//! the log: it is answered from the state of the server that was asked, once that has all that the
//! sequencer, confirmed by R servers, says is committed.
//!
//! When the sequencer is lost, another server asks the rest to take nothing of its [`Epoch`] any
//! more ([`Promise`]). With enough promises ([`Quorums::promises`]) it takes over the best log among
//! theirs and goes on in an epoch of its own.
//!
//! # Example
//! ```
//! use kv_core::local::LocalCluster;
//! use kv_core::{ClusterConfig, Key, NodeId, Operation, Outcome, Quorum, Value};
//! use kv_linear::LinearEngine;
//!
//! let [first, second, third] = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
//! let majority = Quorum::Majority;
//! let cluster = ClusterConfig::new([first, second, third], majority, majority)?;
//! let mut local = LocalCluster::<LinearEngine>::start(cluster, 7)?;
//!
//! let put = Operation::put(Key::new("colour")?, Value::new("green")?);
//! assert!(matches!(local.execute(second, put), Some(Outcome::Done(_))));
//! let get = Operation::get(Key::new("colour")?);
//! let Some(Outcome::Done(done)) = local.execute(third, get) else {
//!     panic!("nobody is down")
//! };
//! println!("{:?} at log index {:?}", done.answer, done.version);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backoff;
mod core;
mod durable;
mod election;
mod engine;
mod follower;
mod founding;
mod identity;
mod links;
mod log;
mod message;
mod mutation;
mod quorums;
mod recovery;
mod replica;
mod requests;
mod sequencer;
mod state_machine;

pub use durable::record::Record;
pub use engine::LinearEngine;
pub use log::entry::{Entry, EntryHeader, Origin};
pub use log::epoch::{Epoch, LogIndex};
pub use log::tail::{Run, Tail};
pub use message::{Ack, Body, Forward, Message, Prepare, Promise, RecoverOk};
#[cfg(feature = "mutations")]
pub use mutation::Mutation;
pub use quorums::Quorums;
pub use recovery::checkpoint::StoredKey;
