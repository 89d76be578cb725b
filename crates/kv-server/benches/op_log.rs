//! What the log of operations costs: `cargo bench -p kv-server --bench op_log`.
//!
//! Two clusters of three real servers (W=2 R=2, in memory), one with its logs and one without, take
//! puts over sockets in short turns, and each pair of turns gives one ratio; the median
//! pair counts. Beside puts a second, which other programs on the machine disturb, stands the
//! processor time of a put, servers and client together: with all cores busy its growth is what
//! throughput loses. Of that, the last column is spent in the logs' own threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and fails by panicking"
)]

#[path = "../tests/program/run.rs"]
mod run;

use std::path::Path;
use std::time::{Duration, Instant};

use kv_client::{Client, ClientConfig};
use kv_core::{Key, NodeId, Value};
use run::{Running, free_servers, kv_server};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "puts over sockets, 3 servers, W=2 R=2, in memory, {CONNECTIONS} connections with \
         {IN_FLIGHT} in flight each, {ROUNDS} pairs of turns"
    );
    println!("{}", machine());
    println!(
        "{:<15} {:>8} {:>8} {:>10} {:>14} {:>16}",
        "", "value", "op log", "puts/s", "cpu us a put", "in log threads"
    );
    for consistency in ["eventual", "linearizability"] {
        let clusters = [false, true].map(|logged| Cluster::start(consistency, logged));
        for value_bytes in VALUE_BYTES {
            let [off, on] = clusters.each_ref();
            let mut pairs = Vec::new();
            for round in 0..ROUNDS {
                // Whoever comes second finds the machine as the first has left it.
                let (first, second) = if round % 2 == 0 { (off, on) } else { (on, off) };
                let first = runtime.block_on(first.measure(value_bytes));
                let second = runtime.block_on(second.measure(value_bytes));
                pairs.push(if round % 2 == 0 { (first, second) } else { (second, first) });
            }
            report(consistency, value_bytes, &pairs);
        }
    }
}

fn report(consistency: &str, value_bytes: usize, pairs: &[(Figures, Figures)]) {
    let median = |of: &dyn Fn(&(Figures, Figures)) -> f64| {
        let mut sorted: Vec<f64> = pairs.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let row = |name: &str, rate: f64, cpu_us: f64, log_us: f64| {
        println!(
            "{consistency:<15} {value_bytes:>6} B {name:>8} {rate:>10.0} {cpu_us:>14.2} \
             {log_us:>16.2}"
        );
    };
    row("off", median(&|pair| pair.0.rate), median(&|pair| pair.0.cpu_us), 0.0);
    let log_us = median(&|pair| pair.1.log_us);
    row("on", median(&|pair| pair.1.rate), median(&|pair| pair.1.cpu_us), log_us);
    println!(
        "{consistency:<15} {value_bytes:>6} B {:>8} {:>9.1}% {:>13.1}% {:>15.1}%",
        "costs",
        100.0 * median(&|(off, on)| 1.0 - on.rate / off.rate),
        100.0 * median(&|(off, on)| on.cpu_us / off.cpu_us - 1.0),
        100.0 * median(&|(off, on)| on.log_us / off.cpu_us),
    );
}

#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_us: f64,
    log_us: f64,
}

struct Cluster {
    list: String,
    servers: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start(consistency: &str, logged: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let op_log = if logged { folder.path() } else { Path::new("off") }.display();
        let list = free_servers(3);
        let start = |id| {
            let words = format!("{id} {consistency} 2 2 --servers {list} --op-log {op_log}");
            Running::start(kv_server(&words))
        };
        let mut servers: Vec<Running> = (1..=3).map(start).collect();
        for server in &mut servers {
            server.read_until("ready");
        }
        Self { list, servers, _folder: folder }
    }

    async fn measure(&self, value_bytes: usize) -> Figures {
        let mut clients = Vec::new();
        for connection in 0..CONNECTIONS {
            let servers = self.list.parse().unwrap();
            let first = NodeId::new(connection % 3 + 1).unwrap();
            let follow_sequencer = false;
            let config = ClientConfig::new(servers)
                .with_first(first)
                .with_follow_sequencer(follow_sequencer);
            clients.push(Client::connect(config).await.unwrap());
        }
        put_for(&clients, value_bytes, WARM_UP).await;
        let (began, cpu, log) = (Instant::now(), self.cpu_time(""), self.cpu_time("op-log"));
        let puts = put_for(&clients, value_bytes, ROUND).await;
        let elapsed = began.elapsed();
        let (cpu, log) = (self.cpu_time("") - cpu, self.cpu_time("op-log") - log);
        let micros_a_put = |time: Duration| time.as_secs_f64() * 1e6 / puts;
        Figures {
            rate: puts / elapsed.as_secs_f64(),
            cpu_us: micros_a_put(cpu),
            log_us: micros_a_put(log),
        }
    }

    /// The processor time of the threads of the servers and of this process whose names begin so.
    fn cpu_time(&self, name: &str) -> Duration {
        let ids = self.servers.iter().map(Running::id);
        ids.chain([std::process::id()]).map(|id| cpu_time(id, name)).sum()
    }
}

async fn put_for(clients: &[Client], value_bytes: usize, duration: Duration) -> f64 {
    let until = Instant::now() + duration;
    let workers: Vec<_> = (0..IN_FLIGHT * clients.len())
        .map(|worker| {
            let client = clients[worker % clients.len()].clone();
            tokio::spawn(async move {
                let mut puts = 0;
                for place in worker * 7_919.. {
                    if Instant::now() >= until {
                        break;
                    }
                    let key = Key::new(format!("key{:06}", place % KEYS)).unwrap();
                    let value = Value::new(vec![b'v'; value_bytes]).unwrap();
                    client.put(key, value).await.expect("a put is done");
                    puts += 1;
                }
                puts
            })
        })
        .collect();
    let mut puts = 0;
    for worker in workers {
        puts += worker.await.unwrap();
    }
    f64::from(puts)
}

/// The processor time of those threads of a process that still run and whose names begin so.
fn cpu_time(process: u32, name: &str) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("this needs Linux");
    let folders = threads.map(|thread| thread.unwrap().path());
    let read = |folder: &Path, file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let nanos = folders.filter(|folder| read(folder, "comm").starts_with(name)).map(|folder| {
        read(&folder, "schedstat").split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, name)| name))
}

const ROUNDS: usize = 151;
const ROUND: Duration = Duration::from_millis(150);
const WARM_UP: Duration = Duration::from_millis(20);
const CONNECTIONS: u16 = 6;
const IN_FLIGHT: usize = 16;
const KEYS: usize = 100_000;
const VALUE_BYTES: [usize; 2] = [16, 1_000];
