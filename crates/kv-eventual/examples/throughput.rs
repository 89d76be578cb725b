//! How many puts a second three engines serve on one core, without sockets and disks.
//!
//! `cargo run --release -p kv-eventual --example throughput`
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures real time and prints it"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use kv_core::{
    ClusterConfig, ConsistencyEngine, Effect, Effects, EngineConfig, Incarnation, Input, Key,
    NodeId, Now, Operation, Quorum, RequestId, RequestOptions, Value,
};
use kv_eventual::{EventualEngine, Message, Record};

/// An engine with its inbox, stepped as a server does: all that waits is one batch.
struct Server {
    engine: EventualEngine,
    inbox: VecDeque<Input<Message>>,
    effects: Effects<Message, Record>,
}

fn main() -> Result<(), Box<dyn Error>> {
    for keys in [1_000, 100_000] {
        for in_flight in [1, 64, 1024] {
            let rate = measure(keys, in_flight, PUTS)?;
            println!("3 servers, W=2, {keys} keys, {in_flight} puts at once: {rate:.0} puts/s");
        }
    }
    Ok(())
}

fn measure(keys: u64, in_flight: u64, puts: u64) -> Result<f64, Box<dyn Error>> {
    let nodes = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
    let cluster = ClusterConfig::new(nodes, Quorum::Count(2), Quorum::Count(2))?;
    let mut servers = Vec::new();
    for node in nodes {
        let config = EngineConfig::new(node, cluster.clone());
        let up = |peer| Input::PeerUp { peer, incarnation: Incarnation::UNKNOWN };
        servers.push(Server {
            engine: EventualEngine::recover(config, None, [])?,
            inbox: cluster.peers_of(node).map(up).collect(),
            effects: Effects::new(),
        });
    }
    let began = Instant::now();
    let wall = Duration::from_secs(1_700_000_000);
    let (mut asked, mut answered) = (0, 0);
    while answered < puts {
        while asked < puts && asked - answered < in_flight {
            asked += 1;
            let key = Key::new(format!("key{:06}", asked * 7919 % keys))?;
            let input = Input::Request {
                id: RequestId(asked),
                op: Operation::put(key, Value::new(vec![b'v'; 100])?),
                options: RequestOptions::default(),
            };
            if let Some(server) = servers.first_mut() {
                server.inbox.push_back(input);
            }
        }
        let mono = Duration::from_secs(1) + began.elapsed();
        let now = Now { mono, wall: wall + mono };
        let mut messages = Vec::new();
        for (from, server) in nodes.iter().zip(&mut servers) {
            answered += server.batch(now, *from, &mut messages);
        }
        for (from, to, message) in messages {
            let target = nodes.iter().zip(&mut servers).find(|(node, _)| **node == to);
            if let Some((_, server)) = target {
                server.inbox.push_back(Input::Message { from, message });
            }
        }
    }
    let puts = u32::try_from(puts)?;
    Ok(f64::from(puts) / began.elapsed().as_secs_f64())
}

impl Server {
    /// Steps everything that waits, and syncs once; returns the number of replies.
    fn batch(
        &mut self,
        now: Now,
        from: NodeId,
        messages: &mut Vec<(NodeId, NodeId, Message)>,
    ) -> u64 {
        let mut replies = 0;
        loop {
            while let Some(input) = self.inbox.pop_front() {
                self.engine.step(now, input, &mut self.effects);
            }
            if self.engine.next_deadline().is_some_and(|due| due <= now.mono) {
                self.engine.step(now, Input::Timeout, &mut self.effects);
            }
            let mut last = None;
            for effect in self.effects.drain() {
                match effect {
                    Effect::Persist { seq, .. } => last = Some(seq),
                    Effect::Send { to, message } => messages.push((from, to, message)),
                    Effect::Reply { .. } => replies += 1,
                    Effect::BeginSnapshot { .. }
                    | Effect::EndSnapshot { .. }
                    | Effect::Halt { .. } => {}
                }
            }
            match last {
                Some(up_to) => self.inbox.push_back(Input::Persisted { up_to }),
                None => return replies,
            }
        }
    }
}

const PUTS: u64 = 500_000;
