//! The log of operations, `output_log<ID>.txt`.

mod cluster;
mod file;
mod line;
mod owner;
mod queue;
mod text;

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use kv_core::{ClusterId, NodeId, Now, Operation, Outcome, RequestId, RequestOptions};

use crate::client_number::ClientNumber;
use crate::config::OpLogConfig;
use crate::op_log::cluster::ClusterLine;
use crate::op_log::file::OpLogFile;
use crate::op_log::line::{Invocation, OpenOperations};
use crate::op_log::queue::{QueueEnd, QueueStart, queue};
use crate::op_log::text::OpLogText;

pub(crate) use crate::op_log::owner::LogOwner;

/// The driver's end of the log. It makes the lines, which costs less than to hand over what they
/// are made of, and never waits: a thread of its own writes them.
#[derive(Debug)]
pub(crate) struct OpLog {
    open: OpenOperations,
    gathered: OpLogText,
    events_gathered: u64,
    events_lost: u64,
    next_client: u64,
    cluster: ClusterLine,
    /// `None` if nothing is logged.
    writer: Option<(QueueStart, JoinHandle<()>)>,
}

impl OpLog {
    /// Opens the log; without a configuration nothing is logged.
    pub(crate) fn open(
        node: NodeId,
        owner: LogOwner,
        config: Option<&OpLogConfig>,
    ) -> Result<Self, OpLogError> {
        let mut log = Self {
            open: OpenOperations::new(node),
            gathered: OpLogText::default(),
            events_gathered: 0,
            events_lost: 0,
            next_client: 0,
            cluster: ClusterLine::default(),
            writer: None,
        };
        if let Some(config) = config {
            let path = config.folder.join(format!("output_log{node}.txt"));
            let failed = |cause| OpLogError { path: path.clone(), cause };
            let (cluster, size_max) = (log.cluster.clone(), config.rotate_bytes);
            let file = OpLogFile::open(&path, owner, cluster, size_max).map_err(failed)?;
            log.next_client = file.next_client();
            let (start, end) = queue();
            let thread = std::thread::Builder::new().name("op-log".to_owned());
            let writer = thread.spawn(move || write_all(&end, file)).map_err(failed)?;
            log.writer = Some((start, writer));
        }
        Ok(log)
    }

    /// The number of the first client of this process: no client of an earlier one that is in the
    /// log has it or a higher one.
    pub(crate) const fn next_client(&self) -> u64 {
        self.next_client
    }

    /// Says in the log which cluster's operations follow, once that is known.
    pub(crate) fn note_cluster(&mut self, cluster: Option<ClusterId>) {
        let line = cluster.and_then(|cluster| self.cluster.note(cluster));
        if let Some(line) = line.filter(|_| self.writer.is_some()) {
            self.gathered.put(&line);
        }
    }

    /// What is to be logged of a request, if it is.
    pub(crate) fn invocation(
        &self,
        op: &Operation,
        options: &RequestOptions,
    ) -> Option<Invocation> {
        let is_logged = match op {
            Operation::Batch(_) | Operation::Scan(_) | Operation::OpenSession => {
                self.writer.is_some()
            }
            Operation::Dump(_) | Operation::Lead { .. } => false,
        };
        let sent_before = options.sent_before.filter(|_| !op.is_read_only());
        is_logged.then(|| Invocation { op: op.clone(), sent_before })
    }

    pub(crate) fn invoked(
        &mut self,
        id: RequestId,
        client: ClientNumber,
        now: Now,
        invocation: &Invocation,
    ) {
        self.open.begin(id, client, millis(now), invocation, &mut self.gathered);
        self.events_gathered += 1;
    }

    pub(crate) fn ended(&mut self, id: RequestId, now: Now, outcome: &Outcome) {
        self.end(id, now, Some(outcome));
    }

    /// Nobody waits for the operation any more; what becomes of it is not known.
    pub(crate) fn cancelled(&mut self, id: RequestId, now: Now) {
        self.end(id, now, None);
    }

    fn end(&mut self, id: RequestId, now: Now, outcome: Option<&Outcome>) {
        if self.writer.is_some() {
            self.open.end(id, millis(now), outcome, &mut self.gathered);
            self.events_gathered += 1;
        }
    }

    /// Hands over what was gathered. A writer that is too far behind loses it, and says so in the
    /// log once it has caught up.
    pub(crate) fn flush(&mut self) {
        let Some((queue, _)) = self.writer.as_ref().filter(|_| !self.gathered.is_empty()) else {
            return;
        };
        if queue.has_room() {
            if self.events_lost > 0 {
                let mut mark = OpLogText::default();
                mark.put(b"# ");
                mark.put_number(self.events_lost);
                mark.put(b" events are missing: the log's disk is slow\n");
                queue.push(mark);
                self.events_lost = 0;
            }
            queue.push(self.gathered.clone());
        } else {
            self.events_lost += self.events_gathered;
            // What has no beginning in the log is to have no end there.
            self.open.forget_all();
        }
        self.gathered.clear();
        self.events_gathered = 0;
    }
}

/// Writes out what was handed over.
impl Drop for OpLog {
    fn drop(&mut self) {
        self.flush();
        if let Some((queue, writer)) = self.writer.take() {
            drop(queue);
            if writer.join().is_err() {
                tracing::error!("the operation log's writer died");
            }
        }
    }
}

fn write_all(queue: &QueueEnd, mut file: OpLogFile) {
    // Waking up for each batch and writing it alone would cost more than the lines.
    while let Some(lines) = queue.take(GATHER_TIME) {
        file.append(&lines);
    }
}

/// Milliseconds since the Unix epoch.
fn millis(now: Now) -> u64 {
    u64::try_from(now.wall.as_millis()).unwrap_or(u64::MAX)
}

/// The log of operations cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {cause}; {} or keep no log of operations", path.display(), remedy(cause))]
pub struct OpLogError {
    path: PathBuf,
    cause: io::Error,
}

fn remedy(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::NotFound {
        "make the folder"
    } else if cause.kind() == io::ErrorKind::ResourceBusy {
        "another server writes there: name another folder"
    } else {
        "make its folder writable"
    }
}

/// How long the writer lets batches gather before it writes them: so late a line may come.
const GATHER_TIME: Duration = Duration::from_millis(20);
