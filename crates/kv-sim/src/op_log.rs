//! Histories from the servers' logs of operations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kv_core::{Batch, Command, Key, Value};

use crate::history::{Event, History, Process, Refusal, Seen};

/// What the keys held when the logs began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Nothing: the logs begin with the servers' first start on empty disks.
    Empty,
    /// Nobody knows, as when a log was rotated away: the first reads define it.
    Unknown,
}

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
    /// A server that was killed takes its last lines with it. Half a line counts for nothing, and
    /// a value that is shown and that no line writes is from a write that was lost, if it is shown
    /// after a server was killed; lost deletes, increments and appends are not assumed.
    ///
    /// The keys are taken to hold nothing at first: see [`History::from_op_logs_since`].
    ///
    /// # Errors
    /// [`OpLogError`] for a line of another form, and for a log in which events are missing.
    pub fn from_op_logs<'a>(
        logs: impl IntoIterator<Item = &'a str>,
        widen_ms: u64,
    ) -> Result<Self, OpLogError> {
        Self::from_op_logs_since(InitialState::Empty, logs, widen_ms)
    }

    /// The same for logs that may begin in the middle.
    ///
    /// With [`InitialState::Unknown`] a call that ends and does not begin, in the part of a log before
    /// its server started again, began before the log; what a read shows that no call can have
    /// written by then was there from the first; and keys that were counted on or appended to are
    /// left out.
    ///
    /// # Errors
    /// As there.
    pub fn from_op_logs_since<'a>(
        initial: InitialState,
        logs: impl IntoIterator<Item = &'a str>,
        widen_ms: u64,
    ) -> Result<Self, OpLogError> {
        let mut reader = Reader { widen_ms, ..Reader::default() };
        for (log, text) in logs.into_iter().enumerate() {
            reader.log(initial, text).map_err(|(line, fault)| match fault {
                Fault::Gap => OpLogError::Gap { log, line },
                Fault::NotBegun => OpLogError::NotBegun { log, line },
                Fault::Line(what) => OpLogError::Line { log, line, what },
            })?;
        }
        reader.add_lost_writes();
        if initial == InitialState::Unknown {
            reader.add_initial_values();
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
    /// A call ends that has not begun.
    #[error(
        "log {log}, line {line}: a call ends here that has not begun; put what was rotated away \
         before the log, or read it with an unknown initial state"
    )]
    NotBegun {
        /// Which log, from 0.
        log: usize,
        /// Which line, from 1.
        line: usize,
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

/// What is wrong with a line.
enum Fault {
    Line(&'static str),
    NotBegun,
    Gap,
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::Line(what)
    }
}

#[derive(Default)]
struct Reader {
    widen_ms: u64,
    calls: Vec<Call>,
    /// The calls that have not ended, by what their last lines will show.
    open: BTreeMap<Ident, VecDeque<usize>>,
    /// The time of the last line.
    last_ms: u64,
    /// When the first server was killed, as far as its lines tell.
    first_kill_ms: Option<u64>,
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
    /// Reads one server's log; a fault comes with its line, from 1.
    fn log(&mut self, initial: InitialState, text: &str) -> Result<(), (usize, Fault)> {
        self.open.clear();
        self.last_ms = 0;
        let mut may_be_older = initial == InitialState::Unknown;
        let mut lines = text.split_inclusive('\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let at = |fault| (index + 1, fault);
            let next = lines.peek().map(|(_, next)| *next);
            let is_cut =
                next.is_some_and(|next| next.starts_with("# cut")) || !line.ends_with('\n');
            let line = line.trim_end_matches('\n');
            if line.starts_with("# cut") || line.starts_with("# started") {
                // What is open stays so, and no later client has the number of its client.
                self.open.clear();
                may_be_older = false;
                self.note_kill();
            } else if is_cut {
                self.note_kill();
            } else if line.starts_with('#') {
                return Err(at(Fault::Gap));
            } else {
                self.line(line, may_be_older).map_err(at)?;
            }
        }
        Ok(())
    }

    fn note_kill(&mut self) {
        let at = self.last_ms.saturating_sub(self.widen_ms);
        self.first_kill_ms = Some(self.first_kill_ms.map_or(at, |first| first.min(at)));
    }

    fn line(&mut self, line: &str, may_be_older: bool) -> Result<(), Fault> {
        let line = columns(line)?;
        self.last_ms = line.ms;
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
            let begins_ms = line.ms.saturating_sub(self.widen_ms);
            let begins_ms = oldest.map_or(begins_ms, |call| call.begins_ms);
            waiting.push_back(self.calls.len());
            self.calls.push(Call { begins_ms, ends_ms: u64::MAX, command, end: None });
            return Ok(());
        }
        let place = match self.open.get_mut(&ident).and_then(VecDeque::pop_front) {
            Some(place) => place,
            None if may_be_older => {
                // The number that an increment added is not in its last line.
                let value = line.value.clone().filter(|_| line.word != "incr");
                let zero = (line.word == "incr").then(|| Bytes::from_static(b"0"));
                let command = command(line.word, line.key.clone(), value.or(zero))?;
                self.calls.push(Call { begins_ms: 0, ends_ms: u64::MAX, command, end: None });
                self.calls.len() - 1
            }
            None => return Err(Fault::NotBegun),
        };
        let call = self.calls.get_mut(place).ok_or(Fault::NotBegun)?;
        call.ends_ms = line.ms.saturating_add(self.widen_ms);
        call.end = match line.event {
            "resp" => {
                if line.word == "cas" {
                    call.command = written(line.key, line.value.clone());
                }
                Some(Event::Ok(vec![seen(&call.command, line.value)?]))
            }
            "fail" => Some(Event::Fail(Refusal::NeverTried)),
            "info" => Some(Event::Info),
            _ => return Err("the event is none of req, resp, fail and info".into()),
        };
        Ok(())
    }

    /// What was shown after a server was killed and was written by nobody was written by a call
    /// whose lines are lost.
    fn add_lost_writes(&mut self) {
        let Some(begins_ms) = self.first_kill_ms else {
            return;
        };
        let (computed, writes) = (self.computed_keys(), self.first_writes());
        let mut lost = BTreeSet::new();
        for (key, value, read) in self.shown() {
            let known = computed.contains(key) || writes.contains_key(&(key, value));
            if !known && read.ends_ms >= begins_ms {
                lost.insert((key.clone(), value.clone()));
            }
        }
        for (key, value) in lost {
            let command = Command::Put { key, value, time_to_live: None };
            self.calls.push(Call { begins_ms, ends_ms: u64::MAX, command, end: None });
        }
    }

    /// What was shown before anybody can have written it was there from the first.
    fn add_initial_values(&mut self) {
        let computed: BTreeSet<Key> = self.computed_keys().into_iter().cloned().collect();
        self.calls.retain(|call| !computed.contains(call.command.key()));
        let writes = self.first_writes();
        let mut initial = BTreeSet::new();
        for (key, value, read) in self.shown() {
            let first = writes.get(&(key, value));
            if first.is_none_or(|begins_ms| *begins_ms > read.ends_ms) {
                initial.insert((key.clone(), value.clone()));
            }
        }
        for (key, value) in initial {
            let command = Command::Put { key, value, time_to_live: None };
            let end = Some(Event::Ok(vec![Seen::Written]));
            // Calls that are older than their log begin at 0 as well, and may come later.
            self.calls.push(Call { begins_ms: 0, ends_ms: 0, command, end });
        }
    }

    /// The values that gets show.
    fn shown(&self) -> impl Iterator<Item = (&Key, &Value, &Call)> {
        self.calls.iter().filter_map(|call| match &call.end {
            Some(Event::Ok(seen)) => match seen.as_slice() {
                [Seen::Value(Some(value))] => Some((call.command.key(), value, call)),
                _ => None,
            },
            Some(Event::Invoke(_) | Event::Fail(_) | Event::Info) | None => None,
        })
    }

    /// When the first call began that may have put each value.
    fn first_writes(&self) -> BTreeMap<(&Key, &Value), u64> {
        let mut first = BTreeMap::new();
        for call in &self.calls {
            if let Command::Put { key, value, .. } = &call.command {
                let begins_ms = first.entry((key, value)).or_insert(call.begins_ms);
                *begins_ms = call.begins_ms.min(*begins_ms);
            }
        }
        first
    }

    /// The keys that are counted on or appended to.
    fn computed_keys(&self) -> BTreeSet<&Key> {
        let computed = self.calls.iter().filter_map(|call| match &call.command {
            Command::Increment { key, .. } | Command::Append { key, .. } => Some(key),
            Command::Get { .. } | Command::Put { .. } | Command::Delete { .. } => None,
        });
        computed.collect()
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
        assert_eq!(read("1,0,get,x,1,resp,\n"), OpLogError::NotBegun { log: 0, line: 1 });
        for log in ["x\n", "1,0,get,x,z,req,\n", "1,0,get,\\xzz,1,req,\n"] {
            assert!(matches!(read(log), OpLogError::Line { line: 1, .. }), "{log}");
        }
    }

    const STARTED: &str = "# started: its last lines may be missing above\n";

    fn put(client: u32, value: &str, from_ms: u64) -> String {
        let to_ms = from_ms + 5;
        format!("1,{client},put,x,{from_ms},req,{value}\n1,{client},put,x,{to_ms},resp,{value}\n")
    }

    fn get(client: u32, value: &str, from_ms: u64) -> String {
        let to_ms = from_ms + 5;
        format!("1,{client},get,x,{from_ms},req,\n1,{client},get,x,{to_ms},resp,{value}\n")
    }

    #[test]
    fn a_call_of_a_killed_server_hides_no_later_one() {
        let stale =
            [put(1, "a", 20), put(1, "b", 30), get(1, "b", 50), get(1, "b", 70), get(1, "a", 100)];
        assert!(matches!(verdict(&[&stale.concat()], 0), Verdict::NotLinearizable(_)));
        let killed = format!("1,0,get,x,10,req,\n{STARTED}{}", stale.concat());
        assert!(matches!(verdict(&[&killed], 0), Verdict::NotLinearizable(_)));
        // Even if the numbers of clients began anew.
        let killed = killed.replace("1,1,", "1,0,");
        assert!(matches!(verdict(&[&killed], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn half_a_line_counts_for_nothing_and_what_it_began_may_be_seen() {
        let cut = "1,1,put,x,20,req,long\n";
        for half in 0..cut.len() {
            let first = format!("{}{}", put(0, "a", 10), &cut[..half]);
            assert_eq!(verdict(&[&first], 0), Verdict::Linearizable, "{first}");
            let mark = if half > 0 { "\n# cut: the line above is not whole\n" } else { "" };
            let log = format!("{first}{mark}{STARTED}{}", get(2, "longer", 40));
            assert_eq!(verdict(&[&log], 0), Verdict::Linearizable, "{log}");
        }
        // It was lost after the server's last line, and nothing is lost of a server that ran on.
        let early = get(0, "longer", 5) + &put(0, "a", 30) + STARTED;
        assert!(matches!(verdict(&[&early], 0), Verdict::NotLinearizable(_)));
        let none = put(0, "a", 10) + &get(2, "longer", 40);
        assert!(matches!(verdict(&[&none], 0), Verdict::NotLinearizable(_)));
        let twice = put(0, "a", 10) + STARTED + &get(1, "b", 30) + &put(1, "c", 40);
        let twice = twice + &get(1, "b", 50) + &get(1, "c", 60) + &get(1, "b", 70);
        assert!(matches!(verdict(&[&twice], 0), Verdict::NotLinearizable(_)));
    }

    #[test]
    fn a_log_that_begins_in_the_middle_is_read_if_that_is_known() {
        let since = |log: &str| {
            let history = History::from_op_logs_since(InitialState::Unknown, [log], 0)?;
            Ok(linearizability(&history, Budget::default()).unwrap())
        };
        let older = "1,0,put,x,10,resp,a\n1,0,get,x,11,resp,old\n1,3,incr,n,12,resp,7\n";
        let log = format!("{older}{}{}", get(1, "a", 20), get(1, "a", 40));
        let begun = History::from_op_logs([log.as_str()], 0);
        assert_eq!(begun, Err(OpLogError::NotBegun { log: 0, line: 1 }));
        assert_eq!(since(&log), Ok(Verdict::Linearizable));
        let rest = get(1, "old", 20) + &put(1, "b", 30) + &get(1, "b", 40);
        assert!(matches!(verdict(&[&rest], 0), Verdict::NotLinearizable(_)));
        assert_eq!(since(&rest), Ok(Verdict::Linearizable));
        let stale = rest + &get(1, "old", 50);
        assert!(matches!(since(&stale), Ok(Verdict::NotLinearizable(_))));
        let two = get(1, "old", 20) + &get(1, "older", 30);
        assert!(matches!(since(&two), Ok(Verdict::NotLinearizable(_))));
        // Once a server has started, its calls are whole: this is damage.
        let damaged = format!("{}{STARTED}{older}", put(0, "z", 1));
        assert_eq!(since(&damaged), Err(OpLogError::NotBegun { log: 0, line: 4 }));
    }
}
