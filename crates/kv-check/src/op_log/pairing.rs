//! Pairs the first and the last lines of calls.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kv_core::{Command, Key};

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
    /// How long before the next line its call was made, if the last one said so: it was sent before.
    sent_before_ms: Option<u64>,
    /// The engine and the cluster that the lines so far are of, if one of them said so.
    engine: Option<String>,
    cluster: Option<String>,
}

/// What is wrong with a line.
pub(super) enum Fault {
    Line(&'static str),
    NotBegun,
    Gap,
    OtherCluster,
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
        (self.last_ms, self.sent_before_ms) = (0, None);
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
                (may_be_older, self.sent_before_ms) = (false, None);
                self.note_kill();
            } else if is_cut {
                self.note_kill();
            } else if line.starts_with("# repeated") {
                let age = repeated_after_ms(line).ok_or("how long ago is no number");
                self.sent_before_ms = Some(age.map_err(|what| at(Fault::Line(what)))?);
            } else if let Some(data) = line.strip_prefix("# data: ") {
                let engine = data.split(',').next().unwrap_or(data);
                note_same(&mut self.engine, engine).map_err(at)?;
            } else if let Some(cluster) = line.strip_prefix("# cluster: ") {
                note_same(&mut self.cluster, cluster).map_err(at)?;
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
        let sent_before_ms = self.sent_before_ms.take();
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
            let age_ms = sent_before_ms.unwrap_or(0).saturating_add(self.widen_ms);
            let begins_ms = line.ms.saturating_sub(age_ms);
            let is_repeated = sent_before_ms.is_some();
            waiting.push_back(self.calls.calls.len());
            self.calls.calls.push(Call { is_repeated, ..Call::open(begins_ms, command) });
            // Which of several like calls ends first is not known; each may be as old as the
            // oldest of them.
            self.calls.make_alike(waiting.iter().copied());
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
                // The first copy of what was sent again may have done what the answer says.
                let is_computed =
                    matches!(call.command, Command::Increment { .. } | Command::Append { .. });
                let seen = seen(&call.command, line.value)?;
                Some(if is_computed && call.is_repeated {
                    Event::Info
                } else {
                    Event::Ok(vec![seen])
                })
            }
            "fail" => Some(Event::Fail(Refusal::NeverTried)),
            "info" => Some(Event::Info),
            _ => return Err("the event is none of req, resp, fail and info".into()),
        };
        Ok(())
    }
}

/// What all lines must agree on.
fn note_same(known: &mut Option<String>, said: &str) -> Result<(), Fault> {
    match known.get_or_insert_with(|| said.to_owned()) == said {
        true => Ok(()),
        false => Err(Fault::OtherCluster),
    }
}

/// How long ago a line says that the call of the next one was made.
fn repeated_after_ms(line: &str) -> Option<u64> {
    let mut words = line.rsplit(' ');
    (words.next() == Some("earlier") && words.next() == Some("ms"))
        .then(|| words.next())??
        .parse()
        .ok()
}
