//! The links between servers.

mod congestion;
pub(crate) mod connection;
pub(crate) mod intercept;
mod link;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kv_core::{NodeId, SeedStream};

use crate::cluster::event::Event;
use crate::config::{NetworkConfig, draw};
use crate::fault::{Fault, FaultCounts};
use congestion::Congestion;

/// Decides when and whether a message arrives.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    blocked: BTreeSet<Link>,
    last_arrival: BTreeMap<Link, Duration>,
    slow: BTreeMap<Link, Duration>,
    /// What clogged links hold back.
    clogged: BTreeMap<Link, VecDeque<Event>>,
    congestion: Congestion,
    pub(crate) counts: FaultCounts,
    stream: SeedStream,
    /// A stream of its own, so that slow messages change nothing else.
    slow_stream: SeedStream,
    /// Where each link has streams of its own: these, made as they are needed.
    of_links: Option<BTreeMap<Link, [SeedStream; 2]>>,
}

/// One direction between two servers: from, to.
pub(crate) type Link = (NodeId, NodeId);

impl Network {
    /// A network whose links share their randomness.
    pub(crate) fn new(config: NetworkConfig, stream: SeedStream) -> Self {
        let slow_stream = SeedStream::new(stream.clone().next_u64());
        Self {
            config,
            blocked: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            slow: BTreeMap::new(),
            clogged: BTreeMap::new(),
            congestion: Congestion::default(),
            counts: FaultCounts::default(),
            stream,
            slow_stream,
            of_links: None,
        }
    }

    /// The same, but what happens on a link depends on nothing that is sent on others.
    pub(crate) fn with_streams_of_links(mut self) -> Self {
        self.of_links = Some(BTreeMap::new());
        self
    }

    /// What decides a link's delays and losses, and its slow messages.
    fn streams(&mut self, link: Link) -> (&mut SeedStream, &mut SeedStream) {
        let Some(of_links) = &mut self.of_links else {
            return (&mut self.stream, &mut self.slow_stream);
        };
        let (from, to) = (u64::from(link.0.number()), u64::from(link.1.number()));
        let start = &self.stream;
        let [stream, slow] = of_links.entry(link).or_insert_with(|| {
            let mut own = SeedStream::new(start.clone().next_u64() ^ (from << 32 | to));
            [SeedStream::new(own.next_u64()), SeedStream::new(own.next_u64())]
        });
        (stream, slow)
    }

    pub(crate) fn block(&mut self, link: Link) {
        self.blocked.insert(link);
    }

    pub(crate) fn unblock(&mut self, link: Link) {
        self.blocked.remove(&link);
    }

    /// Makes every message on a link take so much longer.
    pub(crate) fn slow_down(&mut self, link: Link, by: Duration) {
        if by.is_zero() {
            self.slow.remove(&link);
        } else {
            self.slow.insert(link, by);
        }
    }

    /// Lets a link hold everything back from here on.
    pub(crate) fn clog(&mut self, link: Link) {
        self.clogged.entry(link).or_default();
    }

    /// Lets a link go on; what it held back, in order.
    pub(crate) fn unclog(&mut self, link: Link) -> VecDeque<Event> {
        self.clogged.remove(&link).unwrap_or_default()
    }

    /// The links that hold everything back.
    pub(crate) fn clogged(&self) -> Vec<Link> {
        self.clogged.keys().copied().collect()
    }

    /// Takes what arrives if its link holds everything back; otherwise gives it back.
    pub(crate) fn hold_back(&mut self, link: Link, event: Event) -> Option<Event> {
        let event = self.congestion.hold_back(link, event)?;
        match self.clogged.get_mut(&link) {
            Some(held) => {
                self.counts.note(Fault::Clog);
                if held.len() < CLOGGED_MAX {
                    held.push_back(event);
                }
                None
            }
            None => Some(event),
        }
    }

    /// Lets a connection take no more than so many messages, of which none arrives.
    pub(crate) fn congest(&mut self, link: Link, messages: u64) {
        self.congestion.begin(link, messages.max(1));
    }

    /// Lets a connection take everything again; what waited in it, in order.
    pub(crate) fn drain(&mut self, link: Link) -> VecDeque<Event> {
        self.congestion.end(link)
    }

    /// The connections that are congested.
    pub(crate) fn congested(&self) -> Vec<Link> {
        self.congestion.links()
    }

    /// Whether a connection takes no more.
    pub(crate) fn is_full(&self, link: Link) -> bool {
        self.congestion.is_full(link)
    }

    /// Whether some connection takes no more while something waits in it.
    pub(crate) fn holds_something_back(&self) -> bool {
        self.congestion.holds_something_back()
    }

    /// Notes that a message is put into a connection.
    pub(crate) fn note_sent(&mut self, link: Link) {
        if self.congestion.note_sent(link) {
            self.counts.note(Fault::CongestedLink);
        }
    }

    /// Ends every fault but clogs and congestion; delays stay.
    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
        self.slow.clear();
        self.config.slow_per_mille = 0;
        self.config.loss_per_mille = 0;
        self.config.duplicate_per_mille = 0;
        self.config.reorder_per_mille = 0;
    }

    pub(crate) fn is_blocked(&self, link: Link) -> bool {
        self.blocked.contains(&link)
    }

    /// When a message that is sent now arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, link: Link, now: Duration) -> [Option<Duration>; 2] {
        // Every draw is made for every message, so that a change of one rate does not change what
        // the others decide.
        let config = self.config.clone();
        let (stream, slow_stream) = self.streams(link);
        let lost = stream.chance(config.loss_per_mille);
        let doubled = stream.chance(config.duplicate_per_mille);
        let overtakes = stream.chance(config.reorder_per_mille);
        let first = now + draw(stream, &config.delay);
        let second = now + draw(stream, &config.delay);
        let is_slow = slow_stream.chance(config.slow_per_mille);
        let slow = draw(slow_stream, &config.slow_delay);
        if lost || self.is_blocked(link) {
            if lost {
                self.counts.note(Fault::Loss);
            }
            return [None, None];
        }
        let late = if is_slow { slow } else { Duration::ZERO } + self.slowed_by(link);
        if is_slow {
            self.counts.note(Fault::SlowMessage);
        }
        let (first, second) = (first + late, second + late);
        let last = self.last_arrival.entry(link).or_default();
        // Others overtake a message that is slow by itself.
        let in_order = !overtakes && !is_slow;
        let first = if in_order { first.max(*last) } else { first };
        if first < *last {
            self.counts.note(Fault::Reordering);
        }
        if doubled {
            self.counts.note(Fault::Duplication);
        }
        if !is_slow {
            *last = first.max(*last);
        }
        [Some(first), doubled.then_some(second)]
    }

    fn slowed_by(&mut self, link: Link) -> Duration {
        let by = self.slow.get(&link).copied();
        if by.is_some() {
            self.counts.note(Fault::SlowLink);
        }
        by.unwrap_or_default()
    }

    /// How long it takes until a server learns that a peer has come or gone.
    pub(crate) fn hint_delay(&mut self, server: NodeId, peer: NodeId) -> Duration {
        let delay = self.config.hint_delay.clone();
        draw(self.streams((peer, server)).0, &delay)
    }
}

/// What comes to a clogged link beyond this many messages is lost.
const CLOGGED_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        (NodeId::FIRST, NodeId::new(2).unwrap())
    }

    fn arrivals(config: NetworkConfig, messages: usize) -> Vec<[Option<Duration>; 2]> {
        let mut network = Network::new(config, SeedStream::new(3));
        let send = |_| network.arrivals(link(), Duration::ZERO);
        (0..messages).map(send).collect()
    }

    #[test]
    fn without_faults_messages_arrive_once_and_in_order() {
        let arrivals = arrivals(NetworkConfig::default(), 500);
        assert!(arrivals.iter().all(|[one, two]| one.is_some() && two.is_none()));
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn each_fault_happens_about_as_often_as_asked_for() {
        let arrivals = arrivals(NetworkConfig::lossy(), 10_000);
        let lost = arrivals.iter().filter(|[one, _]| one.is_none()).count();
        let doubled = arrivals.iter().filter(|[_, two]| two.is_some()).count();
        let firsts: Vec<_> = arrivals.iter().filter_map(|[one, _]| *one).collect();
        let overtaken = firsts.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((800..1200).contains(&lost), "{lost}");
        assert!((700..1100).contains(&doubled), "{doubled}");
        assert!(overtaken > 500, "{overtaken}");
    }

    #[test]
    fn a_link_with_streams_of_its_own_does_not_depend_on_the_others() {
        let other = (NodeId::new(3).unwrap(), NodeId::FIRST);
        let arrivals = |between: usize| {
            let network = Network::new(NetworkConfig::lossy(), SeedStream::new(3));
            let mut network = network.with_streams_of_links();
            let mut send = |_| {
                for _ in 0..between {
                    network.arrivals(other, Duration::ZERO);
                }
                network.arrivals(link(), Duration::ZERO)
            };
            (0..100).map(&mut send).collect::<Vec<_>>()
        };
        assert_eq!(arrivals(0), arrivals(2));
    }

    #[test]
    fn a_blocked_link_lets_nothing_through_in_its_direction_alone() {
        let mut network = Network::new(NetworkConfig::default(), SeedStream::new(3));
        let (from, to) = link();
        network.block((from, to));
        assert_eq!(network.arrivals((from, to), Duration::ZERO), [None, None]);
        assert!(network.arrivals((to, from), Duration::ZERO)[0].is_some());
        network.unblock((from, to));
        assert!(network.arrivals((from, to), Duration::ZERO)[0].is_some());
    }
}
