//! Whom a server asks how far its clients' reads must be applied, and how it confirms others.

use kv_core::Role;
use kv_linear::{Body, Epoch, LogIndex, Prepare, Record};

use super::super::stand::log::{extend, get};
use super::super::stand::{MS, Send, Server, Write, ack, epoch, first, heartbeat, sent_to};
use super::{E, ask, asked, confirm, found, granted, reading, replies, rounds};
use crate::serving::requests::{base, winner};

/// A heartbeat that names a round, from a sequencer that knows how far the server is.
fn asking(server: &Server, epoch: Epoch, round: u64) -> Body {
    let Body::Prepare(shown) = heartbeat(epoch, &base(), 0) else { panic!() };
    Body::Prepare(Prepare { round, receiver: server.incarnation, ..shown })
}

#[test]
fn a_follower_answers_once_it_has_applied_what_the_sequencer_says() {
    let mut follower = asked();
    let before = follower.records.len();
    // Its log ends before that, and then it has heard nothing of a commit.
    let longer = extend(&base(), &[(E, "b")]);
    let answer = granted(&follower, E, 1, 3);
    assert_eq!(follower.told(answer), []);
    assert_eq!(follower.records.len(), before);
    assert_eq!(replies(follower.fed(E, &longer, 2, 0)), []);
    follower.persist_all();
    assert_eq!(replies(follower.told(heartbeat(E, &longer, 3))), [found(1, "b", 2)]);
    // It has applied that already.
    follower.request(2, get());
    assert_eq!(follower.timeout(), [Send(1, ask(E, 2))]);
    let answer = granted(&follower, E, 2, 3);
    assert_eq!(follower.told(answer), [found(2, "b", 2)]);
}

#[test]
fn a_follower_learns_from_the_answer_what_is_committed() {
    let mut follower = asked();
    let other = granted(&follower, epoch(1, 1), 0, 2);
    assert_eq!(follower.told(other), []);
    assert_eq!(follower.positions().committed, Some(0), "of another epoch");
    let answer = granted(&follower, E, 1, 2);
    assert_eq!(follower.told(answer), [found(1, "a", 1)]);
    assert_eq!(follower.positions().committed, Some(2));
}

#[test]
fn a_follower_asks_again_until_it_has_the_answer_for_its_present_process() {
    let mut follower = asked();
    assert_eq!(follower.timeout_after(MS * 99), []);
    assert_eq!(follower.timeout_after(MS), [Send(1, ask(E, 1))]);
    follower.told(heartbeat(E, &base(), 2));
    let other = Body::ReadIndexOk { epoch: E, receiver: first(2), number: 1, index: LogIndex(2) };
    assert_eq!(follower.told(other), []);
    // Less and less often.
    assert_eq!(follower.timeout_after(MS * 199), []);
    assert_eq!(follower.timeout_after(MS), [Send(1, ask(E, 1))]);
    let answer = granted(&follower, E, 1, 2);
    assert_eq!(follower.told(answer), [found(1, "a", 1)]);
    assert_eq!(follower.timeout_after(MS * 400), []);
    // Connected anew, it does not wait.
    follower.request(2, get());
    follower.timeout();
    follower.peer_down(1);
    follower.peer_up(1);
    follower.told(heartbeat(E, &base(), 2));
    assert_eq!(sent_to(&follower.timeout(), 1).last(), Some(&ask(E, 2)));
}

#[test]
fn a_follower_confirms_a_round_at_once_if_the_disk_has_its_promise() {
    let mut follower = asked();
    for (round, acked) in [(1, true), (1, false), (2, true)] {
        let heard = asking(&follower, E, round);
        let expected = acked.then(|| Send(1, confirm(E, round)));
        assert_eq!(follower.told(heard), Vec::from_iter(expected));
    }
    // Rounds of an epoch say nothing of those of the next.
    let next = epoch(1, 3);
    let heard = asking(&follower, next, 1);
    assert_eq!(follower.hears(3, heard), [Write(Record::Promised { epoch: next })]);
    assert_eq!(follower.persist_all().last(), Some(&Send(3, confirm(next, 1))));
}

#[test]
fn the_sequencer_of_a_later_epoch_is_asked_under_another_number() {
    let mut follower = asked();
    follower.hears(3, heartbeat(epoch(1, 3), &base(), 2));
    follower.persist_all();
    assert_eq!(follower.timeout(), [Send(3, ask(epoch(1, 3), 2))]);
    let former = granted(&follower, E, 1, 2);
    assert_eq!(follower.told(former), []);
    let answer = granted(&follower, epoch(1, 3), 2, 2);
    assert_eq!(follower.hears(3, answer), [found(1, "a", 1)]);
}

#[test]
fn a_sequencer_that_is_replaced_asks_the_next_one() {
    let (mut sequencer, epoch) = reading();
    let next = super::super::stand::epoch(1, 3);
    sequencer.hears(3, Body::EpochRequest { epoch: next });
    sequencer.persist_all();
    assert_eq!(sequencer.role(), Role::Follower);
    assert_eq!(replies(sequencer.hears(2, confirm(epoch, 1))), []);
    sequencer.hears(3, heartbeat(next, &base(), 0));
    assert_eq!(sent_to(&sequencer.timeout(), 3), [ask(next, 2)]);
    let answer = granted(&sequencer, next, 2, 3);
    assert_eq!(sequencer.hears(3, answer), [found(1, "a", 1)]);
}

#[test]
fn a_server_that_takes_the_sequencers_place_answers_the_reads_for_which_it_asked() {
    let (mut winner, own) = winner(asked(), &base());
    let former = granted(&winner, E, 1, 2);
    assert_eq!(winner.hears(1, former), []);
    assert!(rounds(&winner.timeout(), 3).iter().all(|round| *round == 0));
    assert_eq!(replies(winner.hears(3, ack(own, 3))), []);
    assert_eq!(rounds(&winner.timeout(), 3), [1]);
    assert_eq!(winner.hears(3, confirm(own, 1)), [found(1, "a", 1)]);
}
