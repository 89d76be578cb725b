//! Reading on a thread of its own, while what was read is worked on.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

/// An iterator that is run on another thread, a bounded number of items ahead.
///
/// It gives the same items in the same order. A panic of the iterator goes on where it is read.
pub(crate) struct ReadAhead<I: Iterator> {
    batch: std::vec::IntoIter<I::Item>,
    source: Source<I>,
}

enum Source<I: Iterator> {
    Reading {
        batches: Receiver<Vec<I::Item>>,
        thread: JoinHandle<I>,
    },
    /// It was read to its end.
    Ended(I),
    /// The thread has panicked.
    Lost,
}

impl<I> ReadAhead<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send,
{
    /// Starts to read.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(items: I) -> io::Result<Self> {
        let (sender, batches) = mpsc::sync_channel(BATCHES_AHEAD);
        let thread = thread::Builder::new().name("read-ahead".to_owned());
        let thread = thread.spawn(move || read(items, &sender))?;
        Ok(Self { batch: Vec::new().into_iter(), source: Source::Reading { batches, thread } })
    }
}

impl<I: Iterator> ReadAhead<I> {
    /// Stops reading and gives the iterator back, which may be further than what was taken.
    pub(crate) fn into_inner(mut self) -> I {
        self.stop().unwrap_or_else(|| unreachable!("its panic was passed on"))
    }

    fn stop(&mut self) -> Option<I> {
        match std::mem::replace(&mut self.source, Source::Lost) {
            Source::Reading { batches, thread } => {
                drop(batches);
                Some(join(thread))
            }
            Source::Ended(items) => Some(items),
            Source::Lost => None,
        }
    }
}

/// What the iterator holds open is closed then.
impl<I: Iterator> Drop for ReadAhead<I> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<I: Iterator> Iterator for ReadAhead<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if let Some(item) = self.batch.next() {
            return Some(item);
        }
        let Source::Reading { batches, .. } = &self.source else {
            return None;
        };
        match batches.recv() {
            Ok(batch) => self.batch = batch.into_iter(),
            Err(mpsc::RecvError) => {
                if let Some(items) = self.stop() {
                    self.source = Source::Ended(items);
                }
            }
        }
        self.batch.next()
    }
}

fn join<I>(thread: JoinHandle<I>) -> I {
    match thread.join() {
        Ok(items) => items,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn read<I: Iterator>(mut items: I, batches: &SyncSender<Vec<I::Item>>) -> I {
    loop {
        let batch: Vec<I::Item> = items.by_ref().take(BATCH_LEN).collect();
        if batch.is_empty() || batches.send(batch).is_err() {
            return items;
        }
    }
}

const BATCH_LEN: usize = 256;

/// How many batches wait at most; then the reader does.
const BATCHES_AHEAD: usize = 16;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn the_same_items_come_in_the_same_order_and_the_iterator_comes_back() {
        for len in [0, 1, BATCH_LEN, 100 * BATCH_LEN + 1] {
            let mut ahead = ReadAhead::start(0..len).unwrap();
            assert!(ahead.by_ref().eq(0..len));
            assert_eq!(ahead.next(), None);
            assert_eq!(ahead.into_inner(), len..len);
        }
    }

    #[test]
    fn an_iterator_without_an_end_can_be_left() {
        let mut ahead = ReadAhead::start(0u64..).unwrap();
        assert_eq!(ahead.next(), Some(0));
        let most = u64::try_from(BATCH_LEN * (BATCHES_AHEAD + 2)).unwrap();
        assert!(ahead.into_inner().start <= most, "it is not read without a bound");
    }

    #[test]
    fn a_panic_does_not_look_like_an_end() {
        let items = (0..).inspect(|number| assert!(*number < 1000, "broken"));
        let mut ahead = ReadAhead::start(items).unwrap();
        let taken = catch_unwind(AssertUnwindSafe(|| ahead.by_ref().count()));
        assert!(taken.is_err());
    }
}
