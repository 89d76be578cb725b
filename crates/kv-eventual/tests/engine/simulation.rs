//! The engine's promises in simulated clusters with faults of network, disks, clocks and
//! processes. A failure names the seed that shows it again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::audit::{self, Clients, Sim, Tally};
use kv_core::{
    Counter, Incarnation, Key, NodeId, NotDone, Operation, Outcome, Quorum, RequestOptions, Value,
};
use kv_eventual::{Message, Part};
use kv_sim::{Cluster, DiskConfig, Fate, NetworkConfig, Restart, SimConfig, WallOffset};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

fn put(name: &str, text: &str) -> Operation {
    Operation::put(key(name), Value::new(text.to_owned()).unwrap())
}

fn faulty(nodes: u16, w: u16, r: u16, seed: u64) -> Sim {
    let mut config = SimConfig::new(nodes, w, r, seed).unwrap();
    config.processing = Duration::ZERO..=Duration::from_millis(2);
    let config = config.with_network(NetworkConfig::lossy());
    Cluster::new(config.with_disk(DiskConfig::slow())).unwrap()
}

fn settle(sim: &mut Sim) {
    sim.run_for(Duration::from_secs(2)).unwrap();
}

/// One fault, or the end of one.
fn disturb(sim: &mut Sim, clients: &mut Clients, incarnations: Restart) {
    let nodes: Vec<_> = sim.nodes().collect();
    let victim = clients.pick(&nodes);
    let other = clients.pick(&nodes);
    match clients.stream.below(12) {
        0 | 1 => sim.crash_after_effects(victim, clients.stream.below(20)),
        2 => sim.crash(victim),
        3 => sim.restart(victim, incarnations).unwrap(),
        4 => sim.partition(&[victim]),
        5 => sim.block(victim, other),
        6 => sim.pause(victim),
        7 => sim.hold_disk(victim),
        8 => {
            let millis = clients.stream.below(8_000);
            sim.set_wall_offset(victim, WallOffset::Ahead(Duration::from_millis(millis)));
        }
        _ => {
            sim.heal();
            revive(sim, incarnations);
        }
    }
}

fn revive(sim: &mut Sim, incarnations: Restart) {
    let down: Vec<_> = sim.nodes().filter(|node| !sim.is_running(*node)).collect();
    for node in down {
        sim.restart(node, incarnations).unwrap();
    }
}

/// Clients and faults for some seconds, then peace.
fn run(nodes: u16, w: u16, r: u16, seed: u64) -> (Sim, Clients) {
    run_of(Clients::new(seed, 3), (nodes, w, r), seed)
}

fn run_of(mut clients: Clients, (nodes, w, r): (u16, u16, u16), seed: u64) -> (Sim, Clients) {
    let mut sim = faulty(nodes, w, r, seed);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        for _ in 0..clients.stream.below(6) {
            clients.submit(&mut sim);
        }
        if clients.stream.chance(250) {
            disturb(&mut sim, &mut clients, Restart::Intact);
        }
        let millis = clients.stream.below(120);
        audit::run_watching(&mut sim, Duration::from_millis(millis), &mut seen);
    }
    sim.heal();
    sim.set_network(NetworkConfig::default());
    revive(&mut sim, Restart::Intact);
    audit::run_watching(&mut sim, Duration::from_secs(10), &mut seen);
    (sim, clients)
}

#[test]
fn promises_hold_through_crashes_partitions_and_slow_disks() {
    let mut tally = Tally::default();
    for seed in 0..60 {
        let (nodes, w, r) = [(3, 2, 2), (5, 3, 3), (3, 3, 1), (3, 1, 3), (2, 2, 1)]
            [usize::try_from(seed % 5).unwrap()];
        let (mut sim, clients) = run(nodes, w, r, seed);
        assert!(sim.requests().all(|(_, request)| request.has_ended()));
        audit::check_versions_unique(&sim);
        audit::check_visibility(&sim);
        audit::check_not_done(&sim);
        audit::check_origin(&sim);
        tally.add(&sim);
        audit::check_converges(&mut sim, &clients.keys);
        for number in 1..=nodes {
            let outcome = sim.execute(node(number), put("end", &number.to_string()));
            assert!(
                matches!(outcome, Ok(Some(Outcome::Done(_)))),
                "seed {seed}: server {number} does not serve: {outcome:?}"
            );
        }
    }
    // A run in which nothing goes wrong would prove nothing.
    assert!(tally.done > 3_000, "{tally:?}");
    assert!(tally.not_done > 300, "{tally:?}");
    assert!(tally.unknown > 50, "{tally:?}");
}

/// Of two reads one after the other, the second never shows an older value than the first, if that was
/// atomic, though the write under way that both may see is not acknowledged.
#[test]
fn no_read_goes_back_behind_an_atomic_one() {
    let (mut atomic, mut waited) = (0, 0);
    for seed in 500..560 {
        let mut clients = Clients::new(seed, 2);
        clients.reads_atomically = true;
        let (sim, _) = run_of(
            clients,
            [(3, 2, 2), (5, 3, 3), (4, 3, 2)][usize::try_from(seed % 3).unwrap()],
            seed,
        );
        audit::check_visibility(&sim);
        let done = sim.requests().filter(|(_, request)| audit::is_atomic_read(request));
        atomic += done.count();
        let nodes = sim.nodes();
        waited +=
            nodes.map(|node| audit::counter(&sim, node, Counter::RepairsApplied)).sum::<u64>();
    }
    assert!(atomic > 1_000 && waited > 100, "{atomic} atomic reads, {waited} repairs");
}

/// Each page of a scan shows of each key what a read of it would.
#[test]
fn scans_show_every_write_that_was_acknowledged_before() {
    let mut scans = 0;
    for seed in 700..740 {
        let mut clients = Clients::new(seed, 3);
        clients.scans = true;
        let quorums = [(3, 2, 2), (5, 3, 3), (3, 1, 3)][usize::try_from(seed % 3).unwrap()];
        let (mut sim, clients) = run_of(clients, quorums, seed);
        audit::check_visibility(&sim);
        scans += sim.requests().filter(|(_, request)| audit::is_scan(request)).count();
        audit::check_converges(&mut sim, &clients.keys);
    }
    assert!(scans > 1_000, "{scans} scans");
}

#[test]
fn small_quorums_promise_less_but_versions_and_refusals_hold() {
    for seed in 100..130 {
        let (mut sim, clients) = run(3, 1, 1, seed);
        audit::check_versions_unique(&sim);
        audit::check_not_done(&sim);
        audit::check_origin(&sim);
        audit::check_converges(&mut sim, &clients.keys);
    }
}

#[test]
fn servers_that_lose_their_disks_take_new_incarnations_and_issue_no_version_twice() {
    let mut incarnations = 0;
    for seed in 200..230 {
        let mut sim = faulty(3, 2, 2, seed);
        let mut clients = Clients::new(seed, 3);
        for _ in 0..50 {
            for _ in 0..clients.stream.below(5) {
                clients.submit(&mut sim);
            }
            if clients.stream.chance(200) {
                disturb(&mut sim, &mut clients, Restart::Wiped);
            }
            let millis = clients.stream.below(200);
            sim.run_for(Duration::from_millis(millis)).unwrap();
        }
        sim.heal();
        sim.set_network(NetworkConfig::default());
        revive(&mut sim, Restart::Wiped);
        sim.run_for(Duration::from_secs(10)).unwrap();
        audit::check_versions_unique(&sim);
        audit::check_not_done(&sim);
        audit::check_origin(&sim);
        audit::check_converges(&mut sim, &clients.keys);
        let counters = sim.nodes().map(|node| sim.status(node).unwrap().incarnation);
        incarnations += counters.map(Incarnation::counter).sum::<u64>();
    }
    assert!(incarnations > 3 * 30, "no server has had a second incarnation");
}

#[test]
fn an_acknowledged_write_survives_the_loss_of_fewer_than_w_disks() {
    for seed in 300..340 {
        let mut sim = faulty(3, 2, 2, seed);
        settle(&mut sim);
        let id = sim.submit(node(1), put("k", "v"), RequestOptions::default());
        let bound = Duration::from_secs(6);
        sim.run_until(bound, |sim| sim.outcome(id).is_some()).unwrap();
        let Some((version, _)) = audit::written(sim.request(id).unwrap()) else {
            continue;
        };
        let victim = node(u16::try_from(seed % 3).unwrap() + 1);
        sim.restart(victim, Restart::Wiped).unwrap();
        assert!(audit::holders(&sim, &key("k"), version) >= 1, "seed {seed}");
        settle(&mut sim);
        let options = RequestOptions::default().with_read_quorum(Quorum::All);
        let read = sim.submit(victim, Operation::get(key("k")), options);
        sim.run_until(bound, |sim| sim.outcome(read).is_some()).unwrap();
        let shown = audit::read(sim.request(read).unwrap());
        if let Some(shown) = shown {
            let shown = shown.map(|(_, version)| version);
            assert!(shown >= Some(version), "seed {seed}: shows {shown:?}");
        }
    }
}

#[test]
fn with_one_server_down_and_quorums_reachable_nothing_stops() {
    for down in 1..=3 {
        let mut sim = Sim::new(SimConfig::new(3, 2, 2, 9).unwrap()).unwrap();
        settle(&mut sim);
        sim.crash(node(down));
        settle(&mut sim);
        for number in (1..=3).filter(|number| *number != down) {
            for op in [put("k", "v"), Operation::get(key("k"))] {
                let outcome = sim.execute(node(number), op).unwrap();
                assert!(matches!(outcome, Some(Outcome::Done(_))), "{outcome:?}");
            }
        }
    }
}

#[test]
fn unavailable_is_told_apart_from_unknown() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 10).unwrap()).unwrap();
    settle(&mut sim);
    sim.execute(node(1), put("k", "old")).unwrap();
    // Server 1 does not know of the cut yet when it takes the first write.
    sim.partition(&[node(1)]);
    let unknown = sim.submit(node(1), put("k", "new"), RequestOptions::default());
    settle(&mut sim);
    let refused = sim.execute(node(1), put("k", "never")).unwrap();
    let reason = NotDone::Unavailable { reachable: 1, needed: 2 };
    assert_eq!(refused, Some(Outcome::NotDone(reason)));
    sim.run_for(Duration::from_secs(5)).unwrap();
    let Some(Outcome::Unknown(unknown)) = sim.outcome(unknown) else {
        panic!("{:?}", sim.outcome(unknown));
    };
    assert_eq!((unknown.acks, unknown.needed), (1, 2));
    let version = unknown.version.unwrap();
    sim.heal();
    settle(&mut sim);
    // It was never rolled back, and surfaces.
    let read = sim.submit(node(1), Operation::get(key("k")), RequestOptions::default());
    settle(&mut sim);
    let shown = audit::read(sim.request(read).unwrap()).unwrap().unwrap();
    assert_eq!(shown, (Value::new("new").unwrap(), version));
    audit::check_not_done(&sim);
}

#[test]
fn a_write_that_waits_is_finished_when_its_peer_returns() {
    let mut sim = Sim::new(SimConfig::new(2, 2, 1, 11).unwrap()).unwrap();
    settle(&mut sim);
    sim.partition(&[node(1)]);
    let id = sim.submit(node(1), put("k", "v"), RequestOptions::default());
    settle(&mut sim);
    assert_eq!(sim.outcome(id), None);
    sim.heal();
    settle(&mut sim);
    assert!(matches!(sim.outcome(id), Some(Outcome::Done(_))));
}

#[test]
fn a_read_repairs_the_servers_that_are_behind() {
    let mut sim = Sim::new(SimConfig::new(3, 1, 3, 12).unwrap()).unwrap();
    settle(&mut sim);
    sim.crash(node(3));
    settle(&mut sim);
    sim.execute(node(1), put("k", "v")).unwrap();
    sim.run_for(Duration::from_secs(6)).unwrap();
    let is_pull = |part: &Part| matches!(part, Part::Pull(_));
    sim.intercept(
        move |_, _, message: &Message| {
            if message.parts.iter().any(is_pull) { Fate::Drop } else { Fate::Pass }
        },
    );
    sim.restart(node(3), Restart::Intact).unwrap();
    settle(&mut sim);
    assert_eq!(audit::disk(&sim, node(3)).len(), 0);
    sim.execute(node(2), Operation::get(key("k"))).unwrap();
    settle(&mut sim);
    assert_eq!(audit::disk(&sim, node(3)).len(), 1);
    assert_eq!(audit::counter(&sim, node(2), Counter::RepairsSent), 1);
    assert_eq!(audit::counter(&sim, node(3), Counter::RepairsApplied), 1);
}

fn holders(sim: &Sim, name: &str) -> usize {
    let holds = |node: &NodeId| audit::disk(sim, *node).contains_key(&key(name));
    sim.nodes().filter(holds).count()
}

/// However long it was away: what is older than a delete comes back from nobody.
#[test]
fn a_delete_is_forgotten_only_when_a_server_that_was_away_has_it_too() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 31).unwrap()).unwrap();
    settle(&mut sim);
    for name in ["kept", "gone"] {
        sim.execute(node(1), put(name, "v")).unwrap();
    }
    sim.run_for(Duration::from_secs(6)).unwrap();
    sim.crash(node(3));
    settle(&mut sim);
    sim.execute(node(1), Operation::delete(key("gone"))).unwrap();
    sim.run_for(Duration::from_secs(600)).unwrap();
    let tombstones = |sim: &Sim, number| sim.status(node(number)).unwrap().positions.tombstones;
    assert_eq!((tombstones(&sim, 1), tombstones(&sim, 2)), (Some(1), Some(1)));
    sim.restart(node(3), Restart::Intact).unwrap();
    sim.run_for(Duration::from_secs(40)).unwrap();
    assert_eq!((holders(&sim, "gone"), holders(&sim, "kept")), (0, 3));
    assert!((1..=3).all(|number| tombstones(&sim, number) == Some(0)));
}

/// The copy holds what was deleted since, and everybody has forgotten the delete.
#[test]
fn a_server_that_is_set_back_brings_no_deleted_key_back() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 32).unwrap()).unwrap();
    settle(&mut sim);
    for name in ["kept", "gone"] {
        sim.execute(node(1), put(name, "v")).unwrap();
    }
    sim.run_for(Duration::from_secs(6)).unwrap();
    sim.copy_disk(node(3));
    sim.execute(node(1), Operation::delete(key("gone"))).unwrap();
    sim.execute(node(1), put("later", "v")).unwrap();
    sim.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!((holders(&sim, "gone"), holders(&sim, "later")), (0, 3));
    sim.restart(node(3), Restart::SetBack).unwrap();
    assert_eq!((holders(&sim, "gone"), holders(&sim, "later")), (1, 2));
    // While it lacks what it acknowledged, it is in no quorum of a read.
    sim.run_for(Duration::from_secs(5)).unwrap();
    assert_eq!(audit::counter(&sim, node(3), Counter::DiskLosses), 1);
    assert_eq!(audit::counter(&sim, node(3), Counter::RecordsOfOlderCopiesRemoved), 1);
    assert_eq!((holders(&sim, "gone"), holders(&sim, "later")), (0, 3));
}

/// With W=2 and R=2 of three, a server that lost its disk has everything again before it counts, so
/// that the next one may be lost.
#[test]
fn one_disk_after_the_other_is_lost_and_no_acknowledged_key_is_missing() {
    for seed in 500..510 {
        let mut sim = Sim::new(SimConfig::new(3, 2, 2, seed).unwrap()).unwrap();
        settle(&mut sim);
        for number in 0..40 {
            let written = sim.execute(node(1), put(&format!("k{number}"), "v")).unwrap();
            assert!(matches!(written, Some(Outcome::Done(_))));
        }
        for lost in [3, 1, 2] {
            sim.restart(node(lost), Restart::Wiped).unwrap();
            settle(&mut sim);
        }
        for number in 0..40 {
            let get = Operation::get(key(&format!("k{number}")));
            let read = sim.submit(node(2), get, RequestOptions::default());
            settle(&mut sim);
            let shown = audit::read(sim.request(read).unwrap());
            assert!(matches!(shown, Some(Some(_))), "seed {seed}, k{number}: {shown:?}");
        }
    }
}

/// With W=3 of three a write outlives two lost disks. Those two servers know only each other then, and
/// together are no proof that nothing was ever acknowledged.
#[test]
fn two_servers_that_lost_their_disks_do_not_take_each_other_for_a_new_cluster() {
    let mut sim = Sim::new(SimConfig::new(3, 3, 2, 520).unwrap()).unwrap();
    settle(&mut sim);
    let written = sim.execute(node(1), put("k", "v")).unwrap();
    assert!(matches!(written, Some(Outcome::Done(_))));
    (1..=3).for_each(|number| sim.crash(node(number)));
    for lost in [2, 1] {
        sim.restart(node(lost), Restart::Wiped).unwrap();
        sim.run_for(Duration::from_secs(2)).unwrap();
    }
    let read = sim.submit(node(2), Operation::get(key("k")), RequestOptions::default());
    sim.run_for(Duration::from_secs(1)).unwrap();
    assert_eq!(audit::read(sim.request(read).unwrap()), None);
    sim.restart(node(3), Restart::Intact).unwrap();
    settle(&mut sim);
    let read = sim.submit(node(2), Operation::get(key("k")), RequestOptions::default());
    settle(&mut sim);
    let shown = audit::read(sim.request(read).unwrap());
    assert!(matches!(shown, Some(Some(_))), "{shown:?}");
}

/// With W=2 and R=2 of three, as above; the second server is lost for good.
#[test]
fn after_one_disk_is_lost_another_server_may_be_lost_and_no_acknowledged_key_is_missing() {
    for seed in 520..530 {
        let mut sim = Sim::new(SimConfig::new(3, 2, 2, seed).unwrap()).unwrap();
        settle(&mut sim);
        for number in 0..40 {
            let at = node(number % 3 + 1);
            let written = sim.execute(at, put(&format!("k{number}"), "v")).unwrap();
            assert!(matches!(written, Some(Outcome::Done(_))));
        }
        sim.restart(node(3), Restart::Wiped).unwrap();
        settle(&mut sim);
        sim.crash(node(1));
        settle(&mut sim);
        for number in 0..40 {
            let get = Operation::get(key(&format!("k{number}")));
            let read = sim.submit(node(3), get, RequestOptions::default());
            sim.run_for(Duration::from_millis(200)).unwrap();
            let shown = audit::read(sim.request(read).unwrap());
            assert!(matches!(shown, Some(Some(_))), "seed {seed}, k{number}: {shown:?}");
        }
    }
}

/// It holds nothing, so that nothing waits for it.
#[test]
fn a_server_that_is_listed_and_was_never_started_keeps_no_delete_from_being_forgotten() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 33).unwrap()).unwrap();
    sim.crash(node(3));
    settle(&mut sim);
    for name in ["kept", "gone"] {
        sim.execute(node(1), put(name, "v")).unwrap();
    }
    sim.execute(node(2), Operation::delete(key("gone"))).unwrap();
    sim.restart(node(1), Restart::Intact).unwrap();
    sim.run_for(Duration::from_secs(40)).unwrap();
    let positions = |sim: &Sim, number| sim.status(node(number)).unwrap().positions;
    for number in [1, 2] {
        let at = positions(&sim, number);
        assert_eq!((at.tombstones, at.open_incarnations), (Some(0), Some(0)));
    }
    sim.restart(node(3), Restart::Intact).unwrap();
    assert_eq!(sim.status(node(3)).unwrap().incarnation, Incarnation::UNKNOWN, "its first start");
    settle(&mut sim);
    assert_eq!((holders(&sim, "gone"), holders(&sim, "kept")), (0, 3));
    assert_eq!(sim.status(node(3)).unwrap().incarnation.counter(), 1);
}

#[test]
fn a_server_with_a_wrong_clock_refuses_writes_and_says_why() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 13).unwrap()).unwrap();
    settle(&mut sim);
    sim.execute(node(2), put("k", "old")).unwrap();
    sim.set_wall_offset(node(1), WallOffset::Ahead(Duration::from_secs(60)));
    let outcome = sim.execute(node(1), put("k", "new")).unwrap();
    let skewed = Some(Outcome::NotDone(NotDone::ClockSkew { off_ms: 60_000, limit_ms: 10_000 }));
    let off = |outcome: &Option<Outcome>| {
        let Some(Outcome::NotDone(NotDone::ClockSkew { off_ms, .. })) = outcome else {
            panic!("{outcome:?}");
        };
        *off_ms
    };
    assert!((off(&outcome) - off(&skewed)).abs() <= 2);
    // Others, and reads here, continue.
    assert!(matches!(sim.execute(node(2), put("k", "new")), Ok(Some(Outcome::Done(_)))));
    assert!(matches!(sim.execute(node(1), Operation::get(key("k"))), Ok(Some(Outcome::Done(_)))));
    sim.set_wall_offset(node(1), WallOffset::NONE);
    assert!(matches!(sim.execute(node(1), put("k", "newer")), Ok(Some(Outcome::Done(_)))));
}

#[test]
fn a_server_that_comes_back_empty_has_the_next_incarnation() {
    let mut sim = Sim::new(SimConfig::new(3, 1, 1, 14).unwrap()).unwrap();
    settle(&mut sim);
    for incarnation in 1..5 {
        sim.execute(node(1), put("k", &incarnation.to_string())).unwrap();
        settle(&mut sim);
        assert_eq!(sim.status(node(1)).unwrap().incarnation.counter(), incarnation);
        sim.restart(node(1), Restart::Wiped).unwrap();
        settle(&mut sim);
    }
}

#[test]
fn a_server_that_began_an_incarnation_alone_begins_another_when_it_meets_the_others() {
    let mut sim = Sim::new(SimConfig::new(3, 1, 1, 15).unwrap()).unwrap();
    settle(&mut sim);
    sim.execute(node(1), put("k", "before")).unwrap();
    settle(&mut sim);
    sim.partition(&[node(1)]);
    sim.restart(node(1), Restart::Wiped).unwrap();
    settle(&mut sim);
    assert_eq!(sim.status(node(1)).unwrap().incarnation.counter(), 1);
    assert!(matches!(sim.execute(node(1), put("alone", "v")), Ok(Some(Outcome::Done(_)))));
    sim.heal();
    settle(&mut sim);
    assert_eq!(sim.status(node(1)).unwrap().incarnation.counter(), 2);
    assert!(matches!(sim.execute(node(1), put("k", "after")), Ok(Some(Outcome::Done(_)))));
    audit::check_versions_unique(&sim);
}

#[test]
fn a_server_that_never_comes_to_begin_its_next_incarnation_still_reads_and_writes_in_the_end() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 16).unwrap()).unwrap();
    settle(&mut sim);
    sim.execute(node(1), put("k", "first")).unwrap();
    let mut queued = Vec::new();
    for round in 0..20 {
        sim.crash(node(1));
        sim.restart(node(1), Restart::Intact).unwrap();
        sim.hold_disk(node(1));
        sim.run_for(Duration::from_millis(300)).unwrap();
        let found = sim.execute(node(1), Operation::get(key("k"))).unwrap();
        assert!(matches!(found, Some(Outcome::Done(_))), "round {round}: {found:?}");
        queued.push(sim.submit(node(1), put("k", &round.to_string()), RequestOptions::default()));
        sim.run_for(Duration::from_millis(300)).unwrap();
    }
    sim.heal();
    settle(&mut sim);
    for (_, request) in sim.requests().filter(|(id, _)| queued.split_last().unwrap().1.contains(id))
    {
        assert!(!matches!(request.outcome(), Some(Outcome::Done(_))));
    }
    let last = *queued.last().unwrap();
    assert!(matches!(sim.outcome(last), Some(Outcome::Done(_))), "{:?}", sim.outcome(last));
    audit::check_versions_unique(&sim);
    audit::check_visibility(&sim);
    audit::check_not_done(&sim);
}

/// A supervisor that starts a server again and again, as each incarnation writes and crashes.
#[test]
fn fifty_restarts_within_five_seconds_leave_a_server_that_still_writes() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 17).unwrap()).unwrap();
    settle(&mut sim);
    let begin = sim.now();
    for round in 0..50 {
        sim.crash(node(1));
        sim.restart(node(1), Restart::Intact).unwrap();
        let written = sim.execute(node(1), put("k", &round.to_string())).unwrap();
        let is_up = !matches!(written, Some(Outcome::NotDone(NotDone::Unavailable { .. })));
        sim.run_for(Duration::from_millis(50)).unwrap();
        let again = sim.execute(node(1), put("k", &round.to_string())).unwrap();
        let done = |outcome: &_| matches!(outcome, Some(Outcome::Done(_)));
        assert!(done(&again) && (done(&written) || !is_up), "{round}: {written:?}, {again:?}");
    }
    assert!(sim.now() - begin < Duration::from_secs(5), "{:?}", sim.now() - begin);
    assert_eq!(audit::counter(&sim, node(1), Counter::RefusedForClock), 0);
    for peer in [2, 3] {
        assert_eq!(audit::counter(&sim, node(peer), Counter::RejectedWrites), 0);
    }
}

/// What server 1 sent and forgot in a crash comes back to it, and what nobody got is void.
#[test]
fn a_number_that_nobody_holds_after_a_crash_leaves_no_gap() {
    // How much a crash leaves of what was not synced is the seed's.
    let held: BTreeSet<_> = (400..520).map(numbers_held_after_a_crash).collect();
    let all = vec![1, 3];
    assert!(held.contains(&[all.clone(), all.clone(), all]), "{held:?}");
}

/// Server 1 sends its third write and not its second, and crashes before either is synced.
fn numbers_held_after_a_crash(seed: u64) -> [Vec<u64>; 3] {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, seed).unwrap()).unwrap();
    settle(&mut sim);
    sim.execute(node(1), put("a", "0")).unwrap();
    let incarnation = sim.status(node(1)).unwrap().incarnation;
    sim.hold_disk(node(1));
    sim.intercept(|_, _, message: &Message| {
        let is_lost = |part: &Part| matches!(part, Part::Write(write) if write.key == key("b"));
        if message.parts.iter().any(is_lost) { Fate::Drop } else { Fate::Pass }
    });
    sim.submit(node(1), put("b", "1"), RequestOptions::default());
    sim.run_for(Duration::from_millis(10)).unwrap();
    sim.submit(node(1), put("c", "2"), RequestOptions::default());
    sim.run_for(Duration::from_millis(50)).unwrap();
    sim.crash(node(1));
    sim.stop_intercepting();
    sim.heal();
    sim.restart(node(1), Restart::Intact).unwrap();
    settle(&mut sim);
    sim.execute(node(1), put("d", "3")).unwrap();
    settle(&mut sim);
    let seqs = |number| {
        let disk = audit::disk(&sim, node(number));
        let own = disk.into_values().filter(|entry| entry.stamp.incarnation == incarnation);
        own.map(|entry| entry.seq.0).collect::<Vec<_>>()
    };
    let held = [seqs(1), seqs(2), seqs(3)];
    sim.run_for(Duration::from_secs(15)).unwrap();
    for number in 1..=3 {
        assert_eq!(sim.status(node(number)).unwrap().positions.gaps, Some(0), "seed {seed}");
    }
    audit::check_versions_unique(&sim);
    // What was forgotten surfaces, and is then held by all.
    audit::check_converges(&mut sim, &["a", "b", "c", "d"].map(key));
    assert!(audit::disk(&sim, node(1)).contains_key(&key("c")));
    held
}
