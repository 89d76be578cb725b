//! How many connections a server takes, so that its disk always has files to open.

use std::rc::Rc;

use kv_core::ClusterConfig;
use tokio::sync::Semaphore;

use crate::config::ServerConfig;
use crate::net::bounds::strangers::Strangers;

/// Places for connections.
pub(crate) struct ConnectionSlots {
    /// For connections that have not said hello.
    pub(crate) strangers: Rc<Strangers>,
    pub(crate) clients: Semaphore,
    pub(crate) servers: Semaphore,
    /// Whether a limit of open files made them fewer.
    pub(crate) are_lowered: bool,
}

impl ConnectionSlots {
    pub(crate) fn new(config: &ServerConfig, cluster: &ClusterConfig) -> Self {
        let peers = cluster.peers_of(config.node).count();
        let bounds = ConnectionBounds::new(config.clients_max, peers, config.open_files_max);
        Self {
            strangers: Strangers::new(bounds.strangers),
            clients: Semaphore::new(bounds.clients),
            servers: Semaphore::new(bounds.servers),
            are_lowered: bounds.are_lowered,
        }
    }
}

/// How many connections a server takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionBounds {
    /// Of those that have not said hello; one more takes the place of the oldest.
    strangers: usize,
    /// Of clients; one more is refused.
    clients: usize,
    /// Of other servers, which have several for a short time when one is lost; one more is refused.
    servers: usize,
    are_lowered: bool,
}

impl ConnectionBounds {
    /// Bounds for a server with so many others, which may have `open_files_max` files and
    /// connections open.
    fn new(clients_max: usize, peers: usize, open_files_max: Option<u64>) -> Self {
        let bounds = Self {
            strangers: STRANGERS_MAX,
            clients: clients_max,
            servers: SERVERS_MAX,
            are_lowered: false,
        };
        let limit = open_files_max.map_or(usize::MAX, |max| max.try_into().unwrap_or(usize::MAX));
        let reserve = (limit / 4).clamp(RESERVE_MIN, RESERVE_MAX);
        // Each of the others is connected to as well.
        let left = limit.saturating_sub(reserve).saturating_sub(peers);
        if bounds.all() <= left {
            return bounds;
        }
        let servers = SERVERS_MAX.min(2 * peers).min(left / 2).max(1);
        let strangers = STRANGERS_MAX.min(left.saturating_sub(servers) / 4).max(1);
        let clients = clients_max.min(left.saturating_sub(servers + strangers)).max(1);
        let lowered = Self { strangers, clients, servers, are_lowered: true };
        if lowered.all() > left {
            tracing::error!(
                "a limit of {limit} open files is too low for a server: raise `ulimit -n`"
            );
        }
        tracing::warn!(
            "the limit of {limit} open files lets this server take {clients} clients at once, \
             {servers} connections of servers and {strangers} that have not said hello: raise \
             `ulimit -n`"
        );
        lowered
    }

    const fn all(&self) -> usize {
        self.strangers.saturating_add(self.clients).saturating_add(self.servers)
    }
}

/// How many connections may be open that have not said hello.
const STRANGERS_MAX: usize = 256;

/// How many connections of other servers are kept at once. Each server has one, and for a while
/// those that it does not know to be lost.
const SERVERS_MAX: usize = 128;

/// What is left for the disk, of which a small store has some ten files open, and for the program.
const RESERVE_MIN: usize = 48;

const RESERVE_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_of_open_files_leaves_the_disk_its_share() {
        let wanted = ConnectionBounds::new(1024, 9, None);
        assert_eq!((wanted.strangers, wanted.clients, wanted.servers), (256, 1024, 128));
        assert_eq!(ConnectionBounds::new(1024, 9, Some(1_000_000)), wanted);
        for limit in 80..3000 {
            for peers in [0, 1, 2, 9] {
                let bounds = ConnectionBounds::new(1024, peers, Some(limit));
                let limit = usize::try_from(limit).unwrap();
                assert!(bounds.all() + peers + RESERVE_MIN <= limit, "{limit}: {bounds:?}");
                assert!(bounds.strangers >= 1 && bounds.clients >= 1, "{limit}: {bounds:?}");
                assert!(bounds.servers >= peers, "{limit}: {bounds:?}");
                assert_eq!(bounds.are_lowered, bounds != wanted, "{limit}");
            }
        }
        let bounds = ConnectionBounds::new(1024, 0, Some(100));
        assert_eq!((bounds.strangers, bounds.clients, bounds.servers), (12, 39, 1));
        assert_eq!(ConnectionBounds::new(5, 0, Some(100)).clients, 5);
    }
}
