//! A journal on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::group_commit::{GroupCommit, SyncPolicy};
use crate::journal::{Journal, JournalError, LayoutDone, LayoutJob, Room};

/// Hands records to a thread that writes and syncs them.
///
/// It is a [`GroupCommit`] on real time: all batches that have come while one was synced are
/// written at once and synced together. The thread tells what happened by a function that its owner
/// gives.
///
/// Dropped without [`JournalThread::close`], it persists what it has and nobody hears of it.
#[derive(Debug)]
pub struct JournalThread<R> {
    commands: Sender<Command<R>>,
    thread: Option<JoinHandle<Ended>>,
    written_bytes: Arc<AtomicU64>,
}

type Ended = Result<PersistSeq, JournalError>;

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
        let written_bytes = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            commit: GroupCommit::new(journal, policy),
            notify,
            inbox,
            layouts,
            laid_out,
            began: Instant::now(),
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
    commit: GroupCommit<D, R>,
    notify: N,
    inbox: Receiver<Command<R>>,
    layouts: Sender<LayoutJob<D>>,
    laid_out: Receiver<LayoutDone<D>>,
    began: Instant,
    closing: bool,
    written_bytes: Arc<AtomicU64>,
}

impl<D: Disk, R: Wire + Send + 'static, N: FnMut(JournalEvent)> Writer<D, R, N> {
    fn run(mut self) -> Result<PersistSeq, JournalError> {
        let served = self.serve();
        let Self { commit, mut notify, .. } = self;
        let ended = served.and_then(|()| commit.close());
        if let Err(error) = &ended {
            tracing::error!("{error}");
            notify(JournalEvent::Failed(error.clone()));
        }
        ended
    }

    fn serve(&mut self) -> Result<(), JournalError> {
        self.lay_out_if_needed()?;
        while !self.closing {
            self.receive()?;
            let used_bytes = self.commit.journal().status().used_bytes;
            while let Some(job) = self.commit.advance(self.began.elapsed())? {
                self.commit.end_sync(job.run())?;
            }
            if let Some(up_to) = self.commit.newly_persisted() {
                (self.notify)(JournalEvent::Persisted { up_to });
            }
            let more = self.commit.journal().status().used_bytes - used_bytes;
            self.written_bytes.fetch_add(more, Ordering::Relaxed);
            self.lay_out_if_needed()?;
            if let Some(room) = self.commit.room_changed(self.began.elapsed()) {
                (self.notify)(JournalEvent::Room(room));
            }
        }
        Ok(())
    }

    /// Waits for a command and takes all that have come.
    fn receive(&mut self) -> Result<(), JournalError> {
        let first = match self.commit.wake_at() {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.inbox.recv_timeout(at.saturating_sub(self.began.elapsed())),
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
            Command::Append(records) => self.commit.take(records),
            Command::RemoveThrough(covers) => self.commit.remove_through(covers)?,
            Command::LaidOut => {
                if let Ok(done) = self.laid_out.recv() {
                    self.commit.end_layout(self.began.elapsed(), done)?;
                }
            }
            Command::Close => self.closing = true,
        }
        Ok(())
    }

    /// Has the next segment laid out by the other thread, or here if that has gone.
    fn lay_out_if_needed(&mut self) -> Result<(), JournalError> {
        let job = self.commit.begin_layout(self.began.elapsed());
        match job.map(|job| self.layouts.send(job)) {
            Some(Err(SendError(job))) => self.commit.end_layout(self.began.elapsed(), job.run()),
            Some(Ok(())) | None => Ok(()),
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
