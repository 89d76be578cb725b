//! The connections to peers, and what waits to be sent on them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use kv_core::driver::PeerFrame;
use kv_core::{Incarnation, NodeId, Wire};
use kv_proto::{MessageTooLarge, put_message, put_peer_frame};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::bounds::admission::Identity;
use crate::net::bounds::held_back::HeldBack;
use crate::net::connection::Connection;

/// The connections to peers and from them.
///
/// A peer is up while both stand: the one that this server has made, on which it sends, and the one
/// that the peer has made, on which it receives. One without the other is of no use to an engine,
/// which would wait for answers that cannot come.
#[derive(Default)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
}

/// A peer.
struct Peer {
    /// The connection that this server has made, while it stands.
    connection: Option<(Rc<Connection>, Incarnation)>,
    /// The connection that the peer has made, while it stands.
    inbound: Option<Rc<Inbound>>,
    delayed: Rc<Delayed>,
    is_dirty: bool,
}

/// A connection that a peer has made to this server.
pub(crate) struct Inbound {
    /// Only signs of life are sent on it.
    pub(crate) connection: Rc<Connection>,
    /// When something last came.
    pub(crate) heard: Cell<Instant>,
    /// Rings once it has ended.
    pub(crate) gone: Notify,
}

impl Inbound {
    pub(crate) fn new(connection: Rc<Connection>) -> Rc<Self> {
        Rc::new(Self { connection, heard: Cell::new(Instant::now()), gone: Notify::new() })
    }
}

/// Frames that a simulated delay holds back.
pub(crate) struct Delayed {
    held: RefCell<HeldBack<Bytes>>,
    changed: Notify,
}

impl Delayed {
    pub(crate) fn new(held: HeldBack<Bytes>) -> Rc<Self> {
        Rc::new(Self { held: RefCell::new(held), changed: Notify::new() })
    }

    /// Completes when a frame's time has come, or another one is held back.
    pub(crate) async fn due(&self) {
        let due = self.held.borrow().due();
        match due {
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.changed.notified() => {}
            },
            None => self.changed.notified().await,
        }
    }

    /// Puts into a connection's buffer what was held back long enough.
    pub(crate) fn release(&self, connection: &Connection) {
        let now = Instant::now();
        let mut held = self.held.borrow_mut();
        while let Some(frame) = held.pop_due(now) {
            connection.put(|wire| wire.extend_from_slice(&frame));
        }
    }

    fn hold(&self, frame: Bytes) {
        let mut held = self.held.borrow_mut();
        if held.has_room() {
            held.push(Instant::now(), frame);
            self.changed.notify_one();
        }
    }
}

impl Peers {
    pub(crate) fn add(&mut self, peer: NodeId, delayed: Rc<Delayed>) {
        let peer_of = Peer { connection: None, inbound: None, delayed, is_dirty: false };
        self.peers.insert(peer, peer_of);
    }

    pub(crate) fn connected(
        &mut self,
        peer: NodeId,
        connection: Rc<Connection>,
        incarnation: Incarnation,
    ) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.delayed.held.borrow_mut().clear();
            known.connection = Some((connection, incarnation));
        }
    }

    pub(crate) fn lost(&mut self, peer: NodeId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.delayed.held.borrow_mut().clear();
            known.connection = None;
        }
    }

    /// The peer has made a connection; gives the one before, which is to end.
    pub(crate) fn dialled(&mut self, peer: NodeId, inbound: Rc<Inbound>) -> Option<Rc<Inbound>> {
        self.peers.get_mut(&peer)?.inbound.replace(inbound)
    }

    /// A connection that the peer had made has ended; false if another has taken its place.
    pub(crate) fn hung_up(&mut self, peer: NodeId, inbound: &Rc<Inbound>) -> bool {
        let known = self.peers.get_mut(&peer);
        let ended =
            known.and_then(|known| known.inbound.take_if(|present| Rc::ptr_eq(present, inbound)));
        ended.is_some()
    }

    /// The connection that a peer has made, while it stands.
    pub(crate) fn inbound(&self, peer: NodeId) -> Option<Rc<Inbound>> {
        self.peers.get(&peer)?.inbound.clone()
    }

    /// The incarnation of a peer that is up.
    pub(crate) fn incarnation_if_up(&self, peer: NodeId) -> Option<Incarnation> {
        let known = self.peers.get(&peer).filter(|known| known.inbound.is_some())?;
        known.connection.as_ref().map(|(_, incarnation)| *incarnation)
    }

    /// Puts a frame into the buffer of the connection to a peer, if there is one.
    pub(crate) fn send<M: Wire>(&mut self, to: NodeId, frame: &PeerFrame<M>) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        let Some((connection, _)) = &peer.connection else {
            return;
        };
        let put = if peer.delayed.held.borrow().is_off() {
            peer.is_dirty = true;
            connection.put(|wire| encode(frame, wire))
        } else {
            let mut wire = BytesMut::new();
            let put = encode(frame, &mut wire);
            peer.delayed.hold(wire.freeze());
            put
        };
        if let Err(error) = put {
            // The engines bound their messages.
            tracing::error!(%error, "a message to a peer does not fit into a frame");
        }
    }

    /// Writes what was put into the buffers; tells of each peer whether its connection takes more.
    pub(crate) fn write(
        &mut self,
        on_drained: impl Fn() + Clone + 'static,
        mut tell: impl FnMut(NodeId, bool),
    ) {
        for (&node, peer) in &mut self.peers {
            let Some((connection, _)) = &peer.connection else {
                continue;
            };
            if std::mem::take(&mut peer.is_dirty) {
                connection.write(on_drained.clone());
            }
            tell(node, connection.waiting_bytes() > WAITING_BYTES_MAX);
        }
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Rc<Connection>> {
        let peers = self.peers.values();
        peers.filter_map(|peer| peer.connection.as_ref().map(|(connection, _)| connection))
    }
}

fn encode<M: Wire>(frame: &PeerFrame<M>, wire: &mut BytesMut) -> Result<(), MessageTooLarge> {
    match frame {
        PeerFrame::Message(message) => put_peer_frame(Identity::GROUP, message, wire),
        PeerFrame::Snapshot(frame) => put_message(Identity::GROUP, frame, wire),
    }
}

/// A connection on which more waits takes nothing further: what is sent meanwhile is dropped, and
/// the engine sends it again.
const WAITING_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Delay;

    async fn connection() -> Rc<Connection> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Connection::new(stream.into_split().1, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn a_peer_is_up_while_connections_stand_in_both_directions() {
        let (peer, incarnation) = (NodeId::FIRST, Incarnation(7));
        let mut peers = Peers::default();
        peers.add(peer, Delayed::new(HeldBack::new(Delay::default(), 0)));
        let first = Inbound::new(connection().await);
        assert!(peers.dialled(peer, Rc::clone(&first)).is_none());
        assert_eq!(peers.incarnation_if_up(peer), None, "nothing can be sent to it");
        peers.connected(peer, connection().await, incarnation);
        assert_eq!(peers.incarnation_if_up(peer), Some(incarnation));
        // Another one in its place: that the first ends is of no interest then.
        let second = Inbound::new(connection().await);
        assert!(
            peers.dialled(peer, Rc::clone(&second)).is_some_and(|was| Rc::ptr_eq(&was, &first))
        );
        assert!(!peers.hung_up(peer, &first));
        assert_eq!(peers.incarnation_if_up(peer), Some(incarnation));
        assert!(peers.hung_up(peer, &second));
        assert_eq!(peers.incarnation_if_up(peer), None, "nothing comes from it");
        peers.dialled(peer, second);
        peers.lost(peer);
        assert_eq!(peers.incarnation_if_up(peer), None);
    }
}
