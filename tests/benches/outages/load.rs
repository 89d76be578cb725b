//! Puts that are always under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_client::Client;
use kv_core::{Key, SeedStream, Value};
use kv_tests::Service;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, IDS};

/// A closed loop of puts, until it is dropped.
pub(crate) struct Load {
    service: Arc<Service>,
    stopped: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Clients of all servers; those that an engine's sequencer draws go there.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        Self::through(cluster, &IDS)
    }

    /// Clients that begin at these servers.
    pub(crate) fn through(cluster: &Cluster, servers: &[u16]) -> Self {
        let (service, stopped) = (Arc::new(Service::default()), Arc::new(AtomicBool::new(false)));
        let first = servers.iter().cycle().take(CLIENTS);
        let clients: Vec<Client> = first.map(|id| cluster.client(*id)).collect();
        let workers = (0..REQUESTS).zip(clients.iter().cycle());
        let workers = workers.map(|(number, client)| {
            let (service, stopped) = (Arc::clone(&service), Arc::clone(&stopped));
            cluster.runtime.spawn(put_until(stopped, client.clone(), service, number))
        });
        let workers = workers.collect();
        Self { service, stopped, workers }
    }

    pub(crate) fn count(&self) -> u64 {
        self.service.count()
    }

    /// What was seen since this was last asked for: the longest time without an acknowledgement, and
    /// the longest that a put took.
    pub(crate) fn take(&self) -> (Duration, Duration) {
        (self.service.take_longest_pause(), self.service.take_longest_wait())
    }

    /// Waits until puts are acknowledged that began from now on.
    pub(crate) fn wait_until_served(&self) {
        let now = Instant::now();
        let served = || self.service.has_served_since(now).then_some(());
        crate::cluster::until("puts are acknowledged", served);
    }

    pub(crate) fn wait_for_more(&self, count: u64) {
        let before = self.count();
        crate::cluster::until("more puts are acknowledged", || {
            (self.count() >= before + count).then_some(())
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

async fn put_until(stopped: Arc<AtomicBool>, client: Client, service: Arc<Service>, number: u64) {
    let mut draw = SeedStream::new(number);
    while !stopped.load(Ordering::Relaxed) {
        let key = Key::new(format!("key{:06}", draw.below(KEYS))).unwrap();
        let value = Value::new(vec![b'v'; VALUE_BYTES]).unwrap();
        let begun = Instant::now();
        match client.put(key, value).await {
            Ok(_) => service.acknowledge(begun),
            // One that is refused at once is not to be asked in a hot loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

const REQUESTS: u64 = 64;
const CLIENTS: usize = 9;
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
