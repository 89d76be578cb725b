//! A cluster gives the evidence that the oracles judge.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers may panic"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::Process;
use kv_check::evidence::End;
use kv_check::oracle::{Promise, judge_all};
use kv_core::{Key, NodeId, Operation, Value, Version};
use kv_sim::{Cluster, SimConfig};

use super::one_copy::OneCopy;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

fn value(number: u64) -> Value {
    Value::new(format!("v{number}")).unwrap()
}

#[test]
fn a_cluster_gives_its_evidence() {
    let mut cluster = Cluster::<OneCopy>::new(SimConfig::new(3, 1, 1, 1).unwrap()).unwrap();
    cluster.run_for(Duration::from_millis(100)).unwrap();
    let put = Operation::put(key("k"), value(1));
    cluster.execute(node(2), put).unwrap();
    cluster.execute(node(3), Operation::get(key("k"))).unwrap();
    let append = kv_core::Command::Append { key: key("other"), suffix: value(2) };
    cluster.execute(node(1), Operation::of(append)).unwrap();
    cluster.execute(node(1), Operation::get(key("other"))).unwrap();
    let rest = cluster.bring_to_rest(&[key("k")], 1, false).unwrap();
    assert_eq!(rest.fingerprints.len(), 3);
    let versions: BTreeMap<NodeId, Option<Version>> =
        rest.shown.iter().map(|((node, _), version)| (*node, *version)).collect();
    assert_eq!(versions.len(), 3);
    let evidence = cluster.evidence(|_| Process(0), Some(rest));
    assert_eq!(evidence.calls.len(), 4 + 3, "three are the last reads");
    assert!(matches!(evidence.calls[0].end, Some((_, End::Written { .. }))));
    let Some((_, End::Read { shown: Some(shown), .. })) = &evidence.calls[1].end else {
        panic!("{:?}", evidence.calls[1]);
    };
    assert_eq!((&shown.value, Some(shown.version)), (&value(1), versions[&node(1)]));
    let promises = [Promise::ReadYourWrites, Promise::MonotonicReads, Promise::HonestRefusals];
    assert_eq!(judge_all(&evidence, &promises), Ok(()));
}
