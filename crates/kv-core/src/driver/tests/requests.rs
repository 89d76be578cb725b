//! Sessions, their requests, and who gets which answer.

use super::*;

fn refusal(reason: NotDone) -> Outcome {
    Outcome::NotDone(reason)
}

#[test]
fn a_reply_goes_to_the_session_of_its_request_and_under_its_tag() {
    let mut core = core(DriverConfig::MEMORY);
    let [one, other] = [8, 8].map(|max| core.open_session(max));
    let first = request(&mut core, one, 7);
    let second = request(&mut core, other, 7);
    let third = request(&mut core, one, 8);
    assert_eq!(core.in_flight(), 3);
    let outputs = step(&mut core, at(1), [reply(third), reply(second), reply(first)]);
    let expected = [(one, 8, outcome()), (other, 7, outcome()), (one, 7, outcome())];
    assert_eq!(replies(outputs), expected);
    assert_eq!(core.in_flight(), 0);
}

#[test]
fn a_second_reply_to_a_request_goes_to_nobody() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(8);
    let id = request(&mut core, session, 7);
    let outputs = step(&mut core, at(1), [reply(id), reply(id)]);
    assert_eq!(replies(outputs), [(session, 7, outcome())]);
    assert_eq!(core.counters().replies_unclaimed, 1);
}

#[test]
fn a_reply_after_a_cancel_goes_to_nobody_though_its_place_is_used_again() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(8);
    let cancelled = request(&mut core, session, 1);
    assert_eq!(core.cancel(at(0), session, 1), Some(cancelled));
    assert_eq!(core.engine().inputs.last(), Some(&Input::Cancel { id: cancelled }));
    let next = request(&mut core, session, 2);

    assert_eq!(replies(step(&mut core, at(1), [reply(cancelled)])), []);
    assert_eq!(core.counters().replies_unclaimed, 1);
    assert_eq!(replies(step(&mut core, at(2), [reply(next)])), [(session, 2, outcome())]);
}

#[test]
fn a_reply_after_its_session_closed_goes_to_nobody_though_its_place_is_used_again() {
    let mut core = core(DriverConfig::MEMORY);
    let gone = core.open_session(8);
    let orphan = request(&mut core, gone, 1);
    assert_eq!(core.close_session(at(0), gone), [orphan]);
    assert_eq!(core.engine().inputs.last(), Some(&Input::Cancel { id: orphan }));
    let session = core.open_session(8);
    assert_eq!(session.place(), gone.place());
    let next = request(&mut core, session, 1);

    assert_eq!(replies(step(&mut core, at(1), [reply(orphan)])), []);
    assert_eq!(replies(step(&mut core, at(2), [reply(next)])), [(session, 1, outcome())]);
}

#[cfg(feature = "mutations")]
#[test]
fn without_generations_a_reply_after_a_cancel_goes_to_the_next_request_in_its_place() {
    let broken = Broken::by(DriverRule::ReplyToReusedPlace);
    let mut core = core(DriverConfig { broken, ..DriverConfig::MEMORY });
    let session = core.open_session(8);
    let cancelled = request(&mut core, session, 1);
    core.cancel(at(0), session, 1);
    request(&mut core, session, 2);
    assert_eq!(replies(step(&mut core, at(1), [reply(cancelled)])), [(session, 2, outcome())]);
}

#[test]
fn a_request_of_a_session_that_is_closed_is_not_taken() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(8);
    core.close_session(at(0), session);
    let op = Operation::get(Key::new("k").unwrap());
    assert_eq!(core.request(at(0), session, 1, op, RequestOptions::default()), None);
    assert_eq!(core.in_flight(), 0);
}

#[test]
fn a_request_beyond_the_bound_of_its_session_is_refused_and_frees_nothing() {
    let mut core = core(DriverConfig::MEMORY);
    let [session, other] = [1, 1].map(|max| core.open_session(max));
    request(&mut core, other, 1);
    let first = request(&mut core, session, 1);
    assert!(!core.has_room(session));
    core.engine_mut().inputs.clear();
    for tag in [2, 3] {
        request(&mut core, session, tag);
        let overloaded = refusal(NotDone::Overloaded { limit: 1 });
        assert_eq!(replies(settle(&mut core, at(1))), [(session, tag, overloaded)]);
        assert!(!core.has_room(session), "the first one is still in flight");
    }
    assert_eq!(core.engine().inputs, [], "the engine is not asked");
    assert_eq!(replies(step(&mut core, at(2), [reply(first)])), [(session, 1, outcome())]);
    assert!(core.has_room(session));
}

#[test]
fn a_cancelled_request_makes_room_in_its_session() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(1);
    request(&mut core, session, 1);
    core.cancel(at(0), session, 1);
    assert!(core.has_room(session));
    assert_eq!(core.cancel(at(0), session, 1), None);
}

#[test]
fn a_driver_that_stops_refuses_requests_and_waits_for_those_in_flight() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(8);
    let before = request(&mut core, session, 1);
    core.stop(at(0));
    core.engine_mut().inputs.clear();
    request(&mut core, session, 2);
    let stopping = refusal(NotDone::Waiting(Waiting::Stopping));
    assert_eq!(replies(settle(&mut core, at(1))), [(session, 2, stopping)]);
    assert_eq!(core.engine().inputs, [], "the engine is not asked");
    assert_eq!(core.status().waiting, Some(Waiting::Stopping));
    assert!(!core.is_stopped(at(1)));

    core.engine_mut().effects = vec![reply(before)];
    core.on_frame(at(2), peer(2), PeerFrame::Message(0));
    core.turn(at(2));
    assert!(!core.is_stopped(at(2)), "the reply was not taken yet");
    assert!(core.next_output().is_some());
    assert!(core.is_stopped(at(2)));
}

#[test]
fn a_driver_that_stops_tells_the_engine_once_and_waits_until_it_has_handed_over() {
    let mut core = core(DriverConfig::MEMORY);
    core.engine_mut().may_not_stop = true;
    core.stop(at(0));
    core.stop(at(1));
    assert_eq!(core.engine().inputs, [Input::Stop]);
    assert!(!core.is_stopped(at(999)));
    assert!(core.is_stopped(at(1_000)), "not for ever");
    core.engine_mut().may_not_stop = false;
    assert!(core.is_stopped(at(1)));
}

#[test]
fn a_driver_that_stops_waits_no_longer_than_drain_max() {
    let mut core = core(DriverConfig::MEMORY);
    let session = core.open_session(8);
    request(&mut core, session, 1);
    settle(&mut core, at(10));
    assert!(!core.is_stopped(at(100_000)), "it was not told to");
    core.stop(at(10));
    core.stop(at(500));
    assert_eq!(core.next_deadline(), Some(at(1_010).mono));
    assert!(!core.is_stopped(at(1_009)));
    assert!(core.is_stopped(at(1_010)));
}
