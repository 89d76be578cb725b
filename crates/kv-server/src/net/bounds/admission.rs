//! Who may connect, and why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kv_core::{ClusterConfig, ClusterId, GroupId, Incarnation, NodeId};
use kv_proto::{Hello, Refusal, RefusalCode, Role, Welcome};

/// What a server says of itself in a handshake, and holds others against.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) cluster_name: String,
    pub(crate) engine: &'static str,
    pub(crate) config: ClusterConfig,
    /// Whether all servers must have the same quorums.
    pub(crate) shared_quorums: bool,
    pub(crate) in_flight_max: u32,
    /// Whether the engine keeps sessions.
    pub(crate) sessions: bool,
    /// The server's incarnation as far as the driver has seen; the engine chooses it once it runs.
    pub(crate) incarnation: Arc<AtomicU64>,
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Client,
    Server(NodeId),
}

impl Identity {
    /// What this server says when it opens a connection to a peer.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            cluster: self.cluster_name.clone(),
            role: Role::Server {
                node: self.node,
                incarnation: self.incarnation(),
                engine: self.engine.to_owned(),
                config: self.config.clone(),
            },
        }
    }

    /// What this server says when it accepts a connection.
    pub(crate) fn welcome(
        &self,
        cluster_id: Option<ClusterId>,
        sequencer: Option<NodeId>,
    ) -> Welcome {
        Welcome {
            node: self.node,
            incarnation: self.incarnation(),
            engine: self.engine.to_owned(),
            config: self.config.clone(),
            cluster_id,
            in_flight_max: self.in_flight_max,
            sessions: self.sessions,
            sequencer,
        }
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Relaxed))
    }

    /// The group that all connections are for.
    pub(crate) const GROUP: GroupId = GroupId(0);

    /// Decides whether whoever says hello may stay.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<Admitted, Refusal> {
        if hello.cluster != self.cluster_name {
            return Err(Refusal::new(
                RefusalCode::Cluster,
                format_args!(
                    "server {} belongs to cluster `{}`, not `{}`: connect to another server or \
                     use `--cluster {}`",
                    self.node, self.cluster_name, hello.cluster, self.cluster_name
                ),
            ));
        }
        match &hello.role {
            Role::Client => Ok(Admitted::Client),
            Role::Server { node, engine, config, .. } => {
                self.admit_server(*node, engine, config)?;
                Ok(Admitted::Server(*node))
            }
        }
    }

    /// The refusal of a server that says it is one which is connected already.
    pub(crate) fn twice(&self, node: NodeId) -> Refusal {
        let message = format!(
            "server {node} is connected to server {} already: two servers were started with the id \
             {node}; stop one of them",
            self.node
        );
        Refusal::new(RefusalCode::Node, message)
    }

    fn admit_server(
        &self,
        node: NodeId,
        engine: &str,
        config: &ClusterConfig,
    ) -> Result<(), Refusal> {
        let ours = self.node;
        if node == ours {
            let message = format!(
                "this is server {ours} as well: two servers were started with the same id, or \
                 `--servers` gives the address of one to another"
            );
            return Err(Refusal::new(RefusalCode::Node, message));
        }
        if engine != self.engine {
            let message = format!(
                "server {node} runs the {engine} engine, server {ours} the {} engine: all servers \
                 of a cluster run the same; restart one of them with the other's model",
                self.engine
            );
            return Err(Refusal::new(RefusalCode::Configuration, message));
        }
        let same = if self.shared_quorums {
            *config == self.config
        } else {
            config.voters() == self.config.voters()
        };
        if same && !self.config.voters().contains(&node) {
            let message = format!(
                "server {node} is none of the servers of this cluster, which are {}: start it with an id \
                 and a `--servers` that all of them have",
                self.config
            );
            return Err(Refusal::new(RefusalCode::Node, message));
        }
        if same {
            return Ok(());
        }
        let what = if self.shared_quorums { "W, R and --servers" } else { "--servers" };
        let message = format!(
            "server {node} was started with {config}; server {ours} with {}: {what} must be the \
             same on all servers of a cluster; restart server {node} with what server {ours} has, \
             or server {ours} with what server {node} has",
            self.config
        );
        Err(Refusal::new(RefusalCode::Configuration, message))
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Quorum;

    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn config(nodes: u16, write: u16) -> ClusterConfig {
        ClusterConfig::new((1..=nodes).map(node), Quorum::Count(write), Quorum::Count(1)).unwrap()
    }

    fn identity(shared_quorums: bool) -> Identity {
        Identity {
            node: node(1),
            cluster_name: "kv".to_owned(),
            engine: "linearizable",
            config: config(3, 2),
            shared_quorums,
            in_flight_max: 1,
            sessions: false,
            incarnation: Arc::default(),
        }
    }

    fn server(number: u16, engine: &str, config: ClusterConfig) -> Hello {
        let (node, engine) = (node(number), engine.to_owned());
        let role = Role::Server { node, incarnation: Incarnation::UNKNOWN, engine, config };
        Hello { cluster: "kv".to_owned(), role }
    }

    fn refusal(identity: &Identity, hello: &Hello) -> (RefusalCode, String) {
        let refusal = identity.admit(hello).unwrap_err();
        (refusal.code, refusal.message)
    }

    #[test]
    fn clients_and_fitting_servers_are_admitted() {
        let client = Hello { cluster: "kv".to_owned(), role: Role::Client };
        assert_eq!(identity(true).admit(&client), Ok(Admitted::Client));
        let peer = server(2, "linearizable", config(3, 2));
        assert_eq!(identity(true).admit(&peer), Ok(Admitted::Server(node(2))));
    }

    #[test]
    fn a_handshake_names_the_incarnation_that_the_driver_has_seen() {
        let identity = identity(true);
        assert_eq!(identity.welcome(None, None).incarnation, Incarnation::UNKNOWN);
        identity.incarnation.store(7, Ordering::Relaxed);
        assert_eq!(identity.welcome(None, None).incarnation, Incarnation(7));
        assert!(matches!(identity.hello().role, Role::Server { incarnation: Incarnation(7), .. }));
    }

    #[test]
    fn other_quorums_are_refused_only_where_they_are_the_clusters() {
        let peer = server(2, "linearizable", config(3, 1));
        assert_eq!(
            refusal(&identity(true), &peer),
            (
                RefusalCode::Configuration,
                "server 2 was started with N=3 W=1 R=1, servers 1 2 3; server 1 with N=3 W=2 R=1, \
                 servers 1 2 3: W, R and --servers must be the same on all servers of a cluster; \
                 restart server 2 with what server 1 has, or server 1 with what server 2 has"
                    .to_owned()
            )
        );
        assert_eq!(identity(false).admit(&peer), Ok(Admitted::Server(node(2))));
        let longer_list = server(2, "linearizable", config(4, 2));
        assert_eq!(refusal(&identity(false), &longer_list).0, RefusalCode::Configuration);
    }

    #[test]
    fn the_own_id_another_engine_and_another_cluster_are_refused() {
        let code = |hello| refusal(&identity(true), &hello).0;
        assert_eq!(code(server(1, "linearizable", config(3, 2))), RefusalCode::Node);
        assert_eq!(code(server(2, "eventual", config(3, 2))), RefusalCode::Configuration);
        assert_eq!(code(server(4, "linearizable", config(3, 2))), RefusalCode::Node);
        let other = Hello { cluster: "other".to_owned(), role: Role::Client };
        assert_eq!(code(other), RefusalCode::Cluster);
    }
}
