//! The connections to peers, and what waits to be sent on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use kv_core::driver::PeerFrame;
use kv_core::{NodeId, Wire};
use kv_proto::{MessageTooLarge, put_message, put_peer_frame};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::admission::Identity;
use crate::net::connection::Connection;
use crate::net::held_back::HeldBack;

/// The connections that this server has made to its peers.
#[derive(Default)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
}

/// A peer.
struct Peer {
    /// While it stands.
    connection: Option<Rc<Connection>>,
    delayed: Rc<Delayed>,
    is_dirty: bool,
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
        self.peers.insert(peer, Peer { connection: None, delayed, is_dirty: false });
    }

    pub(crate) fn connected(&mut self, peer: NodeId, connection: Rc<Connection>) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.delayed.held.borrow_mut().clear();
            known.connection = Some(connection);
        }
    }

    pub(crate) fn lost(&mut self, peer: NodeId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.delayed.held.borrow_mut().clear();
            known.connection = None;
        }
    }

    /// Puts a frame into the buffer of the connection to a peer, if there is one.
    pub(crate) fn send<M: Wire>(&mut self, to: NodeId, frame: &PeerFrame<M>) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        let Some(connection) = &peer.connection else {
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
            let Some(connection) = &peer.connection else {
                continue;
            };
            if std::mem::take(&mut peer.is_dirty) {
                connection.write(on_drained.clone());
            }
            tell(node, connection.waiting_bytes() > WAITING_BYTES_MAX);
        }
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.peers.values().filter_map(|peer| peer.connection.as_ref())
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
