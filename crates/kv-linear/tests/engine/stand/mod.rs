//! One server whose effects are looked at one step at a time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "each test uses a part of this, and says what went wrong by panicking"
)]

use std::time::Duration;

use kv_core::{
    Answer, ClusterConfig, ClusterId, CommandResult, ConsistencyEngine, Counter, Done, Effect,
    Effects, EngineConfig, Incarnation, Input, Key, NodeId, Now, Operation, Outcome, PersistSeq,
    Positions, Quorum, RequestId, RequestOptions, Served, Value, Version, Wire,
};
use kv_linear::{
    Body, Entry, EntryHeader, Epoch, LinearEngine, LogIndex, Message, NeedStart, Origin, Prepare,
    Record,
};

pub type Given = Effect<Message, Record>;

pub const CLUSTER: ClusterId = ClusterId(77);
pub const SEQUENCER: Incarnation = Incarnation(1 << 32);
pub const EPOCH: Epoch = Epoch::first(NodeId::FIRST);
pub const MS: Duration = Duration::from_millis(1);

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn configuration(write: u16) -> ClusterConfig {
    ClusterConfig::new([1, 2, 3].map(node), Quorum::Count(write), Quorum::Count(2)).unwrap()
}

pub fn put(text: &str) -> Operation {
    Operation::put(Key::new("k").unwrap(), Value::new(text.to_owned()).unwrap())
}

pub fn get() -> Operation {
    Operation::get(Key::new("k").unwrap())
}

/// One server whose effects are looked at one step at a time.
#[derive(Clone)]
pub struct Server {
    pub engine: LinearEngine,
    pub incarnation: Incarnation,
    pub cluster: Option<ClusterId>,
    pub now: Now,
}

impl Server {
    pub fn recover(number: u16, records: Vec<Record>) -> Self {
        let config = EngineConfig::new(node(number), configuration(2), 9);
        let records = (1..).map(PersistSeq).zip(records);
        let engine = LinearEngine::recover(config, None, records).unwrap();
        let now = Now { mono: MS * 1000, wall: MS * 5000 };
        Self { engine, incarnation: Incarnation::UNKNOWN, cluster: None, now }
    }

    /// All that the server holds on disk.
    pub fn snapshot(&mut self) -> kv_core::Checkpoint {
        let whole = kv_core::read_whole_view(&mut self.engine, kv_core::ViewScope::Whole);
        whole.unwrap().into_checkpoint()
    }

    /// A follower in its cluster, connected to the sequencer, with these entries on disk.
    pub fn follower(entries: Vec<Entry>) -> Self {
        let joined = Record::Joined {
            cluster: CLUSTER,
            configuration: configuration(2),
            incarnation: Incarnation(1 << 32),
            sequencer: SEQUENCER,
        };
        let entries = Record::Entries { commit: LogIndex::ZERO, entries };
        let mut server = Self::recover(2, vec![joined, entries]);
        server.cluster = Some(CLUSTER);
        let renewed = server.step(peer_up(1));
        let [Effect::Persist { seq: PersistSeq(3), record: Record::Renewed { incarnation } }] =
            renewed.as_slice()
        else {
            panic!("{renewed:?}")
        };
        server.incarnation = *incarnation;
        assert_eq!(server.incarnation.counter(), 2);
        let durable = LogIndex(server.positions().durable.unwrap());
        let ack = server.send(1, Body::Ack { epoch: EPOCH, durable });
        assert_eq!(server.persisted(3), [ack]);
        server
    }

    /// The sequencer of a cluster with all servers, connected to them.
    pub fn sequencer() -> Self {
        let mut server = Self::recover(1, vec![]);
        let hellos = server.step(peer_up(2));
        let [Effect::Send { message: Message { body: Body::Hello { nonce }, .. }, .. }] =
            hellos.as_slice()
        else {
            panic!("{hellos:?}")
        };
        let asked = *nonce;
        server.step(peer_up(3));
        let join = |nonce| empty(Body::Join { nonce, asked });
        assert_eq!(server.message(2, join(21)), []);
        let founded = server.message(3, join(31));
        let [Effect::Persist { record, .. }] = founded.as_slice() else { panic!("{founded:?}") };
        let Record::Founded { cluster, incarnation, members, .. } = record else {
            panic!("{record:?}")
        };
        assert_eq!(members, &[(node(2), first_incarnation(21)), (node(3), first_incarnation(31))]);
        (server.incarnation, server.cluster) = (*incarnation, Some(*cluster));
        let welcome = |nonce| Body::Welcome { nonce, highest: Incarnation::UNKNOWN };
        let expected = [server.send(2, welcome(21)), server.send(3, welcome(31))];
        assert_eq!(server.persisted(1), expected);
        for (from, nonce) in [(2, 21), (3, 31)] {
            let ack = Body::Ack { epoch: EPOCH, durable: LogIndex(0) };
            assert_eq!(server.message(from, server.of(first_incarnation(nonce), ack)), []);
        }
        server.timeout();
        server
    }

    /// The sequencer after a restart with these entries, its new generation being written to disk
    /// as records 3 and 4, connected to both followers.
    pub fn restarting(entries: Vec<Entry>) -> Self {
        let founded = Record::Founded {
            cluster: CLUSTER,
            configuration: configuration(2),
            incarnation: SEQUENCER,
            members: vec![(node(2), first_incarnation(21)), (node(3), first_incarnation(31))],
        };
        let entries = Record::Entries { commit: LogIndex::ZERO, entries };
        let mut server = Self::recover(1, vec![founded, entries]);
        server.cluster = Some(CLUSTER);
        let effects = server.step(peer_up(2));
        let [Effect::Persist { record: Record::Opened { epoch }, .. }, renewed] =
            effects.as_slice()
        else {
            panic!("{effects:?}")
        };
        assert_eq!(*epoch, generation(1));
        let Effect::Persist { seq: PersistSeq(4), record: Record::Renewed { incarnation } } =
            renewed
        else {
            panic!("{renewed:?}")
        };
        server.incarnation = *incarnation;
        assert!(server.incarnation > SEQUENCER);
        assert_eq!(server.step(peer_up(3)), []);
        server
    }

    /// The same once it is in its new generation, with nothing under way.
    pub fn restarted(entries: Vec<Entry>) -> Self {
        let mut server = Self::restarting(entries);
        assert_eq!(server.persisted(4), []);
        server.timeout();
        server
    }

    /// Sends a follower without a log all of this restarted sequencer's own, which is what it asks
    /// for.
    pub fn brings_into_its_epoch(&mut self, peer: u16, entries: &[Entry]) {
        let need = NeedStart {
            epoch: generation(1),
            log_epoch: generation(0),
            last: LogIndex::ZERO,
            commit: LogIndex::ZERO,
            staged: LogIndex::ZERO,
        };
        let incarnation = first_incarnation(u32::from(peer) * 10 + 1);
        assert_eq!(self.message(peer, self.of(incarnation, Body::NeedStart(need))), []);
        let sent = self.timeout();
        let is_whole = |effect: &Given| {
            matches!(effect, Effect::Send { message: Message { body: Body::StartEpoch(part), .. }, .. }
                if part.entries == entries)
        };
        assert!(sent.iter().any(is_whole), "{sent:?}");
    }

    pub fn step(&mut self, input: Input<Message>) -> Vec<Given> {
        let mut out = Effects::new();
        self.engine.step(self.now, input, &mut out);
        out.drain().collect()
    }

    pub fn message(&mut self, from: u16, message: Message) -> Vec<Given> {
        self.step(Input::Message { from: node(from), message })
    }

    /// A message of the sequencer to this follower.
    pub fn told(&mut self, body: Body) -> Vec<Given> {
        self.message(1, self.of(SEQUENCER, body))
    }

    pub fn request(&mut self, id: u64, op: Operation) -> Vec<Given> {
        let options = RequestOptions { timeout: MS * 500, ..RequestOptions::default() };
        self.step(Input::Request { id: RequestId(id), op, options })
    }

    pub fn persisted(&mut self, up_to: u64) -> Vec<Given> {
        self.step(Input::Persisted { up_to: PersistSeq(up_to) })
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

    /// What this server sends.
    pub fn send(&self, to: u16, body: Body) -> Given {
        Effect::Send { to: node(to), message: self.of(self.incarnation, body) }
    }

    /// A message within this server's cluster.
    pub fn of(&self, incarnation: Incarnation, body: Body) -> Message {
        let configuration = configuration(2).hash();
        Message { cluster: self.cluster, configuration, incarnation, body }
    }
}

pub fn peer_up(peer: u16) -> Input<Message> {
    Input::PeerUp { peer: node(peer), incarnation: Incarnation::UNKNOWN }
}

pub fn first_incarnation(nonce: u32) -> Incarnation {
    Incarnation::following(Incarnation::UNKNOWN, nonce)
}

/// A message of an empty server.
pub fn empty(body: Body) -> Message {
    Message {
        cluster: None,
        configuration: configuration(2).hash(),
        incarnation: Incarnation::UNKNOWN,
        body,
    }
}

/// Entries of another server's requests, chained, from position 1.
pub fn log(operations: &[Operation]) -> Vec<Entry> {
    let origin = (node(3), Incarnation(1 << 32));
    log_of(origin, operations)
}

pub fn log_of(
    (server, incarnation): (NodeId, Incarnation),
    operations: &[Operation],
) -> Vec<Entry> {
    let mut previous_hash = 0;
    let chain = (1..).zip(operations).map(|(number, operation)| {
        let origin = Origin { server, incarnation, number, settled_below: number };
        let header = EntryHeader {
            index: LogIndex(number),
            epoch: EPOCH,
            log_time_ms: 5000,
            origin,
            previous_hash,
        };
        let entry = Entry::new(header, &operation.to_bytes());
        previous_hash = entry.hash();
        entry
    });
    chain.collect()
}

/// The same with one more entry of an epoch.
pub fn extended(entries: &[Entry], epoch: Epoch, operation: &Operation) -> Vec<Entry> {
    let last = entries.last();
    let number = last.map_or(1, |last| last.index().0 + 1);
    let origin = Origin {
        server: node(3),
        incarnation: Incarnation(1 << 32),
        number,
        settled_below: number,
    };
    let header = EntryHeader {
        index: LogIndex(number),
        epoch,
        log_time_ms: 5000,
        origin,
        previous_hash: last.map_or(0, Entry::hash),
    };
    let next = Entry::new(header, &operation.to_bytes());
    entries.iter().cloned().chain([next]).collect()
}

/// What is on the disk of a sequencer that was restarted once.
pub fn founded(log: &[Entry]) -> Vec<Record> {
    let founded = Record::Founded {
        cluster: CLUSTER,
        configuration: configuration(2),
        incarnation: SEQUENCER,
        members: vec![(node(2), first_incarnation(21)), (node(3), first_incarnation(31))],
    };
    let opened = Record::Opened { epoch: generation(1) };
    vec![founded, opened, Record::Entries { commit: LogIndex::ZERO, entries: log.to_vec() }]
}

/// The epoch after so many restarts.
pub const fn generation(generation: u16) -> Epoch {
    Epoch { generation, ..EPOCH }
}

/// A message without entries of an epoch.
pub fn heartbeat(epoch: Epoch, receiver: Incarnation) -> Body {
    Body::Prepare(Prepare {
        epoch,
        receiver,
        previous: LogIndex::ZERO,
        previous_hash: 0,
        entries: Vec::new(),
        commit: LogIndex::ZERO,
        last: LogIndex::ZERO,
    })
}

pub fn prepare(receiver: Incarnation, entries: &[Entry], commit: u64, last: u64) -> Body {
    let first = entries.first().map(|entry| *entry.header());
    Body::Prepare(Prepare {
        epoch: EPOCH,
        receiver,
        previous: LogIndex(first.map_or(0, |header| header.index.0 - 1)),
        previous_hash: first.map_or(0, |header| header.previous_hash),
        entries: entries.to_vec(),
        commit: LogIndex(commit),
        last: LogIndex(last),
    })
}

pub fn ack(durable: u64) -> Body {
    Body::Ack { epoch: EPOCH, durable: LogIndex(durable) }
}

pub fn persist(seq: u64, commit: u64, entries: &[Entry]) -> Given {
    let record = Record::Entries { commit: LogIndex(commit), entries: entries.to_vec() };
    Effect::Persist { seq: PersistSeq(seq), record }
}

pub fn written(id: u64, index: u64) -> Given {
    reply(
        id,
        Outcome::Done(Done {
            answer: Answer::Results(vec![CommandResult::Written]),
            version: Some(Version::Log(index)),
            served: Served::Linearizable,
        }),
    )
}

pub const fn reply(id: u64, outcome: Outcome) -> Given {
    Effect::Reply { id: RequestId(id), outcome }
}
