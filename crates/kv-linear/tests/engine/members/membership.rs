//! How a cluster is founded, and who is taken into it after a restart.

use std::time::Duration;

use kv_core::{Counter, NotDone, Outcome, RequestOptions, Role, Waiting};
use kv_linear::Body;
use kv_sim::{Fate, Restart, SimConfig};

use crate::witness::{Sim, assert_same_logs, counter, get, node, positions, put, settle};

const SECOND: Duration = Duration::from_secs(1);

fn config(nodes: u16, write: u16, read: u16) -> SimConfig {
    SimConfig::new(nodes, write, read, 5).unwrap()
}

fn waiting(sim: &Sim, number: u16) -> Option<Waiting> {
    sim.status(node(number)).unwrap().waiting
}

fn refused(waiting: Waiting) -> Option<Outcome> {
    Some(Outcome::NotDone(NotDone::Waiting(waiting)))
}

fn is_done(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Done(_)))
}

#[test]
fn two_servers_of_ten_are_enough_for_quorums_of_two() {
    for other in [2, 7] {
        let mut sim = Sim::new(config(10, 2, 2)).unwrap();
        for number in (2..=10).filter(|number| *number != other) {
            sim.crash(node(number));
        }
        sim.run_for(SECOND * 3).unwrap();
        assert!(is_done(sim.execute(node(other), put("k", "v")).unwrap().as_ref()));
        assert!(is_done(sim.execute(node(1), get("k")).unwrap().as_ref()));
    }
}

#[test]
fn the_sequencer_waits_for_as_many_as_it_needs() {
    let mut sim = Sim::new(config(4, 2, 3)).unwrap();
    (2..=4).for_each(|number| sim.crash(node(number)));
    sim.run_for(SECOND * 3).unwrap();
    assert_eq!(waiting(&sim, 1), Some(Waiting::Servers { more: 2 }));
    let outcome = sim.execute(node(1), get("k")).unwrap();
    assert_eq!(outcome, refused(Waiting::Servers { more: 2 }));
    sim.restart(node(3), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    assert_eq!(waiting(&sim, 1), Some(Waiting::Servers { more: 1 }));
    assert_eq!(waiting(&sim, 3), Some(Waiting::Joining));
    sim.restart(node(4), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    assert!(is_done(sim.execute(node(3), get("k")).unwrap().as_ref()));
}

#[test]
fn followers_wait_for_the_sequencer_whichever_starts_first() {
    let mut sim = Sim::new(config(3, 2, 2)).unwrap();
    sim.crash(node(1));
    sim.run_for(SECOND * 3).unwrap();
    assert_eq!(waiting(&sim, 2), Some(Waiting::Sequencer { node: node(1) }));
    let outcome = sim.execute(node(2), get("k")).unwrap();
    assert_eq!(outcome, refused(Waiting::Sequencer { node: node(1) }));
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    assert!(is_done(sim.execute(node(2), get("k")).unwrap().as_ref()));
}

#[test]
fn an_empty_follower_is_refilled_and_counts_again() {
    let mut sim = Sim::new(config(3, 3, 1)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    for text in ["a", "b", "c"] {
        assert!(is_done(sim.execute(node(2), put(text, text)).unwrap().as_ref()));
    }
    let incarnation = sim.status(node(2)).unwrap().incarnation;
    sim.restart(node(2), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    assert!(sim.status(node(2)).unwrap().incarnation.counter() > incarnation.counter());
    assert_eq!(positions(&sim, 2).last, positions(&sim, 1).last);
    // W is 3: the write is done only if the sequencer counts the new incarnation.
    assert!(is_done(sim.execute(node(2), put("d", "d")).unwrap().as_ref()));
    settle(&mut sim);
    assert_same_logs(&sim);
}

#[test]
fn acknowledgements_of_a_former_incarnation_do_not_count() {
    let mut sim = Sim::new(config(2, 2, 1)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim.intercept(|from, _, message| match message.body {
        Body::Ack(_) if from == node(2) => Fate::Take,
        _ => Fate::Pass,
    });
    // Server 2 holds the write and says so, but its acknowledgement is still in flight when it
    // loses it.
    let id = sim.submit(node(1), put("k", "v"), RequestOptions::default());
    sim.run_for(Duration::from_millis(50)).unwrap();
    let ack = sim.captured().last().cloned().unwrap();
    assert_eq!(positions(&sim, 2).durable, Some(2));
    sim.restart(node(2), Restart::Wiped).unwrap();
    sim.intercept(|_, _, message| match &message.body {
        Body::Prepare(prepare) if !prepare.entries.is_empty() => Fate::Drop,
        _ => Fate::Pass,
    });
    sim.run_for(SECOND).unwrap();
    assert_eq!(positions(&sim, 2).last, Some(0));
    sim.inject(node(2), node(1), ack.message);
    sim.run_for(SECOND).unwrap();
    assert!(sim.outcome(id).is_none(), "{:?}", sim.outcome(id));
    sim.stop_intercepting();
    sim.run_for(SECOND * 2).unwrap();
    assert!(is_done(sim.outcome(id)));
}

#[test]
fn a_follower_goes_on_where_its_disk_says() {
    let mut sim = Sim::new(config(3, 3, 1)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    assert!(is_done(sim.execute(node(2), put("k", "v")).unwrap().as_ref()));
    sim.restart(node(3), Restart::Intact).unwrap();
    assert_eq!(positions(&sim, 3).durable, Some(2));
    sim.run_for(SECOND).unwrap();
    assert!(is_done(sim.execute(node(3), put("k", "w")).unwrap().as_ref()));
    settle(&mut sim);
}

#[test]
fn a_sequencer_that_lost_its_data_recovers_under_another_one() {
    let mut sim = Sim::new(config(3, 2, 2)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    assert!(is_done(sim.execute(node(2), put("k", "v")).unwrap().as_ref()));
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 5).unwrap();
    assert_eq!(positions(&sim, 1).epoch_round, Some(1));
    assert_ne!(positions(&sim, 1).epoch_owner, Some(1));
    for number in 1..=3 {
        assert!(is_done(sim.execute(node(number), get("k")).unwrap().as_ref()));
    }
    assert_eq!(sim.status(node(1)).unwrap().role, Role::Follower);
    settle(&mut sim);
}

#[test]
fn where_nobody_can_replace_the_sequencer_its_loss_ends_the_cluster_until_all_are_empty() {
    let mut sim = Sim::new(config(3, 1, 3)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    assert!(is_done(sim.execute(node(2), put("k", "v")).unwrap().as_ref()));
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 5).unwrap();
    let lost = Waiting::LostMemory { node: node(1) };
    assert_eq!(waiting(&sim, 1), Some(lost));
    for number in 1..=3 {
        assert!(!is_done(sim.execute(node(number), get("k")).unwrap().as_ref()), "{number}");
    }
}

#[test]
fn a_follower_of_another_cluster_serves_nothing() {
    let mut sim = Sim::new(config(3, 2, 2)).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    assert!(is_done(sim.execute(node(3), put("k", "v")).unwrap().as_ref()));
    sim.crash(node(3));
    sim.restart(node(2), Restart::Wiped).unwrap();
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    assert!(is_done(sim.execute(node(2), put("k", "w")).unwrap().as_ref()));
    sim.restart(node(3), Restart::Intact).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    let Some(Waiting::OtherCluster { node: other, ours, theirs }) = waiting(&sim, 3) else {
        panic!("{:?}", waiting(&sim, 3))
    };
    assert_eq!(other, node(1));
    assert_ne!(ours, theirs);
    let outcome = sim.execute(node(3), get("k")).unwrap();
    assert_eq!(outcome, refused(Waiting::OtherCluster { node: other, ours, theirs }));
    assert!(counter(&sim, 3, Counter::RefusedMessages) > 0);
    assert_eq!([1, 2, 3].map(|id| counter(&sim, id, Counter::PeersRefused)), [1, 1, 2]);
    sim.restart(node(3), Restart::Wiped).unwrap();
    sim.run_for(SECOND * 3).unwrap();
    assert!(is_done(sim.execute(node(3), get("k")).unwrap().as_ref()));
    assert_eq!([1, 2, 3].map(|id| counter(&sim, id, Counter::PeersRefused)), [0; 3]);
}

#[test]
fn a_single_server_opens_its_round_anew_at_each_start() {
    let mut sim = Sim::new(config(1, 1, 1)).unwrap();
    sim.run_for(SECOND).unwrap();
    for _ in 0..3 {
        assert!(is_done(sim.execute(node(1), put("k", "v")).unwrap().as_ref()));
        assert!(is_done(sim.execute(node(1), get("k")).unwrap().as_ref()));
        sim.restart(node(1), Restart::Intact).unwrap();
        sim.run_for(SECOND).unwrap();
    }
    // Three writes, and the opening entries of four processes.
    assert_eq!((positions(&sim, 1).applied, positions(&sim, 1).epoch_round), (Some(7), Some(0)));
}

#[test]
fn a_follower_too_far_behind_gets_a_checkpoint() {
    let mut config = config(3, 2, 2);
    config.limits.log_bytes_max = 500;
    let mut sim = Sim::new(config).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim.partition(&[node(3)]);
    for n in 0..40 {
        let name = format!("k{n}");
        assert!(is_done(sim.execute(node(2), put(&name, "v")).unwrap().as_ref()));
    }
    assert!(counter(&sim, 1, Counter::LogBytes) <= 600);
    sim.heal();
    sim.run_for(SECOND * 5).unwrap();
    assert_eq!(counter(&sim, 3, Counter::CheckpointsInstalled), 1);
    assert_eq!(counter(&sim, 1, Counter::CheckpointsSent), 1);
    settle(&mut sim);
    // It continues with the log from there, also from its disk.
    assert!(is_done(sim.execute(node(3), put("k", "w")).unwrap().as_ref()));
    sim.restart(node(3), Restart::Intact).unwrap();
    assert!(positions(&sim, 3).applied >= Some(40));
    sim.run_for(SECOND).unwrap();
    assert!(is_done(sim.execute(node(3), get("k0")).unwrap().as_ref()));
    settle(&mut sim);
}
