//! What a server prints is written by a thread of its own: whoever stops the terminal or does not read
//! the pipe holds up neither serving nor stopping.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

/// One of a program's two outputs.
pub(crate) struct Printer {
    pieces: OnceLock<SyncSender<Piece>>,
    /// How many pieces found no room and are not printed.
    left_out: AtomicU64,
    write: fn(&[u8]),
}

enum Piece {
    Bytes(Vec<u8>),
    /// All that came before is written.
    Reached(SyncSender<()>),
}

impl Printer {
    pub(crate) const fn new(write: fn(&[u8])) -> Self {
        Self { pieces: OnceLock::new(), left_out: AtomicU64::new(0), write }
    }

    /// Gives it a thread. Without one it writes at once, as tools want it.
    ///
    /// # Errors
    /// If the system gives no thread; it then goes on writing at once.
    pub(crate) fn start(&'static self) -> io::Result<()> {
        let (pieces, inbox) = mpsc::sync_channel(PIECES_MAX);
        let thread = thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || self.serve(&inbox))?;
        // Nobody starts it twice.
        let _ = self.pieces.set(pieces);
        Ok(())
    }

    /// Prints something, unless what came before it is stuck.
    pub(crate) fn offer(&self, bytes: &[u8]) {
        let Some(pieces) = self.pieces.get() else {
            return (self.write)(bytes);
        };
        match pieces.try_send(Piece::Bytes(bytes.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
            // Its thread has died, which it does in no other way than by a panic.
            Err(TrySendError::Disconnected(_)) => (self.write)(bytes),
        }
    }

    /// Prints something once there is room. For a thread that holds up nothing else.
    pub(crate) fn put(&self, bytes: Vec<u8>) {
        if let Some(pieces) = self.pieces.get() {
            // Where its thread has died nothing can be printed.
            let _ = pieces.send(Piece::Bytes(bytes));
        } else {
            (self.write)(&bytes);
        }
    }

    /// Waits until all has been written, but no longer than this.
    pub(crate) fn finish(&self, at_most: Duration) {
        let Some(pieces) = self.pieces.get() else {
            return;
        };
        let (reached, wait) = mpsc::sync_channel(1);
        if pieces.try_send(Piece::Reached(reached)).is_ok() {
            // If it is not reached, what is left is printed nowhere.
            let _ = wait.recv_timeout(at_most);
        }
    }

    fn serve(&self, inbox: &Receiver<Piece>) {
        for piece in inbox {
            match piece {
                Piece::Bytes(bytes) => {
                    let left_out = self.left_out.swap(0, Ordering::Relaxed);
                    if left_out > 0 {
                        let text = format!("({left_out} lines or pages were not printed)\n");
                        (self.write)(text.as_bytes());
                    }
                    (self.write)(&bytes);
                }
                Piece::Reached(reached) => {
                    let _ = reached.send(());
                }
            }
        }
    }
}

/// How many lines or pages may wait to be printed.
const PIECES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn an_output_that_is_stuck_holds_up_nobody_and_says_what_is_missing() {
        static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        static PRINTER: Printer = Printer::new(|bytes| {
            WRITTEN.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        });
        PRINTER.start().unwrap();
        let stuck = WRITTEN.lock().unwrap();
        for line in 0..PIECES_MAX + 100 {
            PRINTER.offer(format!("{line}\n").as_bytes());
        }
        PRINTER.finish(Duration::from_millis(1));
        drop(stuck);
        PRINTER.put(b"last\n".to_vec());
        PRINTER.finish(Duration::from_secs(60));
        let written = WRITTEN.lock().unwrap();
        assert!(written.contains(&"0\n".to_owned()), "{written:?}");
        assert_eq!(written.last().map(String::as_str), Some("last\n"));
        let told = written.iter().filter(|line| line.ends_with("were not printed)\n")).count();
        assert_eq!(told, 1, "{written:?}");
        let printed = written.len() - 1 - told;
        assert!((PIECES_MAX..PIECES_MAX + 100).contains(&printed), "{printed}");
    }
}
