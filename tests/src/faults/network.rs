//! What stands between the servers of a cluster, so that one can be cut off from the others while
//! clients still reach it.

use std::collections::BTreeMap;

use crate::faults::proxy::{Mood, Proxy};
use crate::running::site::Site;
use kv_core::NodeId;
use kv_proto::ServerList;

/// A proxy for each ordered pair of servers: the first one dials the second one through it.
///
/// Each server sends its messages on connections that it has dialled itself.
pub struct Network {
    proxies: BTreeMap<(u16, u16), Proxy>,
}

/// Which messages between a server and all others are cut off.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// All, while connections stand until a server gives them up, as with packets that are dropped.
    BothWays,
    /// Those that it sends.
    Outgoing,
    /// Those that it is to receive.
    Incoming,
    /// All, and at once: connections are closed, and new ones too.
    Refused,
}

impl Network {
    /// Proxies between these servers of a site. To be called in a runtime.
    pub async fn between(site: &Site, servers: &[u16]) -> Self {
        let mut proxies = BTreeMap::new();
        for from in servers {
            for to in servers.iter().filter(|to| *to != from) {
                proxies.insert((*from, *to), Proxy::start(site.address(*to)).await);
            }
        }
        Self { proxies }
    }

    /// The list of servers as one of them is to see it: its own address, and proxies for the others.
    #[must_use]
    pub fn servers_of(&self, site: &Site, id: u16) -> ServerList {
        let proxies = self.proxies.iter().filter(|((from, _), _)| *from == id);
        let others = proxies.map(|((_, to), proxy)| (*to, proxy.address()));
        let all = others.chain([(id, site.address(id))]);
        let named = all.map(|(id, address)| (NodeId::new(id).unwrap(), address.to_string()));
        ServerList::new(named).unwrap()
    }

    /// Cuts a server off from all others.
    pub fn cut_off(&self, id: u16, cut: Cut) {
        let (dialled, accepted) = match cut {
            Cut::BothWays => (Mood::Cut, Mood::Cut),
            Cut::Outgoing => (Mood::CutForth, Mood::CutBack),
            Cut::Incoming => (Mood::CutBack, Mood::CutForth),
            Cut::Refused => (Mood::Close, Mood::Close),
        };
        self.set(id, dialled, accepted);
    }

    /// Lets everything from and to a server pass again.
    pub fn heal(&self, id: u16) {
        self.set(id, Mood::Pass, Mood::Pass);
    }

    /// Sets the moods for the connections that the server dials, and for those that it accepts.
    fn set(&self, id: u16, dialled: Mood, accepted: Mood) {
        for ((from, to), proxy) in &self.proxies {
            if *from == id {
                proxy.set(dialled);
            } else if *to == id {
                proxy.set(accepted);
            }
        }
    }
}
