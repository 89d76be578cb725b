//! A third engine, as an example of how to write one: the majority register of Attiya, Bar-Noy and
//! Dolev (*Sharing Memory Robustly in Message-Passing Systems*, 1995), for many writers (Lynch &
//! Shvartsman, *Robust Emulation of Shared Memory*, 1997).
//!
//! Each key is a register of its own. A write asks a quorum for the key's newest [`Tag`], and stores
//! its value under a greater one at a quorum. A read asks a quorum for the newest value, and stores
//! that at a quorum before it shows it, unless all who answered have it: otherwise a later read could
//! show an older value. What a server holds is on its disk before it counts. There is no leader, and
//! nobody has to be chosen: any majority serves at once, whoever is away.
//!
//! Two types to read first: [`AbdEngine`], which implements
//! [`ConsistencyEngine`](kv_core::ConsistencyEngine), and [`Message`], what its servers ask each
//! other. It depends on `kv-core` alone; `docs/third-engine.md` goes through it step by step.
//!
//! It is linearizable key by key. What it does not do: increments and conditions (a register cannot),
//! several keys at once, keys that expire, to forget deleted keys, and to go on without its disk.
//!
//! ```
//! use kv_abd::AbdEngine;
//! use kv_core::local::LocalCluster;
//! use kv_core::{ClusterConfig, Key, NodeId, Operation, Outcome, Quorum, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let [first, second, third] = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
//! let cluster = ClusterConfig::new([first, second, third], Quorum::Majority, Quorum::Majority)?;
//! let mut local = LocalCluster::<AbdEngine>::start(cluster, 7)?;
//!
//! let colour = Key::new("colour")?;
//! let put = Operation::put(colour.clone(), Value::new("green")?);
//! assert!(matches!(local.execute(first, put), Some(Outcome::Done(_))));
//! assert!(matches!(local.execute(third, Operation::get(colour)), Some(Outcome::Done(_))));
//! # Ok(())
//! # }
//! ```

mod coordinator;
mod engine;
mod message;
mod replica;
mod rule;

pub use engine::AbdEngine;
pub use message::{CallId, Held, Message, Record, Tag};
#[cfg(feature = "mutations")]
pub use rule::Rule;
