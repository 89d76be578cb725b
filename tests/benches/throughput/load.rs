//! A closed loop of puts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kv_client::Client;
use kv_core::{Key, Value};

/// Keeps `concurrency` puts under way, spread over the clients, for [`DURATION`] after a while that
/// does not count; how long each put that counts took, in microseconds.
pub(crate) async fn run(
    clients: Vec<Client>,
    concurrency: usize,
    round: usize,
    warm_up: Duration,
) -> Histogram<u64> {
    let counted_from = Instant::now() + warm_up;
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
    micros
}

/// Puts a second of one round.
pub(crate) fn rate(micros: &Histogram<u64>) -> f64 {
    micros.len() as f64 / DURATION.as_secs_f64()
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

/// From a microsecond to a minute, three digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

pub(crate) const KEYS: usize = 10_000;
pub(crate) const VALUE_BYTES: usize = 16;
pub(crate) const DURATION: Duration = Duration::from_secs(3);
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
