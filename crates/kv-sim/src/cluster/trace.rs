//! A run as a hash, and as lines that a person can read.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::{NodeId, Wire, digest};

/// Everything that happened so far, folded into one number, and the last of it as text where that
/// was asked for.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    scratch: BytesMut,
    lines: VecDeque<String>,
    lines_max: usize,
}

impl Trace {
    /// Keeps the last `lines_max` lines from here on.
    pub(crate) fn keep_lines(&mut self, lines_max: usize) {
        self.lines_max = lines_max;
        self.lines.truncate(lines_max);
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Notes that something happened; `encode` gives its bytes, `text` says it.
    pub(crate) fn note(
        &mut self,
        at: Duration,
        node: NodeId,
        encode: impl FnOnce(&mut BytesMut),
        text: impl FnOnce() -> String,
    ) {
        self.scratch.clear();
        (self.hash, at, node).encode(&mut self.scratch);
        encode(&mut self.scratch);
        self.hash = digest(&self.scratch);
        if self.lines_max > 0 {
            self.push(format!("{:>12.6} {node:>2} {}", at.as_secs_f64(), text()));
        }
    }

    /// Adds a line of no server, which is no part of the hash.
    pub(crate) fn remark(&mut self, at: Duration, text: &str) {
        if self.lines_max > 0 {
            self.push(format!("{:>12.6}  * {text}", at.as_secs_f64()));
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}
