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
mod faults;
mod filling;
mod history;
mod op_log;
mod raw_connection;
mod running;
mod service;

pub use bench::{chosen_parts, machine};
pub use faults::network::{Cut, Network};
pub use faults::proxy::{Mood, Proxy};
pub use faults::small_disk::SmallDisk;
pub use filling::fill;
pub use history::{Access, History, NotLinearizable};
pub use op_log::{OpLogEvent, OpLogLine, read_op_log};
pub use raw_connection::RawConnection;
pub use running::binaries::{Program, program};
pub use running::loopback::Loopback;
pub use running::process::{PATIENCE, Process, wait_until};
pub use running::redis::RedisServer;
pub use running::site::Site;
pub use running::transcript::Stream;
pub use service::Service;
