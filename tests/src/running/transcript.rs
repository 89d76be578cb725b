//! What a process says, line by line, as it says it.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// All that a process has said so far, in the order in which it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    shared: Arc<(Mutex<Said>, Condvar)>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<(Stream, String)>,
    open_streams: u32,
    dropped: u64,
}

impl Transcript {
    /// Takes down an output on a thread of its own until it ends.
    pub(crate) fn take_down(&self, stream: Stream, output: impl Read + Send + 'static) {
        self.lock().open_streams += 1;
        let transcript = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                transcript.change(|said| said.put(stream, String::from_utf8_lossy(&line).into()));
            }
            transcript.change(|said| said.open_streams -= 1);
        });
    }

    /// Waits until a line from place `from` on fits; returns its place and the line. `None` once
    /// the time is over, or when both outputs have ended without it.
    pub(crate) fn wait_for(
        &self,
        from: usize,
        within: Duration,
        fits: impl Fn(Stream, &str) -> bool,
    ) -> Option<(usize, String)> {
        let deadline = Instant::now() + within;
        let mut said = self.lock();
        let mut place = from;
        loop {
            while let Some((stream, line)) = said.lines.get(place) {
                if fits(*stream, line) {
                    return Some((place, line.clone()));
                }
                place += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || said.open_streams == 0 {
                return None;
            }
            let (_, changed) = &*self.shared;
            said = changed.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines of one output.
    pub(crate) fn lines(&self, stream: Stream) -> Vec<String> {
        let said = self.lock();
        let lines = said.lines.iter().filter(|(from, _)| *from == stream);
        lines.map(|(_, line)| line.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }
}

impl Said {
    fn put(&mut self, stream: Stream, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push((stream, line));
        } else {
            self.dropped += 1;
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.lock();
        for (stream, line) in &said.lines {
            let mark = match stream {
                Stream::Out => "  | ",
                Stream::Err => "  ! ",
            };
            writeln!(f, "{mark}{line}")?;
        }
        if said.dropped > 0 {
            writeln!(f, "  and {} lines more, which were not kept", said.dropped)?;
        }
        Ok(())
    }
}

/// Lines kept of one process; further ones are counted only.
const LINES_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_from_a_place_on_and_an_ended_output_is_not_waited_for() {
        let transcript = Transcript::default();
        transcript.take_down(Stream::Out, &b"one\ntwo\none"[..]);
        let hour = Duration::from_secs(3600);
        let one = |from| transcript.wait_for(from, hour, |_, line| line == "one");
        assert_eq!(one(0), Some((0, "one".to_owned())));
        assert_eq!(one(1), Some((2, "one".to_owned())));
        assert_eq!(one(3), None);
        assert_eq!(transcript.lines(Stream::Out), ["one", "two", "one"]);
        assert!(transcript.lines(Stream::Err).is_empty());
    }

    #[test]
    fn the_wait_is_bounded() {
        let (silent, _open) = std::io::pipe().unwrap();
        let transcript = Transcript::default();
        transcript.take_down(Stream::Out, silent);
        assert_eq!(transcript.wait_for(0, Duration::from_millis(20), |_, _| true), None);
    }
}
