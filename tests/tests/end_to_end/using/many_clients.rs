//! Five of the ten servers, five clients on each at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kv_client::Client;
use kv_core::{Key, Value};
use kv_tests::{Process, Site, Stream};
use tokio::task::JoinSet;

const SERVERS: std::ops::RangeInclusive<u16> = 1..=5;
const CLIENTS: u16 = 5;
const WRITES: u16 = 40;

fn key(server: u16, client: u16, write: u16) -> Key {
    Key::new(format!("s{server}c{client}w{write}")).unwrap()
}

fn value(server: u16, client: u16, write: u16) -> Value {
    Value::new(format!("{server}-{client}-{write}")).unwrap()
}

/// Writes one after the other; the first key is everybody's.
async fn write_all(client: Client, server: u16, number: u16) {
    for write in 0..WRITES {
        client.put(key(0, 0, 0), value(server, number, write)).await.unwrap();
        client.put(key(server, number, write), value(server, number, write)).await.unwrap();
    }
}

/// Reads every key and returns what the key that is everybody's holds.
async fn read_all(client: Client) -> Value {
    let mut reads = JoinSet::new();
    for server in SERVERS {
        for number in 0..CLIENTS {
            for write in 0..WRITES {
                let client = client.clone();
                reads.spawn(async move {
                    let found = client.get(key(server, number, write)).await.unwrap().found;
                    let found = found.map(|found| found.value);
                    assert_eq!(
                        found,
                        Some(value(server, number, write)),
                        "{}",
                        client.server().unwrap()
                    );
                });
            }
        }
    }
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
    client.get(key(0, 0, 0)).await.unwrap().found.unwrap().value
}

async fn all_writes_are_readable_everywhere(model: &str) {
    let site = Site::of(10);
    let mut servers: Vec<Process> =
        SERVERS.map(|id| site.server(&format!("{id} {model} 3 3"))).collect();
    for server in &mut servers {
        server.wait_for("ready");
    }
    let mut typists: Vec<Process> = SERVERS
        .map(|id| {
            let puts: String = (0..WRITES).map(|n| format!("put typed{id} {n}\n")).collect();
            site.client_reading(&id.to_string(), puts.as_bytes())
        })
        .collect();
    let mut writers = JoinSet::new();
    for server in SERVERS {
        for number in 0..CLIENTS {
            writers.spawn(write_all(site.connect(server).await, server, number));
        }
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    for typist in &mut typists {
        assert_eq!(typist.exit_code(), Some(0), "{}", typist.report());
        assert_eq!(typist.lines(Stream::Out), vec!["ok"; WRITES.into()]);
    }

    let mut shared = Vec::new();
    for server in SERVERS {
        shared.push(read_all(site.connect(server).await).await);
        for id in SERVERS {
            assert_eq!(site.run(&format!("{server} get typed{id}")), (WRITES - 1).to_string());
        }
    }
    assert!(shared.iter().all(|value| Some(value) == shared.first()), "{shared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eventual() {
    all_writes_are_readable_everywhere("eventual").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linearizable() {
    all_writes_are_readable_everywhere("linearizability").await;
}
