//! Runs in which a broken rule can show.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::evidence::Evidence;
use kv_check::{History, Process};
use kv_core::{Command, Key, NodeId, Operation, RequestId, RequestOptions, SeedStream, Value};
use kv_sim::{Cluster, DiskConfig, Fate, NetworkConfig, Restart, SimConfig, Violation, WallOffset};

use super::subject::Subject;

/// What a cluster is made of, and what happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// One server that crashes and whose clock is set back.
    Alone,
    /// Three servers with W = R = 2, of which any but the first may be lost, wiped or cut off.
    Followers,
    /// The same with messages that take up to half a second, W = 3, R = 1.
    Slow,
    /// As `Followers`, and copies of messages come again long after.
    Late,
    /// Three servers of which the first restarts, and loses its disk together with the second.
    Sequencer,
    /// Three servers of which any may crash and keeps its disk, the first more often than the
    /// others; copies of messages come again long after.
    Generations,
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
}

const CLIENTS: u64 = 4;
const STEPS: usize = 70;

impl Scenario {
    pub(crate) fn run<E: Subject>(self, seed: u64) -> Result<Run, Violation> {
        let mut cluster = Cluster::<E>::new(self.config(seed))?;
        // The disks are looked at in whole runs.
        cluster.probe(E::probe(), u64::MAX);
        let mut stream = SeedStream::new(seed ^ 0x6d75_7461);
        let mut clients = Clients::new(seed, E::LINEARIZABLE);
        let mut states = States::default();
        let mut thinly_held = None;
        if self.repeats() {
            let mut copied = SeedStream::new(seed);
            cluster
                .intercept(move |_, _, _| if copied.chance(200) { Fate::Copy } else { Fate::Pass });
        }
        cluster.run_for(Duration::from_millis(1500))?;
        for _ in 0..STEPS {
            clients.call(&mut cluster);
            if self.repeats() {
                bring_again(&mut cluster, &mut stream);
            }
            if stream.chance(150) {
                self.disturb(&mut cluster, &mut stream)?;
            }
            cluster.run_for(Duration::from_millis(stream.below(60)))?;
            states.look(&cluster);
            if self == Self::Generations {
                thinly_held = thinly_held.or_else(|| E::thinly_held(&cluster));
            }
        }
        cluster.heal();
        cluster.stop_intercepting();
        cluster.set_network(NetworkConfig::default());
        let halted = cluster.halted().count();
        if halted == 0 {
            self.revive(&mut cluster)?;
        }
        cluster.run_for(Duration::from_secs(10))?;
        states.look(&cluster);
        let rest = cluster.bring_to_rest(&clients.keys, 4, !E::LINEARIZABLE)?;
        states.look(&cluster);
        let session = |id: RequestId| clients.sessions.get(&id).copied().unwrap_or(Process(id.0));
        let evidence = cluster.evidence(session, Some(rest));
        Ok(Run {
            history: cluster.history(),
            evidence,
            halted: halted.max(cluster.halted().count()),
            differs_at: states.differs_at,
            thinly_held,
        })
    }

    /// Whether copies of messages come again.
    const fn repeats(self) -> bool {
        matches!(self, Self::Late | Self::Generations)
    }

    fn config(self, seed: u64) -> SimConfig {
        let (nodes, write, read) = match self {
            Self::Generations if seed.is_multiple_of(3) => (3, 3, 1),
            Self::Generations => (3, 2, 2),
            Self::Alone => (1, 1, 1),
            Self::Followers | Self::Late | Self::Sequencer | Self::Quorums => (3, 2, 2),
            Self::Slow => (3, 3, 1),
            Self::CutOff => (3, 1, 3),
        };
        let network = match self {
            Self::Alone | Self::Sequencer | Self::CutOff => NetworkConfig::default(),
            Self::Followers | Self::Late | Self::Quorums => NetworkConfig::lossy(),
            Self::Generations if !seed.is_multiple_of(3) => NetworkConfig::lossy(),
            Self::Slow | Self::Generations => NetworkConfig {
                delay: Duration::from_micros(100)..=Duration::from_millis(500),
                ..NetworkConfig::lossy()
            },
        };
        let config = match SimConfig::new(nodes, write, read, seed) {
            Ok(config) => config.with_network(network),
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
        config
    }

    fn disturb<E: Subject>(
        self,
        cluster: &mut Cluster<E>,
        stream: &mut SeedStream,
    ) -> Result<(), Violation> {
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        let first = NodeId::FIRST;
        let second = nodes.get(1).copied().unwrap_or(first);
        let victim = match self {
            Self::Followers | Self::Late | Self::Slow => one_of(stream, nodes.get(1..)),
            Self::Alone | Self::Sequencer | Self::Generations | Self::Quorums | Self::CutOff => {
                one_of(stream, Some(&nodes))
            }
        };
        match (self, stream.below(8)) {
            (Self::Alone, 0..=5) => {
                let back = WallOffset::Behind(Duration::from_millis(stream.below(3_000)));
                cluster.set_wall_offset(first, back);
                cluster.restart(first, Restart::Intact)?;
            }
            (Self::CutOff, 0..=2) => cluster.hold_disk(first),
            (Self::CutOff, 3..=5) => {
                cluster.partition(&[first]);
                cluster.release_disk(first);
                let back = WallOffset::Behind(Duration::from_millis(stream.below(3_000)));
                cluster.set_wall_offset(first, back);
                cluster.restart(first, Restart::Intact)?;
            }
            (Self::Sequencer, 0) => {
                cluster.restart(second, Restart::Wiped)?;
                cluster.restart(first, Restart::Wiped)?;
            }
            (Self::Sequencer, 1 | 2) => cluster.restart(first, Restart::Intact)?,
            // The third server holds the log and can always be asked: where W disks are lost and
            // no holder answers, a new cluster may be founded.
            (Self::Sequencer, 3 | 4) => cluster.hold_disk(second),
            (Self::Sequencer, _) => cluster.heal(),
            (Self::Generations, 1 | 2) => cluster.restart(first, Restart::Intact)?,
            // Its followers get entries that its own disk may never hold.
            (Self::Generations, 5) if cluster.config().cluster.write_quorum() == 2 => {
                cluster.hold_disk(first);
            }
            (_, 0) => cluster.partition(&[victim]),
            (Self::Quorums, 1 | 2) => {
                let ahead = Duration::from_millis(stream.below(3_000));
                cluster.set_wall_offset(victim, WallOffset::Ahead(ahead));
            }
            (Self::Followers | Self::Late | Self::Slow, 1) => {
                cluster.restart(victim, Restart::Wiped)?
            }
            (_, 2) => cluster.restart(victim, Restart::Intact)?,
            (_, 3) => cluster.crash_after_effects(victim, stream.below(20)),
            (_, 4) => cluster.hold_disk(victim),
            (_, _) => {
                cluster.heal();
                cluster.set_network(self.config(0).network);
                self.revive(cluster)?;
            }
        }
        Ok(())
    }

    fn revive<E: Subject>(self, cluster: &mut Cluster<E>) -> Result<(), Violation> {
        let down: Vec<NodeId> = cluster.nodes().filter(|node| !cluster.is_running(*node)).collect();
        for node in down {
            cluster.restart(node, Restart::Intact)?;
        }
        Ok(())
    }
}

/// Clients that ask one thing after the other, some at the very same moment.
struct Clients {
    stream: SeedStream,
    keys: Vec<Key>,
    /// Each client's session and its last call.
    clients: Vec<(Process, Option<RequestId>)>,
    sessions: BTreeMap<RequestId, Process>,
    next_session: u64,
    counts: bool,
    written: u64,
}

impl Clients {
    fn new(seed: u64, counts: bool) -> Self {
        Self {
            stream: SeedStream::new(seed ^ 0x0063_6c69),
            keys: ["a", "b"].map(key).to_vec(),
            clients: (0..CLIENTS).map(|client| (Process(client), None)).collect(),
            sessions: BTreeMap::new(),
            next_session: CLIENTS,
            counts,
            written: 0,
        }
    }

    fn call<E: Subject>(&mut self, cluster: &mut Cluster<E>) {
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        let mut clients = std::mem::take(&mut self.clients);
        for (session, last) in &mut clients {
            let open = last.and_then(|id| cluster.request(id));
            if open.is_some_and(|request| !request.has_ended()) || self.stream.chance(300) {
                continue;
            }
            // After an outcome that is not known, another session begins.
            if open.is_some_and(|request| {
                !matches!(request.outcome(), Some(kv_core::Outcome::Done(_)))
            }) {
                *session = Process(self.next_session);
                self.next_session += 1;
            }
            let node = one_of(&mut self.stream, Some(&nodes));
            let op = self.operation();
            let timeout = Duration::from_millis(100 + self.stream.below(1_500));
            let options = RequestOptions { timeout, ..RequestOptions::default() };
            let id = cluster.submit(node, op, options);
            self.sessions.insert(id, *session);
            *last = Some(id);
        }
        self.clients = clients;
    }

    fn operation(&mut self) -> Operation {
        let place = index(&mut self.stream, self.keys.len());
        let key = self.keys.get(place).cloned().unwrap_or_else(|| key("a"));
        self.written += 1;
        match self.stream.below(10) {
            0..=3 => {
                let value = Value::new(format!("v{}", self.written)).unwrap_or_default();
                Operation::put(key, value)
            }
            4 => Operation::delete(key),
            5 | 6 if self.counts => {
                Operation::of(Command::Increment { key: self::key("n"), by: 1 })
            }
            _ => Operation::get(key),
        }
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

/// One of some servers; the first of all if there is none to choose from.
fn one_of(stream: &mut SeedStream, nodes: Option<&[NodeId]>) -> NodeId {
    let nodes = nodes.unwrap_or_default();
    nodes.get(index(stream, nodes.len())).copied().unwrap_or(NodeId::FIRST)
}

/// A place in a list of this length.
fn index(stream: &mut SeedStream, len: usize) -> usize {
    let below = stream.below(u64::try_from(len).unwrap_or(u64::MAX));
    usize::try_from(below).unwrap_or_default()
}

fn key(name: &str) -> Key {
    match Key::new(name.to_owned()) {
        Ok(key) => key,
        Err(error) => panic!("a key of a scenario: {error}"),
    }
}
