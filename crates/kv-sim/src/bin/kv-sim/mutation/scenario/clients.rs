//! The clients of the scenarios.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::Process;
use kv_core::{
    Command, Key, NodeId, Operation, Outcome, RequestId, RequestOptions, SeedStream, Value,
};
use kv_sim::Cluster;

use super::super::subject::Subject;
use super::pick::{index, one_of};

/// Clients that ask one thing after the other, some at the very same moment.
pub(super) struct Clients {
    stream: SeedStream,
    pub(super) keys: Vec<Key>,
    /// Each client's session and its last call.
    clients: Vec<(Process, Option<RequestId>)>,
    pub(super) sessions: BTreeMap<RequestId, Process>,
    next_session: u64,
    counts: bool,
    written: u64,
}

impl Clients {
    pub(super) fn new(seed: u64, counts: bool) -> Self {
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

    pub(super) fn call<E: Subject>(&mut self, cluster: &mut Cluster<E>) {
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        let mut clients = std::mem::take(&mut self.clients);
        for (session, last) in &mut clients {
            let open = last.and_then(|id| cluster.request(id));
            if open.is_some_and(|request| !request.has_ended()) || self.stream.chance(300) {
                continue;
            }
            // After an outcome that is not known, another session begins.
            if open.is_some_and(|request| !matches!(request.outcome(), Some(Outcome::Done(_)))) {
                *session = Process(self.next_session);
                self.next_session += 1;
            }
            let node = one_of(&mut self.stream, Some(&nodes));
            let op = self.operation();
            let timeout = Duration::from_millis(100 + self.stream.below(1_500));
            let options = RequestOptions::default().with_timeout(timeout);
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

fn key(name: &str) -> Key {
    match Key::new(name.to_owned()) {
        Ok(key) => key,
        Err(error) => panic!("a key of a scenario: {error}"),
    }
}

const CLIENTS: u64 = 4;
