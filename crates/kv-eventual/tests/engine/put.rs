//! A put or a delete at its coordinator, from the request to the last acknowledgement.

use std::time::Duration;

use crate::stand::{
    self, Stand, config, id_of, key, node, persist, refused, theirs, time, unknown, value,
    version_of, written,
};
use kv_core::{
    ConsistencyEngine, Counter, Effect, Input, NotDone, Operation, PersistSeq, Quorum, RequestId,
    RequestOptions,
};
use kv_eventual::{Part, Record};

/// The first write of one of several servers: record 1 is the incarnation, 2 says that the server
/// counts, 3 is the clock's bound, 4 the write.
const FIRST: u64 = 4;

#[test]
fn a_write_goes_to_all_at_once_and_is_done_only_when_the_own_disk_has_it_too() {
    let mut stand = Stand::serving(3, 2, 1);
    stand.put("w", "0");
    stand.sync_and_flush();
    let write = stand.own(2, 1, "x", Some("1"));
    assert_eq!(stand.put("x", "1"), [persist(FIRST + 1, Record::Write(write.clone()))]);
    let parts = vec![Part::Write(write.clone())];
    assert_eq!(stand.flush(), [stand.message(2, parts.clone()), stand.message(3, parts)]);
    let ack = Part::Ack(id_of(&write));
    assert_eq!(stand.receive(node(2), ack.clone()), []);
    assert_eq!(stand.receive(node(3), ack), []);
    assert_eq!(stand.sync(), [written(2, &write, 3)]);
    assert_eq!(stand.flush(), []);
}

#[test]
fn a_write_that_the_own_disk_is_slow_with_is_sent_again_to_who_does_not_answer() {
    let mut stand = Stand::serving(2, 2, 1);
    stand.put("w", "0");
    stand.sync_and_flush();
    let first = stand.own(1, 0, "w", Some("0"));
    stand.receive(node(2), Part::Ack(id_of(&first)));
    let write = stand.own(2, 1, "x", Some("1"));
    stand.put("x", "1");
    let message = |stand: &Stand| stand.message(2, vec![Part::Write(write.clone())]);
    assert_eq!(stand.flush(), [message(&stand)]);
    assert_eq!(stand.wait_ms(100), [message(&stand)]);
    stand.down(node(2));
    stand.up(node(2));
    let sent = stand::sends(stand.flush());
    let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    assert!(parts.into_iter().any(|part| part == Part::Write(write.clone())));
}

#[test]
fn a_write_that_another_server_held_first_goes_to_the_own_disk_once() {
    let mut stand = Stand::serving(2, 1, 2);
    stand.put("w", "0");
    stand.sync_and_flush();
    let write = stand.own(2, 1, "x", Some("1"));
    assert_eq!(stand.put("x", "1").len(), 1);
    stand.flush();
    // The other server has it on disk, and a reader saw that this one has not.
    assert_eq!(stand.receive(node(2), Part::Repair(write.clone())), []);
    assert_eq!(stand.sync(), [written(2, &write, 1)]);
    assert_eq!(stand.counter(Counter::RepairsApplied), 0);
}

#[test]
fn a_stamp_that_the_clock_could_issue_again_is_not_sent_to_who_comes_back_either() {
    let mut stand = Stand::serving(2, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.down(node(2));
    stand.up(node(2));
    let is_write = |part: &Part| matches!(part, Part::Write(_));
    for effects in [stand.flush(), stand.wait_ms(3_000)] {
        let sent = stand::sends(effects);
        assert!(!sent.iter().any(|(_, message)| message.parts.iter().any(is_write)), "{sent:?}");
    }
    stand.sync();
    let sent = stand::sends(stand.flush());
    let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    assert_eq!(parts.filter(is_write).collect::<Vec<_>>(), [Part::Write(write)]);
}

#[test]
fn writes_that_a_disk_does_not_take_are_bounded_also_once_nobody_waits_for_them() {
    let mut config = config(1, 1, 1);
    config.limits.window_bytes_max = 1 << 20;
    let mut stand = Stand::serving_with(config);
    let text = "v".repeat(1 << 18);
    let mut taken = 0;
    for _ in 0..40 {
        let effects = stand.put("x", &text);
        taken += effects.iter().filter(|effect| matches!(effect, Effect::Persist { .. })).count();
        stand.wait_ms(5_000);
    }
    assert!(taken < 10, "{taken} records of 256 KiB wait for a disk that stands still");
}

#[test]
fn a_write_that_was_sent_is_not_sent_again_because_the_own_disk_has_it() {
    let mut stand = Stand::serving(3, 2, 1);
    stand.put("w", "0");
    stand.sync_and_flush();
    stand.put("x", "1");
    assert_eq!(stand.flush().len(), 2);
    assert_eq!(stand.sync_and_flush(), []);
}

#[test]
fn nothing_is_sent_whose_stamp_the_clock_could_issue_again() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    assert_eq!(stand.put("x", "1"), [stand.bound(3), persist(FIRST, Record::Write(write.clone()))]);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.step(Input::Persisted { up_to: PersistSeq(3) }), []);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.sync(), []);
    let parts = vec![Part::Write(write)];
    assert_eq!(stand.flush(), [stand.message(2, parts.clone()), stand.message(3, parts)]);
}

#[test]
fn w_acknowledgements_of_distinct_servers_make_it_done() {
    let mut stand = Stand::serving(4, 3, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    let ack = Part::Ack(id_of(&write));
    assert_eq!(stand.receive(node(2), ack.clone()), []);
    assert_eq!(stand.receive(node(2), ack.clone()), []);
    assert_eq!(stand.receive(node(3), ack.clone()), [written(1, &write, 3)]);
    assert_eq!(stand.counter(Counter::PendingWrites), 0);
    assert_eq!(stand.receive(node(4), ack), []);
    assert_eq!(stand.counter(Counter::StaleMessages), 0);
}

/// Whoever misses it pulls it.
#[test]
fn a_write_that_is_done_is_sent_no_more() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    let effects = stand.receive(node(2), Part::Ack(id_of(&write)));
    assert_eq!(effects, [written(1, &write, 2)]);
    assert_eq!(stand.engine.next_deadline(), None);
    stand.down(node(3));
    stand.up(node(3));
    let parts = stand::sends(stand.flush()).into_iter().flat_map(|(_, message)| message.parts);
    assert!(parts.into_iter().all(|part| !matches!(part, Part::Write(_))));
}

#[test]
fn with_w_of_one_it_is_done_when_the_own_disk_has_it() {
    let mut stand = Stand::serving(1, 1, 1);
    let write = stand.own(1, 0, "x", None);
    assert_eq!(
        stand.request(Operation::delete(key("x"))),
        [stand.bound(2), persist(FIRST - 1, Record::Write(write.clone()))]
    );
    assert_eq!(stand.sync(), [written(1, &write, 1)]);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_counts_for_nothing() {
    let mut stand = Stand::serving(2, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    assert_eq!(stand.receive(node(2), Part::Ack(id_of(&write))), []);
    assert_eq!(stand.sync(), []);
    assert_eq!(stand.receive(node(2), Part::Ack(id_of(&write))), [written(1, &write, 2)]);
}

#[test]
fn too_few_reachable_servers_make_it_unavailable_with_nothing_written() {
    let mut stand = Stand::serving(3, 3, 1);
    stand.down(node(3));
    let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
    assert_eq!(stand.put("x", "1"), [refused(1, reason)]);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn a_timeout_is_unknown_with_version_and_acks() {
    let mut stand = Stand::serving(3, 3, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    stand.receive(node(2), Part::Ack(id_of(&write)));
    stand.down(node(3));
    assert_eq!(stand.wait_ms(4_999), []);
    let version = Some(version_of(&write));
    assert_eq!(stand.wait_ms(1), [unknown(1, version, 2, 3)]);
    assert_eq!(stand.engine.next_deadline(), None);
    assert_eq!(stand.get("x"), [stand::found(2, Some(&write), 1)]);
}

#[test]
fn a_timeout_before_the_own_disk_has_it_is_unknown_however_many_others_have() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.put("w", "0");
    stand.sync_and_flush();
    stand.put("x", "1");
    let write = stand.own(2, 1, "x", Some("1"));
    assert_eq!(stand.receive(node(2), Part::Ack(id_of(&write))), []);
    let effects = stand.wait_ms(5_000);
    let version = Some(version_of(&write));
    assert_eq!(effects.first(), Some(&unknown(2, version, 1, 1)), "{effects:?}");
    assert_eq!(stand.sync(), []);
}

#[test]
fn servers_that_do_not_answer_are_asked_again_ever_more_rarely() {
    let mut stand = Stand::serving(3, 3, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    stand.receive(node(2), Part::Ack(id_of(&write)));
    let version = Some(version_of(&write));
    let parts = vec![Part::Write(write)];
    let mut times = Vec::new();
    for tenth in 1..50 {
        let effects = stand.wait_ms(100);
        if !effects.is_empty() {
            assert_eq!(effects, [stand.message(3, parts.clone())]);
            times.push(tenth);
        }
    }
    assert_eq!(times, [1, 3, 7, 15, 31]);
    assert_eq!(stand.wait_ms(100), [unknown(1, version, 2, 3)]);
    assert_eq!(stand.counter(Counter::UnfinishedWrites), 1);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn a_server_that_comes_back_is_sent_what_waits_for_it_at_once() {
    let mut stand = Stand::serving(3, 3, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    stand.receive(node(2), Part::Ack(id_of(&write)));
    stand.down(node(3));
    assert_eq!(stand.wait_ms(2_500), []);
    stand.up(node(3));
    let effects = stand::sends(stand.flush());
    assert_eq!(effects.len(), 1);
    let (to, message) = effects.into_iter().next().unwrap();
    assert_eq!(to, node(3));
    assert!(message.parts.contains(&Part::Write(write)));
}

#[test]
fn many_writes_of_one_batch_make_one_message_for_each_peer() {
    let mut stand = Stand::serving(3, 2, 1);
    for n in 0..5 {
        stand.put(&format!("k{n}"), "1");
    }
    let sent = stand::sends(stand.sync_and_flush());
    let shape: Vec<_> =
        sent.iter().map(|(to, message)| (to.number(), message.parts.len())).collect();
    assert_eq!(shape, [(2, 5), (3, 5)]);
}

#[test]
fn a_stamp_is_above_the_version_that_the_key_has() {
    let mut stand = Stand::serving(2, 1, 1);
    let ahead = theirs(1, time(9_000, 3), "x", "1");
    stand.receive(node(2), Part::Repair(ahead));
    stand.sync_and_flush();
    stand.put("x", "2");
    let own = stand::write((1, stand.incarnation()), 1, time(9_000, 4), "x", Some("2"));
    assert_eq!(stand.sync(), [written(1, &own, 1)]);
}

/// Stamps are logical. After all wall clocks went back, those of the versions held are ahead of them.
#[test]
fn a_key_with_a_version_far_in_the_future_is_written_above_it() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.receive(node(2), Part::Repair(theirs(1, time(60_000, 0), "x", "1")));
    stand.sync_and_flush();
    assert_eq!(stand.counter(Counter::SkewedStamps), 1);
    stand.put("y", "2");
    let own = stand.own(1, 0, "y", Some("2"));
    assert_eq!(stand.sync(), [written(1, &own, 1)], "the clock has not moved");
    stand.put("x", "2");
    let own = stand::write((1, stand.incarnation()), 2, time(60_000, 1), "x", Some("2"));
    assert_eq!(stand.sync(), [written(2, &own, 1)]);
}

#[test]
fn a_server_whose_clock_jumps_refuses_writes_until_it_is_back() {
    let mut stand = Stand::serving(3, 1, 1);
    stand.now.wall += Duration::from_secs(11);
    let reason = NotDone::ClockSkew { off_ms: 11_000, limit_ms: 10_000 };
    assert_eq!(stand.put("x", "1"), [refused(1, reason)]);
    assert_eq!(stand.counter(Counter::RefusedForClock), 1);
    stand.now.wall -= Duration::from_secs(11);
    let own = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    assert_eq!(stand.sync(), [written(2, &own, 1)]);
}

#[test]
fn a_server_whose_stamps_are_ahead_of_all_clocks_goes_on_above_them() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.down(node(2));
    stand.now.wall += Duration::from_secs(3_600);
    stand.put("x", "1");
    stand.sync();
    stand.now.wall -= Duration::from_secs(3_600);
    stand.put("x", "2");
    let ahead = |seq, counter| {
        stand::write(
            (1, stand.incarnation()),
            seq,
            time(3_600_000, counter),
            "x",
            Some(&seq.to_string()),
        )
    };
    let (second, third) = (ahead(2, 1), ahead(3, 2));
    assert_eq!(stand.sync(), [written(2, &second, 1)]);
    // Its peer's clock shows what its own does.
    stand.up(node(2));
    stand.welcomed(node(2));
    stand.put("x", "3");
    assert_eq!(stand.sync(), [written(3, &third, 1)]);
}

#[test]
fn the_peers_clocks_are_asked_for_again_every_ten_seconds_of_writing() {
    let mut stand = Stand::serving(2, 1, 1);
    let hellos = |stand: &mut Stand| {
        stand.put("x", "1");
        let sent = stand::sends(stand.sync_and_flush().split_off(1));
        let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
        parts.filter(|part| matches!(part, Part::Hello(_))).count()
    };
    assert_eq!(hellos(&mut stand), 0);
    stand.down(node(2));
    stand.now.mono += Duration::from_secs(20);
    stand.now.wall += Duration::from_secs(20);
    stand.flush();
    stand.up(node(2));
    stand.welcomed(node(2));
    assert_eq!(hellos(&mut stand), 1);
    assert_eq!(hellos(&mut stand), 0);
}

#[test]
fn enough_rejections_end_the_wait() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    stand.sync_and_flush();
    let reject = Part::Reject(id_of(&write));
    assert_eq!(stand.receive(node(2), reject.clone()), []);
    let version = Some(version_of(&write));
    assert_eq!(stand.receive(node(3), reject), [unknown(1, version, 1, 2)]);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn after_a_cancel_there_is_no_reply_but_the_write_goes_on() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.put("x", "1");
    assert_eq!(stand.step(Input::Cancel { id: RequestId(1) }), []);
    let write = stand.own(1, 0, "x", Some("1"));
    assert_eq!(stand.sync(), []);
    assert_eq!(stand.flush(), [stand.message(2, vec![Part::Write(write)])]);
}

#[test]
fn one_request_too_many_is_overloaded() {
    let mut config = config(1, 1, 1);
    config.limits.requests_max = 2;
    let mut stand = Stand::serving_with(config);
    stand.put("a", "1");
    stand.put("b", "1");
    let reason = NotDone::Overloaded { limit: 2 };
    assert_eq!(stand.put("c", "1"), [refused(3, reason)]);
    stand.sync();
    assert_eq!(stand.put("c", "1").len(), 1);
}

#[test]
fn too_many_pending_bytes_are_overloaded() {
    let mut config = config(2, 2, 1);
    config.limits.window_bytes_max = 1_000;
    let mut stand = Stand::serving_with(config);
    stand.put("a", &"x".repeat(2_000));
    let reason = NotDone::Overloaded { limit: 65_536 };
    assert_eq!(stand.put("b", "1"), [refused(2, reason)]);
}

#[test]
fn the_longest_timeout_is_no_overflow() {
    let mut stand = Stand::serving(2, 2, 1);
    let options =
        RequestOptions::default().with_timeout(Duration::MAX).with_write_quorum(Quorum::All);
    stand.request_with(Operation::put(key("x"), value("1")), options);
    stand.sync_and_flush();
    assert_eq!(stand.wait_ms(100).len(), 1);
}
