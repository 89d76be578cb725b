//! An empty server that may found a cluster: it finds out what its peers hold, and founds one if
//! that is nothing.

pub(crate) mod joining;

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{ClusterId, Incarnation, NodeId, Waiting};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::identity::{Identity, Salvaged};
use crate::log::epoch::Epoch;
use crate::message::Body;
use crate::mutation::Mutation;

/// What is known of the peers before there is a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Founding {
    nonce: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// From here on, peers that have not answered are taken to be down; `None` once that is past.
    give_up_at: Option<Duration>,
    ask_at: Duration,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// It has not answered.
    Unresolved,
    /// It is not connected, or it has another configuration.
    Away,
    /// It answered this process that it is empty.
    Empty { nonce: u64 },
    /// It is in a cluster that this server has forgotten. Only its own word that it is empty ends
    /// this, not a lost connection.
    Holding { cluster: ClusterId },
}

impl Founding {
    pub(crate) fn start(core: &mut Core, now: Duration) -> Self {
        let timing = core.config.timing;
        let peers = core.peers().into_iter();
        Self {
            nonce: core.seed.next_u64().max(1),
            peers: peers.map(|peer| (peer, Peer::Unresolved)).collect(),
            give_up_at: Some(now.saturating_add(timing.join_wait)),
            ask_at: now.saturating_add(timing.resend_min),
            backoff: Backoff { wait: timing.resend_min, wait_max: timing.resend_max },
        }
    }

    pub(crate) fn waiting(&self, core: &Core) -> Waiting {
        let node = core.node();
        let holding = self.peers.iter().find_map(|(peer, known)| match known {
            Peer::Holding { cluster } => Some((*peer, *cluster)),
            Peer::Unresolved | Peer::Away | Peer::Empty { .. } => None,
        });
        match (holding, &core.salvaged) {
            (Some((node, theirs)), Some(salvaged)) => {
                return Waiting::OtherCluster { node, ours: salvaged.cluster, theirs };
            }
            (Some(_), None) => return Waiting::LostMemory { node },
            (None, _) => {}
        }
        if !core.config.may_found && core.salvaged.is_none() {
            return Waiting::Cluster;
        }
        let more = needed(core).saturating_sub(self.empty_count());
        match more {
            0 => Waiting::Joining,
            more => Waiting::Servers { more },
        }
    }

    /// Whether an answer is to this process.
    pub(crate) const fn asked(&self, nonce: u64) -> bool {
        self.nonce == nonce
    }

    pub(crate) fn ask(&self, core: &Core, peer: NodeId, out: &mut Out) {
        core.send(peer, Body::Hello { nonce: self.nonce }, out);
    }

    pub(crate) fn on_peer_up(&mut self, core: &Core, peer: NodeId, out: &mut Out) {
        self.change(peer, |known| match known {
            Peer::Away => Peer::Unresolved,
            Peer::Unresolved | Peer::Empty { .. } | Peer::Holding { .. } => known,
        });
        self.ask(core, peer, out);
    }

    pub(crate) fn on_peer_away(&mut self, peer: NodeId) {
        self.change(peer, |known| match known {
            Peer::Unresolved | Peer::Empty { .. } | Peer::Away => Peer::Away,
            Peer::Holding { .. } => known,
        });
    }

    /// A peer says that it is empty. Unless it says so to this process, it is asked.
    pub(crate) fn on_join(
        &mut self,
        core: &Core,
        from: NodeId,
        (nonce, asked): (u64, u64),
        out: &mut Out,
    ) {
        if asked == self.nonce {
            self.change(from, |_| Peer::Empty { nonce });
        } else {
            self.ask(core, from, out);
        }
    }

    /// A peer is in a cluster.
    pub(crate) fn on_holder(&mut self, from: NodeId, cluster: ClusterId) {
        self.change(from, |_| Peer::Holding { cluster });
    }

    /// Asks again those that have not said that they are empty.
    pub(crate) fn on_timeout(&mut self, core: &Core, now: Duration, out: &mut Out) {
        self.give_up_at = self.give_up_at.filter(|at| now < *at);
        if now < self.ask_at {
            return;
        }
        self.backoff.double();
        self.ask_at = now.saturating_add(self.backoff.wait);
        for (peer, known) in &self.peers {
            if matches!(known, Peer::Unresolved | Peer::Holding { .. }) {
                self.ask(core, *peer, out);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.give_up_at.into_iter().chain([self.ask_at]).min()
    }

    /// Founds a cluster if the peers allow it; gives its other members with their incarnations.
    pub(crate) fn found(&self, core: &mut Core, out: &mut Out) -> Option<Vec<Member>> {
        if !core.config.may_found && core.salvaged.is_none() {
            return None;
        }
        let unresolved = self.peers.values().any(|peer| *peer == Peer::Unresolved);
        let holding = self.peers.values().any(|peer| matches!(peer, Peer::Holding { .. }));
        let resolved = !unresolved || self.give_up_at.is_none();
        let careless = core.broken.is(Mutation::FoundsBesideHolders);
        if (holding && !careless) || !resolved || self.empty_count() < needed(core) {
            return None;
        }
        let empty = self.peers.iter().filter_map(|(peer, known)| match known {
            Peer::Empty { nonce } => Some((*peer, *nonce)),
            Peer::Unresolved | Peer::Away | Peer::Holding { .. } => None,
        });
        let (cluster, incarnation, members) = match core.salvaged.take() {
            None => {
                let members = empty.map(|(node, nonce)| Member::new(node, nonce)).collect();
                (ClusterId(core.seed.next_u64()), first_incarnation(self.nonce), members)
            }
            Some(Salvaged { cluster, incarnation, known }) => {
                let member = |(node, nonce)| Member {
                    node,
                    incarnation: core.named_after(known.highest(node), nonce),
                    nonce,
                };
                let members: Vec<Member> = empty.map(member).collect();
                (cluster, core.named_after(incarnation, self.nonce), members)
            }
        };
        core.found_on(core.replica.log().last().index, out);
        let identity = Identity { cluster, incarnation, recovering: false };
        core.identity = Some(identity);
        let incarnations: Vec<_> =
            members.iter().map(|member| (member.node, member.incarnation)).collect();
        for (peer, incarnation) in &incarnations {
            core.known.note(*peer, *incarnation);
        }
        let record = Record::Founded {
            cluster,
            configuration: core.config.cluster.clone(),
            incarnation,
            members: incarnations,
        };
        core.persist(record, Durable::Identity(identity), out);
        tracing::info!(cluster = %format_args!("{:016x}", cluster.0), "founding a cluster");
        // The log is empty unless it was kept from a former cluster.
        let first = Epoch::first(core.node(), incarnation);
        let has_log = core.promised() != Epoch::default();
        let next = core.promised().next(first.owner, incarnation).filter(|_| has_log);
        core.open(next.unwrap_or(first), out);
        Some(members)
    }

    fn empty_count(&self) -> u16 {
        let empty = |peer: &&Peer| matches!(peer, Peer::Empty { .. });
        u16::try_from(self.peers.values().filter(empty).count()).unwrap_or(u16::MAX)
    }

    fn change(&mut self, peer: NodeId, change: impl Fn(Peer) -> Peer) {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = change(*known);
        }
    }
}

/// A founding member: its incarnation follows from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    /// What the member is welcomed with.
    pub(crate) nonce: u64,
}

impl Member {
    const fn new(node: NodeId, nonce: u64) -> Self {
        Self { node, incarnation: first_incarnation(nonce), nonce }
    }
}

/// Whether a server of this name would have begun with this incarnation.
pub(crate) const fn is_named(incarnation: Incarnation, nonce: u64) -> bool {
    incarnation.counter() > 0 && first_incarnation(nonce).0 & NAME == incarnation.0 & NAME
}

/// The part of an incarnation that a name gives it.
const NAME: u64 = 0xffff_ffff;

/// The first incarnation of a server of this name.
pub(crate) const fn first_incarnation(nonce: u64) -> Incarnation {
    #[expect(clippy::as_conversions, reason = "the low half is meant, and TryFrom is not const")]
    Incarnation::following(Incarnation::UNKNOWN, nonce as u32)
}

/// How many peers must be empty to found a cluster.
fn needed(core: &Core) -> u16 {
    core.quorums.write.max(core.quorums.read).saturating_sub(1)
}
