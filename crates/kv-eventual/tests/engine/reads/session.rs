//! What a client has seen of a key: reads show nothing older, and writes come after it.

use std::time::Duration;

use crate::stand::{
    self, Stand, TestEffect, found, incarnation, key, node, persist, refused, theirs, time,
    version_of, write, written,
};
use kv_core::{
    ConsistencyEngine, Counter, Input, Level, NotDone, Operation, RequestId, RequestOptions, Value,
    Version,
};
use kv_eventual::{Answer, Part, Query, ReadId, Record, Write};

fn seen(version: Version) -> RequestOptions {
    RequestOptions::default().with_seen(version)
}

fn get(stand: &mut Stand, version: Version) -> Vec<TestEffect> {
    stand.request_with(Operation::get(key("x")), seen(version))
}

fn query_of(effects: Vec<TestEffect>) -> ReadId {
    let sent = stand::sends(effects).into_iter().flat_map(|(_, message)| message.parts);
    let mut reads = sent.filter_map(|part| match part {
        Part::Query(Query { read, .. }) => Some(read),
        _ => None,
    });
    reads.next().unwrap()
}

fn answer(read: ReadId, write: Option<&Write>) -> Part {
    let entry = write.map(|write| write.entry.clone());
    Part::Answer(Answer { read, key: key("x"), entry, counts: true })
}

fn older() -> Write {
    theirs(1, time(0, 0), "x", "older")
}

fn newer() -> Write {
    write((3, incarnation(1, 3)), 1, time(5, 0), "x", Some("newer"))
}

fn holding(w: u16, r: u16, write: Write) -> Stand {
    let mut stand = Stand::serving(3, w, r);
    stand.receive(write.entry.stamp.origin, Part::Write(write));
    stand.sync_and_flush();
    stand
}

#[test]
fn a_read_of_what_is_here_asks_nobody() {
    let mut stand = holding(1, 1, older());
    assert_eq!(get(&mut stand, version_of(&older())), [found(1, Some(&older()), 1)]);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.counter(Counter::ReadsBehindSession), 0);
}

#[test]
fn with_r_of_one_the_others_are_asked_for_what_is_newer_than_here() {
    let mut stand = holding(1, 1, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    let read = query_of(stand.flush());
    assert_eq!(stand.receive(node(2), answer(read, Some(&older()))), [], "it is as old");
    let effects = stand.receive(node(3), answer(read, Some(&newer())));
    assert_eq!(effects[0], found(1, Some(&newer()), 3));
    assert!(effects[1..].iter().any(|effect| {
        matches!(effect, TestEffect::Persist { record: Record::Write(write), .. } if *write == newer())
    }), "it is taken over: {effects:?}");
    assert_eq!(stand.counter(Counter::ReadsBehindSession), 1);
}

#[test]
fn something_newer_than_what_was_seen_will_do() {
    let mut stand = holding(1, 1, newer());
    assert_eq!(get(&mut stand, version_of(&older())), [found(1, Some(&newer()), 1)]);
}

#[test]
fn those_that_had_nothing_as_new_are_asked_again_until_the_time_is_up() {
    let mut stand = holding(1, 2, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    let read = query_of(stand.flush());
    assert_eq!(stand.receive(node(2), answer(read, Some(&older()))), []);
    let again = Part::Query(Query { read, key: key("x") });
    stand.flush();
    let sent = stand.wait_ms(200);
    let both = [stand.message(2, vec![again.clone()]), stand.message(3, vec![again])];
    assert_eq!(sent, both, "server 2 too, which has answered");
    assert_eq!(
        stand.receive(node(2), answer(read, Some(&newer()))),
        [found(1, Some(&newer()), 2), persist(4, Record::Write(newer()))],
        "it has it by now"
    );
}

#[test]
fn what_this_server_takes_over_meanwhile_answers_the_read() {
    let mut stand = holding(1, 1, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    stand.flush();
    stand.receive(node(3), Part::Write(newer()));
    stand.sync_and_flush();
    assert_eq!(stand.wait_ms(200), [found(1, Some(&newer()), 1)]);
}

#[test]
fn a_read_of_what_nobody_holds_ends_and_says_why() {
    let mut stand = holding(1, 1, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    let mut last = Vec::new();
    for _ in 0..60 {
        let effects = stand.wait_ms(100);
        if !effects.iter().all(|effect| matches!(effect, TestEffect::Send { .. })) {
            last = effects;
        }
    }
    assert_eq!(last, [refused(1, NotDone::NotCaughtUp { seen: version_of(&newer()) })]);
    assert_eq!(stand.get("x"), [found(2, Some(&older()), 1)], "others read on");
}

#[test]
fn a_missing_key_is_shown_only_where_the_delete_may_be_forgotten() {
    let mut stand = Stand::serving(3, 1, 1);
    assert_eq!(get(&mut stand, version_of(&newer())), [], "nobody has deleted it");
    stand.step(Input::Cancel { id: RequestId(1) });
    let mut stand = Stand::serving_beside(stand::config(3, 1, 1), time(5, 0));
    assert_eq!(get(&mut stand, version_of(&newer())), [], "its incarnation was never heard of");
    stand.step(Input::Cancel { id: RequestId(1) });
    stand.flush();
    let other = write((3, incarnation(1, 3)), 2, time(6, 0), "y", Some("other"));
    stand.receive(node(3), Part::Write(other));
    stand.sync_and_flush();
    assert_eq!(get(&mut stand, version_of(&newer())), [found(2, None, 1)]);
    let later = write((3, incarnation(1, 3)), 1, time(5, 1), "x", Some("later"));
    assert_eq!(get(&mut stand, version_of(&later)), [], "it was seen after all that is forgotten");
}

#[test]
fn a_deleted_key_has_a_version_that_reads_do_not_go_back_behind() {
    let deleted = write((3, incarnation(1, 3)), 1, time(5, 0), "x", None);
    let mut stand = holding(1, 1, deleted.clone());
    assert_eq!(stand.get("x"), [found(1, Some(&deleted), 1)]);
    let mut behind = holding(1, 1, older());
    assert_eq!(get(&mut behind, version_of(&deleted)), []);
    let read = query_of(behind.flush());
    let effects = behind.receive(node(3), answer(read, Some(&deleted)));
    assert_eq!(effects[0], found(1, Some(&deleted), 2));
}

#[test]
fn a_write_is_stamped_after_what_its_client_has_seen() {
    let mut stand = Stand::serving(3, 1, 1);
    let far = write((3, incarnation(1, 3)), 1, time(9_000, 3), "x", Some("seen"));
    let put = Operation::put(key("x"), Value::new("mine").unwrap());
    stand.request_with(put, seen(version_of(&far)));
    let mine = stand::write((1, stand.incarnation()), 1, time(9_000, 4), "x", Some("mine"));
    assert_eq!(stand.sync(), [written(1, &mine, 1)]);
}

/// A key whose stamp is far ahead, as a server with a wrong clock made it, can be written by whoever has
/// read it.
#[test]
fn a_write_goes_above_a_stamp_that_is_held_however_far_ahead() {
    let far = write((3, incarnation(1, 3)), 1, time(60_000, 0), "x", Some("far"));
    let mut stand = Stand::serving(3, 1, 1);
    stand.receive(node(2), Part::Repair(far.clone()));
    stand.sync_and_flush();
    assert_eq!(stand.counter(Counter::SkewedStamps), 1, "the clock stays");
    let put = Operation::put(key("x"), Value::new("mine").unwrap());
    stand.request_with(put, seen(version_of(&far)));
    let mine = stand::write((1, stand.incarnation()), 1, time(60_000, 1), "x", Some("mine"));
    assert_eq!(stand.sync(), [written(1, &mine, 1)]);
}

#[test]
fn a_read_that_was_cancelled_asks_nobody_any_more() {
    let mut stand = holding(1, 1, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    stand.flush();
    stand.step(Input::Cancel { id: RequestId(1) });
    assert_eq!(stand.wait_ms(200), []);
    assert_eq!(stand.engine.next_deadline(), None, "nothing is left of it");
}

#[test]
fn what_came_since_the_last_question_is_shown_before_the_time_is_up() {
    let mut stand = holding(1, 1, older());
    let options = seen(version_of(&newer())).with_timeout(Duration::from_millis(350));
    assert_eq!(stand.request_with(Operation::get(key("x")), options), []);
    stand.flush();
    let is_question = |effect: &TestEffect| matches!(effect, TestEffect::Send { .. });
    assert!(stand.wait_ms(100).iter().all(is_question));
    assert!(stand.wait_ms(200).iter().all(is_question));
    stand.receive(node(3), Part::Write(newer()));
    stand.sync_and_flush();
    assert_eq!(stand.wait_ms(50), [found(1, Some(&newer()), 1)]);
}

#[test]
fn what_a_server_holds_that_does_not_count_is_shown_if_it_is_new_enough() {
    let mut stand = holding(1, 2, older());
    assert_eq!(get(&mut stand, version_of(&newer())), []);
    let read = query_of(stand.flush());
    let entry = Some(newer().entry);
    let joining = Answer { read, key: key("x"), entry, counts: false };
    assert_eq!(stand.receive(node(3), Part::Answer(joining)), [], "it is none of the two needed");
    let effects = stand.receive(node(2), answer(read, Some(&older())));
    assert_eq!(effects[0], found(1, Some(&newer()), 2));
}

#[test]
fn an_atomic_read_waits_for_what_was_seen_and_then_for_its_holders() {
    let mut stand = holding(2, 2, older());
    let options = seen(version_of(&newer())).with_level(Level::Atomic);
    assert_eq!(stand.request_with(Operation::get(key("x")), options), []);
    let read = query_of(stand.flush());
    assert_eq!(stand.receive(node(2), answer(read, Some(&older()))), []);
    let effects = stand.receive(node(3), answer(read, Some(&newer())));
    assert!(matches!(effects.as_slice(), [TestEffect::Persist { .. }]), "{effects:?}");
    assert_eq!(stand.sync()[0], found(1, Some(&newer()), 3), "servers 1 and 3 hold it");
}

#[test]
fn what_a_client_says_moves_no_clock_far_ahead() {
    let mut stand = Stand::serving(3, 1, 1);
    let put = || Operation::put(key("x"), Value::new("mine").unwrap());
    let far = write((3, incarnation(1, 3)), 1, time(60_000, 0), "x", Some("seen"));
    let reason = NotDone::ClockSkew { off_ms: -60_000, limit_ms: 10_000 };
    assert_eq!(stand.request_with(put(), seen(version_of(&far))), [refused(1, reason)]);
    // Nor step by step.
    for (id, ahead) in (2..).zip([9_000, 10_000, 19_000, 28_000]) {
        let step = write((3, incarnation(1, 3)), 1, time(ahead, 0), "x", Some("seen"));
        let effects = stand.request_with(put(), seen(version_of(&step)));
        let is_refused = effects.iter().any(|effect| {
            let limit_ms = 10_000;
            let off_ms = -i64::try_from(ahead).unwrap();
            *effect == refused(id, NotDone::ClockSkew { off_ms, limit_ms })
        });
        assert_eq!(is_refused, ahead > 10_000, "{ahead}: {effects:?}");
        stand.sync_and_flush();
    }
    stand.wait_ms(60_000);
    let effects = stand.request_with(put(), seen(version_of(&far)));
    let is_taken = |effect: &TestEffect| {
        matches!(effect, TestEffect::Persist { record: Record::Write(_), .. })
    };
    assert!(effects.iter().any(is_taken), "the time has come: {effects:?}");
}
