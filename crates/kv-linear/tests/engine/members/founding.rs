//! How a cluster is founded, and by whom.

use kv_core::{ConsistencyEngine, Incarnation, NodeId, NotDone, Outcome, Role, Waiting};
use kv_linear::{Body, Epoch, LogIndex, Record};

use crate::stand::log::{done, put};
use crate::stand::{
    CLUSTER, Given, MS, Reply, Send, Server, UNKNOWN, Write, ack, cluster, disk, epoch, first,
    incarnation, node, sent_to, written,
};

/// The names under which servers 2 and 3 have the first incarnations of the stand.
const NAMES: [(u16, u64); 2] = [(2, 21), (3, 31)];

/// Server 1, empty, and what it calls itself.
fn founder(nodes: u16, write: u16) -> (Server, u64) {
    let mut server = Server::recover(1, &cluster(nodes, write, 2), Vec::new());
    let hello = server.peer_up(2);
    let [Send(2, Body::Hello { nonce })] = hello[..] else { panic!("{hello:?}") };
    (server, nonce)
}

fn joins(asked: u64, (peer, nonce): (u16, u64), server: &mut Server) -> Vec<Given> {
    server.hears_empty(peer, Body::Join { nonce, asked })
}

fn waiting(server: &Server) -> Option<Waiting> {
    server.engine.status().waiting
}

fn is_founded(effects: &[Given]) -> bool {
    matches!(written(effects).as_slice(), [Record::Founded { .. }, Record::Opened { .. }])
}

#[test]
fn a_cluster_is_founded_once_all_that_are_connected_say_that_they_are_empty() {
    let (mut server, asked) = founder(3, 2);
    assert_eq!(server.peer_up(3), [Send(3, Body::Hello { nonce: asked })]);
    assert_eq!(waiting(&server), Some(Waiting::Servers { more: 1 }));
    assert_eq!(joins(asked, NAMES[0], &mut server), []);
    assert_eq!(waiting(&server), Some(Waiting::Joining));
    let effects = joins(asked, NAMES[1], &mut server);
    let [
        Write(Record::Founded { cluster, incarnation, members, .. }),
        Write(Record::Opened { entry }),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(members, &[2, 3].map(|peer| (node(peer), first(peer))));
    assert_eq!(entry.header().epoch, Epoch::first(node(1), *incarnation));
    assert_eq!(entry.index().0, 1);
    assert_eq!(server.cluster, Some(*cluster));
    assert_eq!(incarnation.counter(), 1);
}

/// Server 1, which has asked for its founding with servers 2 and 3 to be written.
fn founding() -> Server {
    let (mut server, asked) = founder(3, 2);
    server.peer_up(3);
    joins(asked, NAMES[0], &mut server);
    assert!(is_founded(&joins(asked, NAMES[1], &mut server)));
    server
}

fn welcome(nonce: u64, members: Vec<(NodeId, Incarnation)>) -> Body {
    Body::Welcome { nonce, members, founded_on: LogIndex::ZERO }
}

#[test]
fn members_are_told_once_the_founding_is_on_disk() {
    let mut server = founding();
    assert_eq!(server.timeout_after(MS * 200), []);
    assert_eq!(server.engine.status().waiting, Some(Waiting::OwnDisk));
    let mut members = [2, 3].map(|peer| (node(peer), first(peer))).to_vec();
    members.push((node(1), server.incarnation));
    let welcome = NAMES.map(|(peer, nonce)| Send(peer, welcome(nonce, members.clone())));
    assert_eq!(server.persist_up_to(1), welcome);
    // Nor do they get the first entry before the promise of its epoch is there.
    assert_eq!(server.timeout_after(MS * 200), []);
    server.persist_all();
    let shown = server.timeout();
    for peer in [2, 3] {
        let sent = sent_to(&shown, peer);
        assert!(sent.iter().any(|body| matches!(body, Body::Prepare(p) if p.entries.len() == 1)));
    }
}

#[test]
fn a_cluster_works_from_its_founding_on() {
    let mut server = founding();
    server.persist_all();
    let epoch = Epoch::first(node(1), server.incarnation);
    server.hears(2, ack(epoch, 1));
    assert_eq!(server.request(1, put("a")), []);
    server.timeout();
    server.persist_all();
    assert_eq!(server.hears(2, ack(epoch, 2)), [done(1, 1)]);
}

#[test]
fn a_connected_peer_that_has_not_answered_delays_founding_for_a_while() {
    let (mut server, asked) = founder(3, 2);
    server.peer_up(3);
    assert_eq!(joins(asked, NAMES[0], &mut server), []);
    assert!(!is_founded(&server.timeout_after(MS * 999)));
    assert!(is_founded(&server.timeout_after(MS)));
    // One whose connection has closed does not.
    let (mut server, asked) = founder(3, 2);
    server.peer_up(3);
    joins(asked, NAMES[0], &mut server);
    assert!(is_founded(&server.peer_down(3)));
}

#[test]
fn no_cluster_is_founded_with_fewer_servers_than_w_or_r() {
    let (mut server, asked) = founder(3, 3);
    joins(asked, NAMES[0], &mut server);
    assert!(!is_founded(&server.timeout_after(MS * 5000)));
    assert_eq!(waiting(&server), Some(Waiting::Servers { more: 1 }));
    let refused = Outcome::NotDone(NotDone::Waiting(Waiting::Servers { more: 1 }));
    assert_eq!(server.request(1, put("a")), [Reply(1, refused)]);
    assert!(is_founded(&joins(asked, NAMES[1], &mut server)));
}

#[test]
fn a_server_that_says_unasked_that_it_is_empty_is_asked() {
    let (mut server, asked) = founder(3, 2);
    server.peer_down(3);
    for stale in [0, asked ^ 1] {
        let hello = [Send(2, Body::Hello { nonce: asked })];
        assert_eq!(joins(stale, NAMES[0], &mut server), hello);
    }
    assert_eq!(waiting(&server), Some(Waiting::Servers { more: 1 }));
    assert!(is_founded(&joins(asked, NAMES[0], &mut server)));
}

#[test]
fn beside_a_server_that_holds_a_cluster_none_is_founded() {
    let (mut server, asked) = founder(3, 2);
    let hello = [Send(3, Body::Hello { nonce: asked })];
    assert_eq!(server.hears_of_cluster(3, Body::Recover), hello);
    joins(asked, NAMES[0], &mut server);
    assert!(!is_founded(&server.timeout_after(MS * 5000)));
    assert_eq!(waiting(&server), Some(Waiting::LostMemory { node: node(1) }));
    // One that is only out of reach still holds.
    assert!(!is_founded(&server.peer_down(3)));
    server.peer_up(3);
    assert!(is_founded(&joins(asked, NAMES[1], &mut server)));
}

#[test]
fn a_founder_that_meets_a_cluster_recovers_in_it() {
    let (mut server, asked) = founder(3, 2);
    let highest = incarnation(1, 6);
    let other = Body::Holding { nonce: asked ^ 1, highest };
    assert_eq!(server.hears_of_cluster(2, other), []);
    assert_eq!(server.role(), Role::Founding);
    let effects = server.hears_of_cluster(2, Body::Holding { nonce: asked, highest });
    let [Write(Record::Joined { cluster: CLUSTER, incarnation, recovering: true, .. })] =
        effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(incarnation.counter(), 7);
    assert_eq!(server.persist_all(), [Send(2, Body::Recover)]);
}

#[test]
fn the_founder_learns_a_servers_name_once_it_is_on_its_disk_and_the_server_keeps_it() {
    let config = cluster(3, 2, 2);
    let mut server = Server::recover(2, &config, Vec::new());
    let [Send(1, Body::Join { nonce, asked: 0 })] = server.peer_up(1)[..] else { panic!() };
    let named = [Write(Record::Named { nonce })];
    assert_eq!(server.hears_empty(1, Body::Hello { nonce: 7 }), named);
    // The founder answers a Join that names no Hello with a Hello: neither may go on without end.
    assert_eq!(server.hears_empty(1, Body::Hello { nonce: 7 }), []);
    let unasked = [Send(1, Body::Join { nonce, asked: 0 })];
    assert_eq!(server.timeout_after(MS * 500), unasked);
    let join = [Send(1, Body::Join { nonce, asked: 7 })];
    assert_eq!(server.persist_all(), join);
    assert_eq!(server.hears_empty(1, Body::Hello { nonce: 7 }), join);
    let mut again = server.restart();
    assert_eq!(again.peer_up(1), unasked);
    assert_eq!(again.hears_empty(1, Body::Hello { nonce: 7 }), join);
    // A checkpoint covers no record of a name that has led to nothing yet.
    assert_eq!(server.checkpoint().covers.0, 0);
}

#[test]
fn a_member_takes_part_from_the_founding_on() {
    let config = cluster(3, 2, 2);
    let mut server = Server::recover(2, &config, vec![Record::Named { nonce: 21 }]);
    server.peer_up(1);
    let members = [1, 2, 3].map(|number| (node(number), first(number))).to_vec();
    let without = vec![(node(1), first(1)), (node(2), first(3))];
    let other_name = welcome(22, members.clone());
    assert_eq!(server.hears_of_cluster(1, other_name), []);
    assert_eq!(server.hears_of_cluster(1, welcome(21, without)), []);
    let effects = server.hears_of_cluster(1, welcome(21, members));
    let known = [1, 3].map(|number| (node(number), first(number))).to_vec();
    let joined = Record::Joined {
        cluster: CLUSTER,
        configuration: config,
        incarnation: first(2),
        known,
        recovering: false,
    };
    assert_eq!(effects, [Write(joined)]);
    assert_eq!(server.persist_all(), []);
    assert_eq!(server.role(), Role::Follower);
}

#[test]
fn every_member_can_tell_one_that_missed_it_that_it_is_one_too() {
    let mut server = Server::follower(&[]);
    let mut members: Vec<_> = [1, 3].map(|number| (node(number), first(number))).to_vec();
    members.push((node(2), server.incarnation));
    let join = |nonce| Body::Join { nonce, asked: 0 };
    let welcome = welcome(31, members);
    assert_eq!(server.hears_empty(3, join(31)), [Send(3, welcome)]);
    // One of another name, or one that is known to be over, has lost its data.
    let holding = |nonce, highest| [Send(3, Body::Holding { nonce, highest })];
    assert_eq!(server.hears_empty(3, join(32)), holding(32, first(3)));
    assert_eq!(server.hears_empty(3, Body::Hello { nonce: 31 }), holding(31, first(3)));
    let renewed = Incarnation((2 << 32) | 32);
    server.hears_in(3, renewed, Body::Recover);
    assert_eq!(server.hears_empty(3, join(31)), holding(31, renewed));
}

#[test]
fn a_server_that_recovers_says_nothing_of_who_was_a_member() {
    let config = cluster(3, 2, 2);
    let mut records = disk(2, &config, epoch(0, 1), &[]);
    records.push(Record::Renewed { incarnation: incarnation(2, 3), recovering: true });
    let mut server = Server::recover(2, &config, records);
    server.peer_up(3);
    server.persist_all();
    for nonce in [31, 32] {
        assert_eq!(server.hears_empty(3, Body::Join { nonce, asked: 0 }), []);
    }
}

#[test]
fn a_single_server_founds_a_cluster_at_its_first_step() {
    let mut server = Server::recover(1, &cluster(1, 1, 1), Vec::new());
    let effects = server.request(1, put("a"));
    assert!(is_founded(&effects), "{effects:?}");
    server.persist_all();
    server.timeout();
    assert_eq!(server.persist_all(), [done(1, 1)]);
    assert_ne!(server.incarnation, UNKNOWN);
}

#[test]
fn only_the_lowest_voter_founds() {
    let mut server = Server::recover(2, &cluster(3, 2, 2), vec![Record::Named { nonce: 21 }]);
    server.peer_up(3);
    // Only one whose log was kept asks so beside the lowest; it is answered, and not asked back.
    let join = Body::Join { nonce: 21, asked: 5 };
    assert_eq!(server.hears_empty(3, Body::Hello { nonce: 5 }), [Send(3, join)]);
    assert_eq!(server.hears_empty(3, Body::Join { nonce: 31, asked: 0 }), []);
    assert!(!is_founded(&server.timeout_after(MS * 5000)));
    assert_eq!(waiting(&server), Some(Waiting::Sequencer { node: node(1) }));
}
