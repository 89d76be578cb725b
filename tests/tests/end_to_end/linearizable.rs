//! What clients of the linearizable engine see is explained by one order of all operations.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its seed"
)]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kv_client::{Certainty, Client, ClientError};
use kv_core::{Key, SeedStream, Value};
use kv_tests::{Access, History, Process, Site};
use tokio::task::JoinSet;

const SERVERS: usize = 3;
const CLIENTS: usize = 4;
const OPERATIONS: usize = 25;
const KEYS: usize = 10;

/// One of the clients of a history: it does one thing at a time, each on a server drawn by lot.
struct Worker {
    round: usize,
    /// Its number in the history.
    number: usize,
    connections: Vec<Client>,
    draw: SeedStream,
    history: Arc<History>,
}

impl Worker {
    async fn run(mut self) {
        for operation in 0..OPERATIONS {
            let server = self.lot(SERVERS);
            let client = self.connections.get(server).unwrap().clone();
            let key = self.lot(KEYS);
            let name = Key::new(format!("round{}key{key}", self.round)).unwrap();
            if self.draw.chance(500) {
                let value = u64::try_from(self.number * OPERATIONS + operation).unwrap();
                self.write(&client, key, name, value).await;
            } else {
                self.read(&client, key, name).await;
            }
        }
    }

    fn lot(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw.below(u64::try_from(bound).unwrap())).unwrap()
    }

    async fn write(&mut self, client: &Client, key: usize, name: Key, value: u64) {
        let access = Access::Write(value);
        self.history.begin(self.number, key, access);
        let bytes = Value::new(value.to_string()).unwrap();
        match client.put(name, bytes).await {
            Ok(_) => self.history.end(self.number, key, access),
            Err(error) => self.on_error(&error, key),
        }
    }

    async fn read(&mut self, client: &Client, key: usize, name: Key) {
        self.history.begin(self.number, key, Access::Read(None));
        match client.get(name).await {
            Ok(read) => {
                let found = read.found.map(|found| found.value);
                let found = found.map(|value| number_of(&value));
                self.history.end(self.number, key, Access::Read(found));
            }
            Err(error) => self.on_error(&error, key),
        }
    }

    /// Goes on under another number, as what was begun may still take effect; what definitely was
    /// not done never began.
    fn on_error(&mut self, error: &ClientError, key: usize) {
        match error.certainty() {
            Certainty::NotDone => self.history.withdraw(self.number, key),
            Certainty::Unknown => self.number += CLIENTS,
        }
    }
}

fn number_of(value: &Value) -> u64 {
    std::str::from_utf8(value.as_bytes()).unwrap().parse().unwrap()
}

/// The seed of this run: a number of its own, or `KV_TEST_SEED`.
fn seed() -> u64 {
    let given = std::env::var("KV_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.subsec_nanos().into());
    println!("the lots were drawn by KV_TEST_SEED={seed}");
    seed
}

/// Three servers, with these words at the end.
fn three_servers(site: &Site, more: &str) -> [Process; SERVERS] {
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 2 2 {more}"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

/// Connections of each client to each server.
async fn connect(site: &Site) -> Vec<Vec<Client>> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        let mut of_client = Vec::new();
        for id in [1, 2, 3] {
            of_client.push(site.connect(id).await);
        }
        connections.push(of_client);
    }
    connections
}

/// Runs all clients at once and waits for all of them.
async fn run_round(
    round: usize,
    connections: &[Vec<Client>],
    draw: &mut SeedStream,
) -> Arc<History> {
    let history = Arc::new(History::default());
    let mut workers = JoinSet::new();
    for (number, connections) in connections.iter().enumerate() {
        let worker = Worker {
            round,
            number,
            connections: connections.clone(),
            draw: SeedStream::new(draw.next_u64()),
            history: Arc::clone(&history),
        };
        workers.spawn(worker.run());
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rounds_of_four_clients_are_linearizable() {
    let mut draw = SeedStream::new(seed());
    let site = Site::of(3);
    // No disk is waited for: many operations overlap, and many rounds fit into a test.
    let _servers = three_servers(&site, "--memory");
    let connections = connect(&site).await;
    for round in 0..100 {
        let history = run_round(round, &connections, &mut draw).await;
        assert_eq!(history.ended(), CLIENTS * OPERATIONS, "in round {round} something failed");
        history.check().unwrap_or_else(|found| panic!("round {round}: {found}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_in_which_a_follower_is_killed_and_restarted_are_linearizable() {
    let mut draw = SeedStream::new(seed());
    let site = Site::of(3);
    let [_first, _second, mut third] = three_servers(&site, "");
    for round in 0..5 {
        let connections = connect(&site).await;
        let mut draw = SeedStream::new(draw.next_u64());
        let rounds = tokio::spawn(async move {
            for part in 0..8 {
                let round = 8 * round + part;
                let history = run_round(round, &connections, &mut draw).await;
                history.check().unwrap_or_else(|found| panic!("round {round}: {found}"));
            }
        });
        tokio::task::block_in_place(|| {
            third.kill();
            third = site.ready_server("3 linearizability 2 2");
        });
        rounds.await.unwrap();
    }
}
