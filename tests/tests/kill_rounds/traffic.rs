//! What clients do while a cluster loses servers: 64 requests at a time, of which all is recorded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kv_check::{Event, Process as Caller, Refusal};
use kv_client::Client;
use kv_core::{Batch, Command, Key, SeedStream};
use kv_tests::{Service, wait_until};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::load::{Told, execute_within, get, put, seen};

/// Clients at work, until they are stopped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
}

struct Shared {
    /// Keys have the number of the phase in their names: so those that a fault left in doubt are
    /// not those that the next one does, and each can be judged.
    phase: AtomicU64,
    stopped: AtomicBool,
    history: Mutex<Vec<(Caller, Event)>>,
    callers: AtomicU64,
    service: Service,
}

/// One of the requests that are always under way.
struct Worker {
    number: u64,
    shared: Arc<Shared>,
    client: Client,
    draw: SeedStream,
}

impl Traffic {
    pub(crate) fn start(cluster: &Cluster, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            phase: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            history: Mutex::default(),
            callers: AtomicU64::new(REQUESTS),
            service: Service::default(),
        });
        let mut draws = SeedStream::new(seed);
        let mut workers = JoinSet::new();
        let starts: Vec<u16> = cluster.ids().collect();
        let starts = starts.into_iter().cycle();
        let clients: Vec<Client> = starts
            .take(CLIENTS)
            .map(|server| cluster.runtime().block_on(cluster.client(server)))
            .collect();
        for (number, client) in (0..REQUESTS).zip(clients.iter().cycle()) {
            let draw = SeedStream::new(draws.next_u64());
            let (shared, client) = (Arc::clone(&shared), client.clone());
            let worker = Worker { number, shared, client, draw };
            workers.spawn_on(worker.run(), cluster.runtime().handle());
        }
        Self { shared, workers }
    }

    /// When writes are acknowledged.
    pub(crate) fn service(&self) -> &Service {
        &self.shared.service
    }

    /// Waits for so many more acknowledged writes.
    pub(crate) fn wait_for_more(&self, count: u64) {
        let before = self.service().count();
        wait_until("writes are acknowledged", || self.service().count() >= before + count);
    }

    pub(crate) fn begin_phase(&self) {
        self.shared.phase.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends it, and returns what the clients saw.
    pub(crate) fn stop(mut self, cluster: &Cluster) -> Vec<(Caller, Event)> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = cluster.runtime().block_on(self.workers.join_next()) {
            ended.unwrap();
        }
        std::mem::take(&mut self.shared.history.lock().unwrap())
    }
}

impl Worker {
    async fn run(mut self) {
        let mut caller = self.number;
        let mut turn = 0;
        while !self.shared.stopped.load(Ordering::Relaxed) {
            let command = self.command(turn);
            turn += 1;
            let reads = matches!(command, Command::Get { .. });
            let batch = Batch::new(Vec::new(), vec![command.clone()]).unwrap();
            self.record(caller, Event::Invoke(batch));
            let begun = Instant::now();
            match execute_within(REQUEST_MAX, &self.client, command).await {
                Told::Done(result, _) => {
                    self.record(caller, Event::Ok(vec![seen(result)]));
                    if !reads {
                        self.shared.service.acknowledge(begun);
                    }
                }
                Told::NotDone => {
                    self.record(caller, Event::Fail(Refusal::NeverTried));
                    // One that is refused at once is not to be asked in a hot loop.
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                Told::Unknown(_) => {
                    self.record(caller, Event::Info);
                    caller = self.shared.callers.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn command(&mut self, turn: u64) -> Command {
        let phase = self.shared.phase.load(Ordering::Relaxed);
        let number = self.number;
        let draw = &mut self.draw;
        let counter = format!("counter.{phase}.{}", draw.below(COUNTERS));
        let register = format!("register.{phase}.{}", draw.below(REGISTERS));
        match draw.below(10) {
            0 | 1 => put(format!("{OWN}{phase}.{number}.{turn}"), format!("{number}.{turn}")),
            2..=4 => put(register, format!("{number}.{turn}")),
            5 | 6 => Command::Increment { key: Key::new(counter).unwrap(), by: 1 },
            7 => get(counter),
            _ => get(register),
        }
    }

    fn record(&self, caller: u64, event: Event) {
        self.shared.history.lock().unwrap().push((Caller(caller), event));
    }
}

/// What the keys begin with that are put once.
pub(crate) const OWN: &str = "own.";

const REQUESTS: u64 = 64;

const CLIENTS: usize = 9;

/// Of a phase, each judged by itself.
const REGISTERS: u64 = 16;

const COUNTERS: u64 = 8;

/// Longer than any fault lasts, so that it is known of every write how it ended.
const REQUEST_MAX: Duration = Duration::from_secs(30);

const REFUSED_PAUSE: Duration = Duration::from_millis(10);
