//! The lines of the log of operations.
//!
//! `id,client,operation,key,milliseconds,event,value`: the server, the client's number on it, what
//! was done to which key, when (since the Unix epoch), `req` when it began and `resp` when it was
//! done, `fail` when it definitely was not, `info` when that is not known. Before the first line of
//! what was sent before, perhaps to another server, stands a [`REPEATED`] line: it may have taken effect
//! earlier than the line says.

use std::time::Duration;

use kv_core::{
    Answer, Command, CommandResult, ExpiryMs, IdMap, KeyExpiry, NodeId, Operation, Outcome,
    RequestId, TimeToLive, Value, Versioned,
};

use crate::client_number::ClientNumber;
use crate::op_log::text::OpLogText;

/// What is logged of a request when it comes.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) op: Operation,
    /// How long ago it was made, if it may change something and a copy that was sent before may have
    /// done so.
    pub(crate) sent_before: Option<Duration>,
}

/// Remembers operations from their first lines to their last.
#[derive(Debug)]
pub(crate) struct OpenOperations {
    node: NodeId,
    /// The first lines, one by one, of which the last ones are made. The operation itself would
    /// keep the buffer that it was read into from being used again.
    open: IdMap<RequestId, Vec<OpLogText>>,
}

impl OpenOperations {
    pub(crate) fn new(node: NodeId) -> Self {
        Self { node, open: IdMap::default() }
    }

    /// Makes the first lines of an operation.
    pub(crate) fn begin(
        &mut self,
        id: RequestId,
        client: ClientNumber,
        wall_ms: u64,
        Invocation { op, sent_before }: &Invocation,
        lines: &mut OpLogText,
    ) {
        let node = self.node;
        let mut line_of = |word: &str, key: &[u8], value: LineValue<'_>| {
            if let Some(ago) = sent_before {
                lines.put(REPEATED);
                lines.put_number(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
                lines.put(REPEATED_UNIT);
            }
            let mut line = OpLogText::with_capacity(LINE_BYTES + key.len());
            line.put_number(node.number());
            line.put(b",");
            line.put_number(client.0);
            line.put(b",");
            line.put(word.as_bytes());
            line.put(b",");
            line.put_escaped(key);
            line.put(b",");
            line.put_number(wall_ms);
            line.put(b",req,");
            value.put(&mut line);
            lines.append(&line);
            line
        };
        let open = match op {
            Operation::Batch(batch) => {
                let of_command = |command: &Command| {
                    let has_conditions = !batch.conditions().is_empty();
                    let expires = matches!(command, Command::Put { time_to_live: Some(_), .. });
                    let word = if expires {
                        "put-ttl"
                    } else if has_conditions {
                        "cas"
                    } else {
                        command.name()
                    };
                    line_of(word, command.key().as_bytes(), LineValue::of_command(command))
                };
                batch.commands().iter().map(of_command).collect()
            }
            Operation::Scan(scan) => vec![line_of("scan", &scan.from, LineValue::None)],
            Operation::Dump(_) | Operation::OpenSession | Operation::Lead { .. } => return,
        };
        self.open.insert(id, open);
    }

    /// Makes the last lines of an operation, if its first ones were made. Without an outcome it is
    /// not known how it ended.
    pub(crate) fn end(
        &mut self,
        id: RequestId,
        wall_ms: u64,
        outcome: Option<&Outcome>,
        lines: &mut OpLogText,
    ) {
        let (event, results): (&[u8], &[CommandResult]) = match outcome {
            Some(Outcome::Done(done)) => match &done.answer {
                Answer::Results(results) => (b",resp,", results),
                Answer::Page(_) => (b",resp,", &[]),
            },
            Some(Outcome::NotDone(_)) => (b",fail,", &[]),
            Some(Outcome::Unknown(_)) | None => (b",info,", &[]),
        };
        for (place, line) in self.open.remove(&id).into_iter().flatten().enumerate() {
            let (text, large) = line.pieces().next().unwrap_or_default();
            let (before, rest) = split_after_commas(text, 4);
            let (_, value) = split_after_commas(rest, 2);
            lines.put(before);
            lines.put_number(wall_ms);
            lines.put(event);
            match (results.get(place).and_then(LineValue::of_result), large) {
                (Some(read), _) => read.put(lines),
                (None, Some(large)) => lines.end_line_with(large),
                (None, None) => lines.put(value),
            }
        }
    }

    /// Operations that are open have no last lines.
    pub(crate) fn forget_all(&mut self) {
        self.open.clear();
    }
}

/// Splits a line after so many columns: no column holds a comma.
fn split_after_commas(line: &[u8], columns: usize) -> (&[u8], &[u8]) {
    let commas = line.iter().enumerate().filter(|(_, byte)| **byte == b',');
    let end = commas.map(|(place, _)| place + 1).nth(columns - 1);
    line.split_at(end.unwrap_or(line.len()))
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
            CommandResult::TimeToLive(TimeToLive::Left(left)) => Some(Self::millis(*left)),
            CommandResult::Expiry(KeyExpiry::At(at)) => Some(Self::moment(*at)),
            CommandResult::Value(None)
            | CommandResult::Written
            | CommandResult::Length(_)
            | CommandResult::Changed(_)
            | CommandResult::TimeToLive(TimeToLive::Missing | TimeToLive::Endless)
            | CommandResult::Expiry(KeyExpiry::Missing | KeyExpiry::Never) => None,
        }
    }

    fn of_command(command: &'a Command) -> Self {
        match command {
            Command::Put { value, .. }
            | Command::Rewrite { value, .. }
            | Command::Append { suffix: value, .. } => Self::Value(value),
            Command::ExpireAt { expiry, .. } => Self::moment(*expiry),
            Command::Increment { by, .. } => Self::Number(*by),
            Command::Expire { time_to_live: Some(time), .. } => Self::millis(*time),
            Command::Get { .. }
            | Command::Delete { .. }
            | Command::Expire { time_to_live: None, .. }
            | Command::TimeToLive { .. }
            | Command::Expiry { .. } => Self::None,
        }
    }

    fn moment(at: ExpiryMs) -> Self {
        Self::Number(i64::try_from(at.0).unwrap_or(i64::MAX))
    }

    fn millis(time: Duration) -> Self {
        Self::Number(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
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

/// Before the line of what was sent before, with the time since it was made.
const REPEATED: &[u8] = b"# repeated: the next line was first asked for ";
const REPEATED_UNIT: &[u8] = b" ms earlier\n";

/// About as long is a line without its key and a large value.
const LINE_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use kv_core::{Batch, Done, Key, NotDone, Served, Unknown, Version};

    use super::*;

    fn key(bytes: &'static [u8]) -> Key {
        Key::new(bytes).unwrap()
    }

    fn value(bytes: &'static [u8]) -> Value {
        Value::new(bytes).unwrap()
    }

    fn sent_once(op: Operation) -> Invocation {
        Invocation { op, sent_before: None }
    }

    fn lines(op: Operation, outcome: &Outcome) -> String {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        open.begin(RequestId(7), ClientNumber(0), 1_460_490_249_593, &sent_once(op), &mut lines);
        open.end(RequestId(7), 1_460_490_249_596, Some(outcome), &mut lines);
        assert!(open.open.is_empty());
        text(&lines)
    }

    fn text(lines: &OpLogText) -> String {
        let [(text, None)] = lines.pieces().collect::<Vec<_>>()[..] else {
            panic!("no value is large")
        };
        String::from_utf8(text.to_vec()).unwrap()
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
    fn what_was_sent_before_is_marked_command_by_command() {
        let delete = |of| Command::Delete { key: key(of) };
        let batch = Batch::new(Vec::new(), vec![delete(b"a"), delete(b"b")]).unwrap();
        let op = Operation::Batch(batch);
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        let repeated = Invocation { op, sent_before: Some(Duration::from_micros(40_900)) };
        open.begin(RequestId(1), ClientNumber(0), 1, &repeated, &mut lines);
        open.end(RequestId(1), 2, Some(&done(vec![CommandResult::Written; 2])), &mut lines);
        let mark = "# repeated: the next line was first asked for 40 ms earlier\n";
        assert_eq!(
            text(&lines),
            format!(
                "{mark}1,0,delete,a,1,req,\n{mark}1,0,delete,b,1,req,\n1,0,delete,a,2,resp,\n\
                 1,0,delete,b,2,resp,\n"
            )
        );
    }

    #[test]
    fn a_large_value_stands_at_both_ends() {
        let large = Value::new(vec![b'v'; 1 << 20]).unwrap();
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        let put = Operation::put(key(b"x"), large.clone());
        open.begin(RequestId(1), ClientNumber(0), 1, &sent_once(put), &mut lines);
        open.end(RequestId(1), 2, Some(&done(vec![CommandResult::Written])), &mut lines);
        let pieces: Vec<_> = lines.pieces().collect();
        let expected: [(&[u8], _); 3] = [
            (b"1,0,put,x,1,req,", Some(&large)),
            (b"1,0,put,x,2,resp,", Some(&large)),
            (b"", None),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn an_end_without_a_beginning_makes_no_line() {
        let mut open = OpenOperations::new(NodeId::FIRST);
        let mut lines = OpLogText::default();
        let get = sent_once(Operation::get(key(b"x")));
        open.begin(RequestId(1), ClientNumber(0), 1, &get, &mut lines);
        open.forget_all();
        open.end(RequestId(1), 2, None, &mut lines);
        assert_eq!(text(&lines), "1,0,get,x,1,req,\n");
    }
}
