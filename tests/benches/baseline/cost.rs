//! Processor time of one server in memory for each put.

use std::time::Duration;

use kv_tests::Site;
use tokio::runtime::Runtime;

use crate::build::{Build, cpu_time, median};
use crate::raw;

/// Prints what a put costs each build, and the ratio, at some shapes of load.
pub(crate) fn run(runtime: &Runtime, builds: &[Build], engines: &[&str]) {
    println!("\nprocessor time of one server in memory, us for each put of 16 bytes");
    for consistency in engines {
        for (connections, in_flight) in SHAPES {
            let mut costs = vec![Vec::new(); builds.len()];
            for _ in 0..ROUNDS {
                for (build, costs) in builds.iter().zip(&mut costs) {
                    let measured =
                        runtime.block_on(measure(build, consistency, (connections, in_flight)));
                    costs.push(measured);
                }
            }
            for (build, own) in builds.iter().zip(&costs) {
                let ratios: Vec<f64> =
                    own.iter().zip(&costs[0]).map(|(own, first)| own / first).collect();
                println!(
                    "{consistency:<16} {connections:>3} x {in_flight:<3} {:<12} {:>6.2}  of the first {:.2}",
                    build.name,
                    median(own.clone()),
                    median(ratios),
                );
            }
        }
    }
}

async fn measure(
    build: &Build,
    consistency: &str,
    (connections, in_flight): (usize, usize),
) -> f64 {
    let site = Site::of(1);
    let mut server = build.server(&site, &format!("1 {consistency} 1 1 --memory --op-log off"));
    server.wait_for("ready");
    let before = cpu_time(&server);
    let puts = raw::run(vec![site.address(1); connections], in_flight, Duration::ZERO).await;
    let used = cpu_time(&server) - before;
    used.as_secs_f64() * 1e6 / puts as f64
}

const SHAPES: [(usize, usize); 2] = [(16, 16), (50, 1)];
const ROUNDS: usize = 5;
