//! Connections between servers over which nothing comes any more, or not what was sent.

use std::time::{Duration, Instant};

use crate::in_process::{config, execute, get, node, put, ready, sockets};
use crate::proxy::{Mood, Proxy};
use kv_core::{Outcome, Waiting};
use kv_proto::ServerList;
use kv_server::{Consistency, Readiness, Server};

/// Three servers with W = R = 2, each of which reaches the others through proxies of its own.
struct Cluster {
    servers: Vec<Server>,
    /// From server `a` to server `b`, by `(a, b)`.
    proxies: Vec<((u16, u16), Proxy)>,
}

impl Cluster {
    async fn start(consistency: Consistency) -> Self {
        let (sockets, list) = sockets(3).await;
        let (mut servers, mut proxies) = (Vec::new(), Vec::new());
        for (from, socket) in (1..=3).zip(sockets) {
            let mut entries = Vec::new();
            for to in 1..=3 {
                let address = list.address(node(to)).unwrap().to_owned();
                if to == from {
                    entries.push((node(to), address));
                } else {
                    let proxy = Proxy::start(address).await;
                    entries.push((node(to), proxy.address()));
                    proxies.push(((from, to), proxy));
                }
            }
            let list = ServerList::new(entries).unwrap();
            let config = config(from, consistency, 2, &list);
            servers.push(Server::start_on(socket, config).await.unwrap());
        }
        for server in &servers {
            ready(server).await;
        }
        Self { servers, proxies }
    }

    fn all(&self, mood: Mood) {
        self.proxies.iter().for_each(|(_, proxy)| proxy.set(mood));
    }

    fn one(&self, from: u16, to: u16, mood: Mood) {
        let (_, proxy) = self.proxies.iter().find(|(way, _)| *way == (from, to)).unwrap();
        proxy.set(mood);
    }

    /// Waits until every server serves a write and a read of its own.
    async fn all_serve(&self) {
        for (number, server) in self.servers.iter().enumerate() {
            let key = format!("k{number}");
            loop {
                let written = execute(server, put(&key, "v")).await;
                let read = execute(server, get(&key)).await;
                if matches!((&written, &read), (Outcome::Done(_), Outcome::Done(_))) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn all_serve_within(&self, limit: Duration, what: &str) {
        let began = Instant::now();
        let served = tokio::time::timeout(4 * limit, self.all_serve()).await;
        let elapsed = began.elapsed();
        eprintln!("{what}: all serve after {elapsed:?}");
        assert!(served.is_ok() && elapsed < limit, "{what}: {elapsed:?}");
    }
}

/// Waits for a readiness that fits; gives how long that took.
async fn until(server: &Server, fits: impl FnMut(&Readiness) -> bool) -> Duration {
    let began = Instant::now();
    let mut readiness = server.readiness();
    let waited = tokio::time::timeout(Duration::from_secs(10), readiness.wait_for(fits)).await;
    waited.expect("it does not come to that").unwrap();
    began.elapsed()
}

/// On a busy machine as well.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn servers_serve_soon_after_an_outage_however_long_it_was() {
    for consistency in [Consistency::Linearizable, Consistency::Eventual] {
        let cluster = Cluster::start(consistency).await;
        for outage in [300, 1_000, 2_000, 4_500] {
            cluster.all(Mood::Hold);
            tokio::time::sleep(Duration::from_millis(outage)).await;
            // What was held is let through, or was lost with its connections: both occur.
            cluster.all(Mood::Pass);
            let what = format!("{consistency}, {outage} ms");
            cluster.all_serve_within(SOON, &what).await;
        }
    }
}

#[tokio::test]
async fn old_connections_that_a_firewall_has_forgotten_are_made_anew() {
    let cluster = Cluster::start(Consistency::Linearizable).await;
    cluster.all(Mood::HoldOld);
    // A connection counts as dead once nothing has come on it for 1.5 s.
    cluster.all_serve_within(Duration::from_millis(1500) + SOON, "old connections held").await;
}

#[tokio::test]
async fn a_follower_that_no_longer_hears_the_sequencer_does_not_serve() {
    let cluster = Cluster::start(Consistency::Linearizable).await;
    cluster.one(1, 2, Mood::HoldForth);
    let second = &cluster.servers[1];
    let waits = |readiness: &Readiness| *readiness != Readiness::Ready;
    let elapsed = until(second, waits).await;
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let sequencer = Readiness::Waiting(Waiting::Sequencer { node: node(1) });
    until(second, |readiness| *readiness == sequencer).await;
    // The others are two, and serve.
    assert!(matches!(execute(&cluster.servers[2], put("x", "1")).await, Outcome::Done(_)));
    cluster.one(1, 2, Mood::Pass);
    let elapsed = until(second, |readiness| *readiness == Readiness::Ready).await;
    assert!(elapsed < SOON, "{elapsed:?}");
}

#[tokio::test]
async fn bytes_that_are_repeated_dropped_or_damaged_end_a_connection_and_not_the_service() {
    let cluster = Cluster::start(Consistency::Linearizable).await;
    for mood in [Mood::Repeat, Mood::Drop, Mood::Flip] {
        cluster.all(mood);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            for server in &cluster.servers {
                // Whatever comes of it.
                let once = execute(server, put("x", "1"));
                let _ = tokio::time::timeout(Duration::from_millis(50), once).await;
            }
        }
        cluster.all(Mood::Pass);
        cluster.all_serve_within(SOON, &format!("{mood:?}")).await;
    }
}
