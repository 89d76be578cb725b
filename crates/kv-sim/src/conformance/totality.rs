//! Clause 3: a step is total.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    ConsistencyEngine, Effect, Effects, EngineConfig, Incarnation, Input, NodeId, Now, PersistSeq,
    RequestId, SeedStream, Shortage, SnapshotPart, ViewScope, Wire, read_whole_view,
};

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds};
use crate::disk::Items;
use crate::workload::{Workload, pick};

/// Clause 3: no input makes a step panic, answer what was not asked, or forget its own numbers.
///
/// The inputs are real messages of other runs, whole and mutated, and arbitrary bytes as far as
/// they decode, from voters, from strangers and from the server itself; checkpoints of other
/// runs, mutated; requests of every kind with options of every kind; hints about any server;
/// notices of records that were never written; cancels of any request; and timeouts at any time.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn survives_any_input<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(25) {
        let scenario = Scenario { seed, requests: 30, process_faults: true, tapes: true };
        let cluster = scenario.run::<E>()?;
        let mut messages = Vec::new();
        let mut checkpoints = Vec::new();
        for node in cluster.nodes() {
            let taped = cluster.tape(node).map(|tape| tape.incarnations.as_slice());
            for batch in taped.unwrap_or_default().iter().flat_map(|taped| &taped.batches) {
                messages.extend(batch.inputs.iter().filter_map(sent_bytes));
            }
        }
        let mut cluster = cluster;
        for node in cluster.nodes().collect::<Vec<_>>() {
            let engine = cluster.server_mut(node).engine_mut();
            let whole = engine.and_then(|engine| read_whole_view(engine, ViewScope::Whole));
            checkpoints.extend(whole.map(Items::of_whole));
        }
        for number in 1..=cluster.config().cluster.nodes() {
            let Ok(node) = NodeId::new(number) else {
                continue;
            };
            let config = EngineConfig::seeded(node, cluster.config().cluster.clone(), seed);
            let mut fuzzer = Fuzzer {
                stream: SeedStream::new(seed ^ (u64::from(number) << 32)),
                workload: Workload::new(seed, 4),
                messages: &messages,
                checkpoints: &checkpoints,
                last_request: 0,
                replied: BTreeMap::new(),
                last_seq: PersistSeq(0),
                now: Now { mono: Duration::from_secs(1), wall: Duration::from_secs(1_000_000_000) },
            };
            let fuzzed = catch_unwind(AssertUnwindSafe(|| fuzzer.run::<E>(config)));
            let fuzzed = fuzzed.unwrap_or(Err(Finding::Panicked));
            fuzzed.map_err(|finding| finding.of(3, seed))?;
        }
    }
    Ok(())
}

/// Feeds one engine and looks at what it does.
struct Fuzzer<'a> {
    stream: SeedStream,
    workload: Workload,
    messages: &'a [Bytes],
    checkpoints: &'a [Items],
    last_request: u64,
    replied: BTreeMap<RequestId, bool>,
    last_seq: PersistSeq,
    now: Now,
}

impl Fuzzer<'_> {
    fn run<E: ConsistencyEngine>(&mut self, config: EngineConfig) -> Result<(), Finding> {
        let Ok(mut engine) = E::recover(config, None, []) else {
            return Ok(());
        };
        let mut out = Effects::new();
        for _ in 0..INPUTS {
            let passed = Duration::from_millis(self.stream.below(100));
            self.now.mono += passed;
            // The wall clock jumps by up to ten days in both directions.
            if self.stream.chance(20) {
                self.now.wall = Duration::from_secs(999_000_000 + self.stream.below(2_000_000));
            }
            let input = self.input();
            let timeout = matches!(input, Input::Timeout);
            if self.stream.chance(20) {
                read_a_part(&mut engine);
            }
            engine.step(self.now, input, &mut out);
            let now = self.now.mono;
            if let Some(deadline) = engine.next_deadline().filter(|due| timeout && *due <= now) {
                return Err(Finding::DeadlineNotLater { deadline, now });
            }
            for effect in out.drain() {
                if matches!(effect, Effect::Halt { .. }) {
                    return Ok(());
                }
                self.look_at(&effect)?;
            }
        }
        engine.fingerprint();
        engine.status();
        read_whole_view(&mut engine, ViewScope::Changes);
        read_whole_view(&mut engine, ViewScope::Whole);
        Ok(())
    }

    fn look_at<M, R>(&mut self, effect: &Effect<M, R>) -> Result<(), Finding> {
        match effect {
            Effect::Persist { seq, .. } => {
                let expected = self.last_seq.next();
                if *seq != expected {
                    let found = *seq;
                    return Err(Finding::SeqNotDense { expected, found });
                }
                self.last_seq = *seq;
            }
            Effect::Reply { id, .. } => match self.replied.insert(*id, true) {
                Some(false) => {}
                Some(true) | None => return Err(Finding::StrayReply { id: *id }),
            },
            Effect::Send { .. }
            | Effect::BeginSnapshot { .. }
            | Effect::EndSnapshot { .. }
            | Effect::Halt { .. } => {}
        }
        Ok(())
    }

    fn input<M: Wire>(&mut self) -> Input<M> {
        match self.stream.below(20) {
            0..=9 => self.message().unwrap_or(Input::Timeout),
            10 | 11 => {
                let (op, options) = self.workload.any();
                let id = self.new_request();
                Input::Request { id, op, options }
            }
            12 => Input::Persisted { up_to: self.last_seq },
            13 => Input::Persisted { up_to: self.silly_seq() },
            14 => Input::PeerUp { peer: self.node(), incarnation: self.incarnation() },
            15 => Input::PeerDown { peer: self.node() },
            16 => Input::Cancel { id: RequestId(self.stream.below(self.last_request + 3)) },
            17 => self.rare_input(),
            _ => Input::Timeout,
        }
    }

    fn rare_input<M>(&mut self) -> Input<M> {
        match self.stream.below(4) {
            0 if self.stream.chance(500) => Input::DiskRoom,
            0 if self.stream.chance(100) => Input::Stop,
            0 => Input::DiskShort { shortage: Shortage::Space },
            1 => Input::CheckpointWritten { covers: self.silly_seq() },
            _ => Input::SnapshotPart { from: self.node(), part: self.snapshot_part() },
        }
    }

    /// A message that decodes; `None` if the draw did not give one.
    fn message<M: Wire>(&mut self) -> Option<Input<M>> {
        let real = pick(&mut self.stream, self.messages).cloned().unwrap_or_default();
        let bytes = match self.stream.below(4) {
            0 => real,
            1 => self.noise(),
            _ => self.mutated(&real),
        };
        let from = self.node();
        let message = M::from_bytes(bytes).ok()?;
        Some(Input::Message { from, message })
    }

    /// A part of a snapshot of another run, changed here and there, or out of order.
    fn snapshot_part(&mut self) -> SnapshotPart {
        let real = pick(&mut self.stream, self.checkpoints).cloned();
        let (mut metadata, mut items) =
            real.map_or_else(Default::default, |real| (real.metadata, real.items));
        if self.stream.chance(500) {
            metadata = self.mutated(&metadata);
        }
        for (key, item) in &mut items {
            if self.stream.chance(200) {
                *key = self.mutated(key);
                *item = self.mutated(item);
            }
        }
        let number = u32::try_from(self.stream.below(3)).unwrap_or_default();
        let (snapshot, is_last) = (self.stream.below(3), self.stream.chance(500));
        SnapshotPart { snapshot, number, metadata, items, is_last }
    }

    fn mutated(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.stream.below(3) {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let at = usize::try_from(self.stream.below(len)).unwrap_or(0);
            match (self.stream.below(8), bytes.get_mut(at)) {
                (0, _) => bytes.truncate(at),
                (1, Some(byte)) => *byte = 0,
                (2, Some(byte)) => *byte = u8::MAX,
                (3, Some(byte)) => *byte = byte.wrapping_add(1),
                (_, Some(byte)) => *byte ^= self.byte(),
                (_, None) => bytes.push(self.byte()),
            }
        }
        bytes.into()
    }

    fn noise(&mut self) -> Bytes {
        let len = self.stream.below(40);
        (0..len).map(|_| self.byte() % 8).collect()
    }

    const fn byte(&mut self) -> u8 {
        self.stream.next_u64().to_le_bytes()[0]
    }

    /// A voter most of the time, itself included; otherwise any server.
    fn node(&mut self) -> NodeId {
        let number = if self.stream.chance(900) {
            1 + self.stream.below(5)
        } else {
            1 + self.stream.below(65_535)
        };
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        NodeId::new(number).unwrap_or(NodeId::FIRST)
    }

    fn incarnation(&mut self) -> Incarnation {
        match self.stream.below(4) {
            0 => Incarnation::UNKNOWN,
            1 => Incarnation(u64::MAX),
            2 => Incarnation(self.stream.next_u64()),
            _ => Incarnation::following(Incarnation::UNKNOWN, 7),
        }
    }

    fn silly_seq(&mut self) -> PersistSeq {
        match self.stream.below(3) {
            0 => PersistSeq(self.stream.below(self.last_seq.0 + 1)),
            1 => PersistSeq(self.last_seq.0 + self.stream.below(100)),
            _ => PersistSeq(u64::MAX),
        }
    }

    fn new_request(&mut self) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.replied.insert(id, false);
        id
    }
}

/// Reads a view, and not always to its end.
fn read_a_part<E: ConsistencyEngine>(engine: &mut E) {
    if let Some(view) = engine.open_view(ViewScope::Changes) {
        engine.read_view(view.id, 1);
        engine.close_view(view.id);
        engine.read_view(view.id, 1);
    }
}

fn sent_bytes<M: Wire>(input: &Input<M>) -> Option<Bytes> {
    match input {
        Input::Message { message, .. } => Some(message.to_bytes()),
        Input::Request { .. }
        | Input::Cancel { .. }
        | Input::PeerUp { .. }
        | Input::PeerDown { .. }
        | Input::Persisted { .. }
        | Input::CheckpointWritten { .. }
        | Input::SnapshotPart { .. }
        | Input::DiskShort { .. }
        | Input::DiskRoom
        | Input::Stop
        | Input::Timeout => None,
    }
}

/// Inputs for one engine of one seed.
const INPUTS: usize = 600;
