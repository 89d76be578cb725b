//! A server that left its cluster with its log founds another one.

use kv_core::{ClusterId, ConsistencyEngine, Incarnation, ViewScope, Waiting};
use kv_linear::{Body, Entry, LogIndex, Record};

use crate::stand::log::{extend, log, record};
use crate::stand::{
    CLUSTER, Given, MS, Send, Server, Write, ack, cluster, disk, epoch, first, incarnation, node,
};

const NEXT: ClusterId = ClusterId(0xbee);

fn kept() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a"), (epoch(3, 3), ""), (epoch(3, 3), "b")])
}

/// Server 2, whose log was kept, with the name under which it asks the others.
fn salvaged() -> (Server, u64) {
    let config = cluster(3, 2, 2);
    let mut records = disk(2, &config, epoch(3, 3), &kept());
    records.push(Record::Known { peer: node(3), incarnation: incarnation(3, 8) });
    records.push(Record::Salvaged { cluster: NEXT });
    let mut server = Server::recover(2, &config, records);
    let hello = server.peer_up(1);
    let [Send(1, Body::Hello { nonce })] = hello[..] else { panic!("{hello:?}") };
    assert_eq!(server.peer_up(3), [Send(3, Body::Hello { nonce })]);
    (server, nonce)
}

fn found(server: &mut Server, asked: u64) -> Vec<Given> {
    assert_eq!(server.hears_empty(1, Body::Join { nonce: 17, asked }), []);
    server.hears_empty(3, Body::Join { nonce: 37, asked })
}

#[test]
fn a_cluster_is_founded_on_a_log_that_was_kept() {
    let (mut server, asked) = salvaged();
    let effects = found(&mut server, asked);
    let [
        Write(Record::FoundedOn { last: LogIndex(4) }),
        Write(Record::Founded { cluster, incarnation, members, .. }),
        Write(Record::Opened { entry }),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(*cluster, NEXT);
    // The log tells requests of former processes from later ones by their numbers.
    let numbered = |counter: u64, nonce: u64| Incarnation((counter << 32) | nonce);
    assert_eq!(members, &[(node(1), numbered(5, 17)), (node(3), numbered(9, 37))]);
    assert!(*incarnation > first(2));
    assert_eq!((entry.index().0, entry.header().epoch.round), (5, 4));
    let epoch = entry.header().epoch;
    server.peers.extend([(1, numbered(5, 17)), (3, numbered(9, 37))]);
    server.persist_all();
    server.timeout();
    // What it had is committed with the first entry of the new cluster.
    server.hears(1, ack(epoch, 5));
    assert_eq!(server.log(), [5, 5, 5, 5]);
}

#[test]
fn a_server_whose_log_was_kept_keeps_it_until_it_has_founded() {
    let (mut server, asked) = salvaged();
    // A checkpoint would say that it is empty; a backup is not to be refused.
    assert!(server.engine.open_view(ViewScope::Changes).is_none());
    assert!(server.engine.open_view(ViewScope::Whole).is_some());
    let mut again = server.restart();
    assert!(matches!(again.peer_up(1)[..], [Send(1, Body::Hello { .. })]));
    assert_eq!(again.log(), [4, 4, 0, 0]);
    found(&mut server, asked);
    server.persist_all();
    // Nor does it say on which log a cluster was founded that may not have committed it.
    assert!(server.engine.open_view(ViewScope::Changes).is_none());
    let mut again = server.restart();
    again.timeout();
    assert_eq!(again.engine.status().cluster_id, Some(NEXT));
    assert_eq!(again.log()[0], 6, "it opens another epoch");
}

#[test]
fn it_founds_nothing_beside_a_server_that_has_data_and_never_joins_it() {
    let (mut server, asked) = salvaged();
    assert_eq!(server.hears_empty(1, Body::Join { nonce: 17, asked }), []);
    let holding = Body::Holding { nonce: asked, highest: first(2) };
    assert_eq!(server.hears_of_cluster(3, holding), []);
    let waiting = server.engine.status().waiting;
    assert_eq!(waiting, Some(Waiting::OtherCluster { node: node(3), ours: NEXT, theirs: CLUSTER }));
    assert!(server.timeout_after(MS * 5000).iter().all(|effect| !matches!(effect, Write(_))));
    assert_eq!(server.log()[0], 4);
}

#[test]
fn an_empty_server_that_would_found_a_cluster_leaves_that_to_one_with_a_log() {
    let config = cluster(3, 2, 2);
    let mut empty = Server::recover(1, &config, Vec::new());
    let hello = empty.peer_up(2);
    let [Send(2, Body::Hello { .. })] = hello[..] else { panic!("{hello:?}") };
    let named = empty.hears_empty(2, Body::Hello { nonce: 77 });
    let [Write(Record::Named { nonce })] = named[..] else { panic!("{named:?}") };
    assert!(empty.persist_all().contains(&Send(2, Body::Join { nonce, asked: 77 })));
    let incarnation = Incarnation((9 << 32) | (nonce & 0xffff_ffff));
    let members = vec![(node(1), incarnation), (node(2), first(2))];
    let welcome = Body::Welcome { nonce, members, founded_on: LogIndex(4) };
    let joined = empty.hears_of_cluster(2, welcome);
    let [
        Write(Record::FoundedOn { last: LogIndex(4) }),
        Write(Record::Joined { incarnation: taken, recovering: false, .. }),
    ] = joined.as_slice()
    else {
        panic!("{joined:?}")
    };
    assert_eq!(*taken, incarnation);
    empty.persist_all();
    // Until it has that log, it is not one of those whose promises stand for it: the kept log is on one
    // disk alone.
    empty.incarnation = incarnation;
    let mut again = empty.restart();
    again.peer_up(2);
    again.peer_up(3);
    let asked = again.hears(2, Body::EpochRequest { epoch: epoch(5, 2) });
    assert!(!asked.iter().any(|effect| matches!(effect, Write(Record::Promised { .. }))));
    again.peer_down(2);
    let alone = again.timeout_after(MS * 10_000);
    assert!(
        !alone.iter().any(|effect| matches!(effect, Send(_, Body::PreVote { .. }))),
        "{alone:?}"
    );
    let log = extend(&kept(), &[(epoch(4, 2), "")]);
    assert!(empty.fed(epoch(4, 2), &log, 0, 0).contains(&Write(record(epoch(4, 2), 0, &log, 0))));
}

/// It may have been counted under that name in a founding of which it does not know.
#[test]
fn a_server_that_was_asked_keeps_its_name_over_a_restart_and_founds_nothing() {
    let config = cluster(3, 2, 2);
    let mut server = Server::recover(1, &config, vec![Record::Named { nonce: 21 }]);
    assert_eq!(server.peer_up(2), [Send(2, Body::Join { nonce: 21, asked: 0 })]);
}
