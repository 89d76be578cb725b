//! What the log of operations has yet to write.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::op_log::text::OpLogText;

/// Holds lines between the driver, which never waits, and the thread that writes them.
#[derive(Debug, Default)]
pub(crate) struct OpLogQueue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: OpLogText,
    closed: bool,
}

/// The queue is full; the lines were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl OpLogQueue {
    /// Takes lines and leaves `text` empty, unless [`QUEUE_BYTES_MAX`] wait already.
    pub(crate) fn push(&self, text: &mut OpLogText) -> Result<(), QueueFull> {
        let mut state = self.lock();
        if state.waiting.size() >= QUEUE_BYTES_MAX {
            return Err(QueueFull);
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.append(text);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Nothing is pushed any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits for lines; false once there are none and will be none.
    pub(crate) fn wait(&self) -> bool {
        let state = self.lock();
        let waited =
            self.filled.wait_while(state, |state| state.waiting.is_empty() && !state.closed);
        !waited.unwrap_or_else(PoisonError::into_inner).waiting.is_empty()
    }

    /// Takes all that waits, in exchange for an empty text whose memory is used again.
    pub(crate) fn swap(&self, empty: &mut OpLogText) {
        std::mem::swap(&mut self.lock().waiting, empty);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Once this much waits, whatever comes is lost, until the writer has taken it.
const QUEUE_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kv_core::Value;

    use super::*;

    fn line(value: Bytes) -> OpLogText {
        let mut text = OpLogText::default();
        text.end_line_with(&Value::new(value).unwrap());
        text
    }

    #[test]
    fn a_full_queue_takes_nothing_until_it_has_been_emptied() {
        let queue = OpLogQueue::default();
        let quarter = Bytes::from(vec![b'v'; QUEUE_BYTES_MAX / 4]);
        for _ in 0..4 {
            assert_eq!(queue.push(&mut line(quarter.clone())), Ok(()));
        }
        let mut small = line(Bytes::from_static(b"v"));
        assert_eq!(queue.push(&mut small), Err(QueueFull));
        assert!(queue.wait());
        queue.swap(&mut OpLogText::default());
        assert_eq!(queue.push(&mut small), Ok(()));
        assert!(small.is_empty());
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let queue = OpLogQueue::default();
        assert_eq!(queue.push(&mut line(Bytes::from_static(b"v"))), Ok(()));
        queue.close();
        assert!(queue.wait());
        queue.swap(&mut OpLogText::default());
        assert!(!queue.wait());
    }
}
