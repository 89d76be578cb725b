//! Whole clusters in one process, without faults.

use std::time::Duration;

use kv_core::local::LocalCluster;
use kv_core::{
    Answer, Batch, Check, ClusterConfig, Command, CommandResult, Condition, ConsistencyEngine,
    Done, Dump, Feature, Key, Level, NodeId, NotDone, Operation, Outcome, Quorum, QuorumError,
    RequestOptions, Served, Value, Version, Waiting,
};
use kv_eventual::EventualEngine;

type Cluster = LocalCluster<EventualEngine>;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

fn start(nodes: u16, w: u16, r: u16) -> Cluster {
    let voters = (1..=nodes).map(node);
    let cluster = ClusterConfig::new(voters, Quorum::Count(w), Quorum::Count(r)).unwrap();
    Cluster::start(cluster, 7).unwrap()
}

fn done(outcome: Option<Outcome>) -> Done {
    match outcome {
        Some(Outcome::Done(done)) => done,
        other => panic!("not done: {other:?}"),
    }
}

fn shown(done: &Done) -> Option<String> {
    match &done.answer {
        Answer::Results(results) => match results.as_slice() {
            [CommandResult::Value(found)] => found
                .as_ref()
                .map(|found| String::from_utf8(found.value.as_bytes().to_vec()).unwrap()),
            other => panic!("not the result of a get: {other:?}"),
        },
        Answer::Page(page) => panic!("a page: {page:?}"),
    }
}

fn get(cluster: &mut Cluster, at: u16, name: &str) -> Option<String> {
    shown(&done(cluster.execute(node(at), Operation::get(key(name)))))
}

fn put(cluster: &mut Cluster, at: u16, name: &str, text: &str) -> Version {
    let put = Operation::put(key(name), value(text));
    done(cluster.execute(node(at), put)).version.unwrap()
}

fn ask(cluster: &mut Cluster, op: Operation, options: RequestOptions) -> Option<Outcome> {
    let id = cluster.submit(node(1), op, options);
    cluster.deliver_all();
    cluster.take_reply(id)
}

#[test]
fn what_is_put_at_one_server_is_got_at_every_other() {
    let mut cluster = start(3, 2, 2);
    let first = put(&mut cluster, 1, "x", "1");
    let second = put(&mut cluster, 2, "x", "2");
    assert!(first < second);
    for at in 1..=3 {
        assert_eq!(get(&mut cluster, at, "x").as_deref(), Some("2"));
        assert_eq!(get(&mut cluster, at, "y"), None);
    }
}

#[test]
fn replies_say_how_many_servers_served() {
    let mut cluster = start(3, 3, 2);
    let put = Operation::put(key("x"), value("1"));
    let put = done(cluster.execute(node(1), put));
    assert_eq!(put.served, Served::Quorum { servers: 3 });
    assert_eq!(put.answer, Answer::Results(vec![CommandResult::Written]));
    let get = done(cluster.execute(node(2), Operation::get(key("x"))));
    assert_eq!(get.served, Served::Quorum { servers: 2 });
    assert_eq!(get.version, None);
}

#[test]
fn a_deleted_key_is_gone_and_can_come_back() {
    let mut cluster = start(3, 2, 2);
    put(&mut cluster, 1, "x", "1");
    let delete = done(cluster.execute(node(2), Operation::delete(key("x"))));
    assert_eq!(delete.answer, Answer::Results(vec![CommandResult::Written]));
    assert_eq!(get(&mut cluster, 3, "x"), None);
    put(&mut cluster, 3, "x", "2");
    assert_eq!(get(&mut cluster, 1, "x").as_deref(), Some("2"));
}

#[test]
fn all_servers_hold_the_same_after_writes_at_all_of_them() {
    let mut cluster = start(5, 1, 1);
    for n in 0..200u16 {
        let at = node(n % 5 + 1);
        let op = if n % 7 == 0 {
            Operation::delete(key(&format!("k{}", n % 13)))
        } else {
            Operation::put(key(&format!("k{}", n % 13)), value(&n.to_string()))
        };
        cluster.submit(at, op, RequestOptions::default());
    }
    cluster.deliver_all();
    let fingerprints: Vec<_> =
        (1..=5).map(|n| cluster.engine(node(n)).unwrap().fingerprint()).collect();
    assert!(fingerprints.windows(2).all(|pair| pair[0] == pair[1]));
    let empty = start(5, 1, 1);
    assert_ne!(fingerprints[0], empty.engine(node(1)).unwrap().fingerprint());
}

#[test]
fn a_request_may_bring_its_own_quorums() {
    let mut cluster = start(3, 1, 1);
    let options =
        RequestOptions::default().with_write_quorum(Quorum::All).with_read_quorum(Quorum::Majority);
    let put = ask(&mut cluster, Operation::put(key("x"), value("1")), options.clone());
    assert_eq!(done(put).served, Served::Quorum { servers: 3 });
    let get = ask(&mut cluster, Operation::get(key("x")), options);
    assert_eq!(done(get).served, Served::Quorum { servers: 2 });
}

#[test]
fn a_quorum_that_cannot_be_had_is_refused() {
    let mut cluster = start(3, 1, 1);
    for (asked, error) in [(0, QuorumError::Zero), (4, QuorumError::TooMany { asked: 4, nodes: 3 })]
    {
        let options = RequestOptions::default().with_write_quorum(Quorum::Count(asked));
        let put = ask(&mut cluster, Operation::put(key("x"), value("1")), options);
        assert_eq!(put, Some(Outcome::NotDone(NotDone::Quorum(error))));
    }
    assert_eq!(get(&mut cluster, 1, "x"), None);
}

#[test]
fn what_the_engine_cannot_keep_is_refused_by_name() {
    let mut cluster = start(3, 2, 2);
    let get = Command::Get { key: key("x") };
    let condition = Condition { key: key("x"), check: Check::Absent };
    let batch = |conditions, commands| Operation::Batch(Batch::new(conditions, commands).unwrap());
    let cases = [
        (batch(vec![condition], vec![get.clone()]), Feature::Conditions),
        (batch(vec![], vec![get.clone(), get.clone()]), Feature::Transactions),
        (Operation::of(Command::Increment { key: key("x"), by: 1 }), Feature::Increment),
        (Operation::of(Command::Append { key: key("x"), suffix: value("y") }), Feature::Append),
        (
            Operation::of(Command::Put {
                key: key("x"),
                value: value("y"),
                time_to_live: Some(Duration::from_secs(1)),
            }),
            Feature::TimeToLive,
        ),
    ];
    for (op, feature) in cases {
        let outcome = ask(&mut cluster, op, RequestOptions::default());
        let expected = Outcome::NotDone(NotDone::NotSupported(feature));
        assert_eq!(outcome, Some(expected));
    }
    let options = RequestOptions::default().with_level(Level::Sequential);
    let outcome = ask(&mut cluster, Operation::of(get), options);
    let expected = Outcome::NotDone(NotDone::NotSupported(Feature::Level));
    assert_eq!(outcome, Some(expected));
}

#[test]
fn a_dump_comes_in_pages_without_tombstones() {
    let mut cluster = start(3, 3, 1);
    for n in 0..10 {
        put(&mut cluster, 1, &format!("k{n}"), &n.to_string());
    }
    done(cluster.execute(node(1), Operation::delete(key("k3"))));
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let dump = Operation::Dump(Dump { after, limit: 4 });
        let reply = done(cluster.execute(node(2), dump));
        assert_eq!(reply.served, Served::Local);
        let Answer::Page(page) = reply.answer else {
            panic!("no page");
        };
        assert!(page.entries.len() <= 4);
        let keys = page.entries.iter().map(|(key, _)| key.to_shared());
        names.extend(keys.map(|key| String::from_utf8(key.to_vec()).unwrap()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["k0", "k1", "k2", "k4", "k5", "k6", "k7", "k8", "k9"]);
}

#[test]
fn a_page_of_large_values_ends_at_a_mebibyte() {
    let mut cluster = start(1, 1, 1);
    let large = Value::new(vec![0; 600 << 10]).unwrap();
    for n in 0..4 {
        done(cluster.execute(node(1), Operation::put(key(&format!("k{n}")), large.clone())));
    }
    let dump = Operation::Dump(Dump { after: None, limit: u32::MAX });
    let Answer::Page(page) = done(cluster.execute(node(1), dump)).answer else {
        panic!("no page");
    };
    assert_eq!((page.entries.len(), page.next), (2, Some(key("k1"))));
}

#[test]
fn every_server_of_a_cluster_has_an_incarnation_and_serves() {
    let cluster = start(3, 2, 2);
    for n in 1..=3 {
        let status = cluster.engine(node(n)).unwrap().status();
        assert_eq!(status.engine, "eventual");
        assert_eq!(status.incarnation.counter(), 1);
        assert_eq!(status.waiting, None::<Waiting>);
        assert_eq!(status.connected.len(), 2);
    }
}
