//! How a connection begins.

use std::fmt;

use bytes::{Bytes, BytesMut};
use kv_core::{
    ClusterConfig, ClusterId, DecodeError, Incarnation, NodeId, Waiting, Wire, wire_enum,
    wire_struct,
};

use crate::frame::PROTOCOL_VERSION;

/// The first message on a connection, from the side that opened it. The protocol version stands
/// in the frame's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name of the cluster that is meant; no cluster's is over [`CLUSTER_NAME_LEN_MAX`].
    pub cluster: String,
    /// Who opens the connection.
    pub role: Role,
}

wire_struct!(Hello { cluster, role });

/// Who opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client, which sends requests.
    Client,
    /// A server, which sends its engine's messages.
    Server {
        /// Which.
        node: NodeId,
        /// Its incarnation; [`Incarnation::UNKNOWN`] while it is joining.
        incarnation: Incarnation,
        /// The engine that it runs.
        engine: String,
        /// The configuration that it was told.
        config: ClusterConfig,
    },
}

wire_enum!(Role, "role", { 0 => Client, 1 => Server { node, incarnation, engine, config } });

/// The answer to a [`Hello`] that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The server that answers.
    pub node: NodeId,
    /// Its incarnation; [`Incarnation::UNKNOWN`] while it is joining.
    pub incarnation: Incarnation,
    /// The engine that it runs.
    pub engine: String,
    /// The configuration that it works under.
    pub config: ClusterConfig,
    /// The cluster whose data it holds; `None` before it has founded or joined one, and in an engine
    /// whose clusters have no id.
    pub cluster_id: Option<ClusterId>,
    /// How many requests of this connection it takes at once; further ones wait in the socket.
    pub in_flight_max: u32,
    /// Whether it keeps sessions, in which each write takes effect once.
    pub sessions: bool,
    /// The server that orders the requests of all, as far as this one knows. `None` in an engine
    /// without one, and while nobody is known to.
    pub sequencer: Option<NodeId>,
}

wire_struct!(Welcome {
    node,
    incarnation,
    engine,
    config,
    cluster_id,
    in_flight_max,
    sessions,
    sequencer
});

/// What a server tells its clients whenever it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The server that orders the requests of all; see [`Welcome::sequencer`].
    pub sequencer: Option<NodeId>,
    /// What this server waits for; `None` while it serves.
    pub waiting: Option<Waiting>,
    /// The cluster whose data it holds; see [`Welcome::cluster_id`].
    pub cluster_id: Option<ClusterId>,
}

wire_struct!(ServerState { sequencer, waiting, cluster_id });

/// Why a connection is closed, in one line that says what to do.
///
/// Its byte form is the same in every protocol version, so that an older or newer program can
/// show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The reason, for programs.
    pub code: RefusalCode,
    /// The reason, for people.
    pub message: String,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    /// The other side speaks another protocol version.
    Version,
    /// The other side means another cluster.
    Cluster,
    /// The other server runs another engine, or has another configuration.
    Configuration,
    /// The other server's id is not in the cluster, or is this server's own.
    Node,
    /// The server has as many connections as it may.
    Full,
    /// What was sent is not this protocol, or is damaged.
    Malformed,
    /// A reason that this program does not know yet.
    Other(u8),
}

impl Refusal {
    /// A refusal with a message for people, which is cut if it would not fit into a handshake: it may
    /// repeat what the other side sent.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        if message.len() > MESSAGE_LEN_MAX {
            let cut = (0..=MESSAGE_LEN_MAX).rev().find(|len| message.is_char_boundary(*len));
            message.truncate(cut.unwrap_or(0));
        }
        Self { code, message }
    }

    /// The refusal of a program that speaks version `theirs`.
    #[must_use]
    pub fn of_version(theirs: u8) -> Self {
        let older = if theirs < PROTOCOL_VERSION { "that program" } else { "this server" };
        Self::new(
            RefusalCode::Version,
            format_args!(
                "this server speaks protocol version {PROTOCOL_VERSION}, not {theirs}: use \
                 programs of one release (upgrade {older})"
            ),
        )
    }
}

impl Wire for Refusal {
    fn encode(&self, out: &mut BytesMut) {
        self.code.encode(out);
        self.message.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self { code: Wire::decode(input)?, message: Wire::decode(input)? })
    }
}

impl Wire for RefusalCode {
    fn encode(&self, out: &mut BytesMut) {
        let code = match self {
            Self::Version => 1,
            Self::Cluster => 2,
            Self::Configuration => 3,
            Self::Node => 4,
            Self::Full => 5,
            Self::Malformed => 6,
            Self::Other(code) => *code,
        };
        code.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(match u8::decode(input)? {
            1 => Self::Version,
            2 => Self::Cluster,
            3 => Self::Configuration,
            4 => Self::Node,
            5 => Self::Full,
            6 => Self::Malformed,
            code => Self::Other(code),
        })
    }
}

/// The greatest length of a cluster's name, in bytes, so that a hello fits into its frame.
pub const CLUSTER_NAME_LEN_MAX: usize = 1 << 10;

const MESSAGE_LEN_MAX: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use kv_core::{GroupId, Quorum};

    use super::*;
    use crate::frame::put_message;

    #[test]
    fn the_longest_hello_and_its_welcome_fit_into_their_frames() {
        let nodes = (1..=10).map(|id| NodeId::new(id).unwrap());
        let config = ClusterConfig::new(nodes, Quorum::Count(1), Quorum::Count(1)).unwrap();
        let (node, incarnation, engine) = (NodeId::FIRST, Incarnation::UNKNOWN, "e".repeat(64));
        let welcome = Welcome {
            node,
            incarnation,
            engine: engine.clone(),
            config: config.clone(),
            cluster_id: Some(ClusterId(u64::MAX)),
            in_flight_max: u32::MAX,
            sessions: true,
            sequencer: None,
        };
        let role = Role::Server { node, incarnation, engine, config };
        let hello = Hello { cluster: "k".repeat(CLUSTER_NAME_LEN_MAX), role };
        assert_eq!(put_message(GroupId(0), &hello, &mut BytesMut::new()), Ok(()));
        assert_eq!(put_message(GroupId(0), &welcome, &mut BytesMut::new()), Ok(()));
    }

    #[test]
    fn a_long_refusal_is_cut_so_that_it_can_be_sent() {
        let short = "server 1 belongs to another cluster";
        assert_eq!(Refusal::new(RefusalCode::Cluster, short).message, short);
        let long = "a".to_owned() + &"ä".repeat(MESSAGE_LEN_MAX);
        let refusal = Refusal::new(RefusalCode::Cluster, &long);
        assert_eq!(refusal.message.len(), MESSAGE_LEN_MAX - 1, "no half characters");
        assert!(long.starts_with(&refusal.message));
        assert!(put_message(GroupId(0), &refusal, &mut BytesMut::new()).is_ok());
    }
}
