//! How a sequencer gives its place to another server.

use kv_core::{Input, Role, Shortage};
use kv_linear::{Body, Epoch, Record};

use super::stand::log::{get, log, put};
use super::stand::{Given, Send, Server, TIMEOUT, Write, ack, epoch, node, sent_to};

/// The epoch that a server asks for.
fn own(server: &Server, round: u32) -> Epoch {
    Epoch { round, owner: node(server.number), incarnation: server.incarnation }
}

#[test]
fn a_sequencer_that_is_rejected_asks_at_once_for_an_epoch_above() {
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let later = epoch(5, 3);
    let stepped_down = sequencer.hears(2, Body::Reject { promised: later });
    assert_eq!(stepped_down, [Write(Record::Promised { epoch: later })]);
    assert_eq!(sequencer.role(), Role::Follower);
    sequencer.persist_all();
    let epoch = own(&sequencer, 6);
    assert_eq!(sequencer.timeout(), [2, 3].map(|peer| Send(peer, Body::PreVote { epoch })));
    let mut sequencer = Server::sequencer(&log(&[(super::stand::epoch(0, 1), "")]));
    let own_epoch = sequencer.epoch();
    assert_eq!(sequencer.hears(2, Body::Reject { promised: own_epoch }), []);
    assert_eq!(sequencer.role(), Role::Sequencer);
}

#[test]
fn a_follower_that_is_to_lead_asks_for_promises_without_pre_votes() {
    let base = log(&[(epoch(0, 1), "")]);
    let mut server = Server::follower(&base);
    assert_eq!(server.hears(3, Body::Lead { epoch: epoch(0, 1) }), []);
    assert_eq!(server.told(Body::Lead { epoch: epoch(1, 1) }), []);
    let effects = server.told(Body::Lead { epoch: epoch(0, 1) });
    let epoch = own(&server, 1);
    let asked = [1, 3].map(|peer| Send(peer, Body::EpochRequest { epoch }));
    assert_eq!(effects.first(), Some(&Write(Record::Promised { epoch })));
    assert_eq!(effects.get(1..), Some(&asked[..]));
}

#[test]
fn a_sequencer_whose_disk_is_full_hands_over_once_to_the_follower_that_has_the_most() {
    let full = || Input::DiskShort { shortage: Shortage::Space };
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 1));
    sequencer.hears(3, ack(epoch, 2));
    let lead = |effects: &[Given]| {
        effects.iter().filter(|effect| matches!(effect, Send(_, Body::Lead { .. }))).count()
    };
    let effects = sequencer.step(full());
    assert_eq!(sent_to(&effects, 3), [Body::Lead { epoch }]);
    assert_eq!(lead(&effects), 1);
    assert_eq!(lead(&sequencer.step(full())), 0);
    sequencer.step(Input::DiskRoom);
    assert_eq!(lead(&sequencer.step(full())), 1);
}

#[test]
fn a_sequencer_that_the_others_could_not_replace_keeps_its_part_on_a_full_disk() {
    let mut sequencer = Server::settled_sequencer(&log(&[(epoch(0, 1), "")]));
    sequencer.peer_down(3);
    let effects = sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(effects, []);
    assert_eq!(sequencer.role(), Role::Sequencer);
    // It reads on.
    assert_eq!(sequencer.request(1, get()), []);
    assert!(matches!(sequencer.request(2, put("a")).as_slice(), [Given::Reply(2, _)]));
}

#[test]
fn a_server_with_a_full_disk_does_not_stand() {
    let mut server = Server::follower(&log(&[(epoch(0, 1), "")]));
    server.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(server.timeout_after(TIMEOUT * 2), []);
    assert_eq!(server.told(Body::Lead { epoch: epoch(0, 1) }), []);
}

#[test]
fn there_is_no_round_after_the_last() {
    let last = Epoch { round: Epoch::ROUND_MAX, ..epoch(0, 1) };
    let mut server = Server::member(2, last, &[]);
    assert_eq!(server.timeout_after(TIMEOUT * 2), []);
}
