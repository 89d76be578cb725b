//! How a server that lost its data counts again.

use kv_core::{ConsistencyEngine, Counter, NodeId, Role, Waiting};
use kv_linear::{Ack, Body, Entry, Epoch, LogIndex, Record, RecoverOk};

use crate::stand::log::{count, extend, log, record};
use crate::stand::{
    CLUSTER, Given, MS, Send, Server, Write, ack, cluster, disk, epoch, first, heartbeat,
    incarnation, node, sent_to, written,
};

const E: Epoch =
    Epoch { round: 0, owner: NodeId::FIRST, incarnation: kv_core::Incarnation((1 << 32) | 11) };

fn base() -> Vec<Entry> {
    log(&[(E, ""), (E, "a")])
}

/// Server 2, which was wiped, is in the cluster again, and knows the others' incarnations.
fn wiped_of(nodes: u16, quorum: u16) -> Server {
    let config = cluster(nodes, quorum, quorum);
    let mut records = disk(2, &config, Epoch::default(), &[]);
    records.push(Record::Renewed { incarnation: incarnation(2, 4), recovering: true });
    let mut server = Server::recover(2, &config, records);
    for peer in (1..=nodes).filter(|peer| *peer != 2) {
        server.peer_up(peer);
    }
    let asked = server.persist_all();
    let expected: Vec<Given> =
        (1..=nodes).filter(|peer| *peer != 2).map(|peer| Send(peer, Body::Recover)).collect();
    assert_eq!(asked, expected);
    server
}

fn wiped() -> Server {
    wiped_of(3, 2)
}

fn answer(server: &Server, promised: Epoch, sequenced: Option<usize>) -> RecoverOk {
    let sequenced = sequenced.map(|last| LogIndex(count(last)));
    let (receiver, recovering) = (server.incarnation, false);
    RecoverOk { receiver, promised, recovering, sequenced, known: Vec::new() }
}

fn ok(server: &Server, promised: Epoch, sequenced: Option<usize>) -> Body {
    Body::RecoverOk(answer(server, promised, sequenced))
}

/// Gives the server the sequencer's log, on disk; and what it writes then.
fn refill(server: &mut Server, epoch: Epoch, log: &[Entry]) -> Vec<Record> {
    let mut effects = server.fed(epoch, log, 0, 0);
    effects.extend(server.persist_all());
    let records = written(&effects);
    records.into_iter().filter(|record| !matches!(record, Record::Entries { .. })).collect()
}

/// By the clock, which shows 5 s: a peer that is away may know a process that the others never met.
#[test]
fn a_server_without_data_takes_a_number_above_all_that_it_can_have_had() {
    for (highest, expected) in [(0, 5), (3, 5), (4, 5), (9, 10)] {
        let mut server = Server::recover(2, &cluster(3, 2, 2), Vec::new());
        let [Send(1, Body::Join { nonce, .. })] = server.peer_up(1)[..] else { panic!() };
        let holding = Body::Holding { nonce, highest: incarnation(2, highest) };
        let effects = server.hears_of_cluster(1, holding);
        let [Write(Record::Joined { incarnation, .. })] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!(incarnation.counter(), expected);
    }
}

#[test]
fn a_server_without_data_asks_to_be_taken_in_and_then_to_recover() {
    let mut server = Server::recover(2, &cluster(3, 2, 2), Vec::new());
    let [Send(1, Body::Join { nonce, asked: 0 })] = server.peer_up(1)[..] else { panic!() };
    assert_eq!(server.peer_up(3), [Send(3, Body::Join { nonce, asked: 0 })]);
    let other = Body::Holding { nonce: nonce ^ 1, highest: incarnation(2, 3) };
    assert_eq!(server.hears_of_cluster(1, other), []);
    let effects = server.hears_of_cluster(1, Body::Holding { nonce, highest: incarnation(2, 3) });
    let [Write(Record::Joined { cluster, incarnation, known, recovering: true, .. })] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*cluster, incarnation.counter(), known.len()), (CLUSTER, 5, 0));
    assert_eq!(server.persist_all(), [1, 3].map(|peer| Send(peer, Body::Recover)));
    assert_eq!(server.role(), Role::Joining);
}

#[test]
fn it_counts_once_enough_have_noted_it_and_it_has_the_sequencers_log_on_disk() {
    let mut server = wiped();
    assert_eq!(server.told(ok(&server, E, Some(2))), []);
    assert_eq!(server.hears(3, ok(&server, E, None)), []);
    assert_eq!(server.fed(E, &base(), 0, 0), [Write(record(E, 0, &base(), 0))]);
    let recovered = Write(Record::Recovered);
    let recovering = Body::Ack(Ack { epoch: E, durable: LogIndex(2), round: 0, recovering: true });
    assert_eq!(server.persist_all(), [Send(1, recovering), recovered]);
    // It counts for nothing before that is on disk.
    assert_eq!(server.role(), Role::Joining);
    assert_eq!(sent_to(&server.told(heartbeat(E, &base(), 0)), 1), []);
    assert!(server.persist_all().contains(&Send(1, ack(E, 2))));
    assert_eq!(server.role(), Role::Follower);
}

#[test]
fn the_log_alone_or_the_answers_alone_are_not_enough() {
    let mut server = wiped();
    assert_eq!(refill(&mut server, E, &base()), []);
    assert_eq!(server.told(ok(&server, E, Some(2))), []);
    assert_eq!(server.hears(3, ok(&server, E, None)), [Write(Record::Recovered)]);
    let mut server = wiped();
    server.told(ok(&server, E, Some(2)));
    server.hears(3, ok(&server, E, None));
    assert_eq!(refill(&mut server, E, &base()[..1]), []);
    assert_eq!(refill(&mut server, E, &base()), [Record::Recovered]);
}

#[test]
fn so_many_sound_servers_must_answer_as_meet_every_quorum_of_promises() {
    let mut server = wiped_of(5, 3);
    assert_eq!(refill(&mut server, E, &base()), []);
    server.told(ok(&server, E, Some(2)));
    server.told(ok(&server, E, Some(2)));
    assert_eq!(server.hears(3, ok(&server, E, None)), []);
    let unsound = RecoverOk { recovering: true, ..answer(&server, E, None) };
    assert_eq!(server.hears(4, Body::RecoverOk(unsound)), []);
    assert_eq!(server.hears(5, ok(&server, E, None)), [Write(Record::Recovered)]);
}

#[test]
fn the_sequencer_must_answer_and_no_answer_may_know_of_a_later_promise() {
    let later = epoch(1, 3);
    let cases = [
        // None is the sequencer.
        (None, E, false),
        (Some(2), E, true),
        // Another epoch may have been opened since, with entries that this one lacks.
        (Some(2), later, false),
    ];
    for (sequenced, promised, counts) in cases {
        let mut server = wiped();
        refill(&mut server, E, &base());
        server.told(ok(&server, E, sequenced));
        let effects = server.hears(3, ok(&server, promised, None));
        assert_eq!(effects == [Write(Record::Recovered)], counts, "{sequenced:?} {promised}");
    }
    // What a server that recovers itself has promised counts too.
    let mut server = wiped_of(5, 3);
    refill(&mut server, E, &base());
    let unsound = RecoverOk { recovering: true, ..answer(&server, later, None) };
    server.hears(3, Body::RecoverOk(unsound));
    server.told(ok(&server, E, Some(2)));
    server.hears(4, ok(&server, E, None));
    assert_eq!(server.hears(5, ok(&server, E, None)), []);
}

#[test]
fn a_sequencer_of_a_later_epoch_than_was_answered_for_is_asked_anew() {
    let mut server = wiped();
    server.told(ok(&server, E, Some(2)));
    server.hears(3, ok(&server, E, None));
    let later = extend(&base(), &[(epoch(1, 3), "")]);
    assert_eq!(refill(&mut server, epoch(1, 3), &later), []);
    let asked = server.timeout_after(MS * 5000);
    assert_eq!(asked, [1, 3].map(|peer| Send(peer, Body::Recover)));
    server.told(ok(&server, epoch(1, 3), None));
    let effects = server.hears(3, ok(&server, epoch(1, 3), Some(3)));
    assert_eq!(effects, [Write(Record::Recovered)]);
}

#[test]
fn answers_to_a_former_incarnation_do_not_count() {
    let mut server = wiped();
    refill(&mut server, E, &base());
    for (from, sequenced) in [(1, Some(2)), (3, None)] {
        let former = RecoverOk { receiver: first(2), ..answer(&server, E, sequenced) };
        assert_eq!(server.hears(from, Body::RecoverOk(former)), []);
    }
    assert_eq!(server.counter(Counter::StrayMessages), 2);
}

#[test]
fn who_does_not_answer_is_asked_again_with_growing_waits() {
    let mut server = wiped();
    let mut asked_at = Vec::new();
    for ms in 1..=1600 {
        if sent_to(&server.timeout_after(MS), 3).contains(&Body::Recover) {
            asked_at.push(ms);
        }
    }
    assert_eq!(asked_at, [1, 101, 301, 701, 1501]);
}

#[test]
fn a_server_answers_once_the_new_incarnation_is_on_its_disk() {
    let wiped = incarnation(3, 2);
    let mut follower = Server::follower(&base());
    let noted = [Write(Record::Known { peer: node(3), incarnation: wiped })];
    assert_eq!(follower.hears_in(3, wiped, Body::Recover), noted);
    assert_eq!(follower.hears_in(3, wiped, Body::Recover), []);
    follower.persist_all();
    let known = vec![(node(1), first(1)), (node(3), wiped)];
    let (promised, recovering, sequenced) = (E, false, None);
    let answer = RecoverOk { receiver: wiped, promised, recovering, sequenced, known };
    let sent = [Send(3, Body::RecoverOk(answer.clone()))];
    assert_eq!(follower.hears_in(3, wiped, Body::Recover), sent);
    // Nor before its own promise is.
    follower.told(Body::EpochRequest { epoch: epoch(1, 1) });
    assert_eq!(follower.hears_in(3, wiped, Body::Recover), []);
    follower.persist_all();
    let answer = RecoverOk { promised: epoch(1, 1), ..answer };
    let sent = [Send(3, Body::RecoverOk(answer))];
    assert_eq!(follower.hears_in(3, wiped, Body::Recover), sent);
}

#[test]
fn a_sequencer_says_how_far_its_log_goes_once_its_opening_entry_is_on_disk() {
    let config = cluster(3, 2, 2);
    let mut sequencer = Server::recover(1, &config, disk(1, &config, E, &base()));
    sequencer.peer_up(2);
    sequencer.persist_all();
    let given = answer_of(&mut sequencer, 2);
    assert_eq!((given.promised, given.sequenced), (sequencer.epoch(), Some(LogIndex(3))));
    assert!(answer_of(&mut wiped(), 3).recovering);
}

fn answer_of(server: &mut Server, to: u16) -> RecoverOk {
    match server.hears(to, Body::Recover).as_slice() {
        [Send(_, Body::RecoverOk(answer))] => answer.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_recovers_and_crashes_goes_on_recovering() {
    let mut server = wiped();
    refill(&mut server, E, &base());
    let mut server = server.restart();
    assert!(matches!(
        server.peer_up(1).as_slice(),
        [Write(Record::Renewed { recovering: true, .. })]
    ));
    assert_eq!(server.persist_all(), [Send(1, Body::Recover)]);
    assert_eq!(server.log()[..2], [2, 2]);
}

#[test]
fn a_server_that_recovers_waits_for_as_many_as_it_takes() {
    let mut server = wiped();
    let waiting = |server: &Server| server.engine.status().waiting;
    assert_eq!(waiting(&server), Some(Waiting::Joining));
    server.peer_down(3);
    assert_eq!(waiting(&server), Some(Waiting::Servers { more: 1 }));
    server.peer_up(3);
    // Its requests would bear a name of which too few may know.
    server.fed(E, &base()[..1], 0, 0);
    assert_eq!(waiting(&server), Some(Waiting::Joining));
}

/// It promises, and whoever counts promises leaves out those of processes that are gone.
#[test]
fn a_server_that_recovers_learns_again_whom_the_others_know() {
    let mut server = wiped_of(5, 3);
    let known = vec![(node(2), incarnation(2, 9)), (node(4), incarnation(4, 7))];
    let told = RecoverOk { known, ..answer(&server, E, Some(2)) };
    let noted = Write(Record::Known { peer: node(4), incarnation: incarnation(4, 7) });
    assert_eq!(server.hears(1, Body::RecoverOk(told)), [noted]);
    for peer in [3, 5] {
        let told = ok(&server, E, None);
        server.hears(peer, told);
    }
    assert_eq!(refill(&mut server, E, &base()).last(), Some(&Record::Recovered));
    server.persist_all();
    server.told(Body::EpochRequest { epoch: epoch(1, 1) });
    let promised = server.persist_all();
    let [Send(1, Body::Promise(promise))] = promised.as_slice() else { panic!("{promised:?}") };
    assert!(promise.known.contains(&(node(4), incarnation(4, 7))), "{promise:?}");
}
