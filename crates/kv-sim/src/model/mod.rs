//! Model checking: every order of messages, disk writes, deadlines, calls and crashes within bounds.
//!
//! Two types to read first: [`Laws`], what must hold of an engine, and [`ClusterModel`], a cluster
//! of it that is searched or walked through at random. A deadline that comes is a step like any
//! other, so that nothing rests on how long something takes; how many come early is bounded, and so
//! are losses, copies and crashes. Checkpoints and snapshots have no part in it.
//!
//! ```
//! # fn check<E: kv_sim::model::Checked>() -> Result<(), Box<dyn std::error::Error>> {
//! use kv_core::{Key, Operation, Value};
//! use kv_sim::model::{Bounds, ClusterModel, Laws, Order};
//!
//! let key = Key::new("k")?;
//! let calls = vec![
//!     (1, Operation::put(key.clone(), Value::new("green")?)),
//!     (2, Operation::get(key)),
//! ];
//! let bounds = Bounds { losses: 1, ..Bounds::new(2, 2, 1, calls) };
//! let model = ClusterModel::<E>::new(bounds, Laws::LINEARIZABLE);
//! let seen = model.search(Order::BreadthFirst, 100_000)?;
//! assert!(seen.whole && seen.all_done);
//! # Ok(())
//! # }
//! ```
//!
//! # Panics
//! A cluster of bounds that cannot be made, or that does not come to serve by itself, and calls that
//! are no get, put or delete of one key, end the check with a panic.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "places and numbers are the model's own, and it has nobody to answer but a test"
)]

mod calls;
mod cluster;
mod search;
mod state;
mod tell;
mod walk;

pub use calls::linearizable;
pub use cluster::{ClusterModel, Recover};
pub use search::{Order, Seen, Wrong};
pub use state::{Bounds, Checked, Flying, Laws, Server, State, Step};
pub use walk::Walked;
