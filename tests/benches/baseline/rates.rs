//! Puts a second of three durable servers.

use std::time::Duration;

use kv_tests::{Process, Site};
use tokio::runtime::Runtime;

use crate::build::{Build, folder, median};
use crate::raw;

/// Prints how many puts each build does in a second, and the ratio.
pub(crate) fn run(runtime: &Runtime, builds: &[Build], engines: &[&str]) {
    println!("\nputs a second of three durable servers, W=2 R=2");
    for consistency in engines {
        for in_flight in IN_FLIGHT {
            let mut rates = vec![Vec::new(); builds.len()];
            for _ in 0..ROUNDS {
                for (build, rates) in builds.iter().zip(&mut rates) {
                    rates.push(runtime.block_on(measure(build, consistency, in_flight)));
                }
            }
            for (build, own) in builds.iter().zip(&rates) {
                let ratios: Vec<f64> =
                    own.iter().zip(&rates[0]).map(|(own, first)| own / first).collect();
                println!(
                    "{consistency:<16} {in_flight:>4} in flight {:<12} {:>7.0}  of the first {:.2}",
                    build.name,
                    median(own.clone()),
                    median(ratios),
                );
            }
        }
    }
}

async fn measure(build: &Build, consistency: &str, in_flight: usize) -> f64 {
    let (site, folder) = (Site::of(3), folder());
    let words =
        |id| format!("{id} {consistency} 2 2 --op-log off --data-dir {}", folder.path().display());
    let mut servers: Vec<Process> = (1..=3).map(|id| build.server(&site, &words(id))).collect();
    for server in &mut servers {
        server.wait_for("ready");
    }
    let addresses = (1..=3).cycle().map(|id| site.address(id)).take(in_flight / IN_FLIGHT_EACH);
    let puts = raw::run(addresses.collect(), IN_FLIGHT_EACH, WARM_UP).await;
    puts as f64 / raw::DURATION.as_secs_f64()
}

/// On each connection.
const IN_FLIGHT_EACH: usize = 16;
const IN_FLIGHT: [usize; 2] = [64, 256];
const WARM_UP: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;
