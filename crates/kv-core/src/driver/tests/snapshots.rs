//! Snapshots to peers and from them.

use std::collections::VecDeque;

use super::*;
use crate::engine::checkpoint::SnapshotPart;

fn begin(to: u16) -> Effect<u64, u64> {
    Effect::BeginSnapshot { to: peer(to) }
}

/// A driver whose snapshots have so many items, each a part; at most two of them in flight.
fn with_items(count: u8) -> Core {
    let mut core = core(DriverConfig { parts_in_flight_max: 2, ..DriverConfig::MEMORY });
    hold_items(&mut core, count);
    core
}

fn part(snapshot: u64, number: u8, is_last: bool) -> SnapshotPart {
    let metadata = if number == 0 { Bytes::from_static(b"metadata") } else { Bytes::new() };
    let items = vec![(item(number), item(number))];
    SnapshotPart { snapshot, number: u32::from(number), metadata, items, is_last }
}

fn frame(to: u16, frame: SnapshotFrame) -> Output<u64, u64> {
    Output::Send { to: peer(to), frame: PeerFrame::Snapshot(frame) }
}

fn parts<const N: usize>(to: u16, parts: [SnapshotPart; N]) -> [Output<u64, u64>; N] {
    parts.map(|part| frame(to, SnapshotFrame::Part(part)))
}

/// A frame comes from a peer.
fn take(core: &mut Core, now: Now, from: u16, frame: SnapshotFrame) -> Outputs {
    core.on_frame(now, peer(from), PeerFrame::Snapshot(frame));
    settle(core, now)
}

const fn received(snapshot: u64, parts: u32) -> SnapshotFrame {
    SnapshotFrame::Received { snapshot, parts }
}

/// The numbers of the parts among some outputs.
fn numbers(outputs: &[Output<u64, u64>]) -> Vec<u32> {
    let numbers = outputs.iter().filter_map(|output| {
        let Output::Send { frame: PeerFrame::Snapshot(SnapshotFrame::Part(part)), .. } = output
        else {
            return None;
        };
        Some(part.number)
    });
    numbers.collect()
}

fn views(core: &Core) -> usize {
    core.engine().views.len()
}

#[test]
fn parts_of_a_snapshot_are_bounded_by_the_window_until_they_are_acknowledged() {
    let mut core = with_items(4);
    let outputs = step(&mut core, at(0), [begin(2)]);
    assert_eq!(outputs, parts(2, [part(1, 0, false), part(1, 1, false)]));
    let outputs = take(&mut core, at(1), 2, received(1, 1));
    assert_eq!(outputs, parts(2, [part(1, 2, false)]));
    let outputs = take(&mut core, at(2), 2, received(1, 1));
    assert_eq!(outputs, [], "nothing more was acknowledged");
    let outputs = take(&mut core, at(3), 2, received(1, 3));
    assert_eq!(outputs, parts(2, [part(1, 3, true)]));
    assert_eq!((core.counters().snapshots_sent, views(&core)), (0, 1));

    assert_eq!(take(&mut core, at(4), 2, received(1, 4)), []);
    assert_eq!((core.counters().snapshots_sent, views(&core)), (1, 0));
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn a_peer_is_sent_one_snapshot_at_a_time() {
    let mut core = with_items(1);
    let outputs = step(&mut core, at(0), [begin(2), begin(2), begin(3)]);
    let to_both = [parts(2, [part(1, 0, true)]), parts(3, [part(2, 0, true)])];
    assert_eq!(outputs, to_both.concat());
    assert_eq!(step(&mut core, at(1), [begin(2)]), []);
    assert_eq!((core.counters().snapshots_begun, views(&core)), (2, 2));
    take(&mut core, at(2), 2, received(1, 1));
    assert_eq!(step(&mut core, at(3), [begin(2)]), parts(2, [part(3, 0, true)]));
}

#[test]
fn a_peer_that_is_down_is_sent_no_snapshot() {
    let mut core = with_items(1);
    core.on_peer_down(at(0), peer(2));
    assert_eq!(step(&mut core, at(0), [begin(2), begin(9)]), []);
    assert_eq!((core.counters().snapshots_begun, views(&core)), (0, 0));
}

#[test]
fn bytes_of_a_snapshot_are_bounded_by_the_window_but_one_part_is_always_in_flight() {
    let config = DriverConfig { bytes_in_flight_max: 100, ..DriverConfig::MEMORY };
    let mut core = core(config);
    let sizes = [30, 500, 30, 60, 30, 30];
    let items = sizes.map(|size| (item(0), Some(Bytes::from(vec![0; size]))));
    core.engine_mut().items = items.to_vec();
    assert_eq!(numbers(&step(&mut core, at(0), [begin(2)])), [0, 1]);
    assert_eq!(numbers(&take(&mut core, at(1), 2, received(1, 1))), [], "500 bytes are in flight");
    assert_eq!(numbers(&take(&mut core, at(2), 2, received(1, 2))), [2, 3, 4]);
    assert_eq!(numbers(&take(&mut core, at(3), 2, received(1, 3))), [5]);

    let config = DriverConfig { bytes_in_flight_max: 0, ..DriverConfig::MEMORY };
    let mut core = super::core(config);
    hold_items(&mut core, 2);
    assert_eq!(numbers(&step(&mut core, at(0), [begin(2)])), [0]);
    assert_eq!(numbers(&take(&mut core, at(1), 2, received(1, 1))), [1]);
}

#[test]
fn a_slow_connection_is_sent_each_part_once() {
    const PART_EVERY: u64 = 8_000;
    let mut core = core(DriverConfig::MEMORY);
    hold_items(&mut core, 20);
    let mut all = Vec::new();
    let mut wire = VecDeque::new();
    let mut outputs = step(&mut core, at(0), [begin(2)]);
    for ms in (PART_EVERY..).step_by(1_000) {
        all.extend(numbers(&outputs));
        wire.extend(numbers(&outputs));
        assert!(wire.len() <= 4, "{wire:?} wait before a message");
        outputs = settle(&mut core, at(ms));
        if ms % PART_EVERY == 0 {
            let Some(number) = wire.pop_front() else { break };
            outputs.extend(take(&mut core, at(ms), 2, received(1, number + 1)));
        }
    }
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!(core.counters().snapshots_sent, 1);
}

#[test]
fn parts_without_an_answer_are_sent_again_twice_and_later_the_larger_they_are() {
    for (bytes, patience) in [(1, 10_000), (16 << 20, 74_000)] {
        let mut core = with_items(3);
        core.engine_mut().items[0].1 = Some(Bytes::from(vec![0; bytes]));
        let first = numbers(&step(&mut core, at(0), [begin(2)]));
        for due in [patience, 2 * patience] {
            assert_eq!(core.next_deadline(), Some(at(due).mono));
            assert_eq!(settle(&mut core, at(due - 1)), []);
            assert_eq!(numbers(&settle(&mut core, at(due))), first);
        }
        let ends = core.next_deadline();
        assert_eq!(ends, Some(at(3 * patience).mono));
        let outputs = take(&mut core, at(3 * patience - 1), 2, received(1, 1));
        assert!(!outputs.is_empty(), "the next part has room");
        let again = 3 * patience - 1 + 10_000;
        assert_eq!(core.next_deadline(), Some(at(again).mono), "an answer makes it wait anew");
    }
}

#[test]
fn a_snapshot_without_any_answer_is_given_up_after_30_s() {
    let mut core = with_items(3);
    step(&mut core, at(0), [begin(2)]);
    take(&mut core, at(5_000), 2, received(1, 1));
    settle(&mut core, at(34_999));
    assert_eq!(views(&core), 1);
    assert_eq!(settle(&mut core, at(35_000)), []);
    assert_eq!((views(&core), core.counters().snapshots_sent), (0, 0));
    assert_eq!(core.next_deadline(), None);
    assert_eq!(step(&mut core, at(35_000), [begin(2)]).len(), 2, "another one may begin");
}

#[test]
fn a_snapshot_waits_while_its_peer_is_congested() {
    let mut core = with_items(3);
    step(&mut core, at(0), [begin(2)]);
    core.set_congested(peer(2), true);
    assert_eq!(settle(&mut core, at(12_000)), [], "and no turn is due for it");
    assert_eq!(core.next_deadline(), Some(at(30_000).mono));
    core.set_congested(peer(2), false);
    let outputs = settle(&mut core, at(12_100));
    assert_eq!(outputs, parts(2, [part(1, 0, false), part(1, 1, false)]));

    core.set_congested(peer(2), true);
    assert_eq!(take(&mut core, at(12_200), 2, received(1, 1)), []);
    core.set_congested(peer(2), false);
    assert_eq!(core.next_deadline(), Some(Duration::ZERO), "the next part is due");
    assert_eq!(settle(&mut core, at(12_300)), parts(2, [part(1, 2, true)]));
}

#[test]
fn a_snapshot_ends_when_its_peer_goes_or_comes_again() {
    for goes in [true, false] {
        let mut core = with_items(3);
        step(&mut core, at(0), [begin(2), begin(3)]);
        if goes {
            core.on_peer_down(at(1), peer(2));
        } else {
            core.on_peer_up(at(1), peer(2), Incarnation(2));
        }
        assert_eq!(views(&core), 1, "the other one goes on");
        let outputs = settle(&mut core, at(10_000));
        assert_eq!(outputs, parts(3, [part(2, 0, false), part(2, 1, false)]));
    }
}

#[test]
fn a_snapshot_ends_when_its_receiver_refuses_it() {
    let mut core = with_items(3);
    step(&mut core, at(0), [begin(2)]);
    take(&mut core, at(1), 2, SnapshotFrame::Refused { snapshot: 9 });
    take(&mut core, at(1), 3, SnapshotFrame::Refused { snapshot: 1 });
    assert_eq!(views(&core), 1, "that was not about it");
    take(&mut core, at(1), 2, SnapshotFrame::Refused { snapshot: 1 });
    assert_eq!(views(&core), 0);
    assert_eq!(settle(&mut core, at(15_000)), []);
}

#[test]
fn a_snapshot_ends_when_its_view_is_gone_or_its_sender_has_no_use_for_it() {
    let mut core = with_items(3);
    step(&mut core, at(0), [begin(2), begin(3)]);
    core.engine_mut().views.clear();
    take(&mut core, at(1), 2, received(1, 1));
    step(&mut core, at(1), [Effect::EndSnapshot { peer: peer(3) }]);
    assert_eq!(core.next_deadline(), None);
    assert_eq!(settle(&mut core, at(15_000)), []);
}

#[test]
fn a_part_is_acknowledged_once_the_records_that_it_made_are_persisted() {
    let mut core = core(durable(CheckpointPolicy::default()));
    core.engine_mut().effects = vec![persist(1), persist(2)];
    let outputs = take(&mut core, at(0), 2, SnapshotFrame::Part(part(5, 0, false)));
    assert_eq!(outputs, [Output::Persist(vec![(PersistSeq(1), 1), (PersistSeq(2), 2)])]);
    core.engine_mut().effects = vec![persist(3)];
    let outputs = take(&mut core, at(1), 2, SnapshotFrame::Part(part(5, 1, true)));
    assert_eq!(outputs, [Output::Persist(vec![(PersistSeq(3), 3)])]);

    core.on_persisted(at(2), PersistSeq(1));
    assert_eq!(settle(&mut core, at(2)), []);
    core.on_persisted(at(3), PersistSeq(2));
    assert_eq!(settle(&mut core, at(3)), [frame(2, received(5, 1))]);
    core.on_persisted(at(4), PersistSeq(3));
    assert_eq!(settle(&mut core, at(4)), [frame(2, received(5, 2))]);
}

#[test]
fn a_part_that_makes_no_record_waits_for_nothing() {
    for config in [DriverConfig::MEMORY, durable(CheckpointPolicy::default())] {
        let mut core = core(config);
        let outputs = take(&mut core, at(0), 2, SnapshotFrame::Part(part(5, 0, false)));
        assert_eq!(outputs, [frame(2, received(5, 1))]);
    }
}

#[test]
fn each_part_is_given_to_the_engine_once_and_in_order() {
    let mut core = core(DriverConfig::MEMORY);
    let mut come = |snapshot, number| {
        take(&mut core, at(0), 2, SnapshotFrame::Part(part(snapshot, number, false)))
    };
    assert_eq!(come(5, 1), [], "no part comes before the first");
    assert_eq!(come(5, 0), [frame(2, received(5, 1))]);
    assert_eq!(come(5, 2), [], "one is missing");
    assert_eq!(come(5, 0), [frame(2, received(5, 1))], "its acknowledgement was lost");
    assert_eq!(come(5, 1), [frame(2, received(5, 2))]);
    assert_eq!(come(6, 1), [], "of another snapshot, which has not begun");
    assert_eq!(come(6, 0), [frame(2, received(6, 1))]);
    assert_eq!(come(5, 2), [], "of a snapshot that is over");

    let given = core.engine().inputs.iter().filter_map(|input| {
        let Input::SnapshotPart { from, part } = input else { return None };
        Some((*from, part.snapshot, part.number))
    });
    let expected = [(peer(2), 5, 0), (peer(2), 5, 1), (peer(2), 6, 0)];
    assert_eq!(given.collect::<Vec<_>>(), expected);
}

#[test]
fn a_snapshot_that_the_engine_has_no_use_for_is_refused() {
    let mut core = core(DriverConfig::MEMORY);
    core.engine_mut().effects = vec![Effect::EndSnapshot { peer: peer(2) }];
    let outputs = take(&mut core, at(0), 2, SnapshotFrame::Part(part(5, 0, false)));
    assert_eq!(outputs, [frame(2, SnapshotFrame::Refused { snapshot: 5 })]);
    let outputs = step(&mut core, at(1), [Effect::EndSnapshot { peer: peer(2) }]);
    assert_eq!(outputs, [], "none is under way");
}

#[test]
fn a_peers_word_on_the_snapshot_of_a_former_process_is_not_taken_for_this_one() {
    let mut core = with_items(4);
    core.engine_mut().incarnation = 7 << 32;
    let first = (7 << 32) + 1;
    let outputs = step(&mut core, at(0), [begin(2)]);
    assert_eq!(outputs, parts(2, [part(first, 0, false), part(first, 1, false)]));
    assert_eq!(take(&mut core, at(1), 2, received(1, 2)), []);
    let outputs = take(&mut core, at(2), 2, received(first, 1));
    assert_eq!(outputs, parts(2, [part(first, 2, false)]));
}

#[test]
fn the_late_first_part_of_an_earlier_snapshot_does_not_end_the_present_one() {
    let mut core = core(DriverConfig::MEMORY);
    take(&mut core, at(0), 2, SnapshotFrame::Part(part(6, 0, false)));
    assert_eq!(take(&mut core, at(1), 2, SnapshotFrame::Part(part(5, 0, false))), []);
    let outputs = take(&mut core, at(2), 2, SnapshotFrame::Part(part(6, 1, false)));
    assert_eq!(outputs, [frame(2, received(6, 2))]);
}

#[test]
fn a_snapshot_that_was_begun_before_its_peer_was_seen_to_be_up_is_refused() {
    let mut core = core(DriverConfig::MEMORY);
    take(&mut core, at(0), 2, SnapshotFrame::Part(part(6, 0, false)));
    core.on_peer_up(at(1), peer(2), Incarnation(1));
    let refused = [frame(2, SnapshotFrame::Refused { snapshot: 6 })];
    assert_eq!(settle(&mut core, at(1)), refused);
    core.on_peer_up(at(2), peer(2), Incarnation(1));
    assert_eq!(settle(&mut core, at(2)), [], "none is under way");
}

#[test]
fn the_rest_of_a_snapshot_that_was_dropped_is_refused_each_time() {
    for is_up in [true, false] {
        let mut core = core(DriverConfig::MEMORY);
        take(&mut core, at(0), 2, SnapshotFrame::Part(part(6, 0, false)));
        if is_up {
            // The engine has no use for it, and the peer does not get to know that.
            step(&mut core, at(1), [Effect::EndSnapshot { peer: peer(2) }]);
        } else {
            core.on_peer_down(at(1), peer(2));
            core.on_peer_up(at(1), peer(2), Incarnation(1));
            assert_eq!(settle(&mut core, at(1)), []);
        }
        let given = core.engine().inputs.len();
        for number in [1, 2, 0] {
            let outputs = take(&mut core, at(2), 2, SnapshotFrame::Part(part(6, number, false)));
            assert_eq!(outputs, [frame(2, SnapshotFrame::Refused { snapshot: 6 })]);
        }
        assert_eq!(core.engine().inputs.len(), given, "the engine is given nothing of it");
        let outputs = take(&mut core, at(3), 2, SnapshotFrame::Part(part(7, 0, false)));
        assert_eq!(outputs, [frame(2, received(7, 1))]);
    }
}

#[test]
fn parts_that_follow_others_that_this_process_never_had_are_refused() {
    let config = DriverConfig { parts_in_flight_max: 2, ..DriverConfig::MEMORY };
    let mut core = core(config);
    let outputs = take(&mut core, at(0), 2, SnapshotFrame::Part(part(6, 2, false)));
    assert_eq!(outputs, [frame(2, SnapshotFrame::Refused { snapshot: 6 })]);
    let outputs = take(&mut core, at(1), 2, SnapshotFrame::Part(part(7, 1, false)));
    assert_eq!(outputs, [], "its first part may still come");
}
