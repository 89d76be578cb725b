//! The links between servers as a test and the engines use them.

use std::time::Duration;

use bytes::Bytes;
use kv_core::driver::{PeerFrame, SnapshotFrame};
use kv_core::{ConsistencyEngine, NodeId, Wire};

use crate::cluster::Cluster;
use crate::cluster::event::Event;
use crate::config::NetworkConfig;
use crate::network::connection::Hint;
use crate::network::intercept::{Captured, Fate};
use crate::server::arrival::Arrival;
use crate::violation::{Breach, Violation};

impl<E: ConsistencyEngine> Cluster<E> {
    /// Blocks messages in one direction, those under way included. Servers hold a connection only
    /// while both directions are open.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.network.block((from, to));
        self.hint_everybody();
    }

    /// Opens one direction.
    pub fn unblock(&mut self, from: NodeId, to: NodeId) {
        self.network.unblock((from, to));
        self.hint_everybody();
    }

    /// Cuts a group of servers off from all others, in both directions.
    pub fn partition(&mut self, group: &[NodeId]) {
        let nodes: Vec<NodeId> = self.nodes().collect();
        for &from in &nodes {
            for &to in &nodes {
                if group.contains(&from) != group.contains(&to) {
                    self.network.block((from, to));
                }
            }
        }
        self.hint_everybody();
    }

    /// Replaces what the network does to messages that are sent from here on; blocked links stay.
    pub fn set_network(&mut self, network: NetworkConfig) {
        self.network.config = network;
    }

    /// Opens every link and replaces what the network does to messages.
    pub fn heal_network(&mut self, network: NetworkConfig) {
        self.network.heal();
        self.network.config = network;
        self.hint_everybody();
    }

    /// Makes every message that is sent in one direction from here on take so much longer;
    /// zero ends that.
    pub fn slow_link(&mut self, from: NodeId, to: NodeId, by: Duration) {
        self.network.slow_down((from, to), by);
    }

    /// Lets one direction keep everything back that arrives from here on. The servers are told
    /// nothing: their connection stays.
    pub fn clog(&mut self, from: NodeId, to: NodeId) {
        self.network.clog((from, to));
    }

    /// Lets the connection from one server to another take only so many more messages, of which none
    /// arrives: then its driver is told that the peer is congested, and drops what it would send.
    pub fn congest_link(&mut self, from: NodeId, to: NodeId, messages: u64) {
        self.congests = true;
        self.network.congest((from, to), messages);
    }

    /// Delivers at once and in order what waits in a congested connection, which then takes
    /// everything again.
    pub fn drain_link(&mut self, from: NodeId, to: NodeId) {
        for event in self.network.drain((from, to)) {
            self.queue.push(self.now, event);
        }
        self.schedule_work(from);
    }

    /// Whether some connection between servers takes no more while something waits in it.
    #[must_use]
    pub fn holds_messages_back(&self) -> bool {
        self.network.holds_something_back()
    }

    /// Tells a server's driver which of its connections take no more, as the server does after each
    /// turn.
    pub(crate) fn tell_of_congestion(&mut self, node: NodeId) {
        if !self.congests {
            return;
        }
        for peer in self.nodes().filter(|peer| *peer != node).collect::<Vec<_>>() {
            let is_full = self.network.is_full((node, peer));
            self.server_mut(node).set_congested(peer, is_full);
        }
    }

    /// Delivers at once and in order what a clogged direction kept back.
    pub fn unclog(&mut self, from: NodeId, to: NodeId) {
        for event in self.network.unclog((from, to)) {
            self.queue.push(self.now, event);
        }
    }

    /// Decides the fate of every message from here on: sender, receiver, message. It comes before
    /// the network's own faults and replaces an earlier rule.
    pub fn intercept(&mut self, decide: impl FnMut(NodeId, NodeId, &E::Message) -> Fate + 'static) {
        self.intercept.decide = Some(Box::new(decide));
    }

    /// Lets every message go its way again.
    pub fn stop_intercepting(&mut self) {
        self.intercept.decide = None;
    }

    /// The messages that the test's rule kept, in the order in which they were sent.
    #[must_use]
    pub fn captured(&self) -> &[Captured<E::Message>] {
        &self.intercept.captured
    }

    /// Delivers a message now, whatever the network does; false if the receiver is down.
    pub fn inject(&mut self, from: NodeId, to: NodeId, message: E::Message) -> bool {
        self.arrive(to, Arrival::Frame { from, frame: PeerFrame::Message(message) })
    }

    /// Has every server look at its connections before long.
    pub(crate) fn hint_everybody(&mut self) {
        let nodes: Vec<NodeId> = self.nodes().collect();
        for &node in &nodes {
            for &peer in nodes.iter().filter(|peer| **peer != node) {
                let at = self.now + self.network.hint_delay(node, peer);
                self.queue.push(at, Event::Look { node, peer });
            }
        }
    }

    pub(crate) fn send(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &E::Message,
    ) -> Result<(), Violation> {
        let bytes = message.to_bytes();
        let text = || format!("-> {to} {message:?}");
        self.note(from, 4, |out| (to, bytes.clone()).encode(out), text);
        self.check_receiver(from, to)?;
        self.network.note_sent((from, to));
        if bytes.len() > MESSAGE_BYTES_MAX {
            let size = bytes.len();
            return Err(self.violation(from, Breach::MessageTooLarge { size }));
        }
        if E::Message::from_bytes(bytes.clone()).as_ref() != Ok(message) {
            return Err(self.violation(from, Breach::MessageChanged));
        }
        if self.intercept.lets_pass(self.now, (from, to), message) && self.admits(from, to) {
            for at in self.network.arrivals((from, to), self.now).into_iter().flatten() {
                let bytes = bytes.clone();
                self.queue.push(at, Event::Arrive { from, to, bytes });
            }
        }
        Ok(())
    }

    pub(crate) fn send_snapshot(
        &mut self,
        from: NodeId,
        to: NodeId,
        frame: SnapshotFrame,
    ) -> Result<(), Violation> {
        let bytes = frame.to_bytes();
        let text = || format!("-> {to} {frame:?}");
        self.note(from, 6, |out| (to, bytes.clone()).encode(out), text);
        self.check_receiver(from, to)?;
        self.network.note_sent((from, to));
        if SnapshotFrame::from_bytes(bytes).as_ref() != Ok(&frame) {
            return Err(self.violation(from, Breach::MessageChanged));
        }
        for at in self.network.arrivals((from, to), self.now).into_iter().flatten() {
            let frame = frame.clone();
            self.queue.push(at, Event::ArriveSnapshot { from, to, frame });
        }
        Ok(())
    }

    pub(crate) fn on_arrive(
        &mut self,
        from: NodeId,
        to: NodeId,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        if self.network.is_blocked((from, to)) || !self.admits(from, to) {
            return Ok(());
        }
        let message = E::Message::from_bytes(bytes)
            .map_err(|_| self.violation(from, Breach::MessageChanged))?;
        self.arrive(to, Arrival::Frame { from, frame: PeerFrame::Message(message) });
        Ok(())
    }

    /// Tells a server what has become of its connection to a peer.
    pub(crate) fn look(&mut self, node: NodeId, peer: NodeId) {
        if !self.is_running(node) {
            return;
        }
        let open = !self.network.is_blocked((node, peer))
            && !self.network.is_blocked((peer, node))
            && self.admits(node, peer);
        let server = self.server(peer);
        let starts = (open && server.is_running()).then_some(server.starts);
        let incarnation = server.engine().map(|engine| engine.status().incarnation);
        let hint = self.connections.hint(node, peer, starts);
        if matches!(hint, Hint::Down | Hint::DownThenUp) {
            self.arrive(node, Arrival::PeerDown { peer });
        }
        if let (Hint::Up | Hint::DownThenUp, Some(incarnation)) = (hint, incarnation) {
            self.arrive(node, Arrival::PeerUp { peer, incarnation });
        }
    }

    /// Whether two servers take each other in: the handshake of the real server refuses another
    /// list of servers, and other quorums where those are the cluster's.
    pub(crate) fn admits(&self, one: NodeId, other: NodeId) -> bool {
        let config = |node| self.servers.get(&node).map(|server| server.cluster(&self.config));
        match (config(one), config(other)) {
            (Some(one), Some(other)) if E::SHARED_QUORUMS => one == other,
            (Some(one), Some(other)) => one.voters() == other.voters(),
            (None, _) | (_, None) => false,
        }
    }

    pub(crate) fn check_receiver(&self, from: NodeId, to: NodeId) -> Result<(), Violation> {
        if to == from || !self.server(from).cluster(&self.config).contains(to) {
            return Err(self.violation(from, Breach::SentToStranger { to }));
        }
        Ok(())
    }
}

/// The largest frame that servers exchange; a message must fit into it.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
