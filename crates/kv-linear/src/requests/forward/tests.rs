use super::*;

const MS: Duration = Duration::from_millis(1);

fn submission(id: u64, deadline: u32, wait: u32) -> Submission {
    Submission {
        id: RequestId(id),
        operation: Bytes::from_static(b"operation"),
        deadline: MS * deadline,
        backoff: Some(Backoff { wait: MS * wait, wait_max: MS * 40 }),
    }
}

fn take_unsent(forwarder: &mut Forwarder) -> Vec<u64> {
    std::iter::from_fn(|| forwarder.pop_unsent(99)).map(|(number, _)| number).collect()
}

#[test]
fn numbers_are_dense_and_settled_below_the_oldest_pending_one() {
    let mut forwarder = Forwarder::new();
    for id in 1..=3 {
        assert_eq!(forwarder.submit(MS, submission(id, 100, 10)), id);
    }
    assert_eq!(forwarder.settled_below(), 1);
    forwarder.settle(2);
    assert_eq!(forwarder.settled_below(), 1);
    forwarder.cancel(RequestId(1));
    assert_eq!(forwarder.settled_below(), 3);
    forwarder.settle(3);
    assert_eq!((forwarder.settled_below(), forwarder.len()), (4, 0));
    assert_eq!(forwarder.next_alarm(), None);
}

#[test]
fn a_request_is_sent_again_with_doubled_waits_until_its_time_is_up() {
    let mut forwarder = Forwarder::new();
    forwarder.submit(Duration::ZERO, submission(1, 200, 10));
    assert_eq!(take_unsent(&mut forwarder), [1]);
    let mut sent_at = Vec::new();
    for now in 1..=200 {
        let expired = forwarder.pop_expired(MS * now);
        if !take_unsent(&mut forwarder).is_empty() {
            sent_at.push(now);
        }
        assert_eq!(expired.is_some(), now == 200);
        assert!(forwarder.next_alarm().is_none_or(|alarm| alarm > MS * now));
    }
    assert_eq!(sent_at, [10, 30, 70, 110, 150, 190]);
}

#[test]
fn a_request_is_sent_again_later_the_more_is_on_its_way() {
    let mut forwarder = Forwarder::new();
    let large =
        |id| Submission { operation: Bytes::from(vec![0; 4 << 20]), ..submission(id, 60_000, 10) };
    let alarm = |forwarder: &Forwarder, number| forwarder.pending(number).unwrap().alarm;
    forwarder.submit(Duration::ZERO, large(1));
    forwarder.submit(Duration::ZERO, large(2));
    assert_eq!((alarm(&forwarder, 1), alarm(&forwarder, 2)), (MS * 1010, MS * 2010));
    forwarder.settle(2);
    while forwarder.pop_unsent(usize::MAX).is_some() {}
    assert!(forwarder.pop_expired(MS * 1009).is_none() && !forwarder.has_unsent());
    assert!(forwarder.pop_expired(MS * 1010).is_none() && forwarder.has_unsent());
    // Two copies may be in flight now.
    assert_eq!(alarm(&forwarder, 1), MS * 3030);
    // On a new connection there is only one.
    forwarder.send_all_again(MS * 2000);
    assert_eq!(forwarder.next_alarm(), Some(MS * 3020));
    forwarder.settle(1);
    forwarder.submit(MS * 2000, submission(3, 60_000, 10));
    assert_eq!(forwarder.next_alarm(), Some(MS * 2010));
}

#[test]
fn a_message_takes_what_fits() {
    let mut forwarder = Forwarder::new();
    forwarder.submit(MS, submission(1, 100, 10));
    assert_eq!(forwarder.pop_unsent(8), None);
    assert!(forwarder.has_unsent());
    assert!(forwarder.pop_unsent(9).is_some());
    assert!(!forwarder.has_unsent());
}

#[test]
fn only_what_was_never_sent_is_settled_as_unsent() {
    let mut forwarder = Forwarder::new();
    forwarder.submit(MS, submission(1, 100, 10));
    assert_eq!(take_unsent(&mut forwarder), [1]);
    forwarder.submit(MS, submission(2, 100, 10));
    forwarder.send_all_again(MS);
    let settled = forwarder.settle_unsent();
    assert_eq!(settled.iter().map(|pending| pending.id).collect::<Vec<_>>(), [RequestId(2)]);
    forwarder.send_all_again(MS);
    assert_eq!(take_unsent(&mut forwarder), [1]);
}

#[test]
fn numbers_do_not_run_too_far_ahead() {
    let mut forwarder = Forwarder::new();
    forwarder.submit(MS, submission(0, 100, 10));
    for id in 1..NUMBERS_SPAN_MAX {
        assert!(!forwarder.is_stretched());
        let number = forwarder.submit(MS, submission(id, 100, 10));
        forwarder.settle(number);
    }
    assert!(forwarder.is_stretched());
    forwarder.settle(1);
    assert!(!forwarder.is_stretched());
}

fn place(id: u64) -> Submission {
    Submission { backoff: None, ..submission(id, 1000, 10) }
}

#[test]
fn a_server_that_becomes_the_sequencer_keeps_what_is_pending_and_sends_it_no_more() {
    let mut forwarder = Forwarder::new();
    for id in 1..=3 {
        forwarder.submit(MS, submission(id, 1000, 10));
    }
    assert!(forwarder.pop_unsent(99).is_some());
    forwarder.settle(2);
    let operation = Bytes::from_static(b"operation");
    let kept = [(1, operation.clone()), (3, operation)];
    assert_eq!(forwarder.keep_all(), kept);
    assert!(!forwarder.has_unsent());
    assert_eq!(forwarder.next_alarm(), Some(MS * 1000));
    assert_eq!(forwarder.pop_expired(MS * 999), None);
    assert!(!forwarder.has_unsent());
    // Nobody may say of the first one that it is not done.
    assert!(forwarder.pending(1).unwrap().sent && !forwarder.pending(3).unwrap().sent);
}

#[test]
fn a_server_that_is_not_the_sequencer_any_more_sends_all_that_is_pending() {
    let mut forwarder = Forwarder::new();
    forwarder.submit(MS, place(1));
    forwarder.submit(MS, place(2));
    forwarder.mark_placed(1, LogIndex(7));
    assert!(!forwarder.has_unsent());
    let backoff = Backoff { wait: MS * 10, wait_max: MS * 40 };
    forwarder.forward_all(MS * 2, backoff);
    assert_eq!(forwarder.pending(1).unwrap().position, None);
    assert_eq!(forwarder.next_alarm(), Some(MS * 12));
    // The one with a position may be in the log; the other one was never out of this server.
    let unsent = forwarder.clone().settle_unsent();
    assert_eq!(unsent.iter().map(|pending| pending.id).collect::<Vec<_>>(), [RequestId(2)]);
    assert_eq!(take_unsent(&mut forwarder), [1, 2]);
}

#[test]
fn the_bytes_in_flight_are_counted_once_however_often_the_role_changes() {
    let mut forwarder = Forwarder::new();
    let backoff = Backoff { wait: MS * 10, wait_max: MS * 40 };
    forwarder.submit(MS, submission(1, 1000, 10));
    forwarder.submit(MS, place(2));
    for _ in 0..3 {
        forwarder.forward_all(MS, backoff);
        forwarder.forward_all(MS, backoff);
        assert_eq!(forwarder.in_flight_bytes, 18);
        forwarder.keep_all();
        assert_eq!(forwarder.in_flight_bytes, 0);
    }
    forwarder.forward_all(MS, backoff);
    forwarder.settle(1);
    forwarder.settle(2);
    assert_eq!((forwarder.in_flight_bytes, forwarder.next_alarm()), (0, None));
}
