//! What a server prints is written by a thread of its own: whoever stops the terminal or does not read
//! the pipe holds up neither serving nor stopping.

mod queue;

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use self::queue::Queue;

/// One of a program's two outputs.
pub(crate) struct Printer {
    queue: Mutex<Queue>,
    /// Something has come, or was written.
    changed: Condvar,
    write: fn(&[u8]),
}

impl Printer {
    pub(crate) const fn new(write: fn(&[u8])) -> Self {
        Self { queue: Mutex::new(Queue::new()), changed: Condvar::new(), write }
    }

    /// Gives it a thread. Without one it writes at once, as tools want it.
    ///
    /// # Errors
    /// If the system gives no thread; it then goes on writing at once.
    pub(crate) fn start(&'static self) -> io::Result<()> {
        let thread = thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || self.serve())?;
        self.queue().is_served = true;
        Ok(())
    }

    /// Prints a line. Where what came before is stuck and there is too much of it, the oldest lines
    /// are left out.
    pub(crate) fn offer(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.is_served {
            queue.offer(line.to_vec());
            self.changed.notify_all();
        } else {
            (self.write)(line);
        }
    }

    /// Prints a page once the one before it is written. For a thread that holds up nothing else.
    pub(crate) fn put(&self, page: Vec<u8>) {
        let queue = self.queue();
        if queue.is_served {
            let waiting = self.changed.wait_while(queue, |queue| queue.has_page());
            waiting.unwrap_or_else(PoisonError::into_inner).put(page);
            self.changed.notify_all();
        } else {
            (self.write)(&page);
        }
    }

    /// Waits until all has been written, but no longer than this. What is left then is printed
    /// nowhere.
    pub(crate) fn finish(&self, at_most: Duration) {
        let queue = self.queue();
        if queue.is_served {
            let _ = self.changed.wait_timeout_while(queue, at_most, |queue| !queue.is_done());
        }
    }

    fn serve(&self) {
        let mut queue = self.queue();
        loop {
            if let Some(bytes) = queue.begin() {
                drop(queue);
                (self.write)(&bytes);
                queue = self.queue();
                queue.end();
                self.changed.notify_all();
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Nothing panics that holds the lock.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::queue::LINES_BYTES_MAX;
    use super::*;

    #[test]
    fn an_output_that_is_stuck_holds_up_nobody_and_says_what_is_missing() {
        static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        static PRINTER: Printer = Printer::new(|bytes| {
            WRITTEN.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        });
        PRINTER.start().unwrap();
        let stuck = WRITTEN.lock().unwrap();
        let line = |number: usize| format!("{number} {}\n", "x".repeat(1_000));
        let count = 2 * LINES_BYTES_MAX / 1_000;
        for number in 0..count {
            PRINTER.offer(line(number).as_bytes());
        }
        PRINTER.finish(Duration::from_millis(1));
        PRINTER.offer(b"last words\n");
        drop(stuck);
        PRINTER.finish(Duration::from_secs(60));
        let written = WRITTEN.lock().unwrap();
        assert_eq!(written.last().map(String::as_str), Some("last words\n"));
        assert!(written.contains(&line(count - 1)));
        // The thread may meet the stuck output when some lines are lost already: then it is told twice.
        let told = written.iter().filter_map(|line| {
            let (count, _) = line.strip_prefix('(')?.split_once(" lines were not printed)")?;
            Some(count.parse::<usize>().unwrap())
        });
        let told: Vec<_> = told.collect();
        assert!(matches!(told[..], [_] | [_, _]), "{told:?}");
        let printed = written.len() - told.len() - 1;
        assert_eq!(told.iter().sum::<usize>() + printed, count, "{told:?}");
    }

    #[test]
    fn pages_are_all_printed_and_in_their_order() {
        static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        static PRINTER: Printer = Printer::new(|bytes| {
            WRITTEN.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
        });
        PRINTER.start().unwrap();
        PRINTER.offer(b"head\n");
        let pages = (0..100).map(|page| format!("{page}\n"));
        pages.clone().for_each(|page| PRINTER.put(page.into_bytes()));
        PRINTER.finish(Duration::from_secs(60));
        let written = WRITTEN.lock().unwrap();
        assert!(["head\n".to_owned()].into_iter().chain(pages).eq(written.iter().cloned()));
    }
}
