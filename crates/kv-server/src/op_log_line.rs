//! The lines of the log of operations.
//!
//! `id,client,operation,key,milliseconds,event,value`: the server, the client's number on it, what
//! was done to which key, when (since the Unix epoch), `req` when it began and `resp` when it was
//! done, `fail` when it definitely was not, `info` when that is not known.

use std::collections::HashMap;
use std::io::Write;

use kv_core::{
    Answer, Batch, Command, CommandResult, NodeId, Operation, Outcome, RequestId, Versioned,
};

use crate::event::ClientNumber;
use crate::op_log::OpLogEntry;

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Done, with a result for each command.
    Resp(Vec<CommandResult>),
    /// Definitely not done.
    Fail,
    /// Not known.
    Info,
}

impl Ending {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done(done) => Self::Resp(match &done.answer {
                Answer::Results(results) => results.clone(),
                Answer::Page(_) => Vec::new(),
            }),
            Outcome::NotDone(_) => Self::Fail,
            Outcome::Unknown(_) => Self::Info,
        }
    }
}

/// Remembers operations from their first line to their last.
#[derive(Debug)]
pub(crate) struct OpenOperations {
    node: NodeId,
    open: HashMap<RequestId, (ClientNumber, Operation)>,
}

impl OpenOperations {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, open: HashMap::new() }
    }

    pub(crate) fn put_lines(&mut self, entry: OpLogEntry, lines: &mut Vec<u8>) {
        match entry {
            OpLogEntry::Invoked { id, client, wall_ms, op } => {
                self.put_operation(client, wall_ms, "req", &op, &[], lines);
                self.open.insert(id, (client, op));
            }
            OpLogEntry::Ended { id, wall_ms, ending } => {
                let Some((client, op)) = self.open.remove(&id) else {
                    return;
                };
                let (event, results) = match ending {
                    Ending::Resp(results) => ("resp", results),
                    Ending::Fail => ("fail", Vec::new()),
                    Ending::Info => ("info", Vec::new()),
                };
                self.put_operation(client, wall_ms, event, &op, &results, lines);
            }
            OpLogEntry::Lost { count } => {
                // What was open may have ended in the part that is missing.
                self.open.clear();
                put(lines, format_args!("# {count} events are missing: the log's disk is slow\n"));
            }
        }
    }

    fn put_operation(
        &self,
        client: ClientNumber,
        wall_ms: u64,
        event: &str,
        op: &Operation,
        results: &[CommandResult],
        lines: &mut Vec<u8>,
    ) {
        let mut put_line = |word: &str, key: &[u8], value: &LineValue<'_>| {
            put(lines, format_args!("{},{},{word},", self.node, client.0));
            put_escaped(lines, key);
            put(lines, format_args!(",{wall_ms},{event},"));
            match value {
                LineValue::None => {}
                LineValue::Bytes([]) => lines.extend_from_slice(b"\"\""),
                LineValue::Bytes(bytes) => put_escaped(lines, bytes),
                LineValue::Number(number) => put(lines, format_args!("{number}")),
            }
            lines.push(b'\n');
        };
        match op {
            Operation::Batch(batch) => {
                for (place, command) in batch.commands().iter().enumerate() {
                    let value = LineValue::of(command, results.get(place));
                    put_line(word_of(batch, command), command.key().as_bytes(), &value);
                }
            }
            Operation::Scan(scan) => put_line("scan", &scan.from, &LineValue::None),
            Operation::Dump(_) => {}
        }
    }
}

/// The last column of a line.
enum LineValue<'a> {
    None,
    Bytes(&'a [u8]),
    Number(i128),
}

impl<'a> LineValue<'a> {
    /// What was read where that is known, otherwise what was to be written.
    fn of(command: &'a Command, result: Option<&'a CommandResult>) -> Self {
        match (command, result) {
            (_, Some(CommandResult::Value(Some(Versioned { value, .. })))) => {
                Self::Bytes(value.as_bytes())
            }
            (_, Some(CommandResult::Number(number))) => Self::Number(i128::from(*number)),
            (Command::Put { value, .. }, _) | (Command::Append { suffix: value, .. }, _) => {
                Self::Bytes(value.as_bytes())
            }
            (Command::Increment { by, .. }, _) => Self::Number(i128::from(*by)),
            (Command::Get { .. } | Command::Delete { .. }, _) => Self::None,
        }
    }
}

fn word_of(batch: &Batch, command: &Command) -> &'static str {
    if batch.conditions().is_empty() { command.name() } else { "cas" }
}

fn put(lines: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = lines.write_fmt(text);
}

/// Writes bytes so that a line stays a line and a column a column: what is not printable ASCII,
/// and comma, quote and backslash, as `\xNN`.
fn put_escaped(lines: &mut Vec<u8>, bytes: &[u8]) {
    let stays = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'"' | b'\\');
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| !stays(byte)).unwrap_or(rest.len());
        let (clean, after) = rest.split_at(plain);
        lines.extend_from_slice(clean);
        rest = after;
        if let Some((byte, after)) = rest.split_first() {
            put(lines, format_args!("\\x{byte:02x}"));
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Done, Key, NotDone, Served, Unknown, Value, Version};

    use super::*;

    fn key(bytes: &'static [u8]) -> Key {
        Key::new(bytes).unwrap()
    }

    fn value(bytes: &'static [u8]) -> Value {
        Value::new(bytes).unwrap()
    }

    fn lines(op: Operation, outcome: &Outcome) -> String {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = Vec::new();
        let id = RequestId(7);
        let client = ClientNumber(0);
        let entry = OpLogEntry::Invoked { id, client, wall_ms: 1_460_490_249_593, op };
        open.put_lines(entry, &mut lines);
        let ending = Ending::of(outcome);
        let entry = OpLogEntry::Ended { id, wall_ms: 1_460_490_249_596, ending };
        open.put_lines(entry, &mut lines);
        assert!(open.open.is_empty());
        String::from_utf8(lines).unwrap()
    }

    fn done(results: Vec<CommandResult>) -> Outcome {
        let answer = Answer::Results(results);
        Outcome::Done(Done { answer, version: None, served: Served::Linearizable })
    }

    fn got(value: Option<Value>) -> Outcome {
        let version = Version::Log(1);
        done(vec![CommandResult::Value(value.map(|value| Versioned { value, version }))])
    }

    #[test]
    fn a_put_has_its_value_at_both_ends() {
        assert_eq!(
            lines(Operation::put(key(b"x"), value(b"1")), &done(vec![CommandResult::Written])),
            "1,0,put,x,1460490249593,req,1\n1,0,put,x,1460490249596,resp,1\n"
        );
    }

    #[test]
    fn a_get_shows_what_it_read() {
        let ends = [
            (got(Some(value(b"1"))), "resp,1"),
            (got(Some(value(b""))), "resp,\"\""),
            (got(None), "resp,"),
            (Outcome::NotDone(NotDone::TimedOut { answered: 1, needed: 2 }), "fail,"),
        ];
        for (outcome, end) in ends {
            assert_eq!(
                lines(Operation::get(key(b"x")), &outcome),
                format!("1,0,get,x,1460490249593,req,\n1,0,get,x,1460490249596,{end}\n")
            );
        }
    }

    #[test]
    fn an_unknown_end_is_info() {
        let unknown = Outcome::Unknown(Unknown { version: None, acks: 1, needed: 2 });
        assert!(
            lines(Operation::put(key(b"x"), value(b"1")), &unknown)
                .ends_with("1,0,put,x,1460490249596,info,1\n")
        );
    }

    #[test]
    fn a_line_stays_a_line_and_a_column_a_column() {
        assert!(
            lines(Operation::put(key(b"a,b\n"), value(b"\"\\\xff ")), &done(vec![]))
                .starts_with("1,0,put,a\\x2cb\\x0a,1460490249593,req,\\x22\\x5c\\xff \n")
        );
    }

    #[test]
    fn a_gap_is_marked_and_forgets_what_was_open() {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = Vec::new();
        let (id, client, op) = (RequestId(1), ClientNumber(0), Operation::get(key(b"x")));
        open.put_lines(OpLogEntry::Invoked { id, client, wall_ms: 1, op }, &mut lines);
        open.put_lines(OpLogEntry::Lost { count: 3 }, &mut lines);
        open.put_lines(OpLogEntry::Ended { id, wall_ms: 2, ending: Ending::Info }, &mut lines);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "1,0,get,x,1,req,\n# 3 events are missing: the log's disk is slow\n"
        );
    }
}
