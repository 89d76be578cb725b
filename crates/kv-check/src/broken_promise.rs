//! A broken promise, with the calls that show it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use kv_core::{HybridTime, Key, NodeId, RequestId, Version};

use crate::evidence::{Action, Call, End, Evidence};
use crate::oracle::{OracleFinding, Promise};

/// A promise that a run does not keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise:?}: {finding}{calls}")]
pub struct BrokenPromise {
    /// Which one.
    pub promise: Promise,
    /// How it is broken.
    pub finding: Box<OracleFinding>,
    /// The calls by which it is.
    pub calls: NamedCalls,
}

/// The calls that a finding names, in the order in which they began. Shown a call a line, each after
/// a line break, with who put what it read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedCalls {
    calls: Vec<(Call, Option<Source>)>,
    /// Whether the finding is about what servers hold in the end.
    lasts: bool,
}

/// Where a value that was read is from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Call(Box<Call>),
    /// No call put it.
    Nobody,
    /// It was made of what the key held before, and it is not known by which call.
    Change,
}

impl BrokenPromise {
    /// Finds the calls of a finding in what was judged.
    #[must_use]
    pub fn new(promise: Promise, finding: OracleFinding, evidence: &Evidence) -> Self {
        let calls = NamedCalls::of(&finding, evidence);
        Self { promise, finding: Box::new(finding), calls }
    }
}

impl NamedCalls {
    fn of(finding: &OracleFinding, evidence: &Evidence) -> Self {
        let named = Named::of(finding);
        let mut calls: Vec<(Call, Option<Source>)> = Vec::new();
        for call in evidence.calls.iter().filter(|call| named.is_one(call)) {
            // Many reads may show one version: the first is enough.
            let is_known = |(known, _): &(Call, _)| {
                named.ids.is_empty() && known.key == call.key && known.written() == call.written()
            };
            if !calls.iter().any(is_known) {
                calls.push((call.clone(), source(call, evidence)));
            }
        }
        let lasts =
            matches!(finding, OracleFinding::Lost { .. } | OracleFinding::Resurrected { .. });
        Self { calls, lasts }
    }

    /// The calls.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().map(|(call, _)| call)
    }

    /// From the begin of the first to the end of the last one, or to the end of the run where one is
    /// open or the finding is about rest; `None` without calls.
    #[must_use]
    pub fn time(&self) -> Option<RangeInclusive<Duration>> {
        let begin = self.iter().map(|call| call.begin).min()?;
        let end_of = |call: &Call| call.end.as_ref().map_or(Duration::MAX, |(at, _)| *at);
        let end = if self.lasts { None } else { self.iter().map(end_of).max() };
        Some(begin..=end.unwrap_or(Duration::MAX))
    }
}

/// ```text
///
///   call 3 of client 5 at server 1, 120ms to 130ms: get b"k": b"v4" (version 17), put by call 2 of client 1 at 90ms
/// ```
impl fmt::Display for NamedCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (call, source) in &self.calls {
            write!(f, "\n  {call}")?;
            match source {
                Some(Source::Call(by)) => {
                    write!(
                        f,
                        ", put by call {} of client {} at {:?}",
                        by.id, by.session.0, by.begin
                    )?;
                }
                Some(Source::Nobody) => f.write_str(", nobody put it")?,
                Some(Source::Change) => f.write_str(", made of what was there before")?,
                None => {}
            }
        }
        Ok(())
    }
}

/// What a finding says of its calls.
#[derive(Debug, Default)]
struct Named<'a> {
    ids: Vec<RequestId>,
    /// A batch is several calls of one id: the one of this key is meant, where the finding has one.
    keys: Vec<&'a Key>,
    /// Without ids: calls that wrote or show this.
    version: Option<Version>,
    /// Likewise, what this server stamped so.
    stamps: Option<(NodeId, [HybridTime; 2])>,
}

impl<'a> Named<'a> {
    fn of(finding: &'a OracleFinding) -> Self {
        let calls = |ids: &[RequestId]| Self { ids: ids.to_vec(), ..Self::default() };
        let of_key = |ids: &[RequestId], key: &'a Key| Self { keys: vec![key], ..calls(ids) };
        match finding {
            OracleFinding::Stale { read, write, key, .. } => of_key(&[*read, *write], key),
            OracleFinding::BornSuperseded { write, key, .. }
            | OracleFinding::Lost { write, key, .. } => of_key(&[*write], key),
            OracleFinding::Resurrected { delete, key, .. } => of_key(&[*delete], key),
            OracleFinding::SessionWentBack { read, before, key, .. } => {
                of_key(&[*read, *before], key)
            }
            OracleFinding::WriteBehindSession { write, before, key, .. } => {
                of_key(&[*write, *before], key)
            }
            OracleFinding::StampFell { write, before, .. } => calls(&[*write, *before]),
            OracleFinding::RefusedShown { read, write } => calls(&[*read, *write]),
            OracleFinding::Invented { read, .. } => calls(&[*read]),
            OracleFinding::OutOfVersionOrder { call, before, .. } => calls(&[*call, *before]),
            OracleFinding::VersionTwice { version, keys } => {
                Self { version: Some(*version), keys: keys.iter().collect(), ..Self::default() }
            }
            OracleFinding::NameTwice { origin, times, keys, .. } => Self {
                stamps: Some((*origin, *times)),
                keys: keys.iter().collect(),
                ..Self::default()
            },
            OracleFinding::SentStampReached { origin, sent, later } => {
                Self { stamps: Some((*origin, [sent.2, later.2])), ..Self::default() }
            }
            OracleFinding::NoOrder
            | OracleFinding::Undecided { .. }
            | OracleFinding::NotAtRest
            | OracleFinding::NotReadAtRest { .. }
            | OracleFinding::Differ { .. } => Self::default(),
        }
    }

    fn is_one(&self, call: &Call) -> bool {
        if !self.keys.is_empty() && !self.keys.contains(&&call.key) {
            return false;
        }
        let version = call.version();
        self.ids.contains(&call.id)
            || (version.is_some() && version == self.version)
            || self.stamps.is_some_and(|(by, times)| {
                matches!(version, Some(Version::Stamp { time, origin, .. })
                    if origin == by && times.contains(&time))
            })
    }
}

/// Who put what a call read.
fn source(call: &Call, evidence: &Evidence) -> Option<Source> {
    let shown = call.shown()??;
    let of_key = || evidence.calls.iter().filter(|other| other.key == call.key);
    let puts = |other: &&Call| matches!(&other.action, Action::Put(value) if *value == shown.value);
    let writes = |other: &&Call| {
        matches!(other.action, Action::Put(_) | Action::Change)
            && other.version() == Some(shown.version)
    };
    // Of several that put the same value it is the one of that version.
    let by = of_key().filter(puts).find(writes).or_else(|| of_key().find(puts));
    let by = by.or_else(|| of_key().find(writes).filter(|other| other.action == Action::Change));
    Some(match by {
        Some(by) => Source::Call(Box::new(by.clone())),
        None if of_key().any(|other| other.action == Action::Change) => Source::Change,
        None => Source::Nobody,
    })
}

impl Call {
    /// The version that it wrote or shows, as far as that is known.
    fn version(&self) -> Option<Version> {
        match self.end.as_ref()? {
            (_, End::Read { shown, .. }) => shown.as_ref().map(|shown| shown.version),
            (_, End::Written { version, .. }) => Some(*version),
            (_, End::Unknown { version }) => *version,
            (_, End::NotDone) => None,
        }
    }

    /// The value that it put or shows.
    fn written(&self) -> Option<&kv_core::Value> {
        match &self.action {
            Action::Put(value) => Some(value),
            Action::Get => self.shown().flatten().map(|shown| &shown.value),
            Action::Delete | Action::Change => None,
        }
    }
}
