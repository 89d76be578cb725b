//! A closed loop of puts, and its figures.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kv_client::Client;
use kv_core::{Key, Value};

/// Keeps `concurrency` puts under way, spread over the clients, for [`DURATION`] after a short
/// while that does not count.
pub(crate) async fn run(clients: Vec<Client>, concurrency: usize, round: usize) -> Round {
    let counted_from = Instant::now() + WARM_UP;
    let until = counted_from + DURATION;
    let clients = Arc::new(clients);
    let workers: Vec<_> = (0..concurrency)
        .map(|worker| {
            let client = clients[worker % clients.len()].clone();
            let first = (worker * 7919 + round * 104_729) % KEYS;
            tokio::spawn(put_until(client, first, counted_from, until))
        })
        .collect();
    let mut micros = new_histogram();
    for worker in workers {
        micros.add(worker.await.unwrap()).unwrap();
    }
    Round { rate: micros.len() as f64 / DURATION.as_secs_f64(), micros }
}

/// The same; how many puts there were in all, the first ones included.
#[allow(dead_code, reason = "of two benchmarks that use this file, one counts")]
pub(crate) async fn count(clients: Vec<Client>, concurrency: usize, round: usize) -> u64 {
    let from = Instant::now();
    let until = from + DURATION;
    let clients = Arc::new(clients);
    let workers: Vec<_> = (0..concurrency)
        .map(|worker| {
            let client = clients[worker % clients.len()].clone();
            let first = (worker * 7919 + round * 104_729) % KEYS;
            tokio::spawn(put_until(client, first, from, until))
        })
        .collect();
    let mut puts = 0;
    for worker in workers {
        puts += worker.await.unwrap().len();
    }
    puts
}

async fn put_until(
    client: Client,
    first: usize,
    counted_from: Instant,
    until: Instant,
) -> Histogram<u64> {
    let mut micros = new_histogram();
    for place in first.. {
        let key = Key::new(format!("key{:06}", place % KEYS)).unwrap();
        let value = Value::new(vec![b'v'; VALUE_BYTES]).unwrap();
        let began = Instant::now();
        if began >= until {
            break;
        }
        client.put(key, value).await.expect("a put is done");
        if began >= counted_from {
            let elapsed = u64::try_from(began.elapsed().as_micros()).unwrap();
            micros.record(elapsed.max(1)).unwrap();
        }
    }
    micros
}

/// What one round brought.
pub(crate) struct Round {
    rate: f64,
    micros: Histogram<u64>,
}

impl Round {
    /// Puts a second.
    #[allow(dead_code, reason = "of two benchmarks that use this file, one asks")]
    pub(crate) const fn rate(&self) -> f64 {
        self.rate
    }
}

/// What all rounds brought.
#[derive(Clone)]
pub(crate) struct Figures {
    rates: Vec<f64>,
    micros: Histogram<u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, round: Round) {
        self.rates.push(round.rate);
        self.micros.add(round.micros).unwrap();
    }

    /// Puts a second in the median round.
    pub(crate) fn rate(&self) -> f64 {
        Spread::of(self.rates.clone()).median
    }

    /// How many puts a second there were for one of the other's, round by round.
    pub(crate) fn ratio_to(&self, other: &Self) -> Spread {
        Spread::of(self.rates.iter().zip(&other.rates).map(|(own, other)| own / other).collect())
    }

    /// The time in which this share of all puts was done, in microseconds.
    pub(crate) fn micros_at(&self, share: f64) -> u64 {
        self.micros.value_at_quantile(share)
    }
}

/// A figure of several rounds.
pub(crate) struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self { least: rounds[0], median: rounds[rounds.len() / 2], most: rounds[rounds.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self { rates: Vec::new(), micros: new_histogram() }
    }
}

/// From a microsecond to a minute, three digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

pub(crate) const KEYS: usize = 10_000;
pub(crate) const VALUE_BYTES: usize = 16;
pub(crate) const DURATION: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);
