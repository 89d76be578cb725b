//! The register model checked: what clients saw is linearizable, and what was done is on W disks.

use kv_abd::{AbdEngine, Record, Rule};
use kv_check::evidence::{Call, End};
use kv_core::{Broken, ClusterConfig, Key, Operation, Value, Version};
use kv_sim::model::{Bounds, ClusterModel, Laws, Order, State, linearizable};

const LAWS: Laws<AbdEngine> = Laws { answer: judge_answer, servers: |_| None };

fn judge_answer(
    state: &State<AbdEngine>,
    config: &ClusterConfig,
    _: usize,
    call: &Call,
) -> Option<String> {
    if let Some((_, End::Written { version, .. })) = call.end {
        let holders = state.servers.iter().filter(|server| {
            server.records_on_disk().iter().any(|record| holds(record, call, version))
        });
        let holders = holders.count();
        if holders < usize::from(config.write_quorum()) {
            return Some(format!("{version} is done, and {holders} disks hold it"));
        }
    }
    linearizable(&state.calls)
}

fn holds(record: &Record, call: &Call, version: Version) -> bool {
    record.key == call.key && record.held.tag.version() >= version
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn put(text: &'static str) -> Operation {
    Operation::put(key(), Value::new(text).unwrap())
}

#[test]
fn every_order_of_what_two_servers_do_is_right() {
    let calls = vec![(1, put("a")), (2, Operation::get(key()))];
    let whole = ClusterModel::new(Bounds::new(2, 2, 1, calls.clone()), LAWS);
    let seen = whole.search(Order::BreadthFirst, 100_000).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(seen.whole && seen.all_done, "{seen:?}");
    let crashes = Bounds { crashes: vec![1, 2], timeouts: 1, ..Bounds::new(2, 2, 1, calls) };
    for order in [Order::BreadthFirst, Order::DepthFirst] {
        let model = ClusterModel::new(crashes.clone(), LAWS);
        let seen = model.search(order, 3_000).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(!seen.whole && seen.all_done, "{seen:?}");
    }
}

/// All that can go wrong, and often.
fn troubled() -> ClusterModel<AbdEngine> {
    let get = || Operation::get(key());
    let calls = vec![(1, put("a")), (2, put("b")), (3, get()), (2, get()), (1, get()), (3, get())];
    let bounds = Bounds {
        timeouts: 20,
        losses: 10,
        copies: 10,
        crashes: vec![1, 2, 3],
        outages: vec![1, 2, 3],
        cuts: 3,
        ..Bounds::new(3, 2, 2, calls)
    };
    ClusterModel::new(bounds, LAWS)
}

#[test]
fn walks_of_three_servers_are_right_until_a_rule_is_broken() {
    let walked = troubled().walk(1..=300, 400).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(walked.ended > 0, "{walked:?}");
    for (rule, finding) in NOTICED {
        let wrong = Broken::during(rule, || troubled().walk(1..=300, 400)).err();
        let wrong = wrong.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        println!("{rule:?}: {wrong}\n");
        assert!(wrong.finding.contains(finding), "{rule:?}: {wrong}");
    }
}

/// The rules that show in so few walks. The others are of progress, of deletes, or of more writes than
/// there are here.
const NOTICED: [(Rule, &str); 7] = [
    (Rule::AckBeforePersisted, "is done, and 1 disks hold it"),
    (Rule::CountsItselfBeforePersisted, "is done, and 1 disks hold it"),
    (Rule::ReadsWithoutWriteBack, "no order explains these calls"),
    (Rule::StoresAtOneFewer, "is done, and 1 disks hold it"),
    (Rule::AsksOneFewer, "no order explains these calls"),
    (Rule::TieIgnored, "is done, and 0 disks hold it"),
    (Rule::TagNotPersisted, "is done, and 0 disks hold it"),
];
