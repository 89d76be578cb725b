//! Output beside a line that is being typed.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustyline::ExternalPrinter;

/// Writes to the terminal. While a line is being typed the text goes above it, whole lines at a
/// time; else it is written at once.
///
/// Clones write to the same terminal. No writer waits for the terminal while a line is being typed:
/// text gathers, and what is beyond [`GATHERED_BYTES_MAX`] is left out, which is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    gathered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a line is being typed.
    is_open: bool,
    /// The beginning of a line that has no end yet.
    begun: Vec<u8>,
    /// Whole lines that go above the line that is being typed.
    gathered: String,
    left_out: usize,
}

impl Console {
    /// A console whose text above a typed line goes through `printer`, on a thread of its own.
    pub(crate) fn with_printer(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        let console = Self::default();
        let shared = Arc::clone(&console.shared);
        std::thread::spawn(move || {
            loop {
                let text = shared.next_gathered();
                if printer.print(text).is_err() {
                    return;
                }
            }
        });
        console
    }

    /// From now on a line is being typed.
    pub(crate) fn open(&self) {
        self.shared.lock().is_open = true;
    }

    /// No line is being typed any more.
    pub(crate) fn close(&self) {
        self.close_with("");
    }

    /// Leaves the line that is being typed as it is, on a line of its own.
    pub(crate) fn abandon_line(&self) {
        self.close_with("\n");
    }

    fn close_with(&self, end: &str) {
        let mut state = self.shared.lock();
        state.is_open = false;
        let late = state.take_gathered();
        // A terminal that is gone shows at the next result.
        let _ = write_now(end.as_bytes()).and_then(|()| write_now(late.as_bytes()));
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        if state.is_open {
            state.gather(bytes);
            self.shared.gathered.notify_one();
        } else {
            write_now(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_gathered(&self) -> String {
        let mut state = self.lock();
        while state.gathered.is_empty() {
            state = self.gathered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.take_gathered()
    }
}

impl State {
    fn gather(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        if self.gathered.len() + lines.len() > GATHERED_BYTES_MAX {
            self.left_out += 1;
        } else {
            self.gathered.push_str(&String::from_utf8_lossy(&lines));
        }
    }

    fn take_gathered(&mut self) -> String {
        let mut text = std::mem::take(&mut self.gathered);
        match std::mem::take(&mut self.left_out) {
            0 => {}
            count => text.push_str(&format!("({count} results were too much to show here)\n")),
        }
        text
    }
}

fn write_now(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// How much text may wait to be shown above a typed line.
const GATHERED_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Printer(Sender<String>);

    impl ExternalPrinter for Printer {
        fn print(&mut self, text: String) -> rustyline::Result<()> {
            self.0.send(text).map_err(|_| rustyline::error::ReadlineError::Eof)
        }
    }

    #[test]
    fn whole_lines_go_above_the_line_that_is_typed() {
        let (sender, printed) = channel();
        let mut console = Console::with_printer(Printer(sender));
        console.open();
        console.write_all(b"one\ntw").unwrap();
        assert_eq!(printed.recv().unwrap(), "one\n");
        console.write_all(b"o\n").unwrap();
        assert_eq!(printed.recv().unwrap(), "two\n");
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let mut state = State::default();
        state.gather(b"a\n");
        state.gather(&vec![b'\n'; GATHERED_BYTES_MAX]);
        assert_eq!(state.take_gathered(), "a\n(1 results were too much to show here)\n");
        state.gather(b"b\n");
        assert_eq!(state.take_gathered(), "b\n");
    }
}
