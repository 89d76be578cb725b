//! One server whose effects are looked at one step at a time.

pub mod log;

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Checkpoint, ClusterConfig, ClusterId, ConsistencyEngine, Counter, Effect, Effects,
    EngineConfig, HaltReason, Incarnation, Input, Limits, NodeId, Now, Operation, Outcome,
    PersistSeq, Positions, Quorum, RequestId, RequestOptions, Role, SnapshotPart,
};
use kv_linear::{Ack, Body, Entry, Epoch, LinearEngine, LogIndex, Message, Prepare, Record};

/// What a server asks of its driver, without what the stand checks itself: the numbers of records
/// and the heads of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Write(Record),
    Send(u16, Body),
    Reply(u64, Outcome),
    BeginSnapshot(u16),
    EndSnapshot(u16),
    Halt(HaltReason),
}

pub use Given::{Halt, Reply, Send, Write};

pub const CLUSTER: ClusterId = ClusterId(77);
pub const MS: Duration = Duration::from_millis(1);
/// The election timeout.
pub const TIMEOUT: Duration = Duration::from_secs(1);
pub const UNKNOWN: Incarnation = Incarnation::UNKNOWN;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn cluster(nodes: u16, write: u16, read: u16) -> ClusterConfig {
    let voters = (1..=nodes).map(node);
    ClusterConfig::new(voters, Quorum::Count(write), Quorum::Count(read)).unwrap()
}

/// The incarnation of this number; the random half says whose it is.
pub fn incarnation(number: u16, counter: u64) -> Incarnation {
    Incarnation((counter << 32) | (u64::from(number) * 10 + 1))
}

/// The incarnation in which a server joined the cluster.
pub fn first(number: u16) -> Incarnation {
    incarnation(number, 1)
}

/// An epoch of a server's first incarnation.
pub fn epoch(round: u32, owner: u16) -> Epoch {
    Epoch { round, owner: node(owner), incarnation: first(owner) }
}

/// What a founding member has on disk: its identity, a promise and a log.
pub fn disk(number: u16, cluster: &ClusterConfig, promised: Epoch, log: &[Entry]) -> Vec<Record> {
    let others = cluster.peers_of(node(number)).map(|peer| (peer, first(peer.number())));
    let others: Vec<_> = others.collect();
    let (incarnation, configuration) = (first(number), cluster.clone());
    let identity = match number {
        1 => Record::Founded { cluster: CLUSTER, configuration, incarnation, members: others },
        _ => Record::Joined {
            cluster: CLUSTER,
            configuration,
            incarnation,
            known: others,
            recovering: false,
        },
    };
    let mut records = vec![identity, Record::Promised { epoch: promised }];
    if !log.is_empty() {
        records.push(log::record(promised, 0, log, 0));
    }
    records
}

/// One server whose effects are looked at one step at a time.
#[derive(Clone)]
pub struct Server {
    pub engine: LinearEngine,
    pub number: u16,
    pub config: ClusterConfig,
    pub limits: Limits,
    pub cluster: Option<ClusterId>,
    pub incarnation: Incarnation,
    pub now: Now,
    /// The incarnations in which its peers speak, where these are not their first ones.
    pub peers: BTreeMap<u16, Incarnation>,
    /// All that it asked to be written.
    pub records: Vec<Record>,
    /// How much of that is on disk.
    pub persisted: usize,
}

impl Server {
    pub fn recover(number: u16, config: &ClusterConfig, records: Vec<Record>) -> Self {
        Self::recover_with(number, config, Limits::default(), records)
    }

    pub fn recover_with(
        number: u16,
        config: &ClusterConfig,
        limits: Limits,
        records: Vec<Record>,
    ) -> Self {
        let engine_config =
            EngineConfig { limits, ..EngineConfig::seeded(node(number), config.clone(), 9) };
        let numbered = (1..).map(PersistSeq).zip(records.clone());
        let engine = LinearEngine::recover(engine_config, None, numbered).unwrap();
        let mut server = Self {
            engine,
            number,
            config: config.clone(),
            limits,
            cluster: None,
            incarnation: UNKNOWN,
            now: Now { mono: MS * 1000, wall: MS * 5000 },
            peers: BTreeMap::new(),
            persisted: records.len(),
            records: Vec::new(),
        };
        records.into_iter().for_each(|record| server.note_record(record));
        server
    }

    /// The server after a crash: what was not on disk is lost.
    pub fn restart(&self) -> Self {
        let records = self.records.iter().take(self.persisted).cloned().collect();
        let server = Self::recover_with(self.number, &self.config, self.limits, records);
        Self { now: self.now, peers: self.peers.clone(), ..server }
    }

    /// A server of a cluster, connected to all others, which has heard of no sequencer yet.
    pub fn member_of(config: &ClusterConfig, number: u16, promised: Epoch, log: &[Entry]) -> Self {
        let mut server = Self::recover(number, config, disk(number, config, promised, log));
        let peers: Vec<u16> = config.peers_of(node(number)).map(NodeId::number).collect();
        for peer in peers {
            server.peer_up(peer);
        }
        assert_eq!(server.persist_all(), []);
        server
    }

    /// The same in a cluster of three with majorities.
    pub fn member(number: u16, promised: Epoch, log: &[Entry]) -> Self {
        Self::member_of(&cluster(3, 2, 2), number, promised, log)
    }

    /// A follower of server 1 in the first epoch, which it has heard just now. Its log is verified.
    pub fn follower(log: &[Entry]) -> Self {
        let mut server = Self::member(2, epoch(0, 1), log);
        let heard = server.told(heartbeat(epoch(0, 1), log, 0));
        assert_eq!(heard, [Send(1, ack(epoch(0, 1), log.len()))]);
        server
    }

    /// The sequencer after a restart: its opening entry comes after this log, and all is on disk.
    pub fn sequencer_of(config: &ClusterConfig, log: &[Entry]) -> Self {
        let mut server = Self::recover(1, config, disk(1, config, epoch(0, 1), log));
        let peers: Vec<u16> = config.peers_of(node(1)).map(NodeId::number).collect();
        for peer in peers {
            server.peer_up(peer);
        }
        assert_eq!(server.persist_all(), []);
        server.timeout();
        server
    }

    /// The same in a cluster of three with majorities.
    pub fn sequencer(log: &[Entry]) -> Self {
        Self::sequencer_of(&cluster(3, 2, 2), log)
    }

    /// The same with nothing that is not committed.
    pub fn settled_sequencer(log: &[Entry]) -> Self {
        let mut server = Self::sequencer(log);
        let last = log.len() + 1;
        for peer in [2, 3] {
            server.hears(peer, ack(server.epoch(), last));
        }
        server.timeout();
        assert_eq!(server.positions().committed, Some(log::count(last)));
        server
    }

    /// The epoch in which a restarted sequencer speaks.
    pub fn epoch(&self) -> Epoch {
        Epoch { round: 0, owner: node(self.number), incarnation: self.incarnation }
    }

    pub fn step(&mut self, input: Input<Message>) -> Vec<Given> {
        let mut out = Effects::new();
        self.engine.step(self.now, input, &mut out);
        let effects: Vec<_> = out.drain().collect();
        effects.into_iter().map(|effect| self.note(effect)).collect()
    }

    fn note(&mut self, effect: Effect<Message, Record>) -> Given {
        match effect {
            Effect::Persist { seq, record } => {
                self.note_record(record.clone());
                assert_eq!(seq, PersistSeq(log::count(self.records.len())));
                Write(record)
            }
            Effect::Send { to, message } => {
                let Message { cluster, configuration, incarnation, body } = message;
                assert_eq!(configuration, self.config.hash());
                assert_eq!((cluster, incarnation), (self.cluster, self.incarnation));
                Send(to.number(), body)
            }
            Effect::Reply { id, outcome } => Reply(id.0, outcome),
            Effect::BeginSnapshot { to } => Given::BeginSnapshot(to.number()),
            Effect::EndSnapshot { peer } => Given::EndSnapshot(peer.number()),
            Effect::Halt { reason } => Halt(reason),
        }
    }

    fn note_record(&mut self, record: Record) {
        match &record {
            Record::Salvaged { .. } => {
                self.cluster = None;
                self.incarnation = UNKNOWN;
            }
            Record::Founded { cluster, incarnation, .. }
            | Record::Joined { cluster, incarnation, .. } => {
                (self.cluster, self.incarnation) = (Some(*cluster), *incarnation);
            }
            Record::Renewed { incarnation, .. } => self.incarnation = *incarnation,
            Record::Opened { entry } => self.incarnation = entry.header().epoch.incarnation,
            _ => {}
        }
        self.records.push(record);
    }

    /// A message of a peer in its present incarnation.
    pub fn hears(&mut self, from: u16, body: Body) -> Vec<Given> {
        let incarnation = self.peers.get(&from).copied().unwrap_or_else(|| first(from));
        self.hears_in(from, incarnation, body)
    }

    pub fn hears_in(&mut self, from: u16, incarnation: Incarnation, body: Body) -> Vec<Given> {
        let configuration = self.config.hash();
        let message = Message { cluster: self.cluster, configuration, incarnation, body };
        self.message(from, message)
    }

    /// The sequencer of an epoch, which knows this server's incarnation, sends it the entries after
    /// the first `from`.
    pub fn fed(&mut self, epoch: Epoch, log: &[Entry], from: usize, commit: u64) -> Vec<Given> {
        let Body::Prepare(shown) = prepare(epoch, log, from, commit) else { panic!() };
        let receiver = self.incarnation;
        self.hears(epoch.owner.number(), Body::Prepare(Prepare { receiver, ..shown }))
    }

    /// A message of server 1.
    pub fn told(&mut self, body: Body) -> Vec<Given> {
        self.hears(1, body)
    }

    /// A message of a server that has a cluster to one that may have none.
    pub fn hears_of_cluster(&mut self, from: u16, body: Body) -> Vec<Given> {
        let (cluster, configuration) = (Some(CLUSTER), self.config.hash());
        let incarnation = first(from);
        self.message(from, Message { cluster, configuration, incarnation, body })
    }

    /// A message of an empty server.
    pub fn hears_empty(&mut self, from: u16, body: Body) -> Vec<Given> {
        let configuration = self.config.hash();
        let message = Message { cluster: None, configuration, incarnation: UNKNOWN, body };
        self.message(from, message)
    }

    pub fn message(&mut self, from: u16, message: Message) -> Vec<Given> {
        self.step(Input::Message { from: node(from), message })
    }

    pub fn peer_up(&mut self, peer: u16) -> Vec<Given> {
        self.step(Input::PeerUp { peer: node(peer), incarnation: UNKNOWN })
    }

    pub fn peer_down(&mut self, peer: u16) -> Vec<Given> {
        self.step(Input::PeerDown { peer: node(peer) })
    }

    pub fn request(&mut self, id: u64, op: Operation) -> Vec<Given> {
        let options = RequestOptions::default().with_timeout(MS * 60_000);
        self.step(Input::Request { id: RequestId(id), op, options })
    }

    /// All that was asked to be written comes to the disk.
    pub fn persist_all(&mut self) -> Vec<Given> {
        self.persist_up_to(self.records.len())
    }

    /// The records up to this number come to the disk.
    pub fn persist_up_to(&mut self, number: usize) -> Vec<Given> {
        self.persisted = number;
        self.step(Input::Persisted { up_to: PersistSeq(log::count(number)) })
    }

    pub fn timeout(&mut self) -> Vec<Given> {
        self.step(Input::Timeout)
    }

    pub fn timeout_after(&mut self, wait: Duration) -> Vec<Given> {
        self.now.mono += wait;
        self.timeout()
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.engine.status().counter(counter).unwrap()
    }

    pub fn positions(&self) -> Positions {
        self.engine.status().positions
    }

    pub fn role(&self) -> Role {
        self.engine.status().role
    }

    /// The last position, and how far the log is on disk, committed and applied.
    pub fn log(&self) -> [u64; 4] {
        let positions = self.positions();
        [positions.last, positions.durable, positions.committed, positions.applied]
            .map(Option::unwrap)
    }

    /// Whether the server has this entry at its position.
    pub fn has(&self, entry: &Entry) -> bool {
        self.engine.log_hash(entry.index()) == Some(entry.hash())
    }

    /// What the server holds, as it is sent to another one.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let view = kv_core::read_whole_view(&mut self.engine, kv_core::ViewScope::Whole);
        view.unwrap().into_checkpoint()
    }

    /// The same as a snapshot in one part.
    pub fn snapshot(&mut self) -> SnapshotPart {
        let Checkpoint { metadata, items, .. } = self.checkpoint();
        let items = items.collect();
        SnapshotPart { snapshot: 1, number: 0, metadata, items, is_last: true }
    }

    pub fn is_halted(&mut self) -> bool {
        self.engine.next_deadline().is_none() && self.timeout().is_empty()
    }
}

/// Entries of the log after the first `from`, from a sequencer that has sent all of it.
pub fn prepare(epoch: Epoch, log: &[Entry], from: usize, commit: u64) -> Body {
    let (previous, previous_hash) = log::end(log.get(..from).unwrap());
    Body::Prepare(Prepare {
        epoch,
        receiver: UNKNOWN,
        previous,
        previous_hash,
        entries: log.get(from..).unwrap().to_vec(),
        commit: LogIndex(commit),
        last: log::end(log).0,
        round: 0,
        probe: false,
    })
}

/// A sign of life of a sequencer that has sent all of this log.
pub fn heartbeat(epoch: Epoch, log: &[Entry], commit: u64) -> Body {
    prepare(epoch, log, log.len(), commit)
}

pub fn ack(epoch: Epoch, durable: usize) -> Body {
    let durable = LogIndex(log::count(durable));
    Body::Ack(Ack { epoch, durable, round: 0, recovering: false })
}

/// What is sent to one server.
pub fn sent_to(effects: &[Given], peer: u16) -> Vec<Body> {
    let to_peer = effects.iter().filter_map(|effect| match effect {
        Send(to, body) if *to == peer => Some(body.clone()),
        _ => None,
    });
    to_peer.collect()
}

/// What is written.
pub fn written(effects: &[Given]) -> Vec<Record> {
    let records = effects.iter().filter_map(|effect| match effect {
        Write(record) => Some(record.clone()),
        _ => None,
    });
    records.collect()
}
