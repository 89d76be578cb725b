//! Lines from the standard input.

use std::io::{BufRead, ErrorKind, Read};

use kv_core::Value;
use tokio::sync::mpsc;

/// Lines that a thread of its own reads, so that typing goes on while a command runs. The thread
/// stops reading while [`LINES_MAX`] lines wait.
#[derive(Debug)]
pub(crate) struct Input {
    lines: mpsc::Receiver<InputLine>,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputLine {
    Text(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]; it was skipped.
    TooLong,
    /// Bytes that are no text were typed; the line was dropped.
    NoText,
}

impl InputLine {
    /// How many bytes are kept of it.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::TooLong | Self::NoText => 0,
        }
    }
}

impl Input {
    pub(crate) fn stdin() -> Self {
        Self::of(|| std::io::stdin().lock())
    }

    fn of<R: BufRead>(open: impl FnOnce() -> R + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        std::thread::spawn(move || {
            let mut source = open();
            // An unreadable input ends like an ended one.
            while let Ok(Some(line)) = read_line(&mut source, LINE_BYTES_MAX) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next line; `None` at the end. Nothing is lost if it is dropped.
    pub(crate) async fn next(&mut self) -> Option<InputLine> {
        self.lines.recv().await
    }
}

/// The whole standard input, up to one byte more than a value may have.
pub(crate) fn whole_value() -> std::io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let one_more = u64::try_from(Value::LEN_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin().lock().take(one_more).read_to_end(&mut value)?;
    Ok(value)
}

fn read_line(source: &mut impl BufRead, limit: usize) -> std::io::Result<Option<InputLine>> {
    let mut line = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.by_ref().take(one_more).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > limit {
        skip_line(source)?;
        return Ok(Some(InputLine::TooLong));
    }
    Ok(Some(InputLine::Text(line)))
}

fn skip_line(source: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let read = match source.fill_buf() {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = read.iter().position(|byte| *byte == b'\n');
        let (skipped, ended) = match end {
            Some(end) => (end + 1, true),
            None => (read.len(), read.is_empty()),
        };
        source.consume(skipped);
        if ended {
            return Ok(());
        }
    }
}

/// How many lines may wait before the thread stops reading.
const LINES_MAX: usize = 64;

/// Room for the largest value with every byte escaped, and its key.
pub(crate) const LINE_BYTES_MAX: usize = 80 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut source: &[u8], limit: usize) -> Vec<InputLine> {
        std::iter::from_fn(|| read_line(&mut source, limit).unwrap()).collect()
    }

    fn text(text: &str) -> InputLine {
        InputLine::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn the_last_line_needs_no_end() {
        assert_eq!(lines(b"a\n\nb", 9), [text("a"), text(""), text("b")]);
        assert_eq!(lines(b"", 9), []);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_the_next_one_read() {
        let expected = [text("abc"), InputLine::TooLong, text("x"), InputLine::TooLong];
        assert_eq!(lines(b"abc\nabcdefgh\nx\nabcd", 3), expected);
    }
}
