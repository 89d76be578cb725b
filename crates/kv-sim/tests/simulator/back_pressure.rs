//! What drivers are told: a connection takes no more, a checkpoint has failed, a client asks for all
//! that a server holds.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::time::Duration;

use kv_core::driver::{Broken, DriverRule};
use kv_core::{Key, NodeId, Operation, Outcome, PersistSeq, RequestId, RequestOptions, Value};
use kv_linear::LinearEngine;
use kv_sim::scenario::{Act, Ease, Scenario, Trial};
use kv_sim::{
    Breach, Cluster, DiskConfig, Fault, Injection, NetworkConfig, Restart, SimConfig,
    SimulationFailure, Violation,
};

use super::engines::{self, Holder};
use super::one_copy::OneCopy;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn put(name: &str, value: &str) -> Operation {
    Operation::put(Key::new(name.to_owned()).unwrap(), Value::new(value.to_owned()).unwrap())
}

fn cluster(nodes: u16, disk: DiskConfig) -> Cluster<OneCopy> {
    let config = SimConfig::new(nodes, 1, 1, 1).unwrap().with_disk(disk);
    let mut cluster = Cluster::new(config).unwrap();
    cluster.run_for(MS * 100).unwrap();
    cluster
}

fn is_done(cluster: &Cluster<OneCopy>, id: RequestId) -> bool {
    matches!(cluster.outcome(id), Some(Outcome::Done(_)))
}

#[test]
fn a_congested_link_delivers_what_it_took_and_takes_more_once_it_drains() {
    let mut cluster = cluster(2, DiskConfig::default());
    cluster.congest_link(node(2), node(1), 2);
    let puts = ["1", "2", "3"].map(|value| put("k", value));
    let puts = puts.map(|put| cluster.submit(node(2), put, RequestOptions::default()));
    cluster.run_for(MS * 10).unwrap();
    assert!(cluster.holds_messages_back());
    assert_eq!(cluster.faults().of(Fault::CongestedLink), 1);
    assert!(!puts.iter().any(|id| is_done(&cluster, *id)), "nothing arrives");
    cluster.drain_link(node(2), node(1));
    cluster.run_for(MS * 1_000).unwrap();
    assert!(!cluster.holds_messages_back());
    assert!(puts.iter().all(|id| is_done(&cluster, *id)), "also what the driver dropped");
}

#[test]
fn answers_wait_for_a_client_that_reads_nothing_and_come_once_it_reads() {
    let mut cluster = cluster(1, DiskConfig::default());
    let options = RequestOptions::default();
    (0..3).for_each(|session| cluster.congest_client(node(1), session));
    let held = cluster.submit(node(1), put("k", "1"), options.clone());
    cluster.run_for(MS * 100).unwrap();
    assert!(!is_done(&cluster, held));
    assert!(cluster.holds_answers_back());
    (0..3).for_each(|session| cluster.drain_client(node(1), session));
    cluster.run_for(Duration::ZERO).unwrap();
    assert!(is_done(&cluster, held));
    assert!(!cluster.holds_answers_back());
}

#[test]
fn an_answer_that_waits_for_a_client_is_lost_with_its_connection() {
    let mut cluster = cluster(1, DiskConfig::default());
    (0..3).for_each(|session| cluster.congest_client(node(1), session));
    let held = cluster.submit(node(1), put("k", "1"), RequestOptions::default());
    cluster.run_for(MS * 100).unwrap();
    (0..3).for_each(|session| cluster.disconnect(node(1), session));
    cluster.run_for(MS * 100).unwrap();
    (0..3).for_each(|session| cluster.drain_client(node(1), session));
    cluster.run_for(MS * 100).unwrap();
    assert!(cluster.outcome(held).is_none());
    let next = cluster.execute(node(1), put("k", "2")).unwrap();
    assert!(matches!(next, Some(Outcome::Done(_))), "the next client reads");
}

#[test]
fn a_checkpoint_that_fails_leaves_the_journal_as_it_is_and_is_tried_again() {
    for parts in [0, 100] {
        let mut cluster = cluster(1, DiskConfig::slow());
        cluster.fail_checkpoints(node(1), parts);
        for number in 0..60 {
            cluster.execute(node(1), put(&format!("k{number}"), "v")).unwrap();
        }
        cluster.run_for(MS * 1_000).unwrap();
        assert!(cluster.owes_checkpoint(node(1)));
        assert!(cluster.faults().of(Fault::FailedCheckpoint) > 1);
        let (checkpoint, records) = cluster.disk(node(1)).unwrap();
        assert_eq!(checkpoint.covers(), PersistSeq(0));
        assert!(records.len() >= 60, "{}", records.len());
        cluster.write_checkpoints(node(1));
        cluster.run_for(MS * 1_000).unwrap();
        assert!(!cluster.owes_checkpoint(node(1)));
        assert!(cluster.disk(node(1)).unwrap().0.covers() > PersistSeq(50));
        cluster.restart(node(1), Restart::Intact).unwrap();
    }
}

/// A put while one server is cut off, and a backup of that server.
fn a_backup_of_a_server_that_is_behind(reads_first: bool) -> Scenario {
    let wait = |seconds| Act::Wait { time: Duration::from_secs(seconds) };
    let begin = |fault, injection| Act::Begin { fault, injection };
    let (one, two, three) = (node(1), node(2), node(3));
    let links = vec![(one, three), (three, one), (two, three), (three, two)];
    let put = Act::Ask {
        client: 1,
        server: one,
        op: put("k", "v"),
        options: RequestOptions::default(),
        names: Vec::new(),
    };
    let acts = vec![
        wait(3),
        begin(1, Injection::Block { kind: Fault::Partition, node: three, links }),
        wait(3),
        put,
        wait(1),
        begin(2, Injection::BackUp { nodes: vec![three], session: 0, reads_first }),
        wait(1),
        Act::End { fault: 1 },
        wait(5),
    ];
    let (eased, late_cancels) = (Ease::ALL.to_vec(), Vec::new());
    Scenario { plan: 1, nodes: 3, write: 2, read: 2, seed: 1, eased, acts, late_cancels }
}

#[test]
fn a_backup_of_a_server_that_has_answered_no_read_may_lack_what_was_acknowledged() {
    let declaration = engines::linearizable();
    let trial = Trial { probe: Some(LinearEngine::probe()), ..Trial::new(&declaration) };
    assert_eq!(a_backup_of_a_server_that_is_behind(true).run(&trial), Ok(()));
    let failure = a_backup_of_a_server_that_is_behind(false).run(&trial).unwrap_err();
    let lacks = matches!(failure, SimulationFailure::NotInBackup { found: None, .. });
    assert!(lacks, "{failure}");
    assert_eq!(
        failure.to_string(),
        "write 1 of b\"k\" was acknowledged as 1, but a backup of server 3 that was begun at 7s shows \
         nothing\
         \n  call 1 of client 1 at server 1, 6s to 6.002201459s: put b\"k\" b\"v\": written as version 1\
         \n  faults between them:\
         \n    3s to 8s: partition: nothing passes from 1 to 3, 3 to 1, 2 to 3, 3 to 2\
         \n    7s to 7s: a client takes a backup of server 3"
    );
}

/// A client that reads nothing asks a follower for all that it holds; before it reads, the follower has
/// fallen so far behind that a peer's snapshot takes the place of its state.
fn a_replaced_state(broken: Broken) -> (Result<(), Violation>, bool) {
    let mut config = SimConfig::new(3, 2, 2, 1).unwrap().with_disk(DiskConfig::slow());
    config.limits.log_bytes_max = 600;
    config.limits.message_bytes_max = 300;
    config.driver_broken = broken;
    let mut cluster = Cluster::<LinearEngine>::new(config).unwrap();
    cluster.keep_trace(usize::MAX);
    cluster.run_for(MS * 3_000).unwrap();
    cluster.execute(node(1), put("k", "1")).unwrap();
    cluster.run_for(MS * 1_000).unwrap();
    cluster.congest_client(node(3), 0);
    cluster.back_up(&[node(3)], 0, false);
    cluster.run_for(MS * 10).unwrap();
    cluster.partition(&[node(3)]);
    for number in 0..60 {
        cluster.execute(node(1), put(&format!("k{number}"), "2")).unwrap();
    }
    cluster.heal_network(NetworkConfig::default());
    cluster.run_for(MS * 5_000).unwrap();
    cluster.drain_client(node(3), 0);
    let ended = cluster.run_for(MS * 1_000);
    let is_gone = cluster.trace_lines().any(|line| line.contains("its state is gone"));
    (ended, is_gone)
}

#[test]
fn a_snapshot_to_a_client_ends_with_an_error_once_the_state_is_replaced() {
    assert_eq!(a_replaced_state(Broken::NONE), (Ok(()), true));
    let (ended, is_gone) = a_replaced_state(Broken::by(DriverRule::SessionSnapshotCutShort));
    assert!(!is_gone);
    assert_eq!(ended.unwrap_err().breach, Breach::BackupDiffers);
}

const MS: Duration = Duration::from_millis(1);
