use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cluster::quorum::Quorum;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn status() -> Status {
    let voters = [node(1), node(2), node(3)];
    Status {
        engine: "e".to_owned(),
        node: node(1),
        incarnation: Incarnation::following(Incarnation::UNKNOWN, 0xab),
        cluster_id: Some(ClusterId(0xc1)),
        cluster: ClusterConfig::new(voters, Quorum::Majority, Quorum::Majority).unwrap(),
        role: Role::Sequencer,
        connected: vec![node(2)],
        waiting: Some(Waiting::Servers { more: 1 }),
        positions: Positions { last: Some(9), committed: Some(7), ..Positions::default() },
        lags: vec![PeerLag { peer: node(2), entries: 2 }],
        counters: vec![(Counter::LogBytes, 4096), (Counter::FsyncInterval, 100)],
    }
}

#[rustfmt::skip]
const GOLDEN: &[u8] = &[
    1, 0, 0, 0, b'e', // engine
    1, 0, // node
    0xab, 0, 0, 0, 1, 0, 0, 0, // incarnation
    1, 0xc1, 0, 0, 0, 0, 0, 0, 0, // cluster id
    1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 0, 2, 0, 2, 0, // cluster
    2, // role
    1, 0, 0, 0, 2, 0, // connected
    1, 0, 1, 0, // waiting
    2, 0, 0, 0, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, // positions
    1, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, // lags
    2, 0, 0, 0, 2, 0, 0, 16, 0, 0, 0, 0, 0, 0, 73, 0, 100, 0, 0, 0, 0, 0, 0, 0, // counters
];

#[test]
fn golden_bytes() {
    assert_eq!(&status().to_bytes()[..], GOLDEN);
    assert_eq!(Status::from_bytes(Bytes::from_static(GOLDEN)), Ok(status()));
}

#[test]
fn unknown_counters_and_positions_of_a_newer_server_are_skipped() {
    let mut bytes = GOLDEN.to_vec();
    let positions = GOLDEN.len() - 24 - 14 - 24;
    for tag in [positions + 4, GOLDEN.len() - 20] {
        bytes[tag..tag + 2].copy_from_slice(&[0xff, 0xff]);
    }
    let known = Status {
        positions: Positions { committed: Some(7), ..Positions::default() },
        counters: vec![(Counter::FsyncInterval, 100)],
        ..status()
    };
    assert_eq!(Status::from_bytes(bytes.into()), Ok(known));
}

#[test]
fn figures_are_the_known_positions_and_then_the_counters() {
    let figures: Vec<_> = status().figures().collect();
    let expected = [("last", 9), ("commit", 7), ("log_bytes", 4096), ("fsync_interval_ms", 100)];
    assert_eq!(figures, expected);
    assert_eq!(status().counter(Counter::LogBytes), Some(4096));
    assert_eq!(status().counter(Counter::Nacks), None);
}

#[test]
fn every_figure_has_a_name_and_every_counter_a_tag_of_its_own() {
    let mut positions = Positions::default();
    (0..u16::MAX).for_each(|tag| positions.set(tag, 1));
    let counters = Counter::ALL.iter().map(|counter| counter.name());
    let names: Vec<_> = positions.figures().map(|(name, _)| name).chain(counters).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    for counter in Counter::ALL {
        assert_eq!(Counter::from_tag(counter.tag()), Some(*counter));
    }
}

#[test]
fn the_name_of_a_counter_ends_with_its_unit() {
    for counter in Counter::ALL {
        let unit = match counter.name() {
            name if name.ends_with("_bytes") => Unit::Bytes,
            name if name.ends_with("_ms") => Unit::Milliseconds,
            _ => Unit::Count,
        };
        assert_eq!(counter.unit(), unit, "{counter}");
    }
}

#[test]
fn every_role_survives_a_round_trip() {
    let roles = [Role::Joining, Role::Founding, Role::Sequencer, Role::Follower, Role::Coordinator];
    for role in roles {
        assert_eq!(Role::from_bytes(role.to_bytes()), Ok(role), "{role}");
    }
}

prop_compose! {
    fn positions()(tagged in vec((0..20u16, any::<u64>()), 0..20)) -> Positions {
        let mut positions = Positions::default();
        tagged.into_iter().for_each(|(tag, value)| positions.set(tag, value));
        positions
    }
}

proptest! {
    #[test]
    fn a_status_survives_a_round_trip(
        cluster_id in option::of(any::<u64>().prop_map(ClusterId)),
        positions in positions(),
        lags in vec((1..=u16::MAX, any::<u64>()), 0..10),
        counters in vec((select(Counter::ALL), any::<u64>()), 0..60),
    ) {
        let lags = lags.into_iter().map(|(peer, entries)| PeerLag { peer: node(peer), entries });
        let lags = lags.collect();
        let status = Status { cluster_id, positions, lags, counters, ..status() };
        prop_assert_eq!(Status::from_bytes(status.to_bytes()), Ok(status));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), from in 0..GOLDEN.len()) {
        let _ = Status::from_bytes(Bytes::from(bytes.clone()));
        let damaged = [&GOLDEN[..from], &bytes].concat();
        let _ = Status::from_bytes(Bytes::from(damaged));
    }
}
