//! Histories from the servers' logs of operations.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kv_core::{Batch, Command, Key, Value};

use crate::history::{Event, History, Process, Refusal, Seen};

impl History {
    /// Reads the logs of operations of a cluster's servers, `output_log<ID>.txt`, as one history.
    ///
    /// The logs know milliseconds and the servers' own clocks, so each call is taken to begin
    /// `widen_ms` before its `req` and to end `widen_ms` after the millisecond of its `resp`: with
    /// as much as the clocks may differ, no wrong order is seen where there was none. Calls that
    /// never end are open. Each command is a process of its own: the logs do not say which
    /// commands were one request. A `cas` counts as a write of what it wrote, whatever its
    /// condition; scans are left out.
    ///
    /// # Errors
    /// [`OpLogError`] for a line of another form, and for a log in which events are missing.
    pub fn from_op_logs<'a>(
        logs: impl IntoIterator<Item = &'a str>,
        widen_ms: u64,
    ) -> Result<Self, OpLogError> {
        let mut reader = Reader::default();
        for (log, text) in logs.into_iter().enumerate() {
            reader.open.clear();
            for (index, line) in text.lines().enumerate() {
                let failed = |what| OpLogError::Line { log, line: index + 1, what };
                if line.starts_with('#') {
                    return Err(OpLogError::Gap { log, line: index + 1 });
                }
                reader.line(line, widen_ms).map_err(failed)?;
            }
        }
        Ok(reader.history())
    }
}

/// Why a log of operations cannot be read as a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpLogError {
    /// A line is not one of an operation.
    #[error("log {log}, line {line}: {what}")]
    Line {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server could not write all that happened.
    #[error("log {log}, line {line}: events are missing here, so that nothing can be judged")]
    Gap {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
    },
}

#[derive(Default)]
struct Reader {
    calls: Vec<Call>,
    /// The calls that have not ended, by what their last lines will show.
    open: BTreeMap<Ident, VecDeque<usize>>,
}

/// What the first and the last line of a call have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ident {
    client: String,
    word: String,
    key: Key,
    /// What is written; the last line of a get, an increment and a `cas` may show something else.
    value: Option<Bytes>,
}

struct Call {
    begins_ms: u64,
    ends_ms: u64,
    command: Command,
    end: Option<Event>,
}

/// A line's columns.
struct Line<'a> {
    client: String,
    word: &'a str,
    key: Key,
    ms: u64,
    event: &'a str,
    value: Option<Bytes>,
}

impl Reader {
    fn line(&mut self, line: &str, widen_ms: u64) -> Result<(), &'static str> {
        let line = columns(line)?;
        if line.word == "scan" {
            return Ok(());
        }
        let shown_again = matches!(line.word, "put" | "append");
        let ident = Ident {
            client: line.client,
            word: line.word.to_owned(),
            key: line.key.clone(),
            value: line.value.clone().filter(|_| shown_again),
        };
        if line.event == "req" {
            let command = command(line.word, line.key, line.value)?;
            let waiting = self.open.entry(ident).or_default();
            // Which of several like calls ends first is not known; each may be as old as the
            // oldest of them.
            let oldest = waiting.front().and_then(|place| self.calls.get(*place));
            let begins_ms = oldest.map_or(line.ms.saturating_sub(widen_ms), |c| c.begins_ms);
            waiting.push_back(self.calls.len());
            self.calls.push(Call { begins_ms, ends_ms: u64::MAX, command, end: None });
            return Ok(());
        }
        let place = self.open.get_mut(&ident).and_then(VecDeque::pop_front);
        let place = place.ok_or("a call ends here that has not begun")?;
        let call = self.calls.get_mut(place).ok_or("a call ends here that has not begun")?;
        call.ends_ms = line.ms.saturating_add(widen_ms);
        call.end = match line.event {
            "resp" => {
                if line.word == "cas" {
                    call.command = written(line.key, line.value.clone());
                }
                Some(Event::Ok(vec![seen(&call.command, line.value)?]))
            }
            "fail" => Some(Event::Fail(Refusal::NeverTried)),
            "info" => Some(Event::Info),
            _ => return Err("the event is none of req, resp, fail and info"),
        };
        Ok(())
    }

    fn history(self) -> History {
        let mut timed = Vec::new();
        for (process, call) in (0..).zip(self.calls) {
            let Ok(batch) = Batch::new(Vec::new(), vec![call.command]) else {
                continue;
            };
            // At one millisecond, calls begin before others end: they may have overlapped.
            timed.push((call.begins_ms, false, process, Event::Invoke(batch)));
            if let Some(end) = call.end {
                timed.push((call.ends_ms, true, process, end));
            }
        }
        timed.sort_by_key(|(at, is_end, process, _)| (*at, *is_end, *process));
        let events = timed.into_iter();
        History { events: events.map(|(_, _, process, event)| (Process(process), event)).collect() }
    }
}

fn columns(line: &str) -> Result<Line<'_>, &'static str> {
    let fields: Vec<&str> = line.split(',').collect();
    let [server, client, word, key, ms, event, value] = fields.as_slice() else {
        return Err("a line has seven columns");
    };
    let key = Key::new(unescaped(key)?).map_err(|_| "the key is empty or too long")?;
    Ok(Line {
        client: format!("{server},{client}"),
        word,
        key,
        ms: ms.parse().map_err(|_| "the time is no number of milliseconds")?,
        event,
        value: match *value {
            "" => None,
            "\"\"" => Some(Bytes::new()),
            value => Some(unescaped(value)?),
        },
    })
}

/// Reads `\xNN` as bytes.
fn unescaped(text: &str) -> Result<Bytes, &'static str> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or("an escape has two hexadecimal digits")?;
        let byte = u8::from_str_radix(digits, 16);
        bytes.push(byte.map_err(|_| "an escape has two hexadecimal digits")?);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    Ok(bytes.into())
}

fn command(word: &str, key: Key, value: Option<Bytes>) -> Result<Command, &'static str> {
    Ok(match word {
        "get" => Command::Get { key },
        "put" | "delete" | "cas" => written(key, value),
        "append" => Command::Append {
            key,
            suffix: Value::new(value.unwrap_or_default()).unwrap_or_default(),
        },
        "incr" => {
            let by = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            let by = by.and_then(|by| by.parse().ok()).ok_or("an increment has a number")?;
            Command::Increment { key, by }
        }
        _ => return Err("the operation is unknown"),
    })
}

fn written(key: Key, value: Option<Bytes>) -> Command {
    match value.map(|value| Value::new(value).unwrap_or_default()) {
        Some(value) => Command::Put { key, value, time_to_live: None },
        None => Command::Delete { key },
    }
}

fn seen(command: &Command, value: Option<Bytes>) -> Result<Seen, &'static str> {
    match command {
        Command::Get { .. } => {
            let value = value.map(Value::new).transpose();
            value.map(Seen::Value).map_err(|_| "the value is too long")
        }
        Command::Put { .. } | Command::Delete { .. } => Ok(Seen::Written),
        Command::Append { .. } => Ok(Seen::Unnoted),
        Command::Increment { .. } => {
            let number = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            let number = number.and_then(|number| number.parse().ok());
            number.map(Seen::Number).ok_or("an increment ends with a number")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizability::{Budget, Verdict, linearizability};

    fn verdict(logs: &[&str], widen_ms: u64) -> Verdict {
        let history = History::from_op_logs(logs.iter().copied(), widen_ms).unwrap();
        linearizability(&history, Budget::default()).unwrap()
    }

    #[test]
    fn a_stale_read_is_seen_across_logs() {
        let one = "1,0,put,x,100,req,a\n1,0,put,x,110,resp,a\n";
        let two = "2,0,get,x,120,req,\n2,0,get,x,130,resp,\n";
        assert!(matches!(verdict(&[one, two], 1), Verdict::NotLinearizable(_)));
        assert_eq!(verdict(&[one, two], 5), Verdict::Linearizable, "the clocks may differ by 10");
        let fresh = "2,0,get,x,120,req,\n2,0,get,x,130,resp,a\n";
        assert_eq!(verdict(&[one, fresh], 1), Verdict::Linearizable);
    }

    #[test]
    fn what_shares_a_millisecond_may_have_overlapped() {
        let one = "1,0,put,x,100,req,a\n1,0,put,x,110,resp,a\n";
        let two = "2,0,get,x,110,req,\n2,0,get,x,111,resp,\n";
        assert_eq!(verdict(&[one, two], 0), Verdict::Linearizable);
    }

    #[test]
    fn of_two_like_calls_either_may_end_first() {
        // The second get read the old value; its line comes first, since both look the same.
        let log = "1,0,put,x,1,req,a\n1,0,put,x,2,resp,a\n1,0,get,x,10,req,\n1,1,put,x,20,req,b\n\
                   1,1,put,x,30,resp,b\n1,0,get,x,40,req,\n1,0,get,x,50,resp,b\n1,0,get,x,60,resp,a\n";
        assert_eq!(verdict(&[log], 0), Verdict::Linearizable);
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let log = "1,0,put,a\\x2cb,1,req,\"\"\n1,0,put,a\\x2cb,2,resp,\"\"\n1,1,get,a\\x2cb,3,req,\n\
                   1,1,get,a\\x2cb,4,resp,\"\"\n1,1,incr,n,5,req,2\n1,1,incr,n,6,resp,2\n\
                   1,2,append,s,7,req,x\n1,2,append,s,8,resp,x\n1,3,cas,a\\x2cb,9,req,new\n\
                   1,3,cas,a\\x2cb,10,resp,new\n1,3,delete,s,11,req,\n1,3,delete,s,12,info,\n\
                   1,4,get,q,13,req,\n1,4,get,q,14,fail,\n1,4,scan,q,15,req,\n1,4,scan,q,15,resp,\n";
        let history = History::from_op_logs([log], 0).unwrap();
        assert_eq!(history.events.len(), 14);
        assert_eq!(verdict(&[log], 0), Verdict::Linearizable);
        let wrong = log.replace("4,resp,\"\"", "4,resp,old");
        assert!(matches!(verdict(&[&wrong], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line() {
        let read = |log| History::from_op_logs([log], 0).unwrap_err();
        assert_eq!(
            read("1,0,get,x,1,req,\n# 3 events are missing: the log's disk is slow\n"),
            OpLogError::Gap { log: 0, line: 2 }
        );
        for log in ["x", "1,0,get,x,1,resp,", "1,0,get,x,z,req,", "1,0,get,\\xzz,1,req,"] {
            assert!(matches!(read(log), OpLogError::Line { line: 1, .. }), "{log}");
        }
    }
}
