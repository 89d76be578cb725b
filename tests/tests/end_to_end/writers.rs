//! Clients that put one key after the other while something happens to their servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_client::Client;
use kv_core::{Key, Operation, RequestOptions, Value};
use kv_tests::Site;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Clients that put one key after the other, and remember which ones were acknowledged.
pub(crate) struct Load {
    runtime: Runtime,
    stopped: Arc<AtomicBool>,
    writers: JoinSet<Vec<String>>,
}

impl Load {
    /// Begins with `writers` clients at each of these servers; the keys begin with `name`.
    pub(crate) fn begin(site: &Site, name: &str, servers: &[u16], writers: usize) -> Self {
        Self::begin_with(site, name, servers, writers, 0)
    }

    /// The same with values of at least so many bytes, which begin with the key.
    pub(crate) fn begin_with(
        site: &Site,
        name: &str,
        servers: &[u16],
        writers: usize,
        value_bytes: usize,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut load = Self { stopped: Arc::default(), writers: JoinSet::new(), runtime };
        for (number, server) in servers.iter().cycle().take(servers.len() * writers).enumerate() {
            let client = load.runtime.block_on(site.connect(*server));
            let name = format!("{name}.{number}");
            let writing = write(client, name, value_bytes, Arc::clone(&load.stopped));
            load.writers.spawn_on(writing, load.runtime.handle());
        }
        load
    }

    /// Ends it; returns the keys that were acknowledged.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(keys) = self.runtime.block_on(self.writers.join_next()) {
            acknowledged.extend(keys.unwrap());
        }
        acknowledged
    }
}

async fn write(
    client: Client,
    name: String,
    value_bytes: usize,
    stopped: Arc<AtomicBool>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}.{number}");
        let value = Value::new(format!("{key:value_bytes$}")).unwrap();
        let put = Operation::put(Key::new(key.clone()).unwrap(), value);
        // A server may have gone: then nobody waits for long.
        let options = RequestOptions::default().with_timeout(Duration::from_millis(500));
        match client.execute(put, options).await {
            Ok(_) => acknowledged.push(key),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    acknowledged
}
