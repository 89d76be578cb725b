//! Sessions over an engine in memory: what they ask of it, and what they make of its outcomes.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::time::Duration;

use bytes::BytesMut;
use kv_core::local::LocalCluster;
use kv_core::{
    ClusterConfig, Command, ExpiryMs, Key, NodeId, NotDone, Now, Operation, Outcome, Quorum,
    Unknown, Value, Waiting,
};
use kv_linear::LinearEngine;
use kv_resp::{Context, Facts, Front, Next, Session, Usage};

/// A session and the engine that it asks.
struct Client {
    cluster: LocalCluster<LinearEngine>,
    front: Front,
    session: Session,
    input: BytesMut,
    now: Now,
}

impl Client {
    fn new() -> Self {
        Self::of(true)
    }

    /// A client of a server that takes single reads, writes and deletes alone.
    fn eventual() -> Self {
        Self::of(false)
    }

    fn of(is_linearizable: bool) -> Self {
        let one = Quorum::Count(1);
        let cluster = ClusterConfig::new([NodeId::FIRST], one, one).unwrap();
        let front = Front::new(Facts {
            version: "0",
            port: 1,
            clients_max: 1,
            started: Duration::ZERO,
            is_linearizable,
            is_durable: false,
            usage: Usage::default,
            seed: 1,
        });
        Self {
            cluster: LocalCluster::start(cluster, 1).unwrap(),
            front,
            session: Session::new(1),
            input: BytesMut::new(),
            now: Now { wall: Duration::from_secs(1_000_000), ..Now::default() },
        }
    }

    /// Lets the session go on; gives what it says and asks.
    fn advance(&mut self) -> (Next, String, Vec<Operation>) {
        let mut out = BytesMut::new();
        let Self { cluster, front, session, input, now } = self;
        let status = || kv_core::ConsistencyEngine::status(cluster.engine(NodeId::FIRST).unwrap());
        let context = &mut Context { front, now: *now, status: &status };
        let next = session.advance(context, input, &mut out);
        let asks = session.take_asks().collect();
        (next, String::from_utf8(out.to_vec()).unwrap(), asks)
    }

    fn answer(&mut self, outcome: Outcome) -> String {
        self.answer_at(0, outcome)
    }

    fn answer_at(&mut self, place: usize, outcome: Outcome) -> String {
        let mut out = BytesMut::new();
        let Self { cluster, front, session, now, .. } = self;
        let status = || kv_core::ConsistencyEngine::status(cluster.engine(NodeId::FIRST).unwrap());
        let context = &mut Context { front, now: *now, status: &status };
        session.on_outcome(context, place, outcome, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// Sends bytes, and has what is asked for first carried out, except for the requests at
    /// `failing`, which come to `outcome`.
    fn send_failing(&mut self, bytes: &str, failing: &[usize], outcome: &Outcome) -> String {
        self.input.extend_from_slice(bytes.as_bytes());
        let (_, mut replies, asks) = self.advance();
        for (place, ask) in asks.into_iter().enumerate() {
            let outcome = if failing.contains(&place) {
                outcome.clone()
            } else {
                self.cluster.execute(NodeId::FIRST, ask).unwrap()
            };
            replies.push_str(&self.answer_at(place, outcome));
        }
        replies
    }

    /// Sends bytes, and has all that comes of them carried out; gives the replies and how many
    /// requests it took.
    fn send(&mut self, bytes: &str) -> (String, usize) {
        self.input.extend_from_slice(bytes.as_bytes());
        let (mut replies, mut requests) = (String::new(), 0);
        loop {
            let (next, said, asks) = self.advance();
            replies.push_str(&said);
            for (place, ask) in asks.into_iter().enumerate() {
                requests += 1;
                let outcome = self.cluster.execute(NodeId::FIRST, ask).unwrap();
                replies.push_str(&self.answer_at(place, outcome));
            }
            if next != Next::Outcomes {
                return (replies, requests);
            }
        }
    }
}

fn set(key: &'static str, value: &'static str) -> Operation {
    Operation::put(Key::new(key).unwrap(), Value::new(value).unwrap())
}

#[test]
fn a_pipeline_is_one_request() {
    let mut client = Client::new();
    let (replies, requests) = client
        .send("SET a 1\r\nINCR a\r\nGET a\r\nDEL a b\r\nEXISTS a\r\nTTL a\r\nMSET a 1 b 2\r\n");
    assert_eq!(replies, "+OK\r\n:2\r\n$1\r\n2\r\n:1\r\n:0\r\n:-2\r\n+OK\r\n");
    assert_eq!(requests, 1);
}

#[test]
fn a_command_that_fails_in_a_pipeline_fails_alone() {
    let mut client = Client::new();
    let (replies, _) = client.send("SET a x\r\nINCR a\r\nAPPEND a y\r\nGET a\r\n");
    let error = "-ERR value is not an integer or out of range\r\n";
    assert_eq!(replies, format!("+OK\r\n{error}:2\r\n$2\r\nxy\r\n"));
}

#[test]
fn a_command_that_looks_first_is_done_anew_when_its_key_has_changed() {
    let mut client = Client::new();
    client.send("SET a 1\r\n");
    client.input.extend_from_slice(b"INCRBYFLOAT a 0.5\r\n");
    let (_, _, mut read) = client.advance();
    let outcome = client.cluster.execute(NodeId::FIRST, read.pop().unwrap()).unwrap();
    client.cluster.execute(NodeId::FIRST, set("a", "10")).unwrap();
    assert_eq!(client.answer(outcome), "");
    assert_eq!(client.send(""), ("$4\r\n10.5\r\n".to_owned(), 3));
}

#[test]
fn a_watched_key_that_was_written_voids_the_transaction() {
    for (meanwhile, expected) in [("b", "*1\r\n:1\r\n"), ("a", "*-1\r\n")] {
        let mut client = Client::new();
        client.send("WATCH a\r\nMULTI\r\nINCR n\r\n");
        client.cluster.execute(NodeId::FIRST, set(meanwhile, "x")).unwrap();
        assert_eq!(client.send("EXEC\r\n").0, expected);
    }
}

#[test]
fn what_a_client_may_try_again_is_told_from_what_may_have_been_done() {
    let unknown = Unknown { version: None, acks: 1, needed: 2 };
    let waiting = NotDone::Waiting(Waiting::Election);
    for (outcome, start) in [
        (Outcome::Unknown(unknown), "-UNKNOWN "),
        (Outcome::NotDone(waiting), "-CLUSTERDOWN "),
        (Outcome::NotDone(NotDone::Overloaded { limit: 1 }), "-TRYAGAIN "),
        (Outcome::NotDone(NotDone::TimedOut { answered: 1, needed: 2 }), "-TRYAGAIN "),
    ] {
        let mut client = Client::new();
        client.input.extend_from_slice(b"SET a 1\r\nGET a\r\n");
        let (next, _, asks) = client.advance();
        assert_eq!((next, asks.len()), (Next::Outcomes, 1));
        let replies = client.answer(outcome);
        assert_eq!(replies.lines().filter(|line| line.starts_with(start)).count(), 2, "{replies}");
    }
}

#[test]
fn a_client_that_wants_no_replies_gets_none() {
    let mut client = Client::new();
    let (replies, _) = client.send(
        "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nSET a 2\r\nPING\r\n\
         CLIENT REPLY ON\r\nGET a\r\n",
    );
    assert_eq!(replies, "$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
}

#[test]
fn a_session_whose_output_is_not_written_waits() {
    let mut client = Client::new();
    let mut request = b"*2\r\n$4\r\nECHO\r\n$4194304\r\n".to_vec();
    request.resize(request.len() + (4 << 20), b'x');
    request.extend_from_slice(b"\r\n");
    client.input.extend_from_slice(&request.repeat(9));
    for (replies, expected) in [(4, Next::Room), (4, Next::Room), (1, Next::Input)] {
        let (next, said, _) = client.advance();
        assert_eq!((next, said.matches("$4194304").count()), (expected, replies));
    }
}

#[test]
fn a_scan_goes_on_where_its_cursor_was_given() {
    let mut client = Client::new();
    for number in 0..25 {
        client.send(&format!("SET key:{number} x\r\n"));
    }
    client.send("SET other x\r\n");
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let (replies, _) = client.send(&format!("SCAN {cursor} MATCH key:* COUNT 7\r\n"));
        let mut lines = replies.lines().filter(|line| !line.starts_with(['*', '$']));
        cursor = lines.next().unwrap().to_owned();
        keys.extend(lines.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 25);
    assert_eq!(client.send("SCAN 12345\r\n").0, "-ERR invalid cursor\r\n");
    assert_eq!(client.send("DBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n").0, ":26\r\n+OK\r\n:0\r\n");
}

/// What a read comes to that too few servers answered.
const TIMED_OUT: Outcome = Outcome::NotDone(NotDone::TimedOut { answered: 1, needed: 2 });

#[test]
fn a_key_that_fails_leaves_the_other_commands_of_a_pipeline_their_own_outcomes() {
    let mut client = Client::eventual();
    assert_eq!(client.send("MSET a 1 b 2 c 3 x 9\r\n").0, "+OK\r\n");
    let replies = client.send_failing("MGET a b c\r\nGET x\r\n", &[0], &TIMED_OUT);
    let (first, second) = replies.split_once("\r\n").unwrap();
    assert!(first.starts_with("-TRYAGAIN "), "{replies}");
    assert_eq!(second, "$1\r\n9\r\n");
    let unknown = Outcome::Unknown(Unknown { version: None, acks: 1, needed: 2 });
    let replies = client.send_failing("MSET a 1 b 2\r\nSET c 3\r\n", &[0, 2], &unknown);
    assert_eq!(replies.lines().filter(|line| line.starts_with("-UNKNOWN ")).count(), 2);
}

#[test]
fn a_delete_whose_keys_cannot_be_counted_deletes_nothing() {
    let mut client = Client::eventual();
    client.send("MSET a 1 b 2\r\n");
    let replies = client.send_failing("DEL a b\r\n", &[1], &TIMED_OUT);
    assert!(replies.starts_with("-TRYAGAIN "), "{replies}");
    assert_eq!(client.send("EXISTS a b\r\nDEL a b\r\n").0, ":2\r\n:2\r\n");
}

#[test]
fn a_command_has_as_many_keys_as_it_may_in_either_engine() {
    for (mut client, deletes_max) in [(Client::new(), 2048), (Client::eventual(), 4096)] {
        let numbers = |count: usize| (0..count).map(|number| format!(" k{number}"));
        let pairs = |count| numbers(count).map(|key| format!("{key} x")).collect::<String>();
        // Of a key that is there twice the last value counts.
        assert_eq!(client.send(&format!("MSET{} k0 y\r\n", pairs(4096))).0, "+OK\r\n");
        let too_many =
            |max| format!("-ERR too many keys or commands at once: at most {max} are allowed\r\n");
        assert_eq!(client.send(&format!("MSET{}\r\n", pairs(4097))).0, too_many(4096));
        let delete = |count| format!("DEL{}\r\n", numbers(count).collect::<String>());
        assert_eq!(client.send(&delete(deletes_max + 1)).0, too_many(deletes_max));
        assert_eq!(client.send(&delete(deletes_max)).0, format!(":{deletes_max}\r\n"));
    }
}

#[test]
fn a_transaction_brings_no_more_bytes_than_are_written_together() {
    let mut client = Client::new();
    client.send(&format!("SET big \"{}\"\r\n", "x".repeat(60 << 10)));
    let append = format!("APPEND big \"{}\"\r\n", "x".repeat(60 << 10));
    client.send(&append.repeat(17));
    let gets = |count| "GET big\r\n".repeat(count);
    let (replies, _) = client.send(&format!("MULTI\r\n{}EXEC\r\n", gets(20)));
    assert_eq!(replies.matches("$1105920\r\n").count(), 20);
    let too_much = "-ERR too large: keys and values at once have at most 25165824 bytes in all\r\n";
    let (replies, _) = client.send(&format!("MULTI\r\nSET a 1\r\n{}EXEC\r\nGET a\r\n", gets(30)));
    assert_eq!(
        replies.trim_start_matches("+OK\r\n").replace("+QUEUED\r\n", ""),
        format!("{too_much}$-1\r\n")
    );
    let (replies, _) = client.send(&format!("MGET{}\r\n", " big".repeat(30)));
    assert_eq!(replies, too_much);
}

#[test]
fn a_transaction_copies_no_more_than_is_a_moments_work() {
    let mut client = Client::new();
    client.send("SETRANGE big 8388607 x\r\n");
    let changes = |count| format!("MULTI\r\n{}EXEC\r\n", "SETBIT big 0 1\r\n".repeat(count));
    let (replies, _) = client.send(&changes(20));
    assert!(replies.contains("*20\r\n:0\r\n:1\r\n"), "{replies}");
    let (replies, _) = client.send(&changes(40));
    assert!(replies.ends_with(
        "\r\n-ERR too large: keys and values at once have at most 25165824 bytes in all\r\n"
    ));
}

#[test]
fn what_is_about_the_session_is_done_once_the_transaction_is() {
    let mut client = Client::new();
    client.send("MULTI\r\nHELLO 3\r\nINCR n\r\n");
    let unknown = Outcome::Unknown(Unknown { version: None, acks: 1, needed: 2 });
    client.input.extend_from_slice(b"EXEC\r\n");
    let (_, _, mut read) = client.advance();
    let outcome = client.cluster.execute(NodeId::FIRST, read.pop().unwrap()).unwrap();
    client.answer(outcome);
    let (_, _, write) = client.advance();
    assert_eq!(write.len(), 1);
    assert!(client.answer(unknown).starts_with("-UNKNOWN "));
    assert_eq!(client.send("GET missing\r\n").0, "$-1\r\n");
    let (replies, _) = client.send("MULTI\r\nHELLO 3\r\nINCR n\r\nEXEC\r\nGET missing\r\n");
    assert!(replies.ends_with(":1\r\n_\r\n"), "{replies}");
}

#[test]
fn a_number_counts_alike_alone_and_in_a_transaction() {
    let mut client = Client::new();
    let (replies, _) = client.send("SET a 007\r\nMULTI\r\nINCR a\r\nEXEC\r\n");
    let no_integer = "-ERR value is not an integer or out of range\r\n";
    assert_eq!(replies, format!("+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n{no_integer}"));
    assert_eq!(client.send("SET a 007\r\nINCR a\r\n").0, format!("+OK\r\n{no_integer}"));
    let (replies, _) = client.send("SET a 7\r\nMULTI\r\nINCR a\r\nEXEC\r\nINCR a\r\n");
    assert_eq!(replies, "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:8\r\n:9\r\n");
}

#[test]
fn a_client_watches_no_more_keys_than_a_transaction_can_read() {
    let mut client = Client::new();
    let watch = |from: usize, to: usize| {
        format!("WATCH{}\r\n", (from..to).map(|number| format!(" k{number}")).collect::<String>())
    };
    assert_eq!(client.send(&watch(0, 2000)).0, "+OK\r\n");
    let (replies, requests) = client.send(&watch(1990, 2049));
    let too_many = "-ERR too many keys or commands at once: at most 2048 are allowed\r\n";
    assert_eq!((replies.as_str(), requests), (too_many, 0));
    assert_eq!(client.send(&watch(1990, 2048)), ("+OK\r\n".to_owned(), 1));
    assert_eq!(client.send(&watch(0, 2048)), ("+OK\r\n".to_owned(), 0));
    assert_eq!(client.send("UNWATCH\r\nWATCH other\r\n").0, "+OK\r\n+OK\r\n");
}

#[test]
fn what_a_browser_sends_is_not_carried_out() {
    for (lines, said) in [
        ("POST / HTTP/1.1\r\nHost: localhost:4981\r\n\r\nSET pwn 1\r\n", ""),
        ("SET a 1\r\nhost: localhost\r\n\r\nSET pwn 1\r\n", "+OK\r\n"),
        ("MULTI\r\nHOST: localhost\r\n\r\nSET pwn 1\r\nEXEC\r\n", "+OK\r\n"),
    ] {
        let mut client = Client::new();
        assert_eq!(client.send(lines).0, said);
        assert_eq!(client.advance().0, Next::Close);
        assert!(client.session.is_http());
    }
}

#[test]
fn a_pattern_that_takes_long_is_refused() {
    let mut client = Client::new();
    client.send(&format!("SET {} x\r\n", "a".repeat(65_000)));
    let pattern = format!("*{}b", "a".repeat(32_000));
    let error = "-ERR the pattern takes too long to match\r\n";
    for command in ["KEYS", "SCAN 0 MATCH", "DEBUG STRINGMATCH-LEN 65536"] {
        assert_eq!(client.send(&format!("{command} {pattern}\r\n")).0, error, "{command}");
    }
    assert_eq!(client.send("DEBUG STRINGMATCH-LEN 1048576 *b\r\n").0, ":0\r\n");
}

#[test]
fn a_flush_does_not_begin_again_for_keys_written_meanwhile() {
    let mut client = Client::new();
    let pairs: String = (0..1500).map(|number| format!(" k{number} x")).collect();
    client.send(&format!("MSET{pairs}\r\n"));
    client.input.extend_from_slice(b"FLUSHALL\r\n");
    for _ in 0..2 {
        let (_, _, mut asks) = client.advance();
        let outcome = client.cluster.execute(NodeId::FIRST, asks.pop().unwrap()).unwrap();
        client.answer(outcome);
    }
    client.cluster.execute(NodeId::FIRST, set("a", "x")).unwrap();
    assert_eq!(client.send("KEYS *\r\n").0, "+OK\r\n*1\r\n$1\r\na\r\n");
}

#[test]
fn replies_that_are_off_are_not_turned_on_by_skipping_one() {
    let mut client = Client::new();
    let (replies, _) = client.send(
        "CLIENT REPLY OFF\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n",
    );
    assert_eq!(replies, "+OK\r\n+PONG\r\n");
}

#[test]
fn clients_of_a_type_that_there_is_not_are_not_listed() {
    let mut client = Client::new();
    let error = "-ERR Unknown client type 'foo'\r\n";
    assert_eq!(client.send("CLIENT LIST TYPE foo\r\n").0, error);
    assert_eq!(client.send("CLIENT LIST TYPE pubsub\r\n").0, "$0\r\n\r\n");
    assert_eq!(client.send("CLIENT KILL TYPE foo\r\n").0, error);
    assert_eq!(client.send("CLIENT KILL USER foo\r\n").0, "-ERR No such user 'foo'\r\n");
    let named = client.send("COMMAND LIST FILTERBY PATTERN client|k*\r\n").0;
    assert_eq!(named, "*1\r\n$11\r\nclient|kill\r\n");
}

/// What rewrites a value leaves its end where it is, to the millisecond, and what moves it takes its
/// end along.
#[test]
fn an_end_that_is_kept_stays_what_it_was() {
    let at = "PXAT 2000000000123\r\n";
    let end = ":2000000000123\r\n";
    for rewrite in [
        "SET k 2 KEEPTTL",
        "SET k 2 XX KEEPTTL",
        "SETRANGE k 0 2",
        "SETBIT k 7 1",
        "INCRBYFLOAT k 0.5",
        "MULTI\r\nINCR k\r\nAPPEND k 0\r\nEXEC",
        "MULTI\r\nSET k 3\r\nPEXPIREAT k 2000000000123\r\nEXEC",
        "RENAME k l\r\nRENAME l k",
        "COPY k l\r\nSET k 1\r\nCOPY l k REPLACE",
        "GETEX k PXAT 5\r\nSET k 1 PXAT 2000000000123",
        "SET k 9 GET PXAT 2000000000123",
    ] {
        let mut client = Client::new();
        client.send(&format!("SET k 1 {at}"));
        client.send(&format!("{rewrite}\r\n"));
        assert_eq!(client.send("PEXPIRETIME k\r\n").0, end, "{rewrite}");
        client.send("MULTI\r\nPEXPIRETIME k\r\n");
        assert_eq!(client.send("EXEC\r\n").0, format!("*1\r\n{end}"), "{rewrite}");
    }
}

/// Sends a command that looks before it writes, lets another client come between, and says what came
/// of it.
fn with_another_between(command: &str, other: Operation) -> (String, String) {
    let mut client = Client::new();
    client.send("SET k 1 PXAT 2000000000000\r\n");
    client.input.extend_from_slice(format!("{command}\r\n").as_bytes());
    let (_, _, mut read) = client.advance();
    let outcome = client.cluster.execute(NodeId::FIRST, read.pop().unwrap()).unwrap();
    client.answer(outcome);
    client.cluster.execute(NodeId::FIRST, other).unwrap();
    (client.send("").0, client.send("PEXPIRETIME k\r\n").0)
}

#[test]
fn a_change_of_the_end_between_the_read_and_the_write_is_seen() {
    let key = || Key::new("k").unwrap();
    let persist = || Operation::of(Command::Expire { key: key(), time_to_live: None });
    let later =
        || Operation::of(Command::ExpireAt { key: key(), expiry: ExpiryMs(3_000_000_000_000) });
    let (later_end, never) = (":3000000000000\r\n", ":-1\r\n");
    for (command, other, reply, end) in [
        ("PEXPIREAT k 2500000000000 XX", persist(), ":0\r\n", never),
        ("PEXPIREAT k 2500000000000 GT", later(), ":0\r\n", later_end),
        ("PEXPIREAT k 1900000000000 LT", persist(), ":1\r\n", ":1900000000000\r\n"),
        ("SETRANGE k 0 2", later(), ":1\r\n", later_end),
        ("INCRBYFLOAT k 1", persist(), "$1\r\n2\r\n", never),
    ] {
        let (said, left) = with_another_between(command, other);
        assert_eq!((said.as_str(), left.as_str()), (reply, end), "{command}");
    }
    let mut client = Client::new();
    client.send("SET k 1\r\nWATCH k\r\n");
    client.cluster.execute(NodeId::FIRST, later()).unwrap();
    let (replies, _) = client.send("MULTI\r\nINCR k\r\nEXEC\r\n");
    assert_eq!(replies, "+OK\r\n+QUEUED\r\n*-1\r\n");
}
