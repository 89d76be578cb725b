//! Many keys in a cluster, as fast as it takes them.

use std::ops::Range;
use std::sync::Arc;

use kv_client::Client;
use kv_core::{Key, Value};

/// Puts the keys of these numbers through several clients, 256 at once.
///
/// # Panics
/// If one is not put.
pub async fn fill(clients: Vec<Client>, numbers: Range<u64>, item: fn(u64) -> (Vec<u8>, Vec<u8>)) {
    let clients = Arc::new(clients);
    let worker = |place: usize| {
        let clients = Arc::clone(&clients);
        let numbers = numbers.clone();
        tokio::spawn(async move {
            for (number, client) in
                numbers.zip(clients.iter().cycle()).skip(place).step_by(IN_FLIGHT)
            {
                let (key, value) = item(number);
                let (key, value) = (Key::new(key), Value::new(value));
                let put = client.put(key.expect("a key"), value.expect("a value"));
                put.await.expect("a put is done");
            }
        })
    };
    let workers: Vec<_> = (0..IN_FLIGHT).map(worker).collect();
    for worker in workers {
        worker.await.expect("a worker comes to its end");
    }
}

const IN_FLIGHT: usize = 256;
