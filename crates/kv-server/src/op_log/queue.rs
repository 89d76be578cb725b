//! What the log of operations has yet to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::op_log::text::OpLogText;

/// A queue from the driver, which never waits, to the thread that writes lines.
pub(crate) fn queue() -> (QueueStart, QueueEnd) {
    let (sender, receiver) = mpsc::channel();
    let bytes = Arc::<AtomicUsize>::default();
    (QueueStart { sender, bytes: Arc::clone(&bytes) }, QueueEnd { receiver, bytes })
}

/// The driver's end. Once it is dropped, the other end takes what waits and no more.
#[derive(Debug)]
pub(crate) struct QueueStart {
    sender: Sender<OpLogText>,
    bytes: Arc<AtomicUsize>,
}

impl QueueStart {
    /// Whether less than [`QUEUE_BYTES_MAX`] wait.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < QUEUE_BYTES_MAX
    }

    pub(crate) fn push(&self, lines: OpLogText) {
        self.bytes.fetch_add(lines.size(), Ordering::Relaxed);
        // A writer that died leaves the queue full, and is reported at the end.
        let _ = self.sender.send(lines);
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct QueueEnd {
    receiver: Receiver<OpLogText>,
    bytes: Arc<AtomicUsize>,
}

impl QueueEnd {
    /// Waits for lines, lets more of them gather and takes them all; `None` once there are none and
    /// will be none.
    pub(crate) fn take(&self, gather_time: Duration) -> Option<Vec<OpLogText>> {
        let first = self.receiver.recv().ok()?;
        std::thread::sleep(gather_time);
        let all: Vec<OpLogText> = std::iter::once(first).chain(self.receiver.try_iter()).collect();
        self.bytes.fetch_sub(all.iter().map(OpLogText::size).sum(), Ordering::Relaxed);
        Some(all)
    }
}

/// Once this much waits, whatever comes is lost, until the writer has taken it.
const QUEUE_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    fn line(value: Vec<u8>) -> OpLogText {
        let mut text = OpLogText::default();
        text.end_line_with(&Value::new(value).unwrap());
        text
    }

    #[test]
    fn a_full_queue_has_no_room_until_it_has_been_emptied() {
        let (start, end) = queue();
        for _ in 0..4 {
            assert!(start.has_room());
            start.push(line(vec![b'v'; QUEUE_BYTES_MAX / 4]));
        }
        assert!(!start.has_room());
        assert_eq!(end.take(Duration::ZERO).map(|taken| taken.len()), Some(4));
        assert!(start.has_room());
    }

    #[test]
    fn a_closed_queue_is_emptied_before_it_ends() {
        let (start, end) = queue();
        start.push(line(vec![b'v']));
        drop(start);
        assert_eq!(end.take(Duration::ZERO), Some(vec![line(vec![b'v'])]));
        assert_eq!(end.take(Duration::ZERO), None);
    }
}
