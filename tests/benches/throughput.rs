//! How many puts a second three servers take, and how long one put takes, beside a plain echo.
//!
//! `cargo bench -p kv-tests --bench throughput` starts real servers (W=2 R=2, with their logs of
//! operations; in memory, and with data directories, synced before anything is acknowledged) and an
//! echo process that answers the same requests in the same frames without doing anything. Client,
//! framing and sockets are the same for all, so the ratio to the echo is what replication costs,
//! and the ratio to the servers in memory what the disk costs. The targets take turns, several
//! rounds of them. Each ratio is taken within a round, since a machine that others use is not as
//! fast a minute later; the median of the rounds counts, the least and the most stand beside it.
//! Data directories lie in `KV_BENCH_DIR`, or where temporary files do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark prints its figures and fails by panicking"
)]

#[path = "throughput/echo.rs"]
mod echo;
#[path = "throughput/figures.rs"]
mod figures;
#[path = "throughput/load.rs"]
mod load;

use figures::Figures;
use kv_client::Client;
use kv_tests::{Process, Site};

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(echo::ARGUMENT) {
        return echo::run(&arguments.next().expect("an address follows"));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir_in(
        std::env::var_os("KV_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into),
    )
    .unwrap();
    let mut targets = vec![Target::echo()];
    for consistency in ["eventual", "linearizability"] {
        targets.push(Target::servers(consistency.to_owned(), consistency, "--memory"));
        let data = format!("--data-dir {}", folder.path().display());
        targets.push(Target::servers(format!("{consistency}{DURABLE}"), consistency, &data));
    }
    let mut figures = vec![[Figures::default(), Figures::default()]; targets.len()];
    for round in 0..ROUNDS {
        for (place, concurrency) in CONCURRENCY.into_iter().enumerate() {
            for (target, figures) in targets.iter().zip(&mut figures) {
                runtime.block_on(async {
                    let clients = target.connect(concurrency).await;
                    let round = load::run(clients, concurrency, round, load::WARM_UP).await;
                    figures[place].add(&round);
                });
            }
        }
    }
    report(&targets, &figures);
}

struct Target {
    name: String,
    site: Site,
    ids: Vec<u16>,
    _processes: Vec<Process>,
}

impl Target {
    /// Three servers; `data` says where their data is.
    fn servers(name: String, consistency: &str, data: &str) -> Self {
        let site = Site::of(3);
        let start = |id| site.server(&format!("{id} {consistency} 2 2 {data}"));
        let mut processes: Vec<Process> = (1..=3).map(start).collect();
        for process in &mut processes {
            process.wait_for("ready");
        }
        Self { name, site, ids: vec![1, 2, 3], _processes: processes }
    }

    fn echo() -> Self {
        let site = Site::of(1);
        let process = echo::start(&site.address(1).to_string());
        Self { name: "echo".to_owned(), site, ids: vec![1], _processes: vec![process] }
    }

    /// A connection for every 16 requests at once, spread over the servers.
    async fn connect(&self, concurrency: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for id in self.ids.iter().cycle().take(concurrency.div_ceil(16)) {
            clients.push(self.site.connect(*id).await);
        }
        clients
    }
}

fn report(targets: &[Target], figures: &[[Figures; 2]]) {
    println!(
        "puts of {} bytes under {} keys, 3 servers, W=2 R=2; {} rounds of {} s each",
        load::VALUE_BYTES,
        load::KEYS,
        ROUNDS,
        load::DURATION.as_secs()
    );
    println!("{}", kv_tests::machine());
    println!(
        "{:<24} {:>9} {:>7} {:>7} {:>7} {:>16} {:>16}",
        "", "in flight", "puts/s", "p50 us", "p99 us", "of echo", "of memory"
    );
    for (place, concurrency) in CONCURRENCY.into_iter().enumerate() {
        let echo = &figures[0][place];
        let mut memory = echo;
        for (target, figures) in targets.iter().zip(figures) {
            let figures = &figures[place];
            let is_durable = target.name.ends_with(DURABLE);
            println!(
                "{:<24} {:>9} {:>7.0} {:>7} {:>7} {:>16} {:>16}",
                target.name,
                concurrency,
                figures.rate(),
                figures.micros_at(0.50),
                figures.micros_at(0.99),
                figures.ratio_to(echo).to_string(),
                if is_durable { figures.ratio_to(memory).to_string() } else { String::new() },
            );
            memory = figures;
        }
    }
}

/// Ends the name of servers with data directories, which stand after the same in memory.
const DURABLE: &str = ", durable";

const ROUNDS: usize = 5;
const CONCURRENCY: [usize; 2] = [1, 64];
