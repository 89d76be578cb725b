//! Reads: no entry of the log, but a round in which R servers confirm the sequencer.

use kv_core::{
    Answer, CommandResult, ConsistencyEngine, Counter, Done, Incarnation, Input, NodeId, NotDone,
    Outcome, RequestId, Served, Shortage, Value, Version, Versioned, Waiting,
};
use kv_linear::{Ack, Body, Epoch, LogIndex, Prepare, Record};

mod asking;
mod confirming;

use super::stand::log::{done, extend, get, put};
use super::stand::{
    Given, MS, Reply, Send, Server, Write, ack, cluster, first, heartbeat, incarnation, node,
    sent_to, written,
};
use crate::serving::requests::base;

/// The first epoch.
const E: Epoch = Epoch { round: 0, owner: NodeId::FIRST, incarnation: Incarnation((1 << 32) | 11) };

/// A server has received a round.
fn confirm(epoch: Epoch, round: u64) -> Body {
    Body::Ack(Ack { epoch, durable: LogIndex(2), round, recovering: false })
}

fn ask(epoch: Epoch, number: u64) -> Body {
    Body::ReadIndex { epoch, number }
}

fn granted(server: &Server, epoch: Epoch, number: u64, index: u64) -> Body {
    let (receiver, index) = (server.incarnation, LogIndex(index));
    Body::ReadIndexOk { epoch, receiver, number, index }
}

/// The answer to a read, from a state that is applied up to the write of this number.
fn found(id: u64, text: &str, number: u64) -> Given {
    let version = Version::Log(number);
    let value = Value::new(text.to_owned()).unwrap();
    let answer = Answer::Results(vec![CommandResult::Value(Some(Versioned { value, version }))]);
    let served = Served::Linearizable;
    Reply(id, Outcome::Done(Done { answer, version: Some(version), served }))
}

fn timed_out(id: u64) -> Given {
    Reply(id, Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 }))
}

/// The rounds that are named to a server.
fn rounds(effects: &[Given], peer: u16) -> Vec<u64> {
    let round = |body| match body {
        Body::Prepare(Prepare { round, .. }) => Some(round),
        _ => None,
    };
    sent_to(effects, peer).into_iter().filter_map(round).collect()
}

fn replies(effects: Vec<Given>) -> Vec<Given> {
    effects.into_iter().filter(|effect| matches!(effect, Reply(..))).collect()
}

/// A sequencer with a read of its own, for which it has begun the first round.
fn reading() -> (Server, Epoch) {
    let mut sequencer = Server::settled_sequencer(&base());
    assert_eq!(sequencer.request(1, get()), []);
    assert_eq!(rounds(&sequencer.timeout(), 3), [1]);
    let epoch = sequencer.epoch();
    (sequencer, epoch)
}

/// A sequencer of five servers, three of which must confirm it, with nothing that is not committed.
fn of_five() -> (Server, Epoch) {
    let mut sequencer = Server::sequencer_of(&cluster(5, 2, 3), &base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 3));
    sequencer.timeout();
    (sequencer, epoch)
}

/// What the second of the others that confirm a round brings.
fn confirmed(sequencer: &mut Server, epoch: Epoch, round: u64) -> Vec<Given> {
    assert_eq!(sequencer.hears(4, confirm(epoch, round)), []);
    sequencer.hears(2, confirm(epoch, round))
}

/// A follower with a read, for which it has asked the sequencer.
fn asked() -> Server {
    let mut follower = Server::follower(&base());
    assert_eq!(follower.request(1, get()), []);
    assert_eq!(follower.timeout(), [Send(1, ask(E, 1))]);
    follower
}

#[test]
fn a_read_is_answered_by_r_servers_and_leaves_nothing_in_the_log() {
    let (mut sequencer, epoch) = of_five();
    let before = (sequencer.log(), sequencer.records.len());
    assert_eq!(sequencer.request(1, get()), []);
    let effects = sequencer.timeout();
    for peer in 2..=5 {
        assert_eq!(rounds(&effects, peer), [1]);
    }
    assert_eq!(sequencer.hears(4, confirm(epoch, 1)), []);
    // Twice the same server is one, and an acknowledgement that was overtaken takes nothing back.
    assert_eq!(sequencer.hears(4, confirm(epoch, 1)), []);
    assert_eq!(sequencer.hears(4, confirm(epoch, 0)), []);
    assert_eq!(sequencer.hears(5, confirm(epoch, 1)), [found(1, "a", 1)]);
    assert_eq!((sequencer.log(), sequencer.records.len()), before);
}

#[test]
fn a_read_never_joins_a_round_that_began_before_it_came() {
    let (mut sequencer, epoch) = reading();
    assert_eq!(sequencer.request(2, get()), []);
    assert_eq!(sequencer.hears(2, confirm(epoch, 0)), []);
    assert_eq!(sequencer.hears(2, confirm(epoch, 1)), [found(1, "a", 1)]);
    assert_eq!(rounds(&sequencer.timeout(), 3), [2]);
    assert_eq!(sequencer.hears(3, confirm(epoch, 1)), []);
    assert_eq!(sequencer.hears(3, confirm(epoch, 2)), [found(2, "a", 1)]);
    // A later round confirms those before it.
    for id in [3, 4] {
        sequencer.request(id, get());
        sequencer.timeout();
    }
    let both = [found(3, "a", 1), found(4, "a", 1)];
    assert_eq!(sequencer.hears(2, confirm(epoch, 4)), both);
}

#[test]
fn only_a_present_process_that_has_promised_this_epoch_and_counts_confirms() {
    let (mut sequencer, epoch) = reading();
    assert_eq!(sequencer.hears(2, confirm(E, 1)), []);
    assert_eq!(sequencer.hears(2, confirm(Epoch { round: 1, ..epoch }, 1)), []);
    let durable = LogIndex(2);
    let recovering = Ack { epoch, durable, round: 1, recovering: true };
    assert_eq!(sequencer.hears(2, Body::Ack(recovering)), []);
    let renewed = incarnation(3, 2);
    let known = Record::Known { peer: node(3), incarnation: renewed };
    assert_eq!(sequencer.hears_in(3, renewed, confirm(epoch, 1)), [Write(known)]);
    assert_eq!(replies(sequencer.hears(3, confirm(epoch, 1))), []);
    assert_eq!(sequencer.persist_all(), [found(1, "a", 1)]);
}

#[test]
fn what_a_former_process_confirmed_is_forgotten_with_it() {
    let mut sequencer = Server::sequencer_of(&cluster(5, 2, 3), &base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 3));
    sequencer.request(1, get());
    sequencer.timeout();
    sequencer.hears(3, confirm(epoch, 1));
    sequencer.hears_in(3, incarnation(3, 2), confirm(epoch, 0));
    sequencer.persist_all();
    assert_eq!(sequencer.hears(4, confirm(epoch, 1)), []);
    assert_eq!(sequencer.hears(5, confirm(epoch, 1)), [found(1, "a", 1)]);
}

#[test]
fn no_round_begins_before_the_opening_entry_is_committed() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    assert_eq!(sequencer.request(1, get()), []);
    assert_eq!(sequencer.hears(3, ask(epoch, 1)), []);
    assert!(sequencer.timeout_after(MS * 100).iter().all(|effect| match effect {
        Send(_, Body::Prepare(prepare)) => prepare.round == 0,
        _ => false,
    }));
    assert_eq!(sequencer.hears(2, ack(epoch, 2)), []);
    assert_eq!(sequencer.hears(2, ack(epoch, 3)), []);
    assert_eq!(rounds(&sequencer.timeout(), 2), [1]);
    let answers = [Send(3, ok(epoch, 1, 3)), found(1, "a", 1)];
    assert_eq!(sequencer.hears(2, confirm(epoch, 1)), answers);
}

/// The answer to a question of server 3.
fn ok(epoch: Epoch, number: u64, index: u64) -> Body {
    Body::ReadIndexOk { epoch, receiver: first(3), number, index: LogIndex(index) }
}

#[test]
fn where_one_server_suffices_it_answers_at_once_unless_the_opening_entry_is_not_committed() {
    let mut sequencer = Server::sequencer_of(&cluster(3, 3, 1), &base());
    let epoch = sequencer.epoch();
    sequencer.request(1, get());
    assert_eq!(replies(sequencer.timeout()), []);
    sequencer.hears(2, ack(epoch, 3));
    sequencer.hears(3, ack(epoch, 3));
    assert_eq!(replies(sequencer.timeout()), [found(1, "a", 1)]);
    sequencer.hears(3, ask(epoch, 7));
    assert_eq!(sequencer.timeout().first(), Some(&Send(3, ok(epoch, 7, 3))));
}

#[test]
fn all_reads_that_wait_take_one_round() {
    let (mut sequencer, epoch) = of_five();
    for id in 1..=3 {
        assert_eq!(sequencer.request(id, get()), []);
    }
    // A late copy of an earlier question changes nothing.
    for number in [1, 2, 1] {
        assert_eq!(sequencer.hears(3, ask(epoch, number)), []);
    }
    assert_eq!(sequencer.engine.next_deadline(), Some(sequencer.now.mono));
    let effects = sequencer.timeout();
    assert_eq!((rounds(&effects, 2), rounds(&effects, 3)), (vec![1], vec![1]));
    let answers = confirmed(&mut sequencer, epoch, 1);
    assert_eq!(sent_to(&answers, 3), [ok(epoch, 2, 3)]);
    assert_eq!(replies(answers).len(), 3);
}

#[test]
fn the_commit_is_that_of_the_begin_of_the_round() {
    let (mut sequencer, epoch) = of_five();
    sequencer.request(1, get());
    sequencer.hears(3, ask(epoch, 1));
    sequencer.timeout();
    sequencer.request(2, put("b"));
    sequencer.timeout();
    sequencer.persist_all();
    assert_eq!(sequencer.hears(2, ack(epoch, 4)), [done(2, 2)]);
    // What the state has beyond that is in the answer too.
    let answers = [Send(3, ok(epoch, 1, 3)), found(1, "b", 2)];
    assert_eq!(confirmed(&mut sequencer, epoch, 1), answers);
}

#[test]
fn a_question_that_comes_again_gets_a_round_of_its_own() {
    let (mut sequencer, epoch) = of_five();
    for round in [1, 2] {
        sequencer.hears(3, ask(epoch, 1));
        assert_eq!(rounds(&sequencer.timeout(), 2), [round]);
        assert_eq!(confirmed(&mut sequencer, epoch, round - 1), []);
        assert_eq!(confirmed(&mut sequencer, epoch, round), [Send(3, ok(epoch, 1, 3))]);
    }
    // Of another epoch, and of a process that is over.
    sequencer.hears(3, ask(E, 2));
    assert_eq!(rounds(&sequencer.timeout(), 2), Vec::<u64>::new());
    sequencer.hears(3, ask(epoch, 3));
    sequencer.timeout();
    sequencer.hears_in(3, incarnation(3, 2), Body::Recover);
    assert_eq!(confirmed(&mut sequencer, epoch, 3), []);
}

#[test]
fn only_so_many_rounds_are_open_and_further_questions_wait() {
    let (mut sequencer, epoch) = of_five();
    for number in 1..=300 {
        sequencer.hears(3, ask(epoch, number));
        sequencer.timeout();
    }
    assert_eq!(rounds(&sequencer.timeout_after(MS * 100), 2), [256]);
    confirmed(&mut sequencer, epoch, 256);
    assert_eq!(sequencer.engine.next_deadline(), Some(sequencer.now.mono));
    assert_eq!(rounds(&sequencer.timeout(), 2), [257]);
    assert_eq!(confirmed(&mut sequencer, epoch, 257), [Send(3, ok(epoch, 300, 3))]);
}

#[test]
fn reads_go_on_with_a_full_disk() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.request(1, get());
    sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    sequencer.request(2, get());
    assert_eq!(written(&sequencer.timeout()), []);
    let answers = replies(sequencer.hears(2, confirm(epoch, 1)));
    assert_eq!(answers.len(), 2);
}

#[test]
fn a_read_whose_time_is_up_is_not_done() {
    let (mut sequencer, epoch) = reading();
    assert_eq!(replies(sequencer.timeout_after(MS * 59_999)), []);
    assert_eq!(replies(sequencer.timeout_after(MS)), [timed_out(1)]);
    assert_eq!(sequencer.hears(2, confirm(epoch, 1)), []);
    let mut follower = asked();
    follower.now.mono += MS * 59_999;
    assert_eq!(replies(follower.timeout()), []);
    assert_eq!(replies(follower.timeout_after(MS)), [timed_out(1)]);
    follower.told(heartbeat(E, &base(), 2));
    let late = granted(&follower, E, 1, 2);
    assert_eq!(follower.told(late), []);
}

#[test]
fn a_cancelled_read_asks_nobody_and_gets_no_answer() {
    let cancel = |id| Input::Cancel { id: RequestId(id) };
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, get());
    assert_eq!(sequencer.step(cancel(1)), []);
    assert_eq!(sequencer.timeout(), []);
    let mut follower = asked();
    assert_eq!(follower.step(cancel(1)), []);
    assert_eq!(follower.timeout_after(MS * 100), []);
    follower.told(heartbeat(E, &base(), 2));
    let answer = granted(&follower, E, 1, 2);
    assert_eq!(follower.told(answer), []);
}

#[test]
fn a_read_is_refused_where_too_few_servers_can_be_reached() {
    let mut sequencer = Server::sequencer_of(&cluster(3, 1, 3), &base());
    sequencer.peer_down(3);
    let unavailable = NotDone::Unavailable { reachable: 2, needed: 3 };
    assert_eq!(sequencer.request(1, get()), [Reply(1, Outcome::NotDone(unavailable))]);
    let mut follower = Server::member_of(&cluster(3, 1, 3), 2, E, &base());
    follower.told(heartbeat(E, &base(), 0));
    follower.timeout();
    follower.request(1, get());
    let refused = NotDone::Waiting(Waiting::Sequencer { node: node(1) });
    assert_eq!(follower.peer_down(1), [Reply(1, Outcome::NotDone(refused))]);
}

/// What a server is told whose questions up to this one cannot be answered.
fn refused(epoch: Epoch, number: u64) -> Given {
    let (receiver, reason) = (first(2), NotDone::Unavailable { reachable: 2, needed: 3 });
    Send(2, Body::RefuseReads { epoch, receiver, number, reason })
}

#[test]
fn a_question_is_refused_as_soon_as_too_few_servers_can_be_reached() {
    let unavailable = Outcome::NotDone(NotDone::Unavailable { reachable: 2, needed: 3 });
    let mut sequencer = Server::sequencer_of(&cluster(3, 2, 3), &base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 3));
    sequencer.timeout();
    // One waits for a round's confirmations when the connection closes, one comes after that.
    sequencer.request(1, get());
    sequencer.hears(2, ask(epoch, 1));
    sequencer.timeout();
    sequencer.peer_down(3);
    let effects = sequencer.timeout();
    assert!(effects.contains(&refused(epoch, 1)), "{effects:?}");
    assert_eq!(replies(effects), [Reply(1, unavailable.clone())]);
    sequencer.hears(2, ask(epoch, 2));
    assert_eq!(sequencer.timeout(), [refused(epoch, 2)]);
    // Writes take two, and go on.
    sequencer.request(2, put("b"));
    assert_eq!(written(&sequencer.timeout()).len(), 1);

    let mut follower = asked();
    let refuse = |epoch, receiver| {
        let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
        Body::RefuseReads { epoch, receiver, number: 1, reason }
    };
    let own = follower.incarnation;
    assert_eq!(follower.told(refuse(epoch, own)), [], "of another epoch");
    assert_eq!(follower.told(refuse(E, first(2))), [], "to a former process");
    assert_eq!(follower.told(refuse(E, own)), [Reply(1, unavailable)]);
}

#[test]
fn a_follower_of_a_quiet_sequencer_hands_it_requests_so_that_it_says_what_is_missing() {
    let mut follower = Server::member_of(&cluster(3, 1, 3), 2, E, &base());
    follower.told(heartbeat(E, &base(), 0));
    follower.peer_down(3);
    let Body::Prepare(shown) = heartbeat(E, &base(), 0) else { panic!() };
    for _ in 0..30 {
        follower.timeout_after(MS * 100);
        follower.told(Body::Prepare(Prepare { probe: true, ..shown.clone() }));
    }
    follower.request(1, get());
    assert!(follower.timeout().contains(&Send(1, ask(E, 1))));
}

#[test]
fn a_round_that_was_not_sent_is_not_confirmed() {
    let (mut sequencer, epoch) = reading();
    let malformed = sequencer.counter(Counter::Malformed);
    assert_eq!(sequencer.hears(2, confirm(epoch, 9)), []);
    assert_eq!(sequencer.counter(Counter::Malformed), malformed + 1);
    sequencer.request(2, get());
    assert_eq!(replies(sequencer.hears(2, confirm(epoch, 1))).len(), 1);
}

#[test]
fn a_follower_with_a_full_disk_answers_reads_also_in_a_later_epoch() {
    let mut follower = asked();
    follower.step(Input::DiskShort { shortage: Shortage::Space });
    let next = super::stand::epoch(1, 3);
    let longer = extend(&base(), &[(next, ""), (next, "b")]);
    follower.fed(next, &longer, 2, 4);
    assert_eq!(sent_to(&follower.timeout(), 3).last(), Some(&ask(next, 2)));
    let answer = granted(&follower, next, 2, 4);
    assert_eq!(follower.hears(3, answer), [found(1, "b", 2)]);
    // What it does not receive it says.
    follower.request(2, get());
    follower.timeout();
    let answer = granted(&follower, next, 3, 9);
    assert_eq!(follower.hears(3, answer), []);
    let full = Outcome::NotDone(NotDone::Waiting(Waiting::DiskFull { node: node(2) }));
    assert_eq!(replies(follower.timeout_after(MS * 60_000)), [Reply(2, full)]);
}
