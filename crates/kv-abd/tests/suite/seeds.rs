//! Long runs of many faults.

use kv_abd::AbdEngine;
use kv_sim::{Probe, Simulation};

use super::declaration;

#[test]
fn seeds_pass_and_the_disks_behind_each_write_are_counted() {
    let mut counted = 0;
    for seed in 1..40 {
        let mut run = Simulation::<AbdEngine>::new(seed, &declaration()).unwrap();
        run.probe(Probe {
            holds: |disk, _, key, version| disk.holds(key, version),
            held: AbdEngine::held_version,
            kept: |_| None,
            knows: |_, _| true,
        });
        let report = run.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        counted += report.holders_counted;
    }
    assert!(counted > 40, "disks were counted at {counted} writes");
}
