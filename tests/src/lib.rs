//! What the end-to-end tests need to run real servers and clients.
//!
//! Two types to read first: [`Site`], a folder and an address of its own, where a test types the
//! commands that a person would type; and [`Process`], one running program whose output can be
//! waited for. The tests themselves stand in `tests/`, one file per behaviour.
//!
//! The tests need Linux: they use addresses all over 127.0.0.0/8.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what its processes said"
)]

mod bench;
mod binaries;
mod filling;
mod history;
mod loopback;
mod network;
mod op_log;
mod process;
mod proxy;
mod raw_connection;
mod redis;
mod service;
mod site;
mod small_disk;
mod transcript;

pub use bench::{chosen_parts, machine};
pub use binaries::{Program, program};
pub use filling::fill;
pub use history::{Access, History, NotLinearizable};
pub use loopback::Loopback;
pub use network::{Cut, Network};
pub use op_log::{OpLogEvent, OpLogLine, read_op_log};
pub use process::{PATIENCE, Process, wait_until};
pub use proxy::{Mood, Proxy};
pub use raw_connection::RawConnection;
pub use redis::RedisServer;
pub use service::Service;
pub use site::Site;
pub use small_disk::SmallDisk;
pub use transcript::Stream;
