//! What waits to be printed.

use std::collections::VecDeque;

/// Lines up to a number of bytes, the newest of them, and one page.
pub(super) struct Queue {
    /// Whether there is a thread that prints.
    pub(super) is_served: bool,
    pieces: VecDeque<Piece>,
    lines_bytes: usize,
    /// How many lines found no room since it was last said.
    left_out: u64,
    writing: Option<Kind>,
}

struct Piece {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    Page,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            is_served: false,
            pieces: VecDeque::new(),
            lines_bytes: 0,
            left_out: 0,
            writing: None,
        }
    }

    /// Takes a line; the oldest ones make room for it.
    pub(super) fn offer(&mut self, bytes: Vec<u8>) {
        self.lines_bytes += bytes.len();
        self.pieces.push_back(Piece { kind: Kind::Line, bytes });
        while self.lines_bytes > LINES_BYTES_MAX {
            let oldest = self.pieces.iter().position(|piece| piece.kind == Kind::Line);
            let Some(line) = oldest.and_then(|oldest| self.pieces.remove(oldest)) else {
                break;
            };
            self.lines_bytes -= line.bytes.len();
            self.left_out += 1;
        }
    }

    /// Takes a page.
    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        self.pieces.push_back(Piece { kind: Kind::Page, bytes });
    }

    /// Whether a page waits or is being written.
    pub(super) fn has_page(&self) -> bool {
        let waits = self.pieces.iter().any(|piece| piece.kind == Kind::Page);
        waits || self.writing == Some(Kind::Page)
    }

    /// What is to be written next; it is being written until [`Queue::end`].
    pub(super) fn begin(&mut self) -> Option<Vec<u8>> {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            self.writing = Some(Kind::Line);
            let lines = if left_out == 1 { "line was" } else { "lines were" };
            return Some(format!("({left_out} {lines} not printed)\n").into_bytes());
        }
        let Piece { kind, bytes } = self.pieces.pop_front()?;
        if kind == Kind::Line {
            self.lines_bytes -= bytes.len();
        }
        self.writing = Some(kind);
        Some(bytes)
    }

    pub(super) const fn end(&mut self) {
        self.writing = None;
    }

    /// Whether all is written.
    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty() && self.left_out == 0 && self.writing.is_none()
    }
}

/// How many bytes of lines may wait to be printed.
pub(super) const LINES_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_no_page_is_left_out() {
        let mut queue = Queue::new();
        queue.put(b"page".to_vec());
        let half = LINES_BYTES_MAX / 2;
        for byte in *b"abcd" {
            queue.offer(vec![byte; half]);
        }
        assert_eq!(queue.begin().unwrap(), b"(2 lines were not printed)\n");
        assert_eq!(queue.begin().unwrap(), b"page");
        assert!(queue.has_page(), "it is being written");
        for byte in *b"cd" {
            assert_eq!(queue.begin().unwrap(), vec![byte; half]);
        }
        assert!(!queue.has_page() && !queue.is_done());
        queue.end();
        assert!(queue.is_done() && queue.begin().is_none());
    }
}
