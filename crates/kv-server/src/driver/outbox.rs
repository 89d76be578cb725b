//! What a batch of steps leaves to send, gathered by receiver.

use std::collections::BTreeMap;

use kv_core::{Checkpoint, NodeId};
use tokio::sync::mpsc;

/// What a link writes to its peer, in order.
#[derive(Debug)]
pub(crate) enum Outgoing<M> {
    /// The messages of one batch of steps.
    Messages(Vec<M>),
    /// A checkpoint, in parts.
    Checkpoint(Checkpoint),
}

/// The sending ends of all links.
#[derive(Debug)]
pub(crate) struct Outbox<M> {
    links: BTreeMap<NodeId, Slot<M>>,
    dropped: u64,
}

#[derive(Debug)]
struct Slot<M> {
    link: mpsc::Sender<Outgoing<M>>,
    up: bool,
    gathered: Vec<M>,
}

impl<M> Outbox<M> {
    pub(crate) fn new(links: BTreeMap<NodeId, mpsc::Sender<Outgoing<M>>>) -> Self {
        let slot = |(node, link)| (node, Slot { link, up: false, gathered: Vec::new() });
        Self { links: links.into_iter().map(slot).collect(), dropped: 0 }
    }

    /// Notes whether a link stands: what is sent to one that does not is dropped at once.
    pub(crate) fn set_up(&mut self, peer: NodeId, up: bool) {
        if let Some(slot) = self.links.get_mut(&peer) {
            slot.up = up;
        }
    }

    pub(crate) fn send(&mut self, to: NodeId, message: M) {
        match self.links.get_mut(&to) {
            Some(slot) if slot.up => slot.gathered.push(message),
            Some(_) | None => self.dropped += 1,
        }
    }

    pub(crate) fn send_checkpoint(&mut self, to: NodeId, checkpoint: Checkpoint) {
        if let Some(slot) = self.links.get_mut(&to).filter(|slot| slot.up) {
            self.dropped += slot.flush();
            if slot.link.try_send(Outgoing::Checkpoint(checkpoint)).is_err() {
                self.dropped += 1;
            }
        }
    }

    /// Hands what was gathered to the links. A link that is behind takes nothing: the engine sends
    /// again what matters.
    pub(crate) fn flush(&mut self) {
        for slot in self.links.values_mut() {
            self.dropped += slot.flush();
        }
    }

    /// How many messages had no way.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl<M> Slot<M> {
    fn flush(&mut self) -> u64 {
        if self.gathered.is_empty() {
            return 0;
        }
        let messages = std::mem::take(&mut self.gathered);
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        match self.link.try_send(Outgoing::Messages(messages)) {
            Ok(()) => 0,
            Err(_) => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    #[test]
    fn a_batch_is_one_item_and_a_full_link_drops_and_counts() {
        let (link, mut received) = mpsc::channel(1);
        let mut outbox = Outbox::new(BTreeMap::from([(node(2), link)]));
        outbox.send(node(2), 'a');
        assert_eq!(outbox.dropped(), 1, "the link does not stand yet");
        outbox.set_up(node(2), true);
        outbox.send(node(2), 'b');
        outbox.send(node(2), 'c');
        outbox.flush();
        outbox.send(node(2), 'd');
        outbox.flush();
        outbox.send(node(9), 'e');
        assert_eq!(outbox.dropped(), 3);
        assert!(matches!(received.try_recv(), Ok(Outgoing::Messages(m)) if m == ['b', 'c']));
        assert!(received.try_recv().is_err());
    }
}
