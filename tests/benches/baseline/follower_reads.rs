//! What a linearizable read costs the sequencer, served by itself and by a follower.

use std::time::{Duration, Instant};

use kv_core::{Key, NodeId, Value};
use kv_tests::Site;
use tokio::runtime::Runtime;

use crate::build::{Build, cpu_time, median};

/// Prints the sequencer's processor time for each read at some server, and the ratio of those that
/// a follower serves to its own.
pub(crate) fn run(runtime: &Runtime, builds: &[Build]) {
    println!(
        "\nprocessor time of the sequencer, us for each read; {CONCURRENCY} at once, R=2 of 3"
    );
    for build in builds {
        let (mut own, mut of_follower, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let [at_sequencer, at_follower] = runtime.block_on(measure(build));
            own.push(at_sequencer);
            of_follower.push(at_follower);
            ratios.push(at_follower / at_sequencer);
        }
        println!(
            "{:<12} its own {:>6.2}  a follower's {:>6.2}  of its own {:.2}",
            build.name,
            median(own),
            median(of_follower),
            median(ratios),
        );
    }
}

async fn measure(build: &Build) -> [f64; 2] {
    let site = Site::of(3);
    let words = |id: u16| format!("{id} linearizability 2 2 --memory --op-log off");
    let mut servers = [1, 2, 3].map(|id| build.server(&site, &words(id)));
    servers.iter_mut().for_each(|server| drop(server.wait_for("ready")));
    let mut costs = [0.0; 2];
    for (id, cost) in [1, 2].into_iter().zip(&mut costs) {
        let client = site.connect(id).await;
        let key = Key::new("k").unwrap();
        client.put(key.clone(), Value::new(vec![b'v'; 16]).unwrap()).await.unwrap();
        let before = cpu_time(&servers[0]);
        let until = Instant::now() + DURATION;
        let readers: Vec<_> = (0..CONCURRENCY)
            .map(|_| {
                let (client, key) = (client.clone(), key.clone());
                tokio::spawn(async move {
                    let mut reads = 0_u64;
                    while Instant::now() < until {
                        client.get(key.clone()).await.unwrap();
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mut reads = 0;
        for reader in readers {
            reads += reader.await.unwrap();
        }
        assert_eq!(client.server().map(NodeId::number), Some(id), "it reads where it is to");
        let used = cpu_time(&servers[0]) - before;
        *cost = used.as_secs_f64() * 1e6 / reads as f64;
    }
    costs
}

const CONCURRENCY: usize = 64;
const DURATION: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
