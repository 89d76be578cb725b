//! The log of operations, `output_log<ID>.txt`.

mod file;
mod line;
mod queue;
mod text;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kv_core::{NodeId, Now, Operation, Outcome, RequestId};

use crate::client_number::ClientNumber;
use crate::config::OpLogConfig;
use crate::op_log::file::OpLogFile;
use crate::op_log::line::{Ending, OpenOperations};
use crate::op_log::queue::{OpLogQueue, QueueFull};
use crate::op_log::text::OpLogText;

/// The driver's end of the log. It makes the lines, which costs less than to hand over what they
/// are made of, and never waits: a thread of its own writes them.
#[derive(Debug)]
pub(crate) struct OpLog {
    active: Option<ActiveLog>,
    next_client: u64,
}

#[derive(Debug)]
struct ActiveLog {
    open: OpenOperations,
    gathered: OpLogText,
    events_gathered: u64,
    events_lost: u64,
    queue: Arc<OpLogQueue>,
    writer: Option<JoinHandle<()>>,
}

impl OpLog {
    /// Opens the log; without a configuration nothing is logged.
    pub(crate) fn open(node: NodeId, config: Option<&OpLogConfig>) -> Result<Self, OpLogError> {
        let started = config.map(|config| ActiveLog::start(node, config)).transpose()?;
        let (active, next_client) = started.unzip();
        Ok(Self { active, next_client: next_client.unwrap_or_default() })
    }

    /// The number of the first client of this process: no client of an earlier one that is in the
    /// log has it or a higher one.
    pub(crate) const fn next_client(&self) -> u64 {
        self.next_client
    }

    /// Whether operations are logged.
    pub(crate) const fn is_on(&self) -> bool {
        self.active.is_some()
    }

    pub(crate) fn invoked(
        &mut self,
        id: RequestId,
        client: ClientNumber,
        now: Now,
        op: &Operation,
    ) {
        if let Some(log) = self.active.as_mut().filter(|_| !matches!(op, Operation::Dump(_))) {
            log.open.begin(id, client, millis(now), op, &mut log.gathered);
            log.events_gathered += 1;
        }
    }

    pub(crate) fn ended(&mut self, id: RequestId, now: Now, outcome: &Outcome) {
        self.end(id, now, Ending::of(outcome));
    }

    /// Nobody waits for the operation any more; what becomes of it is not known.
    pub(crate) fn cancelled(&mut self, id: RequestId, now: Now) {
        self.end(id, now, Ending::Info);
    }

    fn end(&mut self, id: RequestId, now: Now, ending: Ending<'_>) {
        if let Some(log) = &mut self.active {
            log.open.end(id, millis(now), ending, &mut log.gathered);
            log.events_gathered += 1;
        }
    }

    /// Hands over what was gathered. A writer that is too far behind loses it, and says so in the
    /// log once it has caught up.
    pub(crate) fn flush(&mut self) {
        if let Some(log) = self.active.as_mut().filter(|log| !log.gathered.is_empty()) {
            log.flush();
        }
    }
}

impl ActiveLog {
    fn start(node: NodeId, config: &OpLogConfig) -> Result<(Self, u64), OpLogError> {
        let path = config.folder.join(format!("output_log{node}.txt"));
        let failed = |source| OpLogError { path: path.clone(), source };
        let file = OpLogFile::open(path.clone(), config.rotate_bytes).map_err(failed)?;
        let next_client = file.next_client();
        let queue = Arc::new(OpLogQueue::default());
        let waiting = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("op-log".to_owned());
        let writer = thread.spawn(move || write_all(&waiting, file)).map_err(failed)?;
        let log = Self {
            open: OpenOperations::new(node),
            gathered: OpLogText::default(),
            events_gathered: 0,
            events_lost: 0,
            queue,
            writer: Some(writer),
        };
        Ok((log, next_client))
    }

    fn flush(&mut self) {
        if self.events_lost > 0 {
            let mut marked = OpLogText::default();
            marked.put(b"# ");
            marked.put_number(self.events_lost);
            marked.put(b" events are missing: the log's disk is slow\n");
            marked.append(&mut self.gathered);
            self.gathered = marked;
        }
        match self.queue.push(&mut self.gathered) {
            Ok(()) => self.events_lost = 0,
            Err(QueueFull) => {
                self.events_lost = self.events_lost.saturating_add(self.events_gathered);
                self.gathered.clear();
                // What has no beginning in the log is to have no end there.
                self.open.forget_all();
            }
        }
        self.events_gathered = 0;
    }
}

/// Writes out what was handed over.
impl Drop for ActiveLog {
    fn drop(&mut self) {
        if !self.gathered.is_empty() {
            self.flush();
        }
        self.queue.close();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the operation log's writer died");
        }
    }
}

fn write_all(queue: &OpLogQueue, mut file: OpLogFile) {
    let mut lines = OpLogText::default();
    while queue.wait() {
        // Waking up for each batch and writing it alone would cost more than the lines.
        std::thread::sleep(GATHER_TIME);
        queue.swap(&mut lines);
        file.append(&lines);
        lines.clear();
    }
}

/// Milliseconds since the Unix epoch.
fn millis(now: Now) -> u64 {
    u64::try_from(now.wall.as_millis()).unwrap_or(u64::MAX)
}

/// The log of operations cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}; {} or use --op-log off", path.display(), remedy(source))]
pub struct OpLogError {
    path: PathBuf,
    source: io::Error,
}

fn remedy(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound {
        "make the folder"
    } else {
        "make its folder writable"
    }
}

/// How long the writer lets batches gather before it writes them: so late a line may come.
const GATHER_TIME: Duration = Duration::from_millis(20);
