//! Whole clusters in one process, without loss: what clients see.

use kv_core::local::LocalCluster;
use kv_core::{
    Answer, Batch, Check, ClusterConfig, Command, CommandResult, Condition, ConsistencyEngine,
    Done, Dump, Feature, Key, NodeId, NotDone, Operation, Outcome, Quorum, RequestOptions, Scan,
    Served, Value, Version, Versioned,
};
use kv_linear::LinearEngine;

type Local = LocalCluster<LinearEngine>;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

fn cluster(voters: impl IntoIterator<Item = u16>, write: u16, read: u16) -> Local {
    let voters = voters.into_iter().map(node);
    let config = ClusterConfig::new(voters, Quorum::Count(write), Quorum::Count(read)).unwrap();
    Local::start(config, 7).unwrap()
}

fn done(outcome: Option<Outcome>) -> Done {
    match outcome {
        Some(Outcome::Done(done)) => done,
        other => panic!("not done: {other:?}"),
    }
}

fn results(outcome: Option<Outcome>) -> Vec<CommandResult> {
    match done(outcome).answer {
        Answer::Results(results) => results,
        Answer::Page(page) => panic!("a page: {page:?}"),
    }
}

fn found(text: &str, index: u64) -> Vec<CommandResult> {
    vec![CommandResult::Value(Some(Versioned { value: value(text), version: Version::Log(index) }))]
}

#[test]
fn a_write_at_one_server_is_read_at_every_other() {
    for (servers, write, read) in
        [(1, 1, 1), (2, 2, 2), (3, 2, 2), (3, 1, 3), (5, 5, 1), (10, 6, 5)]
    {
        let mut local = cluster(1..=servers, write, read);
        let mut index = 0;
        for writer in 1..=servers {
            let name = format!("k{writer}");
            let put = done(local.execute(node(writer), Operation::put(key(&name), value("v"))));
            index += 1;
            assert_eq!(put.version, Some(Version::Log(index)));
            assert_eq!(put.served, Served::Linearizable);
            for reader in 1..=servers {
                let got = done(local.execute(node(reader), Operation::get(key(&name))));
                assert_eq!(got.version, Some(Version::Log(index)));
                assert_eq!(got.served, Served::Linearizable);
                assert_eq!(got.answer, Answer::Results(found("v", index)));
            }
        }
        let states: Vec<_> = (1..=servers)
            .map(|number| local.engine(node(number)).unwrap().applied_state())
            .collect();
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        assert!(local.halted().is_empty());
    }
}

#[test]
fn the_lowest_voter_is_the_sequencer() {
    let mut local = cluster([4, 7, 9], 2, 2);
    let put = Operation::put(key("k"), value("v"));
    assert_eq!(done(local.execute(node(9), put)).version, Some(Version::Log(1)));
    assert_eq!(results(local.execute(node(7), Operation::get(key("k")))), found("v", 1));
}

#[test]
fn many_requests_at_once_are_each_answered_once_and_in_one_order() {
    let mut local = cluster(1..=3, 2, 2);
    let increment = || Operation::of(Command::Increment { key: key("n"), by: 1 });
    let ids: Vec<_> = (0..300u16)
        .map(|n| local.submit(node(n % 3 + 1), increment(), RequestOptions::default()))
        .collect();
    local.deliver_all();
    let mut numbers: Vec<i64> = ids
        .into_iter()
        .map(|id| match results(local.take_reply(id)).as_slice() {
            [CommandResult::Number(number)] => *number,
            other => panic!("{other:?}"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=300).collect::<Vec<i64>>());
}

#[test]
fn conditions_are_looked_at_where_the_entry_is_applied() {
    let mut local = cluster(1..=3, 2, 2);
    let swap = |old: &str, new: &str| {
        let condition = Condition { key: key("k"), check: Check::ValueIs(value(old)) };
        let put = Command::Put { key: key("k"), value: value(new), time_to_live: None };
        Operation::Batch(Batch::new(vec![condition], vec![put]).unwrap())
    };
    done(local.execute(node(1), Operation::put(key("k"), value("a"))));
    // Both swap from the same value: whichever is first in the log wins.
    let first = local.submit(node(2), swap("a", "b"), RequestOptions::default());
    let second = local.submit(node(3), swap("a", "c"), RequestOptions::default());
    local.deliver_all();
    let outcomes = [first, second].map(|id| local.take_reply(id).unwrap());
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
    let lost = outcomes.iter().filter(|outcome| {
        matches!(outcome, Outcome::NotDone(NotDone::ConditionFailed { index: 0, found: Some(_) }))
    });
    assert_eq!((won, lost.count()), (1, 1), "{outcomes:?}");
}

#[test]
fn scans_are_linearizable_and_dumps_are_local_and_neither_is_in_the_log() {
    let mut local = cluster(1..=3, 2, 2);
    for name in ["a", "b", "c"] {
        done(local.execute(node(1), Operation::put(key(name), value("v"))));
    }
    let scan = Operation::Scan(Scan { from: "b".into(), until: None, after: None, limit: 10 });
    let scanned = done(local.execute(node(2), scan));
    assert_eq!((scanned.served, scanned.version), (Served::Linearizable, Some(Version::Log(3))));
    let dump = Operation::Dump(Dump { after: None, limit: 2 });
    let dumped = done(local.execute(node(3), dump));
    assert_eq!(dumped.served, Served::Local);
    let Answer::Page(page) = dumped.answer else { panic!("a dump gives a page") };
    assert_eq!((page.entries.len(), page.next), (2, Some(key("b"))));
    let status = local.engine(node(3)).unwrap().status();
    // The opening entry and three writes.
    assert_eq!(status.positions.last, Some(4));
}

#[test]
fn what_is_not_supported_is_refused_before_it_gets_a_place() {
    let mut local = cluster(1..=3, 2, 2);
    let mut ask = |op: Operation, options: RequestOptions| {
        let id = local.submit(node(2), op, options);
        local.deliver_all();
        local.take_reply(id)
    };
    let quorum = RequestOptions::default().with_read_quorum(Quorum::Count(1));
    let get = Operation::get(key("k"));
    let cases = [(get, quorum, Feature::RequestQuorum)];
    for (op, options, feature) in cases {
        let refused = Outcome::NotDone(NotDone::NotSupported(feature));
        assert_eq!(ask(op, options), Some(refused));
    }
    let after = done(local.execute(node(2), Operation::put(key("k"), value("v"))));
    assert_eq!(after.version, Some(Version::Log(1)));
}
