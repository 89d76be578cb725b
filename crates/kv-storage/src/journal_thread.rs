//! A journal on a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::journal::{Journal, JournalError, LayoutDone, LayoutJob, Room};

/// Hands records to a thread that writes and syncs them.
///
/// Group commit: all batches that have come while one was synced are written at once and synced
/// together. The thread tells what happened by a function that its owner gives.
///
/// How much may wait is bounded by the engine, which has so many requests in hand at most and
/// withholds their answers; nothing here refuses a record.
///
/// Dropped without [`JournalThread::close`], it persists what it has and nobody hears of it.
#[derive(Debug)]
pub struct JournalThread<R> {
    commands: Sender<Command<R>>,
    thread: Option<JoinHandle<Ended>>,
    written_bytes: Arc<AtomicU64>,
}

type Ended = Result<PersistSeq, JournalError>;

/// When records are synced, and so what a loss of power may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they are said to be persisted: nothing is lost.
    Always,
    /// So long after they were written: that much may be lost, though it was said to be persisted.
    Interval(Duration),
    /// When the system likes, and at the end: all since the start may be lost.
    Never,
}

/// What became of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEvent {
    /// Records up to this one are persisted, in the sense of the policy.
    Persisted {
        /// The last of them.
        up_to: PersistSeq,
    },
    /// There is no room for what may come, or there is again: writes should be refused meanwhile.
    /// Records wait, and are persisted once there is room.
    Room(Room),
    /// The journal takes nothing more, and the thread has ended. Nothing that was not said to be
    /// persisted is.
    Failed(JournalError),
}

enum Command<R> {
    Append(Vec<(PersistSeq, R)>),
    RemoveThrough(PersistSeq),
    /// A segment was laid out, or not; the done work is in its own channel.
    LaidOut,
    Close,
}

impl<R: Wire + Send + 'static> JournalThread<R> {
    /// Starts the thread. It calls `notify` for each event, in order.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<D: Disk>(
        journal: Journal<D>,
        policy: SyncPolicy,
        notify: impl FnMut(JournalEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (layouts, laid_out) = start_layouts(commands.clone())?;
        let said = journal.durable();
        let written_bytes = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            journal,
            policy,
            notify,
            inbox,
            layouts,
            laid_out,
            waiting: VecDeque::new(),
            said,
            room: Room::Enough,
            retry_at: None,
            sync_due: None,
            closing: false,
            written_bytes: Arc::clone(&written_bytes),
        };
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run())?;
        Ok(Self { commands, thread: Some(thread), written_bytes })
    }

    /// Hands over records, in order; never waits.
    pub fn append(&self, records: Vec<(PersistSeq, R)>) {
        self.send(Command::Append(records));
    }

    /// Lets go of records that a checkpoint reflects, which is on disk.
    pub fn remove_through(&self, covers: PersistSeq) {
        self.send(Command::RemoveThrough(covers));
    }

    /// How many bytes of records and headers were written since the start of the thread.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Persists all that was handed over and ends the thread; returns the last record.
    ///
    /// # Errors
    /// [`JournalError`] if the journal failed; also if there is no room for all records.
    pub fn close(mut self) -> Result<PersistSeq, JournalError> {
        self.send(Command::Close);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("only this takes the thread"),
        }
    }
}

impl<R> JournalThread<R> {
    fn send(&self, command: Command<R>) {
        // A thread that has ended has told why.
        let _ = self.commands.send(command);
    }
}

impl<R> Drop for JournalThread<R> {
    fn drop(&mut self) {
        self.send(Command::Close);
    }
}

struct Writer<D: Disk, R, N> {
    journal: Journal<D>,
    policy: SyncPolicy,
    notify: N,
    inbox: Receiver<Command<R>>,
    layouts: Sender<LayoutJob<D>>,
    laid_out: Receiver<LayoutDone<D>>,
    waiting: VecDeque<(PersistSeq, R)>,
    /// The last record that was said to be persisted.
    said: PersistSeq,
    /// What was last said of the room.
    room: Room,
    /// When to look for room again.
    retry_at: Option<Instant>,
    sync_due: Option<Instant>,
    closing: bool,
    written_bytes: Arc<AtomicU64>,
}

impl<D: Disk, R: Wire + Send + 'static, N: FnMut(JournalEvent)> Writer<D, R, N> {
    fn run(mut self) -> Result<PersistSeq, JournalError> {
        let ended = self.serve();
        if let Err(error) = &ended {
            tracing::error!("{error}");
            (self.notify)(JournalEvent::Failed(error.clone()));
        }
        ended?;
        self.journal.close()
    }

    fn serve(&mut self) -> Result<(), JournalError> {
        self.lay_out_if_needed()?;
        while !self.closing {
            self.receive()?;
            let used_bytes = self.journal.status().used_bytes;
            self.append_waiting()?;
            self.persist()?;
            let more = self.journal.status().used_bytes - used_bytes;
            self.written_bytes.fetch_add(more, Ordering::Relaxed);
            self.lay_out_if_needed()?;
            self.tell_room();
        }
        if self.waiting.is_empty() { Ok(()) } else { Err(self.journal.full()) }
    }

    /// Waits for a command and takes all that have come.
    fn receive(&mut self) -> Result<(), JournalError> {
        let wake_at = [self.retry_at, self.sync_due].into_iter().flatten().min();
        let first = match wake_at {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(command) => self.take(command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.closing = true,
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.take(command)?;
        }
        Ok(())
    }

    fn take(&mut self, command: Command<R>) -> Result<(), JournalError> {
        match command {
            Command::Append(records) => self.waiting.extend(records),
            Command::RemoveThrough(covers) => {
                self.journal.remove_through(covers)?;
                self.retry_at = None;
            }
            Command::LaidOut => {
                if let Ok(done) = self.laid_out.recv() {
                    self.journal.end_layout(done)?;
                }
            }
            Command::Close => self.closing = true,
        }
        Ok(())
    }

    fn append_waiting(&mut self) -> Result<(), JournalError> {
        while let Some((seq, record)) = self.waiting.front() {
            match self.journal.append(*seq, record) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.is_full() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn persist(&mut self) -> Result<(), JournalError> {
        let persisted = match self.policy {
            SyncPolicy::Always => self.journal.sync()?,
            SyncPolicy::Never => self.journal.write().map(|()| self.journal.last())?,
            SyncPolicy::Interval(interval) => {
                self.journal.write()?;
                self.sync_at_times(interval)?;
                self.journal.last()
            }
        };
        if persisted > self.said {
            self.said = persisted;
            (self.notify)(JournalEvent::Persisted { up_to: persisted });
        }
        Ok(())
    }

    fn sync_at_times(&mut self, interval: Duration) -> Result<(), JournalError> {
        let now = Instant::now();
        if self.sync_due.is_some_and(|due| due <= now) {
            self.journal.sync()?;
            self.sync_due = None;
        }
        if self.journal.durable() < self.journal.last() {
            self.sync_due = self.sync_due.or(Some(now + interval));
        }
        Ok(())
    }

    /// Has the next segment laid out; after a lack of room, now and then.
    fn lay_out_if_needed(&mut self) -> Result<(), JournalError> {
        let now = Instant::now();
        if !self.journal.needs_layout() || self.retry_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        match self.journal.begin_layout().map(|job| self.layouts.send(job)) {
            Some(Err(SendError(job))) => self.journal.end_layout(job.run()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn tell_room(&mut self) {
        let room = self.journal.room();
        let is_low = matches!(room, Room::Low { .. });
        if is_low && self.journal.needs_layout() {
            self.retry_at = self.retry_at.or(Some(Instant::now() + ROOM_INTERVAL));
        }
        if is_low != matches!(self.room, Room::Low { .. }) {
            self.room = room;
            (self.notify)(JournalEvent::Room(room));
        }
    }
}

/// Where layouts are asked for, and where they come back.
type Layouts<D> = (Sender<LayoutJob<D>>, Receiver<LayoutDone<D>>);

/// Starts a thread that lays out segments, since that takes long, and wakes the journal's thread
/// when one is done.
fn start_layouts<D: Disk, R: Send + 'static>(wake: Sender<Command<R>>) -> io::Result<Layouts<D>> {
    let (jobs, inbox) = mpsc::channel::<LayoutJob<D>>();
    let (done, laid_out) = mpsc::channel();
    let thread = thread::Builder::new().name("journal-layout".to_owned());
    thread.spawn(move || {
        for job in inbox {
            let told = done.send(job.run()).is_ok() && wake.send(Command::LaidOut).is_ok();
            if !told {
                return;
            }
        }
    })?;
    Ok((jobs, laid_out))
}

/// How often to look whether a full disk has room again.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);
