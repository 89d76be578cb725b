//! With R = 2 a server confirms the sequencer by asking it.

use kv_linear::{Ack, Body, LogIndex, Record};

use super::super::stand::log::get;
use super::super::stand::{Server, Write, ack, incarnation, node, sent_to};
use super::{ask, confirm, found, of_five, ok, replies, rounds};
use crate::serving::requests::base;

#[test]
fn who_asks_confirms_the_sequencer_and_is_answered_without_a_round() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    for number in [1, 2, 2] {
        sequencer.hears(3, ask(epoch, number));
        let effects = sequencer.timeout();
        assert_eq!(sent_to(&effects, 3), [ok(epoch, number, 3)]);
        assert_eq!(rounds(&effects, 2), Vec::<u64>::new());
    }
}

#[test]
fn it_confirms_nothing_for_the_reads_of_others() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.request(1, get());
    sequencer.hears(3, ask(epoch, 1));
    let effects = sequencer.timeout();
    assert_eq!(sent_to(&effects, 3).first(), Some(&ok(epoch, 1, 3)));
    assert_eq!(rounds(&effects, 2), [1]);
    assert_eq!(replies(effects), []);
    assert_eq!(sequencer.hears(3, confirm(epoch, 0)), []);
    assert_eq!(sequencer.hears(3, confirm(epoch, 1)), [found(1, "a", 1)]);
}

#[test]
fn where_three_must_confirm_a_question_takes_a_round() {
    let (mut sequencer, epoch) = of_five();
    sequencer.hears(2, ask(epoch, 1));
    let effects = sequencer.timeout();
    assert_eq!(rounds(&effects, 3), [1]);
    assert!(!sent_to(&effects, 2).iter().any(|body| matches!(body, Body::ReadIndexOk { .. })));
}

#[test]
fn nobody_is_answered_before_the_opening_entry_is_committed() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.hears(3, ack(epoch, 2));
    sequencer.hears(3, ask(epoch, 1));
    let early = sequencer.timeout();
    assert!(!sent_to(&early, 3).iter().any(|body| matches!(body, Body::ReadIndexOk { .. })));
    sequencer.hears(3, ack(epoch, 3));
    assert_eq!(sent_to(&sequencer.timeout(), 3).first(), Some(&ok(epoch, 1, 3)));
}

/// Which round a question of server 3 takes.
fn round_for(sequencer: &mut Server, number: u64) -> Vec<u64> {
    let question = ask(sequencer.epoch(), number);
    sequencer.hears(3, question);
    rounds(&sequencer.timeout(), 2)
}

#[test]
fn one_that_does_not_count_confirms_nothing_by_asking() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 3));
    sequencer.timeout();
    assert_eq!(round_for(&mut sequencer, 1), [1], "it has not said how far it is");
    let held = |recovering| Ack { epoch, durable: LogIndex(2), round: 0, recovering };
    sequencer.hears(3, Body::Ack(held(true)));
    assert_eq!(round_for(&mut sequencer, 2), [2], "it lost its data");
    sequencer.hears(3, Body::Ack(held(false)));
    assert_eq!(round_for(&mut sequencer, 3), Vec::<u64>::new());
    // What is known of its next process is not on disk yet.
    let renewed = incarnation(3, 2);
    let known = Record::Known { peer: node(3), incarnation: renewed };
    let effects = sequencer.hears_in(3, renewed, Body::Ack(held(false)));
    assert_eq!(effects, [Write(known)]);
    sequencer.hears_in(3, renewed, ask(epoch, 4));
    assert_eq!(rounds(&sequencer.timeout(), 2), [3]);
}
