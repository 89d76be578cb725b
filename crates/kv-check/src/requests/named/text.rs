//! A request as one reads it in a line.

use std::fmt;

use kv_core::{
    Answer, CommandResult, Done, Dump, KeyExpiry, Operation, Outcome, Page, Scan, TimeToLive,
    Unknown,
};

use super::{NamedRequest, NamedRequests};
use crate::brief::Brief;
use crate::linearizability::CallText;
use crate::requests::{Request, RequestState};

impl fmt::Display for NamedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|named| write!(f, "\n  {named}"))
    }
}

impl fmt::Display for NamedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, client, request } = self;
        write!(f, "call {id}")?;
        if let Some(client) = client {
            write!(f, " of client {}", client.0)?;
        }
        write!(f, " at server {}, {:?} to ", request.node, request.invoked_at)?;
        match request.ended_at() {
            Some(at) => write!(f, "{at:?}:")?,
            None => f.write_str("the end:")?,
        }
        write_question(f, request)?;
        f.write_str(": ")?;
        write_end(f, request)
    }
}

/// What is asked for and how, after a space.
fn write_question(f: &mut fmt::Formatter<'_>, request: &Request) -> fmt::Result {
    match &request.op {
        Operation::Batch(batch) => write!(f, "{}", CallText(batch))?,
        Operation::Scan(Scan { from, until, after, limit }) => {
            f.write_str(" scan")?;
            if !from.is_empty() {
                write!(f, " from {from:?}")?;
            }
            if let Some(until) = until {
                write!(f, " until {until:?}")?;
            }
            if let Some(after) = after {
                write!(f, " after {after:?}")?;
            }
            write!(f, " limit {limit}")?;
        }
        Operation::Dump(Dump { after, limit }) => {
            f.write_str(" dump")?;
            if let Some(after) = after {
                write!(f, " after {after:?}")?;
            }
            write!(f, " limit {limit}")?;
        }
        Operation::OpenSession => f.write_str(" open a session")?,
        Operation::Lead { node } => write!(f, " lead {node}")?,
    }
    let options = &request.options;
    if let Some(quorum) = options.write_quorum {
        write!(f, " with W={quorum}")?;
    }
    if let Some(quorum) = options.read_quorum {
        write!(f, " with R={quorum}")?;
    }
    if let Some(level) = options.level {
        write!(f, " at level {level:?}")?;
    }
    if let Some(identity) = options.identity {
        write!(f, " (request {} of session {})", identity.number, identity.session.0)?;
    }
    Ok(())
}

fn write_end(f: &mut fmt::Formatter<'_>, request: &Request) -> fmt::Result {
    match &request.state {
        RequestState::Waiting if request.cancelled => f.write_str("no answer, cancelled"),
        RequestState::Waiting => f.write_str("no answer"),
        RequestState::Refused => f.write_str("not done: the server was down"),
        RequestState::Lost { .. } => f.write_str("unknown: the connection was lost"),
        RequestState::Replied { outcome, .. } => match outcome {
            Outcome::Done(done) => write_done(f, done, request.op.is_read_only()),
            Outcome::NotDone(reason) => write!(f, "not done: {reason}"),
            Outcome::Unknown(Unknown { version, acks, needed }) => {
                write!(f, "unknown: {acks} of {needed} servers acknowledged")?;
                version.map_or(Ok(()), |version| write!(f, ", with version {version}"))
            }
        },
    }
}

fn write_done(f: &mut fmt::Formatter<'_>, done: &Done, is_read: bool) -> fmt::Result {
    match &done.answer {
        Answer::Page(page) => return write_page(f, page),
        Answer::Results(results) if results.is_empty() => f.write_str("done")?,
        Answer::Results(results) => {
            for (place, result) in results.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { ", " })?;
                write_result(f, result)?;
            }
        }
    }
    // The number of a read names nothing that it shows.
    match done.version.filter(|_| !is_read) {
        Some(version) => write!(f, " as version {version}"),
        None => Ok(()),
    }
}

fn write_result(f: &mut fmt::Formatter<'_>, result: &CommandResult) -> fmt::Result {
    match result {
        CommandResult::Value(Some(found)) => {
            write!(f, "{} (version {})", Brief(&found.value), found.version)
        }
        CommandResult::Value(None)
        | CommandResult::TimeToLive(TimeToLive::Missing)
        | CommandResult::Expiry(KeyExpiry::Missing) => f.write_str("nothing"),
        CommandResult::Written => f.write_str("written"),
        CommandResult::Number(number) => write!(f, "{number}"),
        CommandResult::Length(length) => write!(f, "{length} bytes"),
        CommandResult::Changed(true) => f.write_str("changed"),
        CommandResult::Changed(false) => f.write_str("not changed"),
        CommandResult::TimeToLive(TimeToLive::Endless)
        | CommandResult::Expiry(KeyExpiry::Never) => f.write_str("never expires"),
        CommandResult::TimeToLive(TimeToLive::Left(left)) => write!(f, "expires in {left:?}"),
        CommandResult::Expiry(KeyExpiry::At(at)) => write!(f, "expires at {} ms", at.0),
    }
}

/// `b"a" = b"v1", b"b" = b"v2", next after b"b"`
fn write_page(f: &mut fmt::Formatter<'_>, page: &Page) -> fmt::Result {
    for (key, found) in page.entries.iter().take(ENTRIES_MAX) {
        write!(f, "{key:?} = {}, ", Brief(&found.value))?;
    }
    let left_out = page.entries.len().saturating_sub(ENTRIES_MAX);
    if left_out > 0 {
        write!(f, "{left_out} more, ")?;
    }
    match &page.next {
        Some(next) => write!(f, "next after {next:?}"),
        None => f.write_str("the last page"),
    }
}

const ENTRIES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{
        Batch, Check, Command, Condition, ExpiryMs, Key, NodeId, NotDone, Quorum, RequestId,
        RequestIdentity, RequestOptions, Served, SessionId, Value, Version, Versioned,
    };

    use super::*;
    use crate::history::Process;

    const AT: Duration = Duration::from_millis(120);

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    fn value(text: &'static str) -> Value {
        Value::new(text).unwrap()
    }

    fn named(op: Operation, state: RequestState) -> NamedRequest {
        let options = RequestOptions::default();
        let (node, invoked_at) = (NodeId::FIRST, AT);
        let request = Request { node, op, options, invoked_at, cancelled: false, state };
        NamedRequest { id: RequestId(3), client: Some(Process(5)), request }
    }

    fn replied(outcome: Outcome) -> RequestState {
        RequestState::Replied { at: AT + Duration::from_millis(10), outcome }
    }

    fn done(answer: Answer) -> RequestState {
        let version = Some(Version::Log(17));
        replied(Outcome::Done(Done { answer, version, served: Served::Linearizable }))
    }

    fn one(result: CommandResult) -> RequestState {
        done(Answer::Results(vec![result]))
    }

    fn found(text: &'static str) -> Versioned {
        Versioned { value: value(text), version: Version::Log(9) }
    }

    /// What follows the key in the line of a request of one command.
    fn line_of(command: Command, state: RequestState) -> String {
        let line = named(Operation::of(command), state).to_string();
        let (begin, rest) = line.split_once(": ").unwrap();
        assert!(begin.starts_with("call 3 of client 5 at server 1, 120ms to "), "{line}");
        rest.to_owned()
    }

    #[test]
    fn a_line_says_who_asked_whom_when_and_what_came_of_it() {
        let put = Operation::put(key("k"), value("v18..............."));
        assert_eq!(
            named(put.clone(), one(CommandResult::Written)).to_string(),
            "call 3 of client 5 at server 1, 120ms to 130ms: put b\"k\" b\"v18.............\"... \
             (18 bytes): written as version 17"
        );
        let nobodys = NamedRequest { client: None, ..named(put, RequestState::Waiting) };
        assert_eq!(
            nobodys.to_string(),
            "call 3 at server 1, 120ms to the end: put b\"k\" b\"v18.............\"... (18 bytes): \
             no answer"
        );
    }

    #[test]
    fn every_end_is_told() {
        let get = || Command::Get { key: key("k") };
        let unknown = |version| Outcome::Unknown(Unknown { version, acks: 1, needed: 2 });
        let ends = [
            (RequestState::Waiting, "no answer"),
            (RequestState::Refused, "not done: the server was down"),
            (RequestState::Lost { at: AT }, "unknown: the connection was lost"),
            (
                replied(Outcome::NotDone(NotDone::SessionExpired)),
                "not done: the session has expired; open another one",
            ),
            (replied(unknown(None)), "unknown: 1 of 2 servers acknowledged"),
            (
                replied(unknown(Some(Version::Log(4)))),
                "unknown: 1 of 2 servers acknowledged, with version 4",
            ),
            (one(CommandResult::Value(None)), "nothing"),
            (one(CommandResult::Value(Some(found("v")))), "b\"v\" (version 9)"),
        ];
        for (state, text) in ends {
            assert_eq!(line_of(get(), state), format!("get b\"k\": {text}"));
        }
        let mut cancelled = named(Operation::of(get()), RequestState::Waiting);
        cancelled.request.cancelled = true;
        assert!(cancelled.to_string().ends_with("get b\"k\": no answer, cancelled"), "{cancelled}");
    }

    #[test]
    fn every_result_is_told() {
        let key = || key("k");
        let second = Duration::from_secs(1);
        let put = Command::Put { key: key(), value: value("v"), time_to_live: Some(second) };
        let expire = |time_to_live| Command::Expire { key: key(), time_to_live };
        let left = CommandResult::TimeToLive(TimeToLive::Left(second));
        let at = CommandResult::Expiry(KeyExpiry::At(ExpiryMs(7)));
        let lines = [
            (put, CommandResult::Written, "put b\"k\" b\"v\" for 1s: written as version 17"),
            (
                Command::Increment { key: key(), by: 2 },
                CommandResult::Number(5),
                "incr b\"k\" 2: 5 as version 17",
            ),
            (
                Command::Append { key: key(), suffix: value("x") },
                CommandResult::Length(8),
                "append b\"k\" b\"x\": 8 bytes as version 17",
            ),
            (
                expire(Some(second)),
                CommandResult::Changed(true),
                "expire b\"k\" in 1s: changed as version 17",
            ),
            (
                expire(None),
                CommandResult::Changed(false),
                "persist b\"k\": not changed as version 17",
            ),
            (Command::TimeToLive { key: key() }, left, "ttl b\"k\": expires in 1s"),
            (Command::Expiry { key: key() }, at, "expiry b\"k\": expires at 7 ms"),
        ];
        for (command, result, line) in lines {
            assert_eq!(line_of(command, one(result)), line);
        }
    }

    #[test]
    fn a_batch_is_told_with_its_conditions_and_all_results() {
        let commands = vec![
            Command::Get { key: key("k") },
            Command::Put { key: key("l"), value: value("w"), time_to_live: None },
        ];
        let conditions = vec![Condition { key: key("m"), check: Check::Absent }];
        let batch = Operation::Batch(Batch::new(conditions, commands).unwrap());
        let results = vec![CommandResult::Value(Some(found("v"))), CommandResult::Written];
        let mut named = named(batch, done(Answer::Results(results)));
        named.request.options.write_quorum = Some(Quorum::All);
        named.request.options.identity =
            Some(RequestIdentity { session: SessionId(4), number: 2, acknowledged_below: 1 });
        assert_eq!(
            named.to_string(),
            "call 3 of client 5 at server 1, 120ms to 130ms: if b\"m\" is absent get b\"k\" put \
             b\"l\" b\"w\" with W=all (request 2 of session 4): b\"v\" (version 9), written as \
             version 17"
        );
    }

    #[test]
    fn a_page_is_told_up_to_twenty_entries() {
        let scan =
            Scan { from: "a".into(), until: Some("c".into()), after: Some(key("a1")), limit: 30 };
        let line = |len, next| {
            let entries = vec![(key("b"), found("v")); len];
            let state = done(Answer::Page(Page { entries, next }));
            named(Operation::Scan(scan.clone()), state).to_string()
        };
        let asked = "call 3 of client 5 at server 1, 120ms to 130ms: scan from b\"a\" until \
                     b\"c\" after b\"a1\" limit 30: ";
        assert_eq!(
            line(2, Some(key("b"))),
            format!("{asked}b\"b\" = b\"v\", b\"b\" = b\"v\", next after b\"b\"")
        );
        let entries = "b\"b\" = b\"v\", ".repeat(20);
        assert_eq!(line(22, None), format!("{asked}{entries}2 more, the last page"));
    }

    #[test]
    fn requests_stand_in_the_order_in_which_they_began_each_once() {
        let of = |id, second| {
            let mut named = named(Operation::get(key("k")), RequestState::Waiting);
            named.id = RequestId(id);
            named.request.invoked_at = Duration::from_secs(second);
            named.request.state = RequestState::Lost { at: Duration::from_secs(second + 2) };
            named
        };
        let named = NamedRequests::new([of(2, 4), of(1, 3), of(2, 4)]);
        assert_eq!(named.time(), Some(Duration::from_secs(3)..=Duration::from_secs(6)));
        assert_eq!(
            named.to_string(),
            "\n  call 1 of client 5 at server 1, 3s to 5s: get b\"k\": unknown: the connection was \
             lost\n  call 2 of client 5 at server 1, 4s to 6s: get b\"k\": unknown: the connection \
             was lost"
        );
        assert_eq!(NamedRequests::default().time(), None);
    }
}
