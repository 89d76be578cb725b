//! Which requests are refused, and that nothing becomes of these.

use kv_core::{CannotLead, Counter, Input, Key, NotDone, Operation, Outcome, Shortage, Waiting};
use kv_linear::{Body, Entry, Epoch};

use super::requests::{base, forward, sequenced};
use crate::stand::log::{next_entry, origin, put};
use crate::stand::{Given, Reply, Send, Server, ack, epoch, first, node, written};

fn unavailable() -> NotDone {
    NotDone::Unavailable { reachable: 1, needed: 2 }
}

fn refuse(epoch: Epoch, numbers: &[u64]) -> Given {
    let requests = numbers.iter().map(|number| (*number, unavailable())).collect();
    Send(2, Body::Refuse { epoch, receiver: first(2), requests })
}

/// A sequencer whose followers are both out of reach.
fn cut_off(log: &[Entry]) -> Server {
    let mut sequencer = Server::sequencer(log);
    sequencer.peer_down(2);
    sequencer.peer_down(3);
    sequencer
}

#[test]
fn a_request_is_refused_only_once_the_opening_entry_is_committed() {
    let mut sequencer = cut_off(&base());
    let epoch = sequencer.epoch();
    assert_eq!(sequencer.hears(2, forward(epoch, &[(1, put("a"))])), []);
    assert_eq!(sequencer.counter(Counter::Dropped), 1);
    sequencer.hears(2, ack(epoch, 3));
    let refused = [refuse(epoch, &[1])];
    assert_eq!(sequencer.hears(2, forward(epoch, &[(1, put("a"))])), refused);
    assert_eq!(sequenced(&sequencer.timeout()), Vec::<u64>::new());
}

#[test]
fn what_waits_in_the_queue_is_refused_only_once_the_opening_entry_is_committed() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, forward(epoch, &[(1, put("a"))]));
    sequencer.peer_down(2);
    sequencer.peer_down(3);
    assert_eq!(written(&sequencer.timeout()), []);
    assert_eq!(sequencer.counter(Counter::Queued), 1);
    sequencer.hears(2, ack(epoch, 3));
    assert_eq!(sequencer.timeout(), [refuse(epoch, &[1])]);
    assert_eq!(sequencer.counter(Counter::Queued), 0);
}

#[test]
fn what_was_refused_never_gets_a_position() {
    let mut sequencer = cut_off(&base());
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 3));
    let refused = [refuse(epoch, &[1])];
    assert_eq!(sequencer.hears(2, forward(epoch, &[(1, put("a"))])), refused);
    sequencer.peer_up(2);
    sequencer.peer_up(3);
    assert_eq!(sequencer.hears(2, forward(epoch, &[(1, put("a"))])), refused);
    assert_eq!(sequenced(&sequencer.timeout()), Vec::<u64>::new());
}

#[test]
fn a_request_with_a_position_from_an_earlier_epoch_is_neither_refused_nor_placed_again() {
    let mut log = base();
    log.push(next_entry(&log, epoch(0, 1), &[(origin(2, first(2), 1), put("b"))]));
    let mut sequencer = cut_off(&log);
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 4));
    let both = forward(epoch, &[(1, put("b")), (2, put("c"))]);
    assert_eq!(sequencer.hears(2, both), [refuse(epoch, &[2])]);
    sequencer.peer_up(2);
    sequencer.hears(2, forward(epoch, &[(1, put("b")), (3, put("d"))]));
    assert_eq!(sequenced(&sequencer.timeout()), [3]);
}

#[test]
fn a_full_disk_refuses_the_writes_that_wait() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("a"));
    let effects = sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    let refused = Outcome::NotDone(NotDone::Waiting(Waiting::DiskFull { node: node(1) }));
    assert_eq!(effects.first(), Some(&Reply(1, refused.clone())));
    assert_eq!(sequencer.request(3, put("a")), [Reply(3, refused)]);
    assert_eq!(sequenced(&sequencer.timeout()), Vec::<u64>::new());
}

#[test]
fn a_full_disk_takes_deletes_from_its_reserve() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    let delete = || Operation::delete(Key::new("k").unwrap());
    sequencer.request(1, put("a"));
    sequencer.request(2, delete());
    let full = NotDone::Waiting(Waiting::DiskFull { node: node(1) });
    let refused = Outcome::NotDone(full.clone());
    let reserve = Input::DiskShort { shortage: Shortage::SpaceForData };
    assert_eq!(sequencer.step(reserve), [Reply(1, refused.clone())]);
    assert_eq!(sequencer.request(3, put("a")), [Reply(3, refused.clone())]);
    assert_eq!(sequencer.request(4, delete()), []);
    assert_eq!(sequencer.request(5, Operation::OpenSession), []);
    let both = forward(epoch, &[(1, delete()), (2, put("c"))]);
    let requests = vec![(2, full)];
    let refuse = Body::Refuse { epoch, receiver: first(2), requests };
    assert_eq!(sequencer.hears(2, both), [Send(2, refuse)]);
    // It hands over to whoever has room, and goes on once the disks of the others are full as well.
    for peer in [2, 3] {
        let reason = Some(CannotLead::Unfit { node: node(peer) });
        sequencer.hears(peer, Body::RefuseLead { epoch, node: node(peer), reason });
    }
    // The two that waited or came, the session, and the one of another server.
    assert_eq!(sequenced(&sequencer.timeout()).len(), 4);
    let effects = sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(effects, []);
    assert_eq!(sequencer.request(6, delete()), [Reply(6, refused)]);
}

#[test]
fn with_too_few_servers_a_request_is_refused_before_it_has_a_position() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("a"));
    sequencer.peer_down(2);
    sequencer.peer_down(3);
    let refused = Outcome::NotDone(unavailable());
    assert_eq!(sequencer.request(2, put("b")), [Reply(2, refused.clone())]);
    assert_eq!(sequencer.timeout(), [Reply(1, refused)]);
    assert_eq!(sequencer.log()[0], 3);
}

#[test]
fn a_server_that_recovers_is_not_among_those_that_can_be_reached() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.peer_down(3);
    let epoch = sequencer.epoch();
    let durable = kv_linear::LogIndex(3);
    let acked = kv_linear::Ack { epoch, durable, round: 0, recovering: true };
    sequencer.hears(2, Body::Ack(acked));
    let refused = Outcome::NotDone(unavailable());
    assert_eq!(sequencer.request(1, put("a")), [Reply(1, refused)]);
}
