//! Clauses 4 and 5: what is lost is sent again, and deadlines move on.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kv_core::{
    ConsistencyEngine, Effects, EngineConfig, Input, NodeId, Now, Operation, Outcome,
    RequestOptions, SeedStream,
};

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds, serving_with_all};
use crate::config::{DiskConfig, SimConfig};
use crate::network::intercept::Fate;
use crate::workload::{Workload, key, value};

/// Clause 4: writes are done although every message of their first half second was lost; and a
/// peer that is silent for half a minute is sent no more than 100 messages a second by each
/// server.
///
/// An engine that sends nothing passes.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn retransmits_what_was_lost<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(10) {
        let mut cluster = serving_with_all::<E>(3, seed, &DiskConfig::default(), 4)?;
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        cluster.intercept(|_, _, _| Fate::Drop);
        let mut writes = Vec::new();
        for &node in &nodes {
            let op = Operation::put(key("k"), value(&format!("v{node}")));
            let options = RequestOptions::default().with_timeout(Duration::from_secs(20));
            writes.push(cluster.submit(node, op, options));
        }
        cluster.run_for(Duration::from_millis(500))?;
        cluster.stop_intercepting();
        cluster.run_for(Duration::from_secs(20))?;
        let done = |id| matches!(cluster.outcome(id), Some(Outcome::Done(_)));
        if let Some(&id) = writes.iter().find(|id| !done(**id)) {
            let calls = cluster.named([id]);
            return Err(Finding::NotRetransmitted { id }.shown_by(4, seed, calls));
        }
        for &silent in &nodes {
            let messages = Rc::new(Cell::new(0));
            let counter = Rc::clone(&messages);
            cluster.intercept(move |from, to, _| {
                counter.set(counter.get() + 1);
                if from == silent || to == silent { Fate::Drop } else { Fate::Pass }
            });
            for &node in &nodes {
                let op = Operation::put(key("k"), value("w"));
                cluster.submit(node, op, RequestOptions::default());
            }
            cluster.run_for(Duration::from_secs(30))?;
            let (messages, bound) = (messages.get(), 3 * 30 * 100);
            if messages > bound {
                return Err(Finding::Storm { messages, bound }.of(4, seed));
            }
        }
    }
    Ok(())
}

/// Clause 5: after a timeout the next deadline is none or later, in runs under faults, and also
/// when timeouts come early, late or unasked.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn deadlines_move_on<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(20) {
        let scenario = Scenario { seed, requests: 40, process_faults: true, tapes: false };
        scenario.run::<E>()?;
        odd_timeouts::<E>(seed)?;
    }
    Ok(())
}

fn odd_timeouts<E: ConsistencyEngine>(seed: u64) -> Result<(), Failure> {
    let mut stream = SeedStream::new(seed);
    let mut workload = Workload::new(seed, 3);
    let cluster = SimConfig::new(3, 1, 1, seed)?.cluster;
    let config = EngineConfig::seeded(NodeId::FIRST, cluster.clone(), seed);
    let Ok(mut engine) = E::recover(config, None, []) else {
        return Ok(());
    };
    let mut out = Effects::new();
    let mut now = Now { mono: Duration::from_secs(1), wall: Duration::from_secs(1_000_000_000) };
    for id in 0..200 {
        let passed = match stream.below(10) {
            0 => Duration::from_secs(3600),
            1..=3 => Duration::ZERO,
            _ => Duration::from_millis(stream.below(300)),
        };
        now.mono += passed;
        now.wall += passed;
        if stream.chance(500) {
            let (op, options) = workload.next();
            let id = kv_core::RequestId(id);
            engine.step(now, Input::Request { id, op, options }, &mut out);
        }
        if stream.chance(200) {
            for peer in cluster.peers_of(NodeId::FIRST) {
                let incarnation = kv_core::Incarnation::UNKNOWN;
                engine.step(now, Input::PeerUp { peer, incarnation }, &mut out);
            }
        }
        engine.step(now, Input::Timeout, &mut out);
        out.drain().for_each(drop);
        if let Some(deadline) = engine.next_deadline().filter(|due| *due <= now.mono) {
            let now = now.mono;
            return Err(Finding::DeadlineNotLater { deadline, now }.of(5, seed));
        }
    }
    Ok(())
}
