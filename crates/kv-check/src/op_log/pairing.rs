//! Pairs the first and the last lines of calls.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kv_core::Key;

use super::InitialState;
use super::calls::{Call, Calls};
use super::line::{columns, command, seen, written};
use crate::history::{Event, Refusal};

/// Reads the logs of a cluster's servers, one after the other.
#[derive(Default)]
pub(super) struct Pairing {
    widen_ms: u64,
    calls: Calls,
    /// The calls that have not ended, by what their last lines will show.
    open: BTreeMap<Ident, VecDeque<usize>>,
    /// The time of the last line.
    last_ms: u64,
    /// Whether the last line said that the next one's call was sent before.
    is_repeated: bool,
}

/// What is wrong with a line.
pub(super) enum Fault {
    Line(&'static str),
    NotBegun,
    Gap,
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::Line(what)
    }
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

impl Pairing {
    pub(super) fn new(widen_ms: u64) -> Self {
        Self { widen_ms, ..Self::default() }
    }

    /// All calls of the logs that were read.
    pub(super) fn calls(self) -> Calls {
        self.calls
    }

    /// Reads one server's log; a fault comes with its line, from 1.
    pub(super) fn read(&mut self, initial: InitialState, text: &str) -> Result<(), (usize, Fault)> {
        self.open.clear();
        (self.last_ms, self.is_repeated) = (0, false);
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
                (may_be_older, self.is_repeated) = (false, false);
                self.note_kill();
            } else if is_cut {
                self.note_kill();
            } else if line.starts_with("# repeated") {
                self.is_repeated = true;
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
        self.calls.kills_ms.insert(at);
    }

    fn line(&mut self, line: &str, may_be_older: bool) -> Result<(), Fault> {
        let line = columns(line)?;
        self.last_ms = line.ms;
        let is_repeated = std::mem::take(&mut self.is_repeated);
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
            let oldest = waiting.front().and_then(|place| self.calls.calls.get(*place));
            let begins_ms = line.ms.saturating_sub(self.widen_ms);
            let begins_ms = oldest.map_or(begins_ms, |call| call.begins_ms);
            waiting.push_back(self.calls.calls.len());
            self.calls.calls.push(Call { is_repeated, ..Call::open(begins_ms, command) });
            return Ok(());
        }
        let place = match self.open.get_mut(&ident).and_then(VecDeque::pop_front) {
            Some(place) => place,
            None if may_be_older => {
                // The number that an increment added is not in its last line.
                let value = line.value.clone().filter(|_| line.word != "incr");
                let zero = (line.word == "incr").then(|| Bytes::from_static(b"0"));
                let command = command(line.word, line.key.clone(), value.or(zero))?;
                self.calls.calls.push(Call::open(0, command));
                self.calls.calls.len() - 1
            }
            None => return Err(Fault::NotBegun),
        };
        let call = self.calls.calls.get_mut(place).ok_or(Fault::NotBegun)?;
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
}
