//! Servers that start on an older copy of their disk, from before deletes that nobody remembers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::audit::{self, Sim};
use crate::stand::{key, node, value};
use kv_core::{Answer, Counter, NodeId, Operation, Outcome, Quorum, RequestOptions, Scan, Version};
use kv_eventual::{Message, Part};
use kv_sim::{Cluster, Fate, Restart, SimConfig};

/// A cluster that has forgotten that `gone` was deleted, with copies of some disks from before.
fn with_old_copies(config: SimConfig, copied: &[u16]) -> Sim {
    let mut sim = Cluster::new(config).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    for name in ["kept", "gone"] {
        sim.execute(node(1), Operation::put(key(name), value("v"))).unwrap();
    }
    sim.run_for(Duration::from_secs(6)).unwrap();
    copied.iter().for_each(|number| sim.copy_disk(node(*number)));
    sim.execute(node(1), Operation::delete(key("gone"))).unwrap();
    sim.execute(node(1), Operation::put(key("later"), value("v"))).unwrap();
    sim.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!(holders(&sim, "gone"), 0);
    sim
}

fn holders(sim: &Sim, name: &str) -> usize {
    let holds = |node: &NodeId| audit::disk(sim, *node).contains_key(&key(name));
    sim.nodes().filter(holds).count()
}

fn losses(sim: &Sim, number: u16) -> u64 {
    audit::counter(sim, node(number), Counter::DiskLosses)
}

/// Nothing that these servers ask others for data arrives.
fn drop_pulls_of(sim: &mut Sim, numbers: &[u16]) {
    let nodes: Vec<NodeId> = numbers.iter().map(|number| node(*number)).collect();
    sim.intercept(move |from, _, message: &Message| {
        let is_pull = |part: &Part| matches!(part, Part::Pull(_));
        let is_dropped = nodes.contains(&from) && message.parts.iter().any(is_pull);
        if is_dropped { Fate::Drop } else { Fate::Pass }
    });
}

/// Whether a read at a server shows a key, and with which version.
fn shown(sim: &mut Sim, number: u16, name: &str, options: RequestOptions) -> Option<Version> {
    let read = sim.submit(node(number), Operation::get(key(name)), options);
    sim.run_for(Duration::from_millis(500)).unwrap();
    let found = audit::read(sim.request(read).unwrap());
    found.unwrap_or_else(|| panic!("server {number} does not answer")).map(|(_, version)| version)
}

fn keys_on_a_page(sim: &mut Sim, number: u16) -> Vec<String> {
    let scan = Scan { from: Default::default(), until: None, after: None, limit: 9 };
    let outcome = sim.execute(node(number), Operation::Scan(scan)).unwrap();
    let Some(Outcome::Done(done)) = outcome else { panic!("{outcome:?}") };
    let Answer::Page(page) = done.answer else { panic!("no page") };
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    page.entries.iter().map(|(key, _)| name(key.as_bytes())).collect()
}

fn is_one_state(sim: &Sim) -> bool {
    sim.fingerprints().into_values().collect::<BTreeSet<u64>>().len() == 1
}

#[test]
fn a_server_that_lost_data_shows_no_deleted_key_while_it_catches_up() {
    for seed in 600..610 {
        let mut sim = with_old_copies(SimConfig::new(3, 2, 2, seed).unwrap(), &[3]);
        drop_pulls_of(&mut sim, &[3]);
        sim.restart(node(3), Restart::SetBack).unwrap();
        sim.run_for(Duration::from_millis(500)).unwrap();
        assert_eq!((losses(&sim, 3), holders(&sim, "gone")), (1, 1), "seed {seed}");
        for number in [1, 2, 3] {
            let options = RequestOptions::default;
            assert_eq!(shown(&mut sim, number, "gone", options()), None, "seed {seed} at {number}");
            let one = options().with_read_quorum(Some(Quorum::Count(1)));
            assert_eq!(shown(&mut sim, number, "gone", one), None, "seed {seed} at {number}");
            assert_eq!(keys_on_a_page(&mut sim, number), ["kept", "later"], "seed {seed}");
        }
        assert_eq!(holders(&sim, "gone"), 1, "it still does");
        sim.stop_intercepting();
        sim.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(holders(&sim, "gone"), 0, "seed {seed}");
    }
}

/// The second server begins empty, and has nothing for the third one when that asks it first.
#[test]
fn a_server_that_lost_data_beside_one_that_is_empty_brings_no_deleted_key_back() {
    let mut sim = with_old_copies(SimConfig::new(3, 2, 2, 611).unwrap(), &[3]);
    sim.crash(node(2));
    // The first server answers no pull of either before the third one has had that of the second.
    sim.intercept(|from, to, message: &Message| {
        let is_pull = |part: &Part| matches!(part, Part::Pull(_));
        let is_late = to == node(1) || from == node(2);
        let is_dropped = is_late && message.parts.iter().any(is_pull);
        if is_dropped { Fate::Drop } else { Fate::Pass }
    });
    sim.restart(node(2), Restart::Wiped).unwrap();
    sim.restart(node(3), Restart::SetBack).unwrap();
    sim.run_for(Duration::from_secs(3)).unwrap();
    assert_eq!((losses(&sim, 3), holders(&sim, "gone")), (1, 1));
    sim.stop_intercepting();
    sim.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!((holders(&sim, "gone"), holders(&sim, "kept")), (0, 3));
    assert!(is_one_state(&sim));
}

/// Two of five hold what the others have deleted, and ask each other first.
#[test]
fn two_servers_that_are_set_back_together_bring_no_deleted_key_back() {
    let mut sim = with_old_copies(SimConfig::new(5, 3, 3, 612).unwrap(), &[4, 5]);
    let set_back = [node(4), node(5)];
    sim.intercept(move |from, to, message: &Message| {
        let is_pull = |part: &Part| matches!(part, Part::Pull(_));
        let is_late = set_back.contains(&from) && !set_back.contains(&to);
        let is_dropped = is_late && message.parts.iter().any(is_pull);
        if is_dropped { Fate::Drop } else { Fate::Pass }
    });
    sim.restart(node(4), Restart::SetBack).unwrap();
    sim.restart(node(5), Restart::SetBack).unwrap();
    sim.run_for(Duration::from_secs(3)).unwrap();
    assert_eq!((losses(&sim, 4), losses(&sim, 5), holders(&sim, "gone")), (1, 1, 2));
    sim.stop_intercepting();
    sim.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!((holders(&sim, "gone"), holders(&sim, "kept")), (0, 5));
    assert!(is_one_state(&sim));
}

/// The coordinator, and a server that is wiped then, have the write; only one more gets it.
#[test]
fn what_a_lost_disk_acknowledged_does_not_count() {
    let mut sim: Sim = Cluster::new(SimConfig::new(5, 3, 3, 613).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    only_to(&mut sim, &[2]);
    let options = RequestOptions::default().with_timeout(Duration::from_secs(60));
    let put = sim.submit(node(1), Operation::put(key("x"), value("v")), options);
    sim.run_for(Duration::from_millis(500)).unwrap();
    assert_eq!((holders(&sim, "x"), sim.outcome(put)), (2, None));

    only_to(&mut sim, &[]);
    sim.restart(node(2), Restart::Wiped).unwrap();
    sim.run_for(Duration::from_secs(5)).unwrap();
    assert_eq!((holders(&sim, "x"), sim.outcome(put)), (1, None));
    only_to(&mut sim, &[3]);
    sim.run_for(Duration::from_secs(5)).unwrap();
    assert_eq!((holders(&sim, "x"), sim.outcome(put)), (2, None), "two of three hold it");

    sim.stop_intercepting();
    sim.run_for(Duration::from_secs(5)).unwrap();
    assert!(matches!(sim.outcome(put), Some(Outcome::Done(_))), "{:?}", sim.outcome(put));
    assert!(holders(&sim, "x") >= 3);
}

/// What the first server writes comes to these alone, and nobody fetches it.
fn only_to(sim: &mut Sim, numbers: &[u16]) {
    let nodes: Vec<NodeId> = numbers.iter().map(|number| node(*number)).collect();
    sim.intercept(move |from, to, message: &Message| {
        let is_write = |part: &Part| matches!(part, Part::Write(_));
        let is_pull = |part: &Part| matches!(part, Part::Pull(_));
        let is_written = from == node(1) && message.parts.iter().any(is_write);
        let is_dropped = (is_written && !nodes.contains(&to))
            || (to == node(1) && message.parts.iter().any(is_pull));
        if is_dropped { Fate::Drop } else { Fate::Pass }
    });
}
