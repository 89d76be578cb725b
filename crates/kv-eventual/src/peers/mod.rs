//! The other servers, as far as this one knows them.

pub(crate) mod outbox;

use std::time::Duration;

use kv_core::{Incarnation, NodeId, Now};

use crate::clock::{MAX_SKEW, millis};
use crate::deadline::Backoff;
use crate::ids::{Slot, SlotSet};

/// What is known of each server, this one included.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    me: Slot,
    all: Vec<Peer>,
    connected: SlotSet,
    /// The two middle ones of the peers' clocks; one twice if their number is odd.
    median: Option<(ClockOffset, ClockOffset)>,
    /// This server's own, when a peer's was last measured.
    own_clock: Option<ClockOffset>,
    /// When the peers' clocks were last asked for.
    pub(crate) clocks_asked: Option<Duration>,
}

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// The highest incarnation that it was met in.
    pub(crate) incarnation: Incarnation,
    /// Set while a hello to it has no answer.
    pub(crate) greeting: Option<Greeting>,
    clock: Option<ClockOffset>,
}

/// A hello under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting {
    pub(crate) armed: Option<Duration>,
    pub(crate) backoff: Backoff,
}

/// A server's wall clock less this server's monotonic one, in milliseconds.
///
/// It does not change while both run well, so that a jump of this server's own wall clock shows
/// at once and needs no further exchange.
type ClockOffset = i64;

/// In which incarnation a server was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// As known.
    Known,
    /// In an incarnation that was not known before.
    New,
    /// In one that was followed by another, or in a second one with the same number.
    Stale,
    /// In none: it is joining, or was when it sent this.
    Joining,
}

impl Peers {
    /// `None` if the server is not one of the voters.
    pub(crate) fn new(me: NodeId, voters: &[NodeId]) -> Option<Self> {
        let index = voters.iter().position(|voter| *voter == me)?;
        let peer =
            |&node| Peer { node, incarnation: Incarnation::UNKNOWN, greeting: None, clock: None };
        Some(Self {
            me: Slot::new(index)?,
            all: voters.iter().map(peer).collect(),
            connected: SlotSet::default(),
            median: None,
            own_clock: None,
            clocks_asked: None,
        })
    }

    pub(crate) const fn me(&self) -> Slot {
        self.me
    }

    pub(crate) const fn connected(&self) -> SlotSet {
        self.connected
    }

    /// How many servers can take part, this one included.
    pub(crate) fn reachable(&self) -> u16 {
        self.connected.len() + 1
    }

    /// All servers, this one included.
    pub(crate) fn everyone(&self) -> SlotSet {
        SlotSet::of_first(self.all.len())
    }

    /// All servers but this one.
    pub(crate) fn others(&self) -> SlotSet {
        let mut set = self.everyone();
        set.remove(self.me);
        set
    }

    /// The position of another server; `None` for this one and for strangers.
    pub(crate) fn slot(&self, node: NodeId) -> Option<Slot> {
        let index = self.all.iter().position(|peer| peer.node == node)?;
        Slot::new(index).filter(|slot| *slot != self.me)
    }

    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.all.iter().any(|peer| peer.node == node)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Peer> {
        self.all.get(slot.index())
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Peer> {
        self.all.get_mut(slot.index())
    }

    pub(crate) fn connected_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.connected.iter().filter_map(|slot| self.get(slot).map(|peer| peer.node))
    }

    pub(crate) const fn connect(&mut self, slot: Slot) {
        self.connected.insert(slot);
    }

    /// Takes a peer off the reachable ones; its clock is forgotten, since nothing shows any more
    /// that it runs well.
    pub(crate) fn disconnect(&mut self, slot: Slot) {
        self.connected.remove(slot);
        if let Some(peer) = self.get_mut(slot) {
            peer.clock = None;
        }
        self.median = self.find_median();
    }

    /// Learns in which incarnation a peer is.
    pub(crate) fn meet(&mut self, slot: Slot, incarnation: Incarnation) -> Meeting {
        let Some(peer) = self.get_mut(slot) else {
            return Meeting::Stale;
        };
        if incarnation == Incarnation::UNKNOWN {
            Meeting::Joining
        } else if incarnation == peer.incarnation {
            Meeting::Known
        } else if incarnation.counter() > peer.incarnation.counter() {
            peer.incarnation = incarnation;
            Meeting::New
        } else {
            Meeting::Stale
        }
    }

    /// Learns a peer's clock from an answer to what was sent at `sent`; a slow answer tells
    /// nothing.
    pub(crate) fn measure(&mut self, slot: Slot, now: Now, sent: Duration, wall_ms: u64) {
        let round_trip = now.mono.saturating_sub(sent);
        if sent > now.mono || round_trip > ROUND_TRIP_MAX {
            return;
        }
        self.own_clock = Some(own_clock(now));
        let middle = sent.saturating_add(round_trip / 2);
        if let Some(peer) = self.get_mut(slot) {
            peer.clock = Some(signed(wall_ms).saturating_sub(signed(millis(middle))));
        }
        self.median = self.find_median();
    }

    /// By how many milliseconds this server's wall clock is ahead of the peers' median, if that
    /// is more than [`MAX_SKEW`]; negative if it is behind. Of an even number of peers, both
    /// middle ones must say so.
    pub(crate) fn clock_error_ms(&self, now: Now) -> Option<i64> {
        let limit = signed(millis(MAX_SKEW));
        self.off_median_ms(own_clock(now)).filter(|off_ms| off_ms.saturating_abs() > limit)
    }

    /// By how many milliseconds it was ahead when a peer's clock was last measured, negative if it was
    /// behind; `None` if no peer's is known.
    pub(crate) fn clock_offset_ms(&self) -> Option<i64> {
        self.off_median_ms(self.own_clock?)
    }

    fn off_median_ms(&self, own: ClockOffset) -> Option<i64> {
        let (low, high) = self.median?;
        let ahead = own.saturating_sub(high).max(0);
        let behind = low.saturating_sub(own).max(0);
        Some(ahead.saturating_sub(behind))
    }

    fn find_median(&self) -> Option<(ClockOffset, ClockOffset)> {
        let mut clocks: Vec<_> = self.all.iter().filter_map(|peer| peer.clock).collect();
        clocks.sort_unstable();
        let low = clocks.get(clocks.len().saturating_sub(1) / 2)?;
        let high = clocks.get(clocks.len() / 2)?;
        Some((*low, *high))
    }
}

fn own_clock(now: Now) -> ClockOffset {
    signed(millis(now.wall)).saturating_sub(signed(millis(now.mono)))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The longest exchange that still tells a clock well enough.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: u16) -> Peers {
        let voters: Vec<_> = (1..=count).map(|n| NodeId::new(n).unwrap()).collect();
        Peers::new(NodeId::FIRST, &voters).unwrap()
    }

    fn slot(index: usize) -> Slot {
        Slot::new(index).unwrap()
    }

    #[test]
    fn a_peer_is_met_in_rising_incarnations() {
        let mut peers = peers(2);
        let incarnation =
            |counter: u64, nonce| Incarnation::following(Incarnation((counter - 1) << 32), nonce);
        let steps = [
            (Incarnation::UNKNOWN, Meeting::Joining),
            (incarnation(2, 7), Meeting::New),
            (incarnation(2, 7), Meeting::Known),
            (incarnation(2, 9), Meeting::Stale),
            (incarnation(1, 9), Meeting::Stale),
            (Incarnation::UNKNOWN, Meeting::Joining),
            (incarnation(3, 1), Meeting::New),
        ];
        for (met, expected) in steps {
            assert_eq!(peers.meet(slot(1), met), expected, "{met}");
        }
    }

    #[test]
    fn this_server_and_strangers_have_no_place_among_the_others() {
        let peers = peers(3);
        assert_eq!(peers.slot(NodeId::FIRST), None);
        assert_eq!(peers.slot(NodeId::new(4).unwrap()), None);
        assert_eq!(peers.slot(NodeId::new(3).unwrap()), Some(slot(2)));
        assert_eq!(peers.others().iter().collect::<Vec<_>>(), [slot(1), slot(2)]);
    }

    #[test]
    fn a_clock_off_the_median_shows_and_one_bad_peer_does_not() {
        let now =
            |mono, wall| Now { mono: Duration::from_secs(mono), wall: Duration::from_secs(wall) };
        let mut peers = peers(4);
        let sent = Duration::from_secs(100);
        peers.measure(slot(1), now(100, 5000), sent, 5_000_000);
        assert_eq!(peers.clock_error_ms(now(200, 5100)), None);
        assert_eq!(peers.clock_error_ms(now(200, 5111)), Some(11_000));
        assert_eq!(peers.clock_error_ms(now(200, 5089)), Some(-11_000));
        peers.measure(slot(2), now(100, 5000), sent, 9_000_000);
        assert_eq!(peers.clock_error_ms(now(200, 5100)), None);
        peers.measure(slot(3), now(100, 5000), sent, 9_000_000);
        assert_eq!(peers.clock_error_ms(now(200, 5100)), Some(-4_000_000));
        peers.disconnect(slot(3));
        assert_eq!(peers.clock_error_ms(now(200, 5100)), None);
    }

    #[test]
    fn the_offset_is_that_of_the_last_measurement() {
        let now = Now { mono: Duration::from_secs(100), wall: Duration::from_secs(5000) };
        let mut peers = peers(3);
        assert_eq!(peers.clock_offset_ms(), None);
        for (index, wall_ms) in [(1, 4_999_000), (2, 4_997_000)] {
            peers.measure(slot(index), now, now.mono, wall_ms);
        }
        assert_eq!(
            peers.clock_offset_ms(),
            Some(1_000),
            "as the nearer of the two middle ones says"
        );
        peers.measure(slot(1), now, now.mono, 5_004_000);
        peers.measure(slot(2), now, now.mono, 5_003_000);
        assert_eq!(peers.clock_offset_ms(), Some(-3_000));
        peers.measure(slot(2), now, now.mono, 4_990_000);
        assert_eq!(peers.clock_offset_ms(), Some(0), "between them");
    }

    #[test]
    fn a_slow_answer_and_one_from_the_future_tell_no_clock() {
        let mut peers = peers(2);
        let now = Now { mono: Duration::from_secs(100), wall: Duration::from_secs(5000) };
        peers.measure(slot(1), now, Duration::from_secs(97), 0);
        peers.measure(slot(1), now, Duration::from_secs(101), 0);
        assert_eq!(peers.clock_error_ms(now), None);
        peers.measure(slot(1), now, Duration::from_secs(98), 0);
        assert_eq!(peers.clock_error_ms(now), Some(5_000_000 - 1_000));
    }
}
