//! How a connection was lost, or never came about.

use std::fmt;
use std::io;
use std::time::Duration;

use kv_core::{ClusterId, NodeId, NotDone};
use kv_proto::{FrameError, Refusal};

/// Why a server gave no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// It cannot be reached.
    #[error("{kind}")]
    Unreachable {
        /// How the attempt failed.
        kind: io::ErrorKind,
    },
    /// It cannot be reached, for a reason that has no name among the kinds.
    #[error("{why}")]
    Failed {
        /// The system's words.
        why: String,
    },
    /// The name of its host is not known.
    #[error("the name of {address} cannot be found: {why}")]
    NameNotFound {
        /// What was looked up.
        address: String,
        /// The system's words.
        why: String,
    },
    /// It did not accept the connection or answer the handshake in time.
    #[error("no answer within {after:?}")]
    Silent {
        /// How long the client waited.
        after: Duration,
    },
    /// It does not take this client.
    #[error("{0}")]
    Refused(Refusal),
    /// It ended the connection in the middle of the handshake, or what answers is no server.
    #[error("{0}")]
    Lost(LostReason),
    /// No server has so long a name of its cluster.
    #[error("the cluster's name is too long: use the name that the servers were started with")]
    ClusterNameTooLong,
    /// Another server than the one that is meant answers there.
    #[error("server {found} answers there: correct the list of servers")]
    OtherServer {
        /// Which.
        found: NodeId,
    },
    /// It serves another store than the one that this session began with.
    #[error(
        "it runs the {theirs} engine, and this session began with the {ours} one: that is another \
         store; begin a new session to use it"
    )]
    OtherEngine {
        /// The engine that the session began with.
        ours: String,
        /// The engine that this server runs.
        theirs: String,
    },
    /// It serves another store than the one that this session began with.
    #[error(
        "it holds cluster {:016x}, and this session began with cluster {:016x}: that is another \
         store; begin a new session to use it", theirs.0, ours.0
    )]
    OtherCluster {
        /// The cluster that the session began with.
        ours: ClusterId,
        /// The cluster that this server holds.
        theirs: ClusterId,
    },
}

/// An attempt to connect that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// The server that was tried.
    pub server: NodeId,
    /// What went wrong.
    pub error: DialError,
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}: {}", self.server, self.error)
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostReason {
    /// The server closed it.
    #[error("connection closed")]
    Closed,
    /// It failed.
    #[error("{kind}")]
    Failed {
        /// How.
        kind: io::ErrorKind,
    },
    /// It failed, for a reason that has no name among the kinds.
    #[error("{why}")]
    System {
        /// The system's words.
        why: String,
    },
    /// What came is not the protocol.
    #[error("it sent what is not the protocol: {why}")]
    Garbage {
        /// In words.
        why: String,
    },
    /// It gave no answer in time, and nothing else either.
    #[error("nothing came from it for {after:?}")]
    Silent {
        /// How long the client waited.
        after: Duration,
    },
    /// The server sent a message that has no place there.
    #[error("it sent a message that has no place there")]
    OutOfPlace,
    /// The server ended it with a reason.
    #[error("{0}")]
    Refused(Refusal),
    /// The client left a server that could not serve for some time.
    #[error("it does not serve: {reason}")]
    NotServing {
        /// What the server said.
        reason: NotDone,
    },
}

impl From<io::Error> for LostReason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            kind if has_name(kind) => Self::Failed { kind },
            _ => Self::System { why: error.to_string() },
        }
    }
}

impl From<FrameError> for LostReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => error.into(),
            FrameError::UnexpectedKind { .. } => Self::OutOfPlace,
            FrameError::TooLarge { .. }
            | FrameError::Version { .. }
            | FrameError::Checksum
            | FrameError::Group { .. }
            | FrameError::Decode(_) => Self::Garbage { why: error.to_string() },
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            kind if has_name(kind) => Self::Unreachable { kind },
            _ => Self::Failed { why: error.to_string() },
        }
    }
}

/// Whether the kind says anything; the standard library has one for all that it does not know.
fn has_name(kind: io::ErrorKind) -> bool {
    !matches!(kind.to_string().as_str(), "uncategorized error" | "other error")
}

/// ` (server 2: connection refused)`, or nothing where nothing is known.
pub(crate) fn first_of(failures: &[DialFailure]) -> String {
    failures.first().map_or_else(String::new, |failure| format!(" ({failure})"))
}
