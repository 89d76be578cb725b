//! What the log of operations costs: `cargo bench -p kv-server --bench op_log`.
//!
//! Three servers in this process (W=2 R=2, in memory) take puts from clients in the same process,
//! 64 at once, with and without their logs in turns. Without sockets between client and server a
//! put costs little, so the share of the log is larger here than in use. Beside puts a second,
//! which other programs on the machine disturb, stands the processor time of a put, all threads
//! together, and of it the time of the logs' own threads; the median round counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use kv_core::{Key, NodeId, Operation, Outcome, Quorum, RequestOptions, Value};
use kv_proto::ServerList;
use kv_server::{Consistency, LocalClient, OpLogConfig, Server, ServerConfig};
use tokio::net::TcpListener;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "puts of {VALUE_BYTES} bytes, 3 servers, W=2 R=2, {IN_FLIGHT} in flight, {ROUNDS} rounds"
    );
    println!(
        "{:<14} {:>8} {:>10} {:>14} {:>14}",
        "", "op log", "puts/s", "cpu us a put", "in log threads"
    );
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (place, logged) in [false, true].into_iter().enumerate() {
                let folder = tempfile::tempdir().unwrap();
                let op_log = logged.then_some(folder.path());
                rounds[place].push(runtime.block_on(measure(consistency, op_log)));
            }
        }
        let [off, on] = rounds.map(Figures::median);
        for (name, figures) in [("off", &off), ("on", &on)] {
            println!(
                "{consistency:<14} {name:>8} {:>10.0} {:>14.2} {:>14.2}",
                figures.rate, figures.cpu_us, figures.log_us
            );
        }
        let (rate, cpu) = (off.rate / on.rate, on.cpu_us / off.cpu_us);
        println!(
            "{consistency:<14} {:>8} {:>9.1}% {:>13.1}%",
            "costs",
            100.0 * (rate - 1.0),
            100.0 * (cpu - 1.0)
        );
    }
}

struct Figures {
    rate: f64,
    cpu_us: f64,
    log_us: f64,
}

impl Figures {
    fn median(rounds: Vec<Self>) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut sorted: Vec<f64> = rounds.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        Self {
            rate: middle(|round| round.rate),
            cpu_us: middle(|round| round.cpu_us),
            log_us: middle(|round| round.log_us),
        }
    }
}

async fn measure(consistency: Consistency, op_log: Option<&Path>) -> Figures {
    let servers = start(consistency, op_log).await;
    let run = |duration| {
        let workers: Vec<_> = (0..IN_FLIGHT)
            .map(|worker| {
                let client = servers[worker % servers.len()].client();
                tokio::spawn(put_for(client, worker * 7_919, duration))
            })
            .collect();
        async {
            let mut puts = 0;
            for worker in workers {
                puts += worker.await.unwrap();
            }
            puts
        }
    };
    run(WARM_UP).await;
    let (began, cpu, log) = (Instant::now(), cpu_time(""), cpu_time("op-log"));
    let puts: u32 = run(ROUND).await;
    let (elapsed, cpu, log) = (began.elapsed(), cpu_time("") - cpu, cpu_time("op-log") - log);
    for server in servers {
        server.stop().await.unwrap();
    }
    let puts = f64::from(puts);
    let micros_a_put = |time: Duration| time.as_secs_f64() * 1e6 / puts;
    let rate = puts / elapsed.as_secs_f64();
    Figures { rate, cpu_us: micros_a_put(cpu), log_us: micros_a_put(log) }
}

async fn put_for(client: LocalClient, first: usize, duration: Duration) -> u32 {
    let until = Instant::now() + duration;
    let mut puts = 0;
    for place in first.. {
        if Instant::now() >= until {
            break;
        }
        let key = Key::new(format!("key{:06}", place % KEYS)).unwrap();
        let put = Operation::put(key, Value::new(vec![b'v'; VALUE_BYTES]).unwrap());
        let outcome = client.execute(put, RequestOptions::default()).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        puts += 1;
    }
    puts
}

async fn start(consistency: Consistency, op_log: Option<&Path>) -> Vec<Server> {
    let nodes = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
    let mut sockets = Vec::new();
    for _ in nodes {
        sockets.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string());
    let list = ServerList::new(nodes.into_iter().zip(addresses)).unwrap();
    let mut servers = Vec::new();
    for (node, socket) in nodes.into_iter().zip(sockets) {
        let two = Quorum::Count(2);
        let mut config = ServerConfig::new(node, consistency, two, two);
        config.servers = list.clone();
        config.op_log =
            op_log.map(|folder| OpLogConfig { folder: folder.to_owned(), rotate_bytes: 256 << 20 });
        servers.push(Server::start_on(socket, config).await.unwrap());
    }
    for server in &servers {
        server.ready().await;
    }
    servers
}

/// The processor time of the threads of this process that still run and whose names begin so.
fn cpu_time(name: &str) -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("this needs Linux");
    let folders = threads.map(|thread| thread.unwrap().path());
    let read = |folder: &Path, file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let nanos = folders.filter(|folder| read(folder, "comm").starts_with(name)).map(|folder| {
        read(&folder, "schedstat").split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
const IN_FLIGHT: usize = 64;
const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 100;
