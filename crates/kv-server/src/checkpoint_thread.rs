//! Checkpoints are written on a thread of their own.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use kv_core::Checkpoint;
use kv_storage::{CheckpointError, CheckpointStore, CheckpointWritten};

/// Writes one checkpoint after the other. Dropped without [`CheckpointThread::close`], it writes
/// what it has and nobody hears of it.
#[derive(Debug)]
pub(crate) struct CheckpointThread {
    checkpoints: Sender<Checkpoint>,
    thread: JoinHandle<()>,
}

impl CheckpointThread {
    /// Starts the thread; it calls `notify` for each checkpoint.
    pub(crate) fn start(
        mut store: CheckpointStore,
        mut notify: impl FnMut(Result<CheckpointWritten, CheckpointError>) + Send + 'static,
    ) -> io::Result<Self> {
        let (checkpoints, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            for checkpoint in inbox {
                notify(store.write(checkpoint));
            }
        })?;
        Ok(Self { checkpoints, thread })
    }

    /// Hands over a checkpoint; never waits.
    pub(crate) fn write(&self, checkpoint: Checkpoint) {
        // A thread that has died is noticed by what it notified.
        let _ = self.checkpoints.send(checkpoint);
    }

    /// Waits until what was handed over is written.
    pub(crate) fn close(self) {
        drop(self.checkpoints);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
