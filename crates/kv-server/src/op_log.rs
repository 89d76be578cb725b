//! The log of operations, `output_log<ID>.txt`.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kv_core::{NodeId, Now, Operation, Outcome, RequestId};

use crate::config::OpLogConfig;
use crate::event::ClientNumber;
use crate::op_log_file::OpLogFile;
use crate::op_log_line::{Ending, OpenOperations};

/// The driver's end of the log: it hands over what happened, a batch at a time, and never waits.
/// A thread of its own makes lines of it.
#[derive(Debug)]
pub(crate) struct OpLog {
    writer: Option<Writer>,
    gathered: Vec<OpLogEntry>,
    lost: u64,
}

#[derive(Debug)]
struct Writer {
    entries: SyncSender<Vec<OpLogEntry>>,
    thread: JoinHandle<()>,
}

/// Something that happened to an operation.
#[derive(Debug)]
pub(crate) enum OpLogEntry {
    Invoked {
        id: RequestId,
        client: ClientNumber,
        wall_ms: u64,
        op: Operation,
    },
    Ended {
        id: RequestId,
        wall_ms: u64,
        ending: Ending,
    },
    /// The writer was behind, and this many entries are missing here.
    Lost {
        count: u64,
    },
}

impl OpLog {
    /// Opens the log; without a configuration nothing is logged.
    pub(crate) fn open(node: NodeId, config: Option<&OpLogConfig>) -> Result<Self, OpLogError> {
        let writer = config.map(|config| Writer::start(node, config)).transpose()?;
        Ok(Self { writer, gathered: Vec::new(), lost: 0 })
    }

    pub(crate) fn invoked(
        &mut self,
        id: RequestId,
        client: ClientNumber,
        now: Now,
        op: &Operation,
    ) {
        if self.writer.is_some() && !matches!(op, Operation::Dump(_)) {
            let (wall_ms, op) = (millis(now), op.clone());
            self.gathered.push(OpLogEntry::Invoked { id, client, wall_ms, op });
        }
    }

    pub(crate) fn ended(&mut self, id: RequestId, now: Now, outcome: &Outcome) {
        self.end(id, now, || Ending::of(outcome));
    }

    /// Nobody waits for the operation any more; what becomes of it is not known.
    pub(crate) fn cancelled(&mut self, id: RequestId, now: Now) {
        self.end(id, now, || Ending::Info);
    }

    fn end(&mut self, id: RequestId, now: Now, ending: impl FnOnce() -> Ending) {
        if self.writer.is_some() {
            let (wall_ms, ending) = (millis(now), ending());
            self.gathered.push(OpLogEntry::Ended { id, wall_ms, ending });
        }
    }

    /// Hands over what was gathered. A writer that is too far behind loses it, and says so in the
    /// log once it has caught up.
    pub(crate) fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let Some(writer) = &self.writer else {
            return;
        };
        // The next batch is most often about as large as this one.
        let next = Vec::with_capacity(self.gathered.len());
        let mut entries = std::mem::replace(&mut self.gathered, next);
        if self.lost > 0 {
            entries.insert(0, OpLogEntry::Lost { count: self.lost });
        }
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        match writer.entries.try_send(entries) {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost = self.lost.saturating_add(count),
        }
    }
}

/// Writes out what was handed over.
impl Drop for OpLog {
    fn drop(&mut self) {
        self.flush();
        if let Some(Writer { entries, thread }) = self.writer.take() {
            drop(entries);
            if thread.join().is_err() {
                tracing::error!("the operation log's writer died");
            }
        }
    }
}

impl Writer {
    fn start(node: NodeId, config: &OpLogConfig) -> Result<Self, OpLogError> {
        let path = config.folder.join(format!("output_log{node}.txt"));
        let failed = |source| OpLogError { path: path.clone(), source };
        let mut file = OpLogFile::open(path.clone(), config.rotate_bytes).map_err(failed)?;
        let (entries, waiting) = sync_channel::<Vec<OpLogEntry>>(QUEUE_LEN);
        let write = move || {
            let mut open = OpenOperations::new(node);
            let mut lines = Vec::new();
            while let Ok(first) = waiting.recv() {
                // Waking up for each batch and writing it alone would cost more than the lines.
                std::thread::sleep(GATHER_TIME);
                for entry in std::iter::once(first).chain(waiting.try_iter().take(GATHER)).flatten()
                {
                    open.put_lines(entry, &mut lines);
                }
                file.append(&lines);
                lines.clear();
            }
        };
        let thread = std::thread::Builder::new().name("op-log".to_owned()).spawn(write);
        Ok(Self { entries, thread: thread.map_err(failed)? })
    }
}

/// Milliseconds since the Unix epoch.
fn millis(now: Now) -> u64 {
    u64::try_from(now.wall.as_millis()).unwrap_or(u64::MAX)
}

/// The log of operations cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}; make its folder writable or use --op-log off", path.display())]
pub struct OpLogError {
    path: PathBuf,
    source: io::Error,
}

/// How many batches may wait for the writer.
const QUEUE_LEN: usize = 1024;

/// How many further batches one write takes at most.
const GATHER: usize = 1024;

/// How long the writer lets batches gather before it writes them: so late a line may come.
const GATHER_TIME: Duration = Duration::from_millis(5);
