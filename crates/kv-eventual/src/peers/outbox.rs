//! What waits to be sent, so that a batch of steps gives one message for each peer.

use std::time::Duration;

use crate::ids::Slot;
use crate::message::Part;

/// The parts that wait for each peer. They leave at the next timeout, which is due at once, or
/// as soon as they fill a message.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    parcels: Vec<Parcel>,
    message_bytes_max: usize,
    due: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct Parcel {
    parts: Vec<Part>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(slots: usize, message_bytes_max: usize) -> Self {
        Self { parcels: vec![Parcel::default(); slots], message_bytes_max, due: None }
    }

    /// Since when something waits.
    pub(crate) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Adds a part; returns the parts before it if the message is full without it.
    pub(crate) fn push(&mut self, now: Duration, to: Slot, part: Part) -> Option<Vec<Part>> {
        let parcel = self.parcels.get_mut(to.index())?;
        let size = part.size_bytes();
        let full = !parcel.parts.is_empty() && parcel.bytes + size > self.message_bytes_max;
        let sent = full.then(|| std::mem::take(parcel).parts);
        parcel.bytes += size;
        parcel.parts.push(part);
        self.due.get_or_insert(now);
        sent
    }

    /// Takes everything, peer by peer.
    pub(crate) fn take(&mut self) -> Vec<(Slot, Vec<Part>)> {
        self.due = None;
        let parcels = self.parcels.iter_mut().enumerate();
        parcels
            .filter(|(_, parcel)| !parcel.parts.is_empty())
            .filter_map(|(index, parcel)| {
                let slot = Slot::new(index)?;
                Some((slot, std::mem::take(parcel).parts))
            })
            .collect()
    }

    /// Forgets what waits for a peer that cannot be reached.
    pub(crate) fn discard(&mut self, to: Slot) {
        if let Some(parcel) = self.parcels.get_mut(to.index()) {
            *parcel = Parcel::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Key;

    use super::*;
    use crate::ids::ReadId;
    use crate::message::Query;

    fn query(read: u64, key_len: usize) -> Part {
        Part::Query(Query { read: ReadId(read), key: Key::new(vec![b'k'; key_len]).unwrap() })
    }

    #[test]
    fn parts_for_one_peer_leave_together() {
        let mut outbox = Outbox::new(3, 1000);
        let (first, second) = (Slot::new(0).unwrap(), Slot::new(2).unwrap());
        let now = Duration::from_secs(1);
        assert_eq!(outbox.push(now, second, query(1, 1)), None);
        assert_eq!(outbox.push(now, first, query(2, 1)), None);
        assert_eq!(outbox.push(now, second, query(3, 1)), None);
        assert_eq!(outbox.due(), Some(now));
        assert_eq!(
            outbox.take(),
            [(first, vec![query(2, 1)]), (second, vec![query(1, 1), query(3, 1)])]
        );
        assert_eq!((outbox.due(), outbox.take()), (None, vec![]));
    }

    #[test]
    fn a_full_message_leaves_before_the_part_that_would_overfill_it() {
        let mut outbox = Outbox::new(1, 1000);
        let (to, now) = (Slot::new(0).unwrap(), Duration::ZERO);
        assert_eq!(outbox.push(now, to, query(1, 800)), None);
        let large = query(2, 5000);
        assert_eq!(outbox.push(now, to, large.clone()), Some(vec![query(1, 800)]));
        assert_eq!(outbox.push(now, to, query(3, 1)), Some(vec![large]));
        assert_eq!(outbox.take(), [(to, vec![query(3, 1)])]);
    }

    #[test]
    fn what_waits_for_a_lost_peer_is_forgotten() {
        let mut outbox = Outbox::new(1, 1000);
        let (to, now) = (Slot::new(0).unwrap(), Duration::ZERO);
        outbox.push(now, to, query(1, 1));
        outbox.discard(to);
        assert_eq!(outbox.take(), []);
    }
}
