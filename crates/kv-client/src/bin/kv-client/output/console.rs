//! Output beside a line that is being typed.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kv_cli::output;
use rustyline::ExternalPrinter;

/// Writes to the terminal. While a line is being typed the text goes above it, whole lines at a
/// time; else it is written at once.
///
/// Text above a line gathers here until the editor shows its prompt again, which it is asked to do.
/// The editor takes it then with [`Console::take_above`], so that it is shown once and in order,
/// whatever is typed meanwhile. Beyond [`GATHERED_BYTES_MAX`] a writer waits for the editor.
///
/// Clones write to the same terminal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The editor is to show its prompt again.
    rung: Condvar,
    /// There is room for more text.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a line is being typed.
    is_open: bool,
    has_rung: bool,
    /// The beginning of a line that has no end yet.
    begun: Vec<u8>,
    /// Whole lines that go above the line that is being typed.
    gathered: String,
}

impl Console {
    /// Asks the editor through `printer`, on a thread of its own, to show its prompt again whenever
    /// there is text for the line above it.
    pub(crate) fn ring_through(&self, mut printer: impl ExternalPrinter + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            loop {
                shared.wait_for_ring();
                if printer.print(NO_TEXT.to_owned()).is_err() {
                    return;
                }
            }
        });
    }

    /// From now on a line is being typed.
    pub(crate) fn open(&self) {
        self.shared.lock().is_open = true;
    }

    /// No line is being typed any more: the cursor is at the beginning of a line.
    pub(crate) fn close(&self) {
        self.close_with("");
    }

    /// Leaves the line that is being typed, if there is one, as it is, on a line of its own.
    pub(crate) fn abandon_line(&self) {
        self.close_with("\n");
    }

    /// The lines that go above the prompt that is about to be shown.
    pub(crate) fn take_above(&self) -> String {
        let lines = std::mem::take(&mut self.shared.lock().gathered);
        self.shared.taken.notify_all();
        lines
    }

    /// Asks the editor to show its prompt again.
    pub(crate) fn ring(&self) {
        self.shared.lock().has_rung = true;
        self.shared.rung.notify_one();
    }

    fn close_with(&self, end: &str) {
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.is_open) {
            let text = end.to_owned() + &std::mem::take(&mut state.gathered);
            let begun = std::mem::take(&mut state.begun);
            // A terminal that is gone shows at the next result.
            let _ = output::write(text.as_bytes()).and_then(|()| output::write(&begun));
        }
        self.shared.taken.notify_all();
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        while state.is_open && state.gathered.len() + bytes.len() > GATHERED_BYTES_MAX {
            if state.gathered.is_empty() {
                break;
            }
            state = self.shared.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_open {
            output::write(bytes)?;
        } else if state.gather(bytes) {
            state.has_rung = true;
            self.shared.rung.notify_one();
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

    fn wait_for_ring(&self) {
        let mut state = self.lock();
        while !std::mem::take(&mut state.has_rung) {
            state = self.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// True if there is a whole line.
    fn gather(&mut self, bytes: &[u8]) -> bool {
        self.begun.extend_from_slice(bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return false;
        };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        self.gathered.push_str(&String::from_utf8_lossy(&lines));
        true
    }
}

/// What makes the editor show its prompt again, on the line where it is: up, and down again.
const NO_TEXT: &str = "\x1b[A\n";

/// How much text may wait to be shown above a typed line, unless one piece is more than that.
const GATHERED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;

    struct Printer(Sender<String>);

    impl ExternalPrinter for Printer {
        fn print(&mut self, text: String) -> rustyline::Result<()> {
            self.0.send(text).map_err(|_| rustyline::error::ReadlineError::Eof)
        }
    }

    #[test]
    fn whole_lines_go_above_the_line_that_is_typed_in_order() {
        let (sender, rings) = channel();
        let mut console = Console::default();
        console.ring_through(Printer(sender));
        console.open();
        console.write_all(b"one\ntw").unwrap();
        assert_eq!(rings.recv().unwrap(), NO_TEXT);
        assert_eq!(console.take_above(), "one\n");
        console.write_all(b"o\nthree\n").unwrap();
        rings.recv().unwrap();
        console.write_all(b"four\n").unwrap();
        assert_eq!(console.take_above(), "two\nthree\nfour\n");
        assert_eq!(console.take_above(), "", "once");
    }

    #[test]
    fn who_writes_too_much_waits_for_the_editor() {
        let mut console = Console::default();
        console.open();
        console.write_all(b"first\n").unwrap();
        let (sender, written) = channel();
        let mut writer = console.clone();
        std::thread::spawn(move || {
            writer.write_all(&vec![b'\n'; GATHERED_BYTES_MAX]).unwrap();
            sender.send(()).unwrap();
        });
        assert!(written.recv_timeout(Duration::from_millis(50)).is_err(), "it does not wait");
        assert_eq!(console.take_above(), "first\n");
        written.recv().unwrap();
        assert_eq!(console.take_above().len(), GATHERED_BYTES_MAX);
    }
}
