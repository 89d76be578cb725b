//! The lines of the log of operations.
//!
//! `id,client,operation,key,milliseconds,event,value`: the server, the client's number on it, what
//! was done to which key, when (since the Unix epoch), `req` when it began and `resp` when it was
//! done, `fail` when it definitely was not, `info` when that is not known.

use std::collections::HashMap;

use kv_core::{
    Answer, Batch, Command, CommandResult, NodeId, Operation, Outcome, RequestId, Value, Versioned,
};

use crate::client_number::ClientNumber;
use crate::op_log::text::OpLogText;

/// How an operation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending<'a> {
    /// Done, with a result for each command.
    Resp(&'a [CommandResult]),
    /// Definitely not done.
    Fail,
    /// Not known.
    Info,
}

impl<'a> Ending<'a> {
    pub(crate) fn of(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Done(done) => Self::Resp(match &done.answer {
                Answer::Results(results) => results,
                Answer::Page(_) => &[],
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
    open: HashMap<RequestId, OpenOperation>,
}

/// What the last lines of an operation are made of. Most often that is a copy of its first one: the
/// operation itself would keep the buffer that it was read into from being used again.
#[derive(Debug)]
enum OpenOperation {
    Line { line: Vec<u8>, columns: Columns },
    Whole { client: ClientNumber, op: Operation },
}

/// Where in a line the time and the value begin.
#[derive(Clone, Copy, Debug)]
struct Columns {
    time: usize,
    value: usize,
}

impl OpenOperations {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, open: HashMap::new() }
    }

    /// Makes the first lines of an operation.
    pub(crate) fn begin(
        &mut self,
        id: RequestId,
        client: ClientNumber,
        wall_ms: u64,
        op: &Operation,
        lines: &mut OpLogText,
    ) {
        let moment = Moment { wall_ms, event: b",req," };
        let begun = (lines.cut().len(), lines.rest().len());
        let columns = moment.put_operation(self.node, client, op, &[], lines);
        let (cut, start) = begun;
        let line = lines.rest().get(start..).filter(|_| lines.cut().len() == cut);
        let open = match (columns, line) {
            (Some(Columns { time, value }), Some(line)) => OpenOperation::Line {
                line: line.to_vec(),
                columns: Columns { time: time - start, value: value - start },
            },
            (Some(_) | None, _) => OpenOperation::Whole { client, op: op.clone() },
        };
        self.open.insert(id, open);
    }

    /// Makes the last lines of an operation, if its first ones were made.
    pub(crate) fn end(
        &mut self,
        id: RequestId,
        wall_ms: u64,
        ending: Ending<'_>,
        lines: &mut OpLogText,
    ) {
        let (event, results): (&[u8], _) = match ending {
            Ending::Resp(results) => (b",resp,", results),
            Ending::Fail => (b",fail,", [].as_slice()),
            Ending::Info => (b",info,", [].as_slice()),
        };
        let moment = Moment { wall_ms, event };
        match self.open.remove(&id) {
            Some(OpenOperation::Line { line, columns }) => {
                let (before, rest) = line.split_at(columns.time);
                let (_, value) = rest.split_at(columns.value - columns.time);
                lines.put(before);
                moment.put(lines);
                match results.first().and_then(LineValue::of_result) {
                    Some(read) => read.put(lines),
                    None => lines.put(value),
                }
            }
            Some(OpenOperation::Whole { client, op }) => {
                moment.put_operation(self.node, client, &op, results, lines);
            }
            None => {}
        }
    }

    /// Operations that are open have no last lines.
    pub(crate) fn forget_all(&mut self) {
        self.open.clear();
    }
}

/// When something happened to an operation, and what.
struct Moment {
    wall_ms: u64,
    event: &'static [u8],
}

impl Moment {
    fn put(&self, lines: &mut OpLogText) {
        lines.put_number(self.wall_ms);
        lines.put(self.event);
    }

    /// Returns the columns of the line if there is exactly one.
    fn put_operation(
        &self,
        node: NodeId,
        client: ClientNumber,
        op: &Operation,
        results: &[CommandResult],
        lines: &mut OpLogText,
    ) -> Option<Columns> {
        let mut put_line = |word: &str, key: &[u8], value: LineValue<'_>| {
            lines.put_number(node.number());
            lines.put(b",");
            lines.put_number(client.0);
            lines.put(b",");
            lines.put(word.as_bytes());
            lines.put(b",");
            lines.put_escaped(key);
            lines.put(b",");
            let time = lines.rest().len();
            self.put(lines);
            let columns = Columns { time, value: lines.rest().len() };
            value.put(lines);
            columns
        };
        match op {
            Operation::Batch(batch) => {
                let mut columns = None;
                for (place, command) in batch.commands().iter().enumerate() {
                    let result = results.get(place).and_then(LineValue::of_result);
                    let value = result.unwrap_or_else(|| LineValue::of_command(command));
                    let word = word_of(batch, command);
                    columns = Some(put_line(word, command.key().as_bytes(), value));
                }
                columns.filter(|_| batch.commands().len() == 1)
            }
            Operation::Scan(scan) => Some(put_line("scan", &scan.from, LineValue::None)),
            Operation::Dump(_) => None,
        }
    }
}

/// The last column of a line: what was read where that is known, otherwise what was to be written.
enum LineValue<'a> {
    None,
    Value(&'a Value),
    Number(i64),
}

impl<'a> LineValue<'a> {
    fn of_result(result: &'a CommandResult) -> Option<Self> {
        match result {
            CommandResult::Value(Some(Versioned { value, .. })) => Some(Self::Value(value)),
            CommandResult::Number(number) => Some(Self::Number(*number)),
            CommandResult::Value(None) | CommandResult::Written | CommandResult::Length(_) => None,
        }
    }

    fn of_command(command: &'a Command) -> Self {
        match command {
            Command::Put { value, .. } | Command::Append { suffix: value, .. } => {
                Self::Value(value)
            }
            Command::Increment { by, .. } => Self::Number(*by),
            Command::Get { .. } | Command::Delete { .. } => Self::None,
        }
    }

    /// Puts it and ends the line.
    fn put(&self, lines: &mut OpLogText) {
        match self {
            Self::None => lines.put(b"\n"),
            Self::Value(value) if value.as_bytes().is_empty() => lines.put(b"\"\"\n"),
            Self::Value(value) => lines.end_line_with(value),
            Self::Number(number) => {
                lines.put_number(*number);
                lines.put(b"\n");
            }
        }
    }
}

fn word_of(batch: &Batch, command: &Command) -> &'static str {
    if batch.conditions().is_empty() { command.name() } else { "cas" }
}

#[cfg(test)]
mod tests {
    use kv_core::{Done, Key, NotDone, Served, Unknown, Version};

    use super::*;

    fn key(bytes: &'static [u8]) -> Key {
        Key::new(bytes).unwrap()
    }

    fn value(bytes: &'static [u8]) -> Value {
        Value::new(bytes).unwrap()
    }

    fn lines(op: Operation, outcome: &Outcome) -> String {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        open.begin(RequestId(7), ClientNumber(0), 1_460_490_249_593, &op, &mut lines);
        open.end(RequestId(7), 1_460_490_249_596, Ending::of(outcome), &mut lines);
        assert!(open.open.is_empty());
        String::from_utf8(lines.rest().to_vec()).unwrap()
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
    fn a_batch_has_a_line_for_each_command_at_both_ends() {
        let put = Command::Put { key: key(b"a"), value: value(b"1"), time_to_live: None };
        let commands = vec![put, Command::Get { key: key(b"b") }];
        let batch = Operation::Batch(Batch::new(Vec::new(), commands).unwrap());
        let found = Versioned { value: value(b"2"), version: Version::Log(1) };
        let results = vec![CommandResult::Written, CommandResult::Value(Some(found))];
        assert_eq!(
            lines(batch, &done(results)),
            "1,0,put,a,1460490249593,req,1\n1,0,get,b,1460490249593,req,\n\
             1,0,put,a,1460490249596,resp,1\n1,0,get,b,1460490249596,resp,2\n"
        );
    }

    #[test]
    fn a_large_value_stands_at_both_ends() {
        let large = Value::new(vec![b'v'; 1 << 20]).unwrap();
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        let put = Operation::put(key(b"x"), large.clone());
        open.begin(RequestId(1), ClientNumber(0), 1, &put, &mut lines);
        open.end(RequestId(1), 2, Ending::Resp(&[CommandResult::Written]), &mut lines);
        let [first, last] = lines.cut() else { panic!("two lines") };
        assert_eq!(
            (first.text.as_slice(), &first.value[..]),
            (&b"1,0,put,x,1,req,"[..], large.as_bytes())
        );
        assert_eq!(
            (last.text.as_slice(), &last.value[..]),
            (&b"1,0,put,x,2,resp,"[..], large.as_bytes())
        );
    }

    #[test]
    fn an_end_without_a_beginning_makes_no_line() {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        open.begin(RequestId(1), ClientNumber(0), 1, &Operation::get(key(b"x")), &mut lines);
        open.forget_all();
        open.end(RequestId(1), 2, Ending::Info, &mut lines);
        assert_eq!(lines.rest(), b"1,0,get,x,1,req,\n");
    }
}
