//! How long an engine with a million keys of 16 bytes with values of 100 stands still at
//! most for a checkpoint: the first one, one after a part of the keys has changed, and a view of
//! the whole.
//!
//! `cargo run --release -p kv-sim --example checkpoint_pause`

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement for people to read"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use kv_core::{
    ClusterConfig, ConsistencyEngine, Effect, Effects, EngineConfig, Input, Key, NodeId, Now,
    Operation, Outcome, PersistSeq, Quorum, RequestId, RequestOptions, Value, ViewScope,
};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;

fn main() -> Result<(), Box<dyn Error>> {
    measure::<EventualEngine>()?;
    measure::<LinearEngine>()
}

fn measure<E: ConsistencyEngine>() -> Result<(), Box<dyn Error>> {
    let cluster = ClusterConfig::new([NodeId::FIRST], Quorum::All, Quorum::All)?;
    let engine = E::recover(EngineConfig::seeded(NodeId::FIRST, cluster, 7), None, [])?;
    let mut server = Server { engine, effects: Effects::new(), now: START, puts: 0, done: 0 };
    server.step(Input::Timeout);
    server.put_every(1)?;
    println!("{}, {KEYS} keys", E::NAME);
    server.checkpoint("the first one");
    for step in [1_000, 100, 10, 2] {
        server.put_every(step)?;
        server.checkpoint("changes");
    }
    server.view(ViewScope::Whole, "a view of the whole");
    Ok(())
}

/// A cluster of one, whose disk takes no time.
struct Server<E: ConsistencyEngine> {
    engine: E,
    effects: Effects<E::Message, E::Record>,
    now: Now,
    puts: u64,
    done: u64,
}

impl<E: ConsistencyEngine> Server<E> {
    fn checkpoint(&mut self, what: &str) {
        if let Some(covers) = self.view(ViewScope::Changes, what) {
            self.step(Input::CheckpointWritten { covers });
        }
    }

    /// Reads a view as a driver does, a chunk at a time.
    fn view(&mut self, scope: ViewScope, what: &str) -> Option<PersistSeq> {
        let mut began = Instant::now();
        let view = self.engine.open_view(scope)?;
        let mut longest = began.elapsed();
        let (mut items, mut chunks) = (0, 0);
        loop {
            began = Instant::now();
            let chunk = self.engine.read_view(view.id, CHUNK_BYTES)?;
            longest = longest.max(began.elapsed());
            items += chunk.changes.len();
            chunks += 1;
            if chunk.is_last {
                break;
            }
        }
        began = Instant::now();
        self.engine.close_view(view.id);
        longest = longest.max(began.elapsed());
        println!("  {longest:>9.2?} at most for {what}: {items} items in {chunks} chunks");
        Some(view.covers)
    }

    /// Writes every `step`th key.
    fn put_every(&mut self, step: usize) -> Result<(), Box<dyn Error>> {
        let wanted = self.done + u64::try_from((0..KEYS).step_by(step).count())?;
        for n in (0..KEYS).step_by(step) {
            self.puts += 1;
            let key = Key::new(format!("{n:016}"))?;
            let value = Value::new(vec![u8::try_from(self.puts % 256)?; 100])?;
            let (id, options) = (RequestId(self.puts), RequestOptions::default());
            self.step(Input::Request { id, op: Operation::put(key, value), options });
        }
        for _ in 0..PATIENCE {
            if self.done >= wanted {
                return Ok(());
            }
            self.now.mono += Duration::from_millis(10);
            self.step(Input::Timeout);
        }
        Err("not all puts were done".into())
    }

    fn step(&mut self, input: Input<E::Message>) {
        let mut inbox = VecDeque::from([input]);
        while let Some(input) = inbox.pop_front() {
            self.engine.step(self.now, input, &mut self.effects);
            for effect in self.effects.drain() {
                match effect {
                    Effect::Persist { seq: up_to, .. } => {
                        inbox.push_back(Input::Persisted { up_to });
                    }
                    Effect::Reply { outcome, .. } => {
                        self.done += u64::from(matches!(outcome, Outcome::Done(_)));
                    }
                    Effect::Send { .. }
                    | Effect::BeginSnapshot { .. }
                    | Effect::EndSnapshot { .. }
                    | Effect::Halt { .. } => {}
                }
            }
            if self.engine.next_deadline().is_some_and(|due| due <= self.now.mono) {
                inbox.push_back(Input::Timeout);
            }
        }
    }
}

const CHUNK_BYTES: usize = 64 << 10;
const KEYS: u64 = 1_000_000;
const START: Now = Now { mono: Duration::from_secs(1), wall: Duration::from_secs(1_000_000_000) };
const PATIENCE: u32 = 1_000;
