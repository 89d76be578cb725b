//! Reads at the level `Sequential`: from the server's own state, once that is as new as what the
//! client has seen.

use kv_core::{
    Answer, CommandResult, Done, Input, Level, NotDone, Outcome, RequestId, RequestOptions, Served,
    Value, Version,
};

use crate::stand::log::{get, log};
use crate::stand::{Given, MS, Reply, Server, epoch, heartbeat};

/// A follower that has applied two writes, and nothing else of three.
fn follower() -> Server {
    let log = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a"), (epoch(0, 1), "b"), (epoch(0, 1), "c")]);
    let mut server = Server::follower(&log);
    server.told(heartbeat(epoch(0, 1), &log, 3));
    assert_eq!(server.log(), [4, 4, 3, 3]);
    server
}

fn read(server: &mut Server, id: u64, seen: Option<u64>) -> Vec<Given> {
    let options = RequestOptions::default()
        .with_timeout(MS * 500)
        .with_level(Level::Sequential)
        .with_seen(seen.map(Version::Log));
    server.step(Input::Request { id: RequestId(id), op: get(), options })
}

fn shows(id: u64, text: &'static str, number: u64) -> Given {
    let version = Version::Log(number);
    let found = kv_core::Versioned { value: Value::new(text).unwrap(), version };
    let outcome = Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Value(Some(found))]),
        version: Some(version),
        served: Served::Sequential,
    });
    Reply(id, outcome)
}

#[test]
fn a_server_answers_at_once_what_it_has_applied() {
    let mut server = follower();
    for seen in [None, Some(0), Some(1), Some(2)] {
        assert_eq!(read(&mut server, 1, seen), [shows(1, "b", 2)], "{seen:?}");
    }
}

#[test]
fn a_server_that_is_behind_answers_once_it_is_not() {
    let mut server = follower();
    assert_eq!(read(&mut server, 1, Some(3)), []);
    assert_eq!(read(&mut server, 2, Some(4)), []);
    let log = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a"), (epoch(0, 1), "b"), (epoch(0, 1), "c")]);
    let effects = server.told(heartbeat(epoch(0, 1), &log, 4));
    assert!(effects.contains(&shows(1, "c", 3)), "{effects:?}");
    let replies: Vec<_> = server.timeout_after(MS * 501);
    let late = Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 });
    assert!(replies.contains(&Reply(2, late)), "{replies:?}");
}

#[test]
fn a_server_without_a_sequencer_answers() {
    let mut server = follower();
    server.peer_down(1);
    server.peer_down(3);
    server.timeout_after(MS * 10_000);
    assert_eq!(read(&mut server, 1, Some(2)), [shows(1, "b", 2)]);
}

#[test]
fn a_server_that_recovers_does_not_answer() {
    let mut server = Server::recover(2, &crate::stand::cluster(3, 2, 2), Vec::new());
    let answers = read(&mut server, 1, None);
    let waits = |given: &Given| matches!(given, Reply(1, Outcome::NotDone(NotDone::Waiting(_))));
    assert!(answers.iter().any(waits), "{answers:?}");
}
