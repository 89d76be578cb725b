//! What a server reports about itself.

use std::time::Duration;

use kv_core::{PeerLag, RequestOptions, Role};
use kv_sim::SimConfig;

use super::witness::{Sim, node, positions, put};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_sequencer_reports_how_far_its_followers_are_behind() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 1).unwrap()).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim.execute(node(2), put("k", "v")).unwrap();
    sim.run_for(SECOND).unwrap();
    let status = |sim: &Sim, number| sim.status(node(number)).unwrap();
    let lags = |behind: [u64; 2]| {
        [(2, behind[0]), (3, behind[1])]
            .map(|(peer, entries)| PeerLag { peer: node(peer), entries })
    };
    assert_eq!(status(&sim, 1).lags, lags([0, 0]));
    sim.hold_disk(node(3));
    for key in ["a", "b"] {
        sim.submit(node(2), put(key, "v"), RequestOptions::default());
        sim.run_for(SECOND).unwrap();
    }
    assert_eq!(status(&sim, 1).lags, lags([0, 2]));
    assert_eq!(positions(&sim, 1).committed, Some(4));
    assert_eq!(status(&sim, 2).lags, []);
}

#[test]
fn servers_report_their_role_and_the_cluster_once_it_is_on_disk() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 1).unwrap()).unwrap();
    let report = |sim: &Sim, number| {
        let status = sim.status(node(number)).unwrap();
        (status.role, status.cluster_id.is_some())
    };
    assert_eq!(report(&sim, 1), (Role::Joining, false));
    sim.run_for(SECOND * 2).unwrap();
    assert_eq!(report(&sim, 1), (Role::Sequencer, true));
    assert_eq!(report(&sim, 2), (Role::Follower, true));
}
