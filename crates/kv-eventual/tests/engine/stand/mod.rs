//! A test stand for one engine: every input by hand, every effect seen.

use std::time::Duration;

use kv_core::{
    Answer, ClusterConfig, CommandResult, ConsistencyEngine, Counter, Done, Effect, Effects,
    EngineConfig, HybridTime, Incarnation, Input, Key, NodeId, NotDone, Now, Operation, Outcome,
    PersistSeq, Positions, Quorum, RequestId, RequestOptions, Served, Unknown, Value, Version,
    Versioned,
};
use kv_eventual::{
    Batch, Entry, EventualEngine, Hello, Message, Part, Record, Report, Stamp, Welcome, Write,
    WriteId, WriteSeq,
};

pub(crate) type TestEffect = Effect<Message, Record>;

pub(crate) const WALL_MS: u64 = 1_000_000_000_000;

pub(crate) struct Stand {
    pub(crate) engine: EventualEngine,
    pub(crate) now: Now,
    out: Effects<Message, Record>,
    last_seq: PersistSeq,
    last_request: u64,
}

impl Stand {
    /// Server 1 of `nodes`, empty and not stepped yet.
    pub(crate) fn unborn(nodes: u16, w: u16, r: u16) -> Self {
        Self::with(config(nodes, w, r))
    }

    pub(crate) fn with(config: EngineConfig) -> Self {
        Self::of(EventualEngine::recover(config, None, []).unwrap(), 0)
    }

    pub(crate) fn of(engine: EventualEngine, last_seq: u64) -> Self {
        Self {
            engine,
            now: Now { mono: Duration::from_secs(100), wall: Duration::from_millis(WALL_MS) },
            out: Effects::new(),
            last_seq: PersistSeq(last_seq),
            last_request: 0,
        }
    }

    /// Server 1 of `nodes`, connected to all others and serving.
    pub(crate) fn serving(nodes: u16, w: u16, r: u16) -> Self {
        Self::serving_with(config(nodes, w, r))
    }

    pub(crate) fn serving_with(config: EngineConfig) -> Self {
        Self::serving_beside(config, HybridTime::ZERO)
    }

    /// The same beside servers that have forgotten the deletes up to `floor`.
    pub(crate) fn serving_beside(config: EngineConfig, floor: HybridTime) -> Self {
        let peers: Vec<_> = config.cluster.peers_of(config.node).collect();
        let mut stand = Self::with(config);
        let begin = stand.now;
        stand.now.mono -= Duration::from_secs(1);
        stand.now.wall -= Duration::from_secs(1);
        stand.flush();
        for &peer in &peers {
            stand.up(peer);
        }
        for (to, message) in sends(stand.flush()) {
            let [Part::Hello(hello)] = message.parts.as_slice() else {
                panic!("no hello: {message:?}");
            };
            stand.receive_now(to, Part::Welcome(welcome(hello)));
        }
        stand.sync();
        assert_eq!(stand.engine.status().waiting, None);
        // It cannot know that it is new, and counts for reads once it has what the others have.
        for _ in &peers {
            let mut effects = stand.flush();
            effects.retain(|effect| !matches!(effect, Effect::Persist { .. }));
            for (to, message) in sends(effects) {
                let [Part::Pull(pull)] = message.parts.as_slice() else {
                    panic!("no pull: {message:?}");
                };
                let end = Report { counts: true, is_whole: true, floor, ..Report::default() };
                let batch = Batch {
                    transfer: pull.transfer,
                    number: pull.number,
                    instance: 1,
                    writes: Vec::new(),
                    end: Some(Box::new(end)),
                };
                stand.receive_now(to, Part::Batch(batch));
            }
            stand.sync();
        }
        stand.now = begin;
        assert_eq!(stand.flush(), []);
        stand
    }

    /// The peer answers the hello that is in flight to it.
    pub(crate) fn welcomed(&mut self, peer: NodeId) {
        for (to, message) in sends(self.flush()) {
            for part in message.parts {
                if let Part::Hello(hello) = part
                    && to == peer
                {
                    self.receive_now(peer, Part::Welcome(welcome(&hello)));
                }
            }
        }
    }

    pub(crate) fn step(&mut self, input: Input<Message>) -> Vec<TestEffect> {
        self.engine.step(self.now, input, &mut self.out);
        let effects: Vec<_> = self.out.drain().collect();
        for effect in &effects {
            if let Effect::Persist { seq, .. } = effect {
                assert_eq!(*seq, self.last_seq.next());
                self.last_seq = *seq;
            }
        }
        effects
    }

    /// Everything asked for is on disk.
    pub(crate) fn sync(&mut self) -> Vec<TestEffect> {
        let up_to = self.last_seq;
        self.step(Input::Persisted { up_to })
    }

    /// Timeouts as long as one is due.
    pub(crate) fn flush(&mut self) -> Vec<TestEffect> {
        let due = self.engine.next_deadline();
        if due.is_none_or(|due| due > self.now.mono) {
            return Vec::new();
        }
        let effects = self.step(Input::Timeout);
        let next = self.engine.next_deadline();
        assert!(next.is_none_or(|next| next > self.now.mono));
        effects
    }

    pub(crate) fn sync_and_flush(&mut self) -> Vec<TestEffect> {
        let mut effects = self.sync();
        effects.extend(self.flush());
        effects
    }

    /// Lets time go by, then flushes.
    pub(crate) fn wait_ms(&mut self, ms: u64) -> Vec<TestEffect> {
        self.now.mono += Duration::from_millis(ms);
        self.now.wall += Duration::from_millis(ms);
        self.flush()
    }

    pub(crate) fn request(&mut self, op: Operation) -> Vec<TestEffect> {
        self.request_with(op, RequestOptions::default())
    }

    pub(crate) fn request_with(
        &mut self,
        op: Operation,
        options: RequestOptions,
    ) -> Vec<TestEffect> {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.step(Input::Request { id, op, options })
    }

    pub(crate) fn put(&mut self, name: &str, text: &str) -> Vec<TestEffect> {
        self.request(Operation::put(key(name), value(text)))
    }

    pub(crate) fn get(&mut self, name: &str) -> Vec<TestEffect> {
        self.request(Operation::get(key(name)))
    }

    pub(crate) fn receive(&mut self, from: NodeId, part: Part) -> Vec<TestEffect> {
        self.receive_as(from, Incarnation::UNKNOWN, part)
    }

    pub(crate) fn receive_as(
        &mut self,
        from: NodeId,
        sender: Incarnation,
        part: Part,
    ) -> Vec<TestEffect> {
        let message = Message { sender, wall_ms: WALL_MS, parts: vec![part] };
        self.step(Input::Message { from, message })
    }

    /// As [`Stand::receive`], from a server whose wall clock shows what this one's does.
    pub(crate) fn receive_now(&mut self, from: NodeId, part: Part) -> Vec<TestEffect> {
        let wall_ms = u64::try_from(self.now.wall.as_millis()).unwrap();
        let message = Message { sender: Incarnation::UNKNOWN, wall_ms, parts: vec![part] };
        self.step(Input::Message { from, message })
    }

    pub(crate) fn up(&mut self, peer: NodeId) -> Vec<TestEffect> {
        self.step(Input::PeerUp { peer, incarnation: Incarnation::UNKNOWN })
    }

    pub(crate) fn down(&mut self, peer: NodeId) -> Vec<TestEffect> {
        self.step(Input::PeerDown { peer })
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.engine.status().incarnation
    }

    pub(crate) fn counter(&self, counter: Counter) -> u64 {
        self.engine.status().counter(counter).unwrap()
    }

    pub(crate) fn positions(&self) -> Positions {
        self.engine.status().positions
    }

    /// The bound that the first write of an incarnation asks for.
    pub(crate) fn bound(&self, seq: u64) -> TestEffect {
        let below = HybridTime::from_millis(WALL_MS + 32);
        persist(seq, Record::ClockBound { below })
    }

    /// This server's `seq`th write, the `counter`th of the millisecond at which the stand began.
    pub(crate) fn own(&self, seq: u64, counter: u64, name: &str, text: Option<&str>) -> Write {
        write((1, self.incarnation()), seq, time(0, counter), name, text)
    }

    pub(crate) fn message(&self, to: u16, parts: Vec<Part>) -> TestEffect {
        let ms = u64::try_from(self.now.wall.as_millis()).unwrap();
        let message = Message { sender: self.incarnation(), wall_ms: ms, parts };
        Effect::Send { to: node(to), message }
    }
}

pub(crate) fn config(nodes: u16, w: u16, r: u16) -> EngineConfig {
    let voters = (1..=nodes).map(node);
    let cluster = ClusterConfig::new(voters, Quorum::Count(w), Quorum::Count(r)).unwrap();
    let mut config = EngineConfig::seeded(node(1), cluster, 7);
    config.timing.anti_entropy = Duration::MAX;
    config
}

/// The answer to a hello of one who has nothing to tell.
pub(crate) fn welcome(hello: &Hello) -> Welcome {
    Welcome {
        run: hello.run,
        sent: hello.sent,
        highest: Incarnation::UNKNOWN,
        latest: HybridTime::ZERO,
        members: Vec::new(),
        has_lost: false,
    }
}

pub(crate) fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

/// An incarnation of a peer.
pub(crate) fn incarnation(counter: u64, nonce: u32) -> Incarnation {
    Incarnation::following(Incarnation((counter - 1) << 32), nonce)
}

/// Milliseconds after the stand began, and a counter.
pub(crate) fn time(ms: u64, counter: u64) -> HybridTime {
    let base = HybridTime::from_millis(WALL_MS + ms);
    (0..counter).fold(base, |time, _| time.next())
}

pub(crate) fn write(
    (origin, incarnation): (u16, Incarnation),
    seq: u64,
    time: HybridTime,
    name: &str,
    text: Option<&str>,
) -> Write {
    let stamp = Stamp { time, origin: node(origin), incarnation };
    Write { key: key(name), entry: Entry { stamp, seq: WriteSeq(seq), value: text.map(value) } }
}

/// A write of server 2 in its first incarnation.
pub(crate) fn theirs(seq: u64, time: HybridTime, name: &str, text: &str) -> Write {
    write((2, incarnation(1, 2)), seq, time, name, Some(text))
}

pub(crate) fn id_of(write: &Write) -> WriteId {
    write.entry.id()
}

pub(crate) fn version_of(write: &Write) -> Version {
    write.entry.stamp.into()
}

pub(crate) fn persist(seq: u64, record: Record) -> TestEffect {
    Effect::Persist { seq: PersistSeq(seq), record }
}

pub(crate) fn reply(id: u64, outcome: Outcome) -> TestEffect {
    Effect::Reply { id: RequestId(id), outcome }
}

pub(crate) fn refused(id: u64, reason: NotDone) -> TestEffect {
    reply(id, Outcome::NotDone(reason))
}

pub(crate) fn unknown(id: u64, version: Option<Version>, acks: u16, needed: u16) -> TestEffect {
    let unknown = Unknown { version, acks, needed };
    reply(id, Outcome::Unknown(unknown))
}

pub(crate) fn written(id: u64, write: &Write, servers: u16) -> TestEffect {
    done(id, CommandResult::Written, Some(version_of(write)), servers)
}

/// What a read shows; of a delete its version alone.
pub(crate) fn found(id: u64, write: Option<&Write>, servers: u16) -> TestEffect {
    let versioned = write.and_then(|write| {
        Some(Versioned { value: write.entry.value.clone()?, version: version_of(write) })
    });
    let deleted = write.filter(|write| write.entry.value.is_none()).map(version_of);
    done(id, CommandResult::Value(versioned), deleted, servers)
}

pub(crate) fn sends(effects: Vec<TestEffect>) -> Vec<(NodeId, Message)> {
    let send = |effect| {
        let Effect::Send { to, message } = effect else {
            panic!("not a send: {effect:?}");
        };
        (to, message)
    };
    effects.into_iter().map(send).collect()
}

fn done(id: u64, result: CommandResult, version: Option<Version>, servers: u16) -> TestEffect {
    reply(
        id,
        Outcome::Done(Done {
            answer: Answer::Results(vec![result]),
            version,
            served: Served::Quorum { servers },
        }),
    )
}
