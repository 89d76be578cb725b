//! The server: one engine wired to sockets, in a process of its own or inside another program.
//!
//! Use it to run a replicated key-value store inside a program that has a tokio runtime (with
//! `default-features = false`, since the feature `cli` is the program): one server
//! of a cluster whose others run elsewhere, a whole cluster for tests, or an engine of your own
//! behind the same sockets and clients ([`Server::start_engine`]). To run an engine over a
//! transport of your own, and without a runtime, use `kv_core::driver` with an engine.
//!
//! Two types to read first: [`Server`], a server under way, and [`ServerConfig`], what it is
//! told. [`LocalClient`] talks to a server in the same process.
//!
//! A server runs in one loop on a thread of its own. A put is read by `net/session` and given to
//! `kv_core`'s driver core at once, which steps the engine; in the turn that follows, `driver` hands
//! records to the disk through `data`, and writes messages to peers and answers to clients straight
//! into their connections. `op_log` notes what was asked and answered.
//!
//! ```
//! use kv_server::{Consistency, Key, NodeId, Operation, Quorum, RequestOptions, Value};
//! use kv_server::{Server, ServerConfig};
//! use tokio::net::TcpListener;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! let one = Quorum::Count(1);
//! let mut config = ServerConfig::new(NodeId::FIRST, Consistency::Eventual, one, one);
//! config.servers = "1".parse()?;
//! let server = Server::start_on(TcpListener::bind("127.0.0.1:0").await?, config).await?;
//!
//! let put = Operation::put(Key::new("x")?, Value::new("1")?);
//! let done = server.client().execute(put, RequestOptions::default()).await?;
//! assert!(done.version.is_some());
//! server.stop().await?;
//! # Ok(())
//! # })
//! # }
//! ```

mod client_number;
mod config;
mod data;
mod delay;
mod driver;
mod failure;
mod local;
mod net;
mod op_log;
mod promises;
mod server;

pub use config::{
    ConfigError, Consistency, ConsistencyError, DEFAULT_CLUSTER, DataConfig, DumpHook, OpLogConfig,
    RecoveryHook, RecoveryProgress, RespConfig, ServerConfig,
};
pub use data::{FoundData, SetAside};
pub use delay::{Delay, DelayError};
pub use driver::Readiness;
pub use failure::{ServerError, StartError};
#[doc(no_inline)]
pub use kv_core::{
    Answer, Batch, BatchError, CannotLead, Check, ClusterConfig, ClusterConfigError, Command,
    CommandResult, Condition, ConsistencyEngine, Counter, Done, Dump, ExpiryMs, Feature,
    HaltReason, Key, KeyExpiry, Level, Limits, NoResult, NodeId, NotDone, Operation, Outcome, Page,
    Quorum, QuorumError, RecoverError, RequestIdentity, RequestOptions, Role, Scan, Served,
    SessionId, SizeError, Status, TimeToLive, Timing, Unknown, Value, Version, Versioned, Waiting,
};
#[doc(no_inline)]
pub use kv_proto::{ServerList, ServerListError};
#[doc(no_inline)]
pub use kv_storage::{CheckpointError, DataDirectoryError, DiskError, JournalError, SyncPolicy};
pub use local::{LocalClient, LocalError, ServerGone};
pub use op_log::OpLogError;
pub use promises::promises;
pub use server::Server;
#[doc(no_inline)]
pub use {bytes, kv_core, kv_proto};
