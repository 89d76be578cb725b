//! Runs in which a broken rule can show.

mod clients;
mod pick;
mod trouble;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use kv_check::evidence::Evidence;
use kv_check::{History, Process};
use kv_core::{Key, RequestId, SeedStream, Timing};
use kv_sim::{Cluster, DiskConfig, Fate, NetworkConfig, SimConfig, Violation};

use self::clients::Clients;
use self::pick::index;
use self::trouble::{Trouble, revive};
use super::subject::Subject;
use super::watch::{Found, Sent, Watch};

/// What a cluster is made of, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// One server that crashes and whose clock is set back.
    Alone,
    /// Three servers with W = R = 2, of which any but the first may be lost, wiped or cut off.
    Followers,
    /// The same with messages that take up to half a second, W = 3, R = 1, and no lost disks.
    Slow,
    /// As `Followers`, and copies of messages come again long after.
    Late,
    /// Three servers of which the first restarts, and loses its disk together with the second.
    Sequencer,
    /// Three servers with W = R = 2 of which any may crash and keeps its disk, the sequencer most
    /// often; messages may take long, and copies come again long after.
    Failover,
    /// As `Failover`, and servers are asked to lead that nobody hears then.
    HandOvers,
    /// As `Failover`, and one server after the other loses its disk.
    Losses,
    /// Three servers with W = 3, R = 1 and slow messages, of which the first restarts and the last
    /// crashes, so that the sequencer refuses requests, some of which it had before.
    Refusals,
    /// Three servers with W = R = 2 that crash, keep their disks, and have wrong clocks.
    Quorums,
    /// Three servers with W = 1, R = 3, of which the first one's disk hangs; it restarts with its
    /// clock set back and out of reach of the others.
    CutOff,
}

/// A run that has come to its end.
pub(crate) struct Run {
    pub(crate) history: History,
    pub(crate) evidence: Evidence,
    /// The servers that halted by themselves.
    pub(crate) halted: usize,
    /// The least place of the log at which two servers had different states.
    pub(crate) differs_at: Option<u64>,
    /// What was committed while fewer disks held it than must.
    pub(crate) thinly_held: Option<String>,
    /// What was found by looking after each step.
    pub(crate) found: Found,
}

impl Scenario {
    pub(crate) fn run<E: Subject>(self, seed: u64) -> Result<Run, Violation> {
        let mut cluster = Cluster::<E>::new(self.config(seed))?;
        // The disks are looked at in whole runs.
        cluster.probe(E::probe(), u64::MAX);
        let mut trouble = Trouble::new(self, seed);
        let mut clients = Clients::new(seed, E::LINEARIZABLE);
        let mut states = States::default();
        let mut watching = Watching::<E>::default();
        let mut thinly_held = None;
        let mut copied = SeedStream::new(seed);
        let (repeats, sent) = (self.repeats(), Rc::clone(&watching.sent));
        cluster.intercept(move |from, to, message| {
            if E::Watch::wants(message) {
                sent.borrow_mut().push((from, to, message.clone()));
            }
            if repeats && copied.chance(200) { Fate::Copy } else { Fate::Pass }
        });
        watching.run_for(&mut cluster, Duration::from_millis(1500))?;
        for _ in 0..self.steps() {
            clients.call(&mut cluster);
            if repeats {
                bring_again(&mut cluster, &mut trouble.stream);
            }
            if trouble.stream.chance(150) {
                trouble.make(&mut cluster)?;
            }
            let time = Duration::from_millis(trouble.stream.below(60));
            watching.run_for(&mut cluster, time)?;
            states.look(&cluster);
            if self == Self::Failover {
                thinly_held = thinly_held.or_else(|| E::thinly_held(&cluster));
            }
        }
        cluster.heal();
        cluster.set_network(NetworkConfig::default());
        let halted = cluster.halted().count();
        if halted == 0 {
            revive(&mut cluster)?;
        }
        // Part of a snapshot that the simulated network loses comes again after 10 s and more.
        watching.run_for(&mut cluster, Duration::from_secs(40))?;
        cluster.stop_intercepting();
        states.look(&cluster);
        let session = |id: RequestId| clients.sessions.get(&id).copied().unwrap_or(Process(id.0));
        let mut keys: BTreeSet<Key> = clients.keys.iter().cloned().collect();
        // One is counted on beside those of the clients.
        keys.extend(cluster.evidence(session, None).calls.into_iter().map(|call| call.key));
        let keys: Vec<Key> = keys.into_iter().collect();
        let rest = cluster.bring_to_rest(&keys, 4, !E::LINEARIZABLE)?;
        states.look(&cluster);
        let evidence = cluster.evidence(session, Some(rest));
        Ok(Run {
            history: cluster.history(),
            evidence,
            halted: halted.max(cluster.halted().count()),
            differs_at: states.differs_at,
            thinly_held,
            found: watching.watch.found(),
        })
    }

    /// Whether copies of messages come again.
    const fn repeats(self) -> bool {
        matches!(self, Self::Late | Self::Failover | Self::HandOvers | Self::Losses)
    }

    /// Whether another sequencer is often chosen.
    const fn changes_sequencer(self) -> bool {
        matches!(self, Self::Failover | Self::HandOvers | Self::Losses)
    }

    const fn steps(self) -> usize {
        if self.changes_sequencer() || matches!(self, Self::Refusals) { 140 } else { 70 }
    }

    fn config(self, seed: u64) -> SimConfig {
        let (nodes, write, read) = match self {
            Self::Alone => (1, 1, 1),
            Self::Followers
            | Self::Late
            | Self::Sequencer
            | Self::Failover
            | Self::HandOvers
            | Self::Losses
            | Self::Quorums => (3, 2, 2),
            Self::Slow | Self::Refusals => (3, 3, 1),
            Self::CutOff => (3, 1, 3),
        };
        let config = match SimConfig::new(nodes, write, read, seed) {
            Ok(config) => config.with_network(self.network(seed)),
            Err(error) => panic!("the configuration of a scenario: {error}"),
        };
        let mut config =
            config.with_disk(DiskConfig { checkpoint_every: Some(9), ..DiskConfig::slow() });
        config.processing = Duration::ZERO..=Duration::from_millis(2);
        // A snapshot must not take longer than a short log lasts.
        config.part_bytes_max = 4_096;
        if seed.is_multiple_of(2) {
            config.limits.log_bytes_max = 600;
            config.limits.message_bytes_max = 300;
        }
        if self.changes_sequencer() {
            config.timing = Timing {
                resend_min: Duration::from_millis(50),
                heartbeat: Duration::from_millis(50),
                election: Duration::from_millis(200),
                ..config.timing
            };
        }
        config
    }

    pub(super) fn network(self, seed: u64) -> NetworkConfig {
        let slow = |delay_ms_max| NetworkConfig {
            delay: Duration::from_micros(100)..=Duration::from_millis(delay_ms_max),
            ..NetworkConfig::lossy()
        };
        match self {
            Self::Alone | Self::Sequencer | Self::CutOff => NetworkConfig::default(),
            Self::Failover | Self::HandOvers | Self::Losses if is_slow(seed) => slow(150),
            Self::Failover | Self::HandOvers | Self::Losses => slow(15),
            Self::Followers | Self::Late | Self::Quorums => NetworkConfig::lossy(),
            Self::Slow => slow(500),
            Self::Refusals => NetworkConfig {
                delay: Duration::from_micros(100)..=Duration::from_millis(200),
                ..NetworkConfig::default()
            },
        }
    }
}

/// Whether messages take long in the run of a seed, where that differs.
const fn is_slow(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

/// Looks at a cluster while time goes by.
struct Watching<E: Subject> {
    watch: E::Watch,
    /// What the last step sent.
    sent: Rc<RefCell<Vec<Sent<E::Message>>>>,
}

impl<E: Subject> Default for Watching<E> {
    fn default() -> Self {
        Self { watch: E::Watch::default(), sent: Rc::default() }
    }
}

impl<E: Subject> Watching<E> {
    fn run_for(&mut self, cluster: &mut Cluster<E>, time: Duration) -> Result<(), Violation> {
        let Self { watch, sent } = self;
        let ran = cluster.run_until(time, |cluster| {
            watch.look(cluster, &sent.take());
            false
        });
        ran.map(|_| ())
    }
}

/// What servers that have applied as much of one order hold.
#[derive(Default)]
struct States {
    known: BTreeMap<u64, u64>,
    differs_at: Option<u64>,
}

impl States {
    fn look<E: Subject>(&mut self, cluster: &Cluster<E>) {
        let engines = cluster.nodes().filter_map(|node| cluster.engine(node));
        for (index, hash) in engines.filter_map(E::applied) {
            if *self.known.entry(index).or_insert(hash) != hash {
                self.differs_at = Some(self.differs_at.map_or(index, |at| at.min(index)));
            }
        }
    }
}

/// Delivers a copy of some message that was sent before, perhaps long ago.
fn bring_again<E: Subject>(cluster: &mut Cluster<E>, stream: &mut SeedStream) {
    let copies = cluster.captured();
    if copies.is_empty() || stream.chance(500) {
        return;
    }
    let recent = copies.len().min(RECENT);
    let place = copies.len() - 1 - index(stream, recent);
    if let Some(copy) = copies.get(place).cloned() {
        cluster.inject(copy.from, copy.to, copy.message);
    }
}

/// How many of the last copies may come again.
const RECENT: usize = 100;
