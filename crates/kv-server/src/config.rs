//! What a server is told when it starts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use kv_core::{
    ClusterConfig, ClusterConfigError, ConsistencyEngine, Limits, NodeId, Page, Quorum,
    QuorumError, Timing,
};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_proto::{CLUSTER_NAME_LEN_MAX, ServerList};
use kv_storage::{SyncPolicy, data_directory_name};

use crate::delay::Delay;

/// Everything that a server is told: [`ServerConfig::new`], and what is to be otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Which server of the list this is.
    pub node: NodeId,
    /// The engine to run.
    pub consistency: Consistency,
    /// W.
    pub write_quorum: Quorum,
    /// R.
    pub read_quorum: Quorum,
    /// All servers of the cluster with their addresses, this one included.
    pub servers: ServerList,
    /// The cluster's name, which peers and clients must mean as well; at most
    /// [`CLUSTER_NAME_LEN_MAX`] bytes.
    pub cluster_name: String,
    /// Where the server keeps its data; `None` to keep it in memory only.
    pub data: Option<DataConfig>,
    /// Where clients of Redis's protocol are taken; `None` for nowhere.
    pub resp: Option<RespConfig>,
    /// Where the log of operations goes.
    pub op_log: Option<OpLogConfig>,
    /// How long each message to another server is held back.
    pub delay: Delay,
    /// How many clients may be connected at once; one more is refused.
    pub clients_max: usize,
    /// How many files and connections the server may have open at once, as the process's limit
    /// leaves it; where that is low it takes fewer connections, so that its disk does not go short.
    /// `None` if there is no such limit.
    pub open_files_max: Option<u64>,
    /// How many requests of one connection are taken at once; further ones wait in its socket.
    pub in_flight_max: u32,
    /// The engine's waiting times.
    pub timing: Timing,
    /// The engine's bounds.
    pub limits: Limits,
    /// Whether the first server of a linearizable cluster becomes the sequencer again whenever it has
    /// caught up.
    pub hand_back: bool,
    /// Whether an empty server may found a linearizable cluster where it meets none; true by default.
    pub may_found: bool,
    /// Is shown each page that a client's `dump` brings.
    pub on_dump: Option<DumpHook>,
    /// Is told now and then how far a server has come that reads its data directory for long.
    pub on_recovery: Option<RecoveryHook>,
}

/// Is told every second how far a server has come that reads its data directory, on a thread that
/// may block.
#[derive(Clone)]
pub struct RecoveryHook(pub Arc<dyn Fn(&RecoveryProgress) + Send + Sync>);

impl fmt::Debug for RecoveryHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryHook(..)")
    }
}

/// How far a server has come that reads its data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// The directory.
    pub directory: PathBuf,
    /// How many items of the checkpoint were read so far, about one for each key.
    pub items: u64,
    /// How many records were read so far.
    pub records: u64,
}

/// Is shown each page that a client's `dump` brings, on a thread that may block.
#[derive(Clone)]
pub struct DumpHook(pub Arc<dyn Fn(&Page) + Send + Sync>);

impl fmt::Debug for DumpHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DumpHook(..)")
    }
}

/// Where a server keeps its data, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataConfig {
    /// The folder of the data directories; this server's is [`ServerConfig::data_directory`].
    pub folder: PathBuf,
    /// When what was written is synced, and so what a loss of power may cost.
    pub sync: SyncPolicy,
    /// How many bytes of records are kept before a checkpoint makes them dispensable.
    pub checkpoint_bytes: u64,
}

impl DataConfig {
    /// The folder that `kv-server` keeps data in unless it is told another.
    pub const FOLDER: &str = "kv-data";

    /// 64 MiB, the default of [`DataConfig::checkpoint_bytes`].
    pub const CHECKPOINT_BYTES: u64 = 64 << 20;

    /// Data in this folder, synced always.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            sync: SyncPolicy::Always,
            checkpoint_bytes: Self::CHECKPOINT_BYTES,
        }
    }

    /// The same, synced so.
    #[must_use]
    pub const fn with_sync(mut self, sync: SyncPolicy) -> Self {
        self.sync = sync;
        self
    }

    /// The same with so many bytes of records before a checkpoint.
    #[must_use]
    pub const fn with_checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }
}

/// Where a server takes clients of Redis's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RespConfig {
    /// `host:port`.
    pub address: String,
    /// Whether the server starts without them if it cannot listen there.
    pub is_optional: bool,
}

impl RespConfig {
    /// An address on which the server must be able to listen.
    #[must_use]
    pub const fn required(address: String) -> Self {
        Self { address, is_optional: false }
    }

    /// An address without which the server starts where it cannot listen there.
    #[must_use]
    pub const fn optional(address: String) -> Self {
        Self { address, is_optional: true }
    }
}

/// Where the log of operations goes and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpLogConfig {
    /// The folder; the file is `output_log<ID>.txt`.
    pub folder: PathBuf,
    /// At this many bytes the file is renamed to `output_log<ID>.txt.1`, replacing an older one,
    /// and a new one is begun.
    pub rotate_bytes: u64,
}

impl OpLogConfig {
    /// In this folder, up to so many bytes a file.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, rotate_bytes: u64) -> Self {
        Self { folder: folder.into(), rotate_bytes }
    }
}

/// The consistency model of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Leaderless, W and R acknowledgements, last writer wins.
    Eventual,
    /// One order of all operations, through a sequencer.
    Linearizable,
}

impl ServerConfig {
    /// A configuration with defaults for all but the four that the command line names.
    #[must_use]
    pub fn new(node: NodeId, consistency: Consistency, write: Quorum, read: Quorum) -> Self {
        Self {
            node,
            consistency,
            write_quorum: write,
            read_quorum: read,
            servers: ServerList::default(),
            cluster_name: DEFAULT_CLUSTER.to_owned(),
            data: None,
            resp: None,
            op_log: None,
            delay: Delay::OFF,
            clients_max: 1024,
            open_files_max: None,
            in_flight_max: 1024,
            timing: Timing::default(),
            limits: Limits::default(),
            hand_back: false,
            may_found: true,
            on_dump: None,
            on_recovery: None,
        }
    }

    /// The configuration that all servers of the cluster share.
    ///
    /// # Errors
    /// [`ConfigError`] if this server is not in the list, W or R cannot be had from it, or the
    /// cluster's name is too long.
    pub fn cluster(&self) -> Result<ClusterConfig, ConfigError> {
        if self.servers.address(self.node).is_none() {
            return Err(ConfigError::NotListed { node: self.node });
        }
        let len = self.cluster_name.len();
        if len > CLUSTER_NAME_LEN_MAX {
            return Err(ConfigError::ClusterNameTooLong { len });
        }
        Ok(ClusterConfig::new(self.servers.ids(), self.write_quorum, self.read_quorum)?)
    }

    /// Where this server keeps its data with the engine that [`ServerConfig::consistency`] names;
    /// `None` if in memory only.
    #[must_use]
    pub fn data_directory(&self) -> Option<PathBuf> {
        self.data_directory_named(self.consistency.engine_name())
    }

    /// Where it keeps its data with another engine, which
    /// [`Server::start_engine`](crate::Server::start_engine) starts.
    #[must_use]
    pub fn data_directory_of<E: ConsistencyEngine>(&self) -> Option<PathBuf> {
        self.data_directory_named(E::NAME)
    }

    fn data_directory_named(&self, engine: &str) -> Option<PathBuf> {
        let name = data_directory_name(self.node, engine);
        self.data.as_ref().map(|data| data.folder.join(name))
    }
}

/// Why a server's configuration is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list of servers lacks this one.
    #[error("server {node} is not in the list of servers: add it, on every server")]
    NotListed {
        /// This server.
        node: NodeId,
    },
    /// The cluster's name does not fit into a handshake.
    #[error(
        "the cluster's name has {len} bytes, over the limit of {CLUSTER_NAME_LEN_MAX}: choose a \
         shorter one"
    )]
    ClusterNameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// W, R or the list is outside its limits.
    #[error("{problem}{remedy}", problem = .0, remedy = remedy(*.0))]
    Cluster(ClusterConfigError),
}

impl From<ClusterConfigError> for ConfigError {
    fn from(problem: ClusterConfigError) -> Self {
        Self::Cluster(problem)
    }
}

const fn remedy(error: ClusterConfigError) -> &'static str {
    let ClusterConfigError::Quorum { problem: QuorumError::TooMany { .. }, .. } = error else {
        return "";
    };
    "; ask for fewer, or list more servers"
}

impl Consistency {
    /// The engine's name in handshakes.
    #[must_use]
    pub const fn engine_name(self) -> &'static str {
        match self {
            Self::Eventual => EventualEngine::NAME,
            Self::Linearizable => LinearEngine::NAME,
        }
    }
}

impl FromStr for Consistency {
    type Err = ConsistencyError;

    fn from_str(text: &str) -> Result<Self, ConsistencyError> {
        match text {
            "eventual" => Ok(Self::Eventual),
            "linearizability" | "linearizable" => Ok(Self::Linearizable),
            _ => Err(ConsistencyError),
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine_name())
    }
}

/// A word that names no consistency model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consistency model is `eventual` or `linearizability`")]
pub struct ConsistencyError;

/// The cluster name that servers and clients use unless they are told another.
pub const DEFAULT_CLUSTER: &str = "kv";

#[cfg(test)]
mod tests {
    use super::*;

    fn config(node: u16, servers: &str, write: u16) -> Result<ClusterConfig, ConfigError> {
        let node = NodeId::new(node).unwrap();
        let (write, read) = (Quorum::Count(write), Quorum::Count(1));
        let config = ServerConfig::new(node, Consistency::Eventual, write, read);
        ServerConfig { servers: servers.parse().unwrap(), ..config }.cluster()
    }

    #[test]
    fn the_name_of_a_cluster_has_a_limit() {
        let one = Quorum::Count(1);
        let mut config = ServerConfig::new(NodeId::FIRST, Consistency::Eventual, one, one);
        config.servers = "1".parse().unwrap();
        config.cluster_name = "k".repeat(CLUSTER_NAME_LEN_MAX);
        assert!(config.cluster().is_ok());
        config.cluster_name.push('k');
        let error = config.cluster().unwrap_err();
        assert_eq!(error, ConfigError::ClusterNameTooLong { len: CLUSTER_NAME_LEN_MAX + 1 });
    }

    #[test]
    fn a_server_must_be_in_its_own_list() {
        let node = NodeId::new(4).unwrap();
        assert_eq!(config(4, "1-3", 1), Err(ConfigError::NotListed { node }));
        assert_eq!(config(3, "1-3", 1).map(|cluster| cluster.nodes()), Ok(3));
    }

    #[test]
    fn quorums_are_held_against_the_list() {
        let problem = QuorumError::TooMany { asked: 4, nodes: 3 };
        let error = ClusterConfigError::Quorum { name: "W", problem };
        assert_eq!(config(1, "1-3", 4), Err(error.into()));
    }

    #[test]
    fn both_words_for_the_strong_model_are_taken() {
        for word in ["linearizability", "linearizable"] {
            assert_eq!(word.parse(), Ok(Consistency::Linearizable));
        }
        assert_eq!("strong".parse::<Consistency>(), Err(ConsistencyError));
    }
}
