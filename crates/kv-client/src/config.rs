//! What a client is told.

use std::time::Duration;

use kv_core::NodeId;
use kv_proto::ServerList;

/// What a client is told. `ClientConfig::default()` means the ten default servers of this machine;
/// [`ClientConfig::new`] names others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The servers of the cluster.
    pub servers: ServerList,
    /// The server to begin with; the one after it, if it is not in the list. 1 by default.
    pub first: NodeId,
    /// The cluster's name, `kv` by default; servers of another cluster refuse the client.
    pub cluster: String,
    /// How long a request may take where none of its own time is given; 5 s by default.
    pub timeout: Duration,
    /// How much longer than a request's time to wait for the server's answer, which says more than
    /// the client can; 1 s by default.
    pub grace: Duration,
    /// How long a server may take to accept a connection and to answer the handshake, before the
    /// next one is tried; 1 s by default.
    pub dial_timeout: Duration,
    /// Whether to go to the server that orders the requests of all, where the engine has one, and
    /// after it when another takes its place; true by default. Otherwise the client stays with the
    /// server that it begins with for as long as that serves it, whose reads then cost the sequencer
    /// little.
    pub follow_sequencer: bool,
    /// Whether to tell the servers what this client has seen of a key, so that no answer goes back behind
    /// that (eventual engine); true by default. A read waits for it, at the cost of a round trip where
    /// the first server is behind, and ends with [`NotDone::NotCaughtUp`](kv_core::NotDone::NotCaughtUp)
    /// if no server that answers has it; a write whose client has seen something stamped more than ten
    /// seconds ahead of the server's clock is refused with
    /// [`NotDone::ClockSkew`](kv_core::NotDone::ClockSkew). It holds for requests of one key, and for the
    /// last 8,192 keys of which there was an answer. Of a request that brings its own
    /// [`RequestOptions::seen`](kv_core::RequestOptions::seen) the newer of the two counts.
    pub session_guarantees: bool,
    /// The most requests in hand, at least 1; 1024 by default. Callers wait beyond that, within
    /// their request's time.
    pub in_flight_max: u32,
}

impl ClientConfig {
    /// A client of these servers.
    #[must_use]
    pub fn new(servers: ServerList) -> Self {
        Self::default().with_servers(servers)
    }

    /// The same with these servers.
    #[must_use]
    pub fn with_servers(mut self, servers: ServerList) -> Self {
        self.servers = servers;
        self
    }

    /// The same with this server to begin with.
    #[must_use]
    pub const fn with_first(mut self, first: NodeId) -> Self {
        self.first = first;
        self
    }

    /// The same in the cluster of this name.
    #[must_use]
    pub fn with_cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// The same with this time for a request.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with so much longer to wait for a server's answer.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The same with this time for a connection.
    #[must_use]
    pub const fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// The same, following the sequencer or not.
    #[must_use]
    pub const fn with_follow_sequencer(mut self, follow: bool) -> Self {
        self.follow_sequencer = follow;
        self
    }

    /// The same with [`ClientConfig::session_guarantees`].
    #[must_use]
    pub const fn with_session_guarantees(mut self, keeps: bool) -> Self {
        self.session_guarantees = keeps;
        self
    }

    /// The same with this bound on requests in hand.
    #[must_use]
    pub const fn with_in_flight_max(mut self, requests: u32) -> Self {
        self.in_flight_max = requests;
        self
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            servers: ServerList::default(),
            first: NodeId::FIRST,
            cluster: "kv".to_owned(),
            timeout: Duration::from_secs(5),
            grace: Duration::from_secs(1),
            dial_timeout: Duration::from_secs(1),
            follow_sequencer: true,
            session_guarantees: true,
            in_flight_max: 1024,
        }
    }
}
