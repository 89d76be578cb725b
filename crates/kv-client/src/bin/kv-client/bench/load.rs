//! The load: requests one after the other, many at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::CreationError;
use kv_client::{Client, ClientError};
use kv_core::{Key, SeedStream, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::args::BenchArgs;
use super::progress::Progress;
use super::tally::{Brought, Tally};

/// Requests one after the other, many at a time.
#[derive(Debug)]
pub(crate) struct Load {
    args: BenchArgs,
    clients: Vec<Client>,
    value: Value,
}

/// What all workers share.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    stopped: AtomicBool,
}

/// Makes one request after the other. The workers of a connection count together.
#[derive(Debug)]
struct Worker {
    client: Client,
    keys: Keys,
    value: Value,
    read_percent: u64,
    random: SeedStream,
}

/// When requests count.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Instant,
    until: Instant,
}

#[derive(Clone, Debug)]
struct Keys {
    prefix: String,
    count: u64,
}

impl Load {
    pub(crate) fn new(args: &BenchArgs, clients: Vec<Client>) -> Self {
        let size = usize::try_from(args.value_size).unwrap_or(usize::MAX);
        // The arguments allow no size that is too large.
        let value = Value::new(vec![b'v'; size.min(Value::LEN_MAX)]).unwrap_or_default();
        Self { args: args.clone(), clients, value }
    }

    /// Writes every key once. What fails here fails again when it is measured.
    pub(crate) async fn fill(&self) {
        let step = self.clients.len() * usize::from(self.args.in_flight);
        let mut tasks = JoinSet::new();
        for (worker, first) in self.clients.iter().flat_map(|client| self.workers(client)).zip(0..)
        {
            let numbers = (first..worker.keys.count).step_by(step);
            tasks.spawn(async move {
                for number in numbers {
                    let _ = worker.put(number).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Runs until the time is up, or until Ctrl-C; returns what counts, and how long it took.
    ///
    /// # Errors
    /// See [`Tally::new`].
    pub(crate) async fn run(&self) -> Result<(Tally, Duration), CreationError> {
        let began = Instant::now();
        let from = began + self.args.warm_up;
        let window = Window { from, until: from + self.args.duration };
        let gauge = Arc::<Gauge>::default();
        let mut tasks = JoinSet::new();
        let mut tallies = Vec::new();
        for (client, first) in self.clients.iter().zip((0..).step_by(usize::from(u16::MAX))) {
            let tally = Arc::new(Mutex::new(Tally::new()?));
            tallies.push(Arc::clone(&tally));
            for (mut worker, seed) in self.workers(client).zip(first..) {
                worker.random = SeedStream::new(seed);
                tasks.spawn(worker.run(window, Arc::clone(&gauge), Arc::clone(&tally)));
            }
        }
        let mut progress = Progress::new(began, window.until);
        loop {
            tokio::select! {
                ended = tasks.join_next() => {
                    if ended.is_none() {
                        break;
                    }
                }
                () = progress.due() => progress.show(&gauge),
                Ok(()) = tokio::signal::ctrl_c() => gauge.stopped.store(true, Ordering::Relaxed),
            }
        }
        progress.clear();
        let mut total = Tally::new()?;
        for tally in tallies.into_iter().filter_map(Arc::into_inner) {
            total.add(tally.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        let end = window.until.min(Instant::now());
        Ok((total, end.saturating_duration_since(window.from)))
    }

    fn workers(&self, client: &Client) -> impl Iterator<Item = Worker> {
        let worker = move || Worker {
            client: client.clone(),
            keys: Keys { prefix: self.args.key_prefix.clone(), count: self.args.keys },
            value: self.value.clone(),
            read_percent: u64::from(self.args.read_percent),
            random: SeedStream::new(0),
        };
        std::iter::repeat_with(worker).take(usize::from(self.args.in_flight))
    }
}

impl Worker {
    async fn run(mut self, window: Window, gauge: Arc<Gauge>, tally: Arc<Mutex<Tally>>) {
        loop {
            let began = Instant::now();
            if began >= window.until || gauge.stopped.load(Ordering::Relaxed) {
                return;
            }
            let number = self.random.below(self.keys.count);
            let result = match self.random.below(100) < self.read_percent {
                true => self.get(number).await,
                false => self.put(number).await,
            };
            let elapsed = began.elapsed();
            let has_failed = result.is_err();
            let counter = if has_failed { &gauge.failed } else { &gauge.done };
            counter.fetch_add(1, Ordering::Relaxed);
            if began >= window.from {
                tally.lock().unwrap_or_else(PoisonError::into_inner).count(result, elapsed);
            }
            if has_failed {
                // A cluster that is down would else be asked as fast as it can be.
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    async fn get(&self, number: u64) -> Result<Brought, ClientError> {
        let read = self.client.get(self.keys.key(number)).await?;
        Ok(if read.found.is_some() { Brought::Value } else { Brought::NoValue })
    }

    async fn put(&self, number: u64) -> Result<Brought, ClientError> {
        self.client.put(self.keys.key(number), self.value.clone()).await?;
        Ok(Brought::Write)
    }
}

impl Keys {
    fn key(&self, number: u64) -> Key {
        let text = format!("{}{number:010}", self.prefix);
        // The arguments allow no prefix that is too long.
        Key::new(text).unwrap_or_else(|_| unreachable!("a key has 10 to 1034 bytes"))
    }
}

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
