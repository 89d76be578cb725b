//! The driver, with an engine that does what the test says.

mod checkpoints;
mod outputs;
mod requests;
mod session_snapshots;
mod snapshots;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cluster::ClusterConfig;
use crate::cluster::id::RequestId;
use crate::cluster::quorum::Quorum;
use crate::engine::EngineConfig;
use crate::engine::checkpoint::{
    Checkpoint, CheckpointChange, OpenView, RecoverError, ViewChunk, ViewScope,
};
use crate::key::Key;
use crate::request::not_done::{NotDone, Waiting};
use crate::request::operation::{Operation, RequestOptions};
use crate::request::outcome::Outcome;
use crate::status::Status;
use crate::store::ViewId;

/// An engine whose next step has the effects that the test put there.
#[derive(Clone, Debug, Default)]
struct Scripted {
    effects: Vec<Effect<u64, u64>>,
    /// What it was given, oldest first.
    inputs: Vec<Input<u64>>,
    deadline: Option<Duration>,
    /// What a view has, whatever its scope; read one by one.
    items: Vec<CheckpointChange>,
    /// What a view covers.
    covers: PersistSeq,
    opens_no_views: bool,
    may_not_stop: bool,
    incarnation: u64,
    /// The open views, with how many items were read of each.
    views: BTreeMap<ViewId, usize>,
    last_view: u64,
}

impl ConsistencyEngine for Scripted {
    const NAME: &'static str = "scripted";

    type Message = u64;
    type Record = u64;

    fn recover(
        _config: EngineConfig,
        _checkpoint: Option<Checkpoint>,
        _records: impl IntoIterator<Item = (PersistSeq, u64)>,
    ) -> Result<Self, RecoverError> {
        Ok(Self::default())
    }

    fn step(&mut self, _now: Now, input: Input<u64>, out: &mut Effects<u64, u64>) {
        if input == Input::Timeout {
            self.deadline = None;
        }
        self.inputs.push(input);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Persist { seq, record } => out.persist(seq, record),
                Effect::Send { to, message } => out.send(to, message),
                Effect::Reply { id, outcome } => out.reply(id, outcome),
                Effect::BeginSnapshot { to } => out.begin_snapshot(to),
                Effect::EndSnapshot { peer } => out.end_snapshot(peer),
                Effect::Halt { reason } => out.halt(reason),
            }
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    fn open_view(&mut self, _scope: ViewScope) -> Option<OpenView> {
        if self.opens_no_views {
            return None;
        }
        self.last_view += 1;
        let id = ViewId(self.last_view);
        self.views.insert(id, 0);
        let metadata = Bytes::from_static(b"metadata");
        Some(OpenView { id, covers: self.covers, metadata, items: self.items.len() })
    }

    fn read_view(&mut self, view: ViewId, _bytes_max: usize) -> Option<ViewChunk> {
        let read = self.views.get_mut(&view)?;
        let changes = self.items.get(*read).cloned().into_iter().collect();
        *read += 1;
        Some(ViewChunk { changes, is_last: *read >= self.items.len() })
    }

    fn close_view(&mut self, view: ViewId) {
        self.views.remove(&view);
    }

    fn may_stop(&self) -> bool {
        !self.may_not_stop
    }

    fn status(&self) -> Status {
        Status {
            engine: Self::NAME.to_owned(),
            node: NodeId::FIRST,
            incarnation: Incarnation(self.incarnation),
            cluster_id: None,
            cluster: ClusterConfig::new([NodeId::FIRST], Quorum::All, Quorum::All).unwrap(),
            role: crate::Role::Coordinator,
            connected: Vec::new(),
            waiting: None,
            positions: crate::Positions::default(),
            lags: Vec::new(),
            counters: Vec::new(),
        }
    }

    fn fingerprint(&self) -> u64 {
        0
    }
}

type Core = DriverCore<Scripted>;
type Outputs = Vec<Output<u64, u64>>;

/// A driver of server 1, whose peers 2 and 3 are connected.
fn core(config: DriverConfig) -> Core {
    let mut core = DriverCore::new(Scripted::default(), [peer(2), peer(3)], config);
    for number in [2, 3] {
        core.on_peer_up(at(0), peer(number), Incarnation(1));
    }
    assert_eq!(settle(&mut core, at(0)), []);
    core.engine_mut().inputs.clear();
    core
}

fn durable(checkpoints: CheckpointPolicy) -> DriverConfig {
    let (persisted, covers) = (PersistSeq(0), PersistSeq(0));
    DriverConfig::durable(DriverDisk { persisted, covers, journal_bytes: 0, checkpoints })
}

fn peer(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

/// So many milliseconds after the start.
fn at(ms: u64) -> Now {
    Now { mono: Duration::from_millis(ms), wall: Duration::from_millis(ms) }
}

/// One turn, and what there is to do after it.
fn turn(core: &mut Core, now: Now) -> Outputs {
    core.turn(now);
    std::iter::from_fn(|| core.next_output()).collect()
}

/// Turns until the next one is due later than now, and what there was to do.
fn settle(core: &mut Core, now: Now) -> Outputs {
    let mut all = Vec::new();
    for _ in 0..100 {
        all.extend(turn(core, now));
        if core.next_deadline().is_none_or(|due| due > now.mono) {
            return all;
        }
    }
    panic!("there is always another turn due");
}

/// Steps the engine once, by a message, with these effects.
fn step<const N: usize>(core: &mut Core, now: Now, effects: [Effect<u64, u64>; N]) -> Outputs {
    core.engine_mut().effects.extend(effects);
    core.on_frame(now, peer(2), PeerFrame::Message(0));
    settle(core, now)
}

/// Persists records up to this one, from the first.
fn persist_through(core: &mut Core, now: Now, last: u64) {
    for seq in 1..=last {
        step(core, now, [persist(seq)]);
    }
    core.on_persisted(now, PersistSeq(last));
}

const fn persist(seq: u64) -> Effect<u64, u64> {
    Effect::Persist { seq: PersistSeq(seq), record: seq }
}

fn send(to: u16, message: u64) -> Effect<u64, u64> {
    Effect::Send { to: peer(to), message }
}

fn reply(id: RequestId) -> Effect<u64, u64> {
    Effect::Reply { id, outcome: outcome() }
}

fn outcome() -> Outcome {
    Outcome::NotDone(NotDone::TimedOut { answered: 1, needed: 2 })
}

fn request(core: &mut Core, session: SessionId, tag: u64) -> RequestId {
    let op = Operation::get(Key::new("k").unwrap());
    core.request(at(0), session, tag, op, RequestOptions::default()).unwrap()
}

/// The replies among some outputs.
fn replies(outputs: Outputs) -> Vec<(SessionId, u64, Outcome)> {
    let replies = outputs.into_iter().filter_map(|output| {
        let Output::Reply(Reply { session, tag, outcome, .. }) = output else { return None };
        Some((session, tag, outcome))
    });
    replies.collect()
}

/// Gives the engine's views so many items.
fn hold_items(core: &mut Core, count: u8) {
    core.engine_mut().items = (0..count).map(|name| (item(name), Some(item(name)))).collect();
}

fn item(name: u8) -> Bytes {
    Bytes::from(vec![name])
}
