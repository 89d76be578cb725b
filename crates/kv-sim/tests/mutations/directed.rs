//! Broken rules of the linearizable engine that random runs show too seldom, or not at all with three
//! servers: each in a schedule that leads to what the rule prevents.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::{Budget, Verdict, linearizability};
use kv_core::{Key, NodeId, Operation, Outcome, RequestId, RequestOptions, Role, Timing, Value};
use kv_linear::{Body, LogIndex, Message, Mutation};
use kv_sim::{Cluster, Fate, Restart, SimConfig};

use super::mutation::{Linear, Subject};

/// Runs with a seed; whether something is wrong.
type Schedule = fn(u64) -> bool;

/// The rules that are broken here, each with its schedule.
const SCHEDULES: [(Mutation, Schedule); 3] = [
    (Mutation::InheritedCommitted, inherited_entries_are_replaced),
    (Mutation::PromisesMeetWritesAlone, a_former_sequencer_serves_a_read),
    (Mutation::QuestionConfirmsForAll, a_question_on_its_way_for_long_comes_to_a_former_sequencer),
];

pub(super) fn is_in_a_schedule(mutation: Mutation) -> bool {
    SCHEDULES.iter().any(|(broken, _)| *broken == mutation)
}

/// Each rule is seen to be broken at every seed, and the engine as it is passes.
pub(super) fn catch_all() {
    for (mutation, is_wrong) in SCHEDULES {
        for seed in 1..=5 {
            Linear::break_rule(Some(mutation));
            let caught = is_wrong(seed);
            Linear::break_rule(None);
            assert!(caught, "{mutation:?} is not noticed, seed {seed}");
            assert!(!is_wrong(seed), "a finding about the engine as it is, seed {seed}");
        }
    }
}

/// Figure 8 of Ongaro & Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014): an
/// entry of an earlier epoch is on W disks, and a log of an epoch between wins against it.
fn inherited_entries_are_replaced(seed: u64) -> bool {
    let mut cluster = cluster(3, 2, 2, seed);
    cluster.run_for(MS * 1_500).unwrap();
    let mut states = BTreeMap::new();
    // An entry that is on the first sequencer's disk alone.
    cluster.intercept(|_, _, message| drop_if(has_entries(message, 0)));
    submit(&mut cluster, 1, put("a"));
    cluster.run_for(MS * 100).unwrap();
    cluster.crash(node(1));
    // Another one opens an epoch on its own disk alone.
    let between = wait_for_sequencer(&mut cluster, &[2, 3]);
    cluster.run_for(MS * 100).unwrap();
    cluster.crash(between);
    // The first one is back, and brings its entry to the third server, but not its new epoch, nor that
    // the entry is committed.
    cluster.intercept(|_, _, message| drop_if(has_entries(message, 1) || tells_commit(message)));
    cluster.restart(node(1), Restart::Intact).unwrap();
    cluster.run_for(MS * 3_000).unwrap();
    let mut differ = look(&cluster, &mut states);
    cluster.crash(node(1));
    cluster.stop_intercepting();
    // The log of the epoch between is the better one.
    cluster.restart(between, Restart::Intact).unwrap();
    for _ in 0..3_000 {
        cluster.run_for(MS).unwrap();
        differ |= look(&cluster, &mut states);
    }
    differ
}

/// With N=5, W=3 and R=2, three servers choose a sequencer that writes with them, while the former
/// one reads with the fifth.
fn a_former_sequencer_serves_a_read(seed: u64) -> bool {
    let mut cluster = cluster(5, 3, 2, seed);
    cluster.run_for(MS * 1_500).unwrap();
    submit(&mut cluster, 1, put("old"));
    cluster.run_for(MS * 200).unwrap();
    cluster.intercept(|from, to, message| {
        let apart = (from.number() <= 2) != (to.number() <= 2);
        // By these alone the former sequencer knows that somebody is there.
        let asks = to == node(1) && matches!(message.body, Body::PreVote { .. });
        drop_if(apart && !asks)
    });
    for _ in 0..5_000 {
        cluster.run_for(MS).unwrap();
        if let Some(next) = sequencer_of(&cluster, &[3, 4, 5]) {
            submit(&mut cluster, next.number(), put("new"));
            cluster.run_for(MS * 50).unwrap();
            let read = submit(&mut cluster, 1, Operation::get(key()));
            cluster.run_for(MS * 100).unwrap();
            assert!(matches!(cluster.outcome(read), Some(Outcome::Done(_))), "seed {seed}");
            break;
        }
    }
    matches!(
        linearizability(&cluster.history(), Budget::default()),
        Ok(Verdict::NotLinearizable(_))
    )
}

/// A follower asks for a read of its own and then chooses another sequencer with the third server. The
/// question arrives when a client reads at the first one.
fn a_question_on_its_way_for_long_comes_to_a_former_sequencer(seed: u64) -> bool {
    let mut cluster = cluster(3, 2, 2, seed);
    cluster.run_for(MS * 1_500).unwrap();
    submit(&mut cluster, 1, put("old"));
    cluster.run_for(MS * 200).unwrap();
    cluster.intercept(|from, to, message| match (from == node(1), to == node(1)) {
        (false, true) if matches!(message.body, Body::ReadIndex { .. }) => Fate::Take,
        (from_first, to_first) => drop_if(from_first || to_first),
    });
    submit(&mut cluster, 2, Operation::get(key()));
    cluster.run_for(MS * 50).unwrap();
    let next = wait_for_sequencer(&mut cluster, &[2, 3]);
    let written = submit(&mut cluster, next.number(), put("new"));
    cluster.run_for(MS * 100).unwrap();
    assert!(matches!(cluster.outcome(written), Some(Outcome::Done(_))), "seed {seed}");
    submit(&mut cluster, 1, Operation::get(key()));
    let asked = cluster.captured().to_vec();
    assert!(!asked.is_empty(), "seed {seed}");
    for question in asked {
        cluster.inject(question.from, question.to, question.message);
    }
    cluster.run_for(MS * 100).unwrap();
    matches!(
        linearizability(&cluster.history(), Budget::default()),
        Ok(Verdict::NotLinearizable(_))
    )
}

fn cluster(nodes: u16, write: u16, read: u16, seed: u64) -> Cluster<Linear> {
    let mut config = SimConfig::new(nodes, write, read, seed).unwrap();
    // One entry in each message.
    config.limits.message_bytes_max = 1;
    config.timing =
        Timing { resend_min: MS * 50, heartbeat: MS * 50, election: MS * 400, ..config.timing };
    Cluster::new(config).unwrap()
}

/// Whether a message brings entries of this round or a later one.
fn has_entries(message: &Message, round: u32) -> bool {
    let Body::Prepare(prepare) = &message.body else {
        return false;
    };
    prepare.entries.iter().any(|entry| entry.header().epoch.round >= round)
}

/// Whether a message tells that more is committed than the founding.
fn tells_commit(message: &Message) -> bool {
    matches!(&message.body, Body::Prepare(prepare) if prepare.commit > LogIndex(1))
}

const fn drop_if(dropped: bool) -> Fate {
    if dropped { Fate::Drop } else { Fate::Pass }
}

fn submit(cluster: &mut Cluster<Linear>, at: u16, op: Operation) -> RequestId {
    cluster.submit(node(at), op, RequestOptions::default())
}

fn sequencer_of(cluster: &Cluster<Linear>, among: &[u16]) -> Option<NodeId> {
    let leads =
        |node: &NodeId| cluster.status(*node).is_some_and(|status| status.role == Role::Sequencer);
    among.iter().copied().map(node).find(leads)
}

fn wait_for_sequencer(cluster: &mut Cluster<Linear>, among: &[u16]) -> NodeId {
    for _ in 0..10_000 {
        cluster.run_for(MS).unwrap();
        if let Some(found) = sequencer_of(cluster, among) {
            return found;
        }
    }
    panic!("no sequencer is chosen")
}

/// Whether a server has another state at a position of the log than one had before.
fn look(cluster: &Cluster<Linear>, states: &mut BTreeMap<u64, u64>) -> bool {
    let engines = cluster.nodes().filter_map(|node| cluster.engine(node));
    let mut applied = engines.filter_map(Subject::applied);
    applied.any(|(index, hash)| *states.entry(index).or_insert(hash) != hash)
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn put(text: &'static str) -> Operation {
    Operation::put(key(), Value::new(text).unwrap())
}

const MS: Duration = Duration::from_millis(1);
