//! Checkpoints are written on a thread of their own.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use kv_core::CheckpointDelta;
use kv_storage::{CheckpointError, CheckpointStore, CheckpointWritten};

/// Writes one checkpoint after the other. Dropped without [`CheckpointThread::close`], it writes
/// what it has and nobody hears of it.
#[derive(Debug)]
pub(crate) struct CheckpointThread {
    deltas: Sender<CheckpointDelta>,
    thread: JoinHandle<()>,
}

impl CheckpointThread {
    /// Starts the thread; it calls `notify` for each checkpoint.
    pub(crate) fn start(
        mut store: CheckpointStore,
        mut notify: impl FnMut(Result<CheckpointWritten, CheckpointError>) + Send + 'static,
    ) -> io::Result<Self> {
        let (deltas, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            for delta in inbox {
                notify(store.write(delta));
            }
        })?;
        Ok(Self { deltas, thread })
    }

    /// Hands over what makes the next checkpoint; never waits.
    pub(crate) fn write(&self, delta: CheckpointDelta) {
        // A thread that has died is noticed by what it notified.
        let _ = self.deltas.send(delta);
    }

    /// Waits until what was handed over is written.
    pub(crate) fn close(self) {
        drop(self.deltas);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
