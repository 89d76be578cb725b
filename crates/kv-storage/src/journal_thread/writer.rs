//! What the journal's threads share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SendError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kv_core::{PersistSeq, Wire};

use super::inbox::Inbox;
use super::{Command, JournalEvent};
use crate::disk::Disk;
use crate::group_commit::GroupCommit;
use crate::journal::{JournalError, LayoutDone, LayoutJob, SyncDone, SyncJob};

/// Takes commands and drives the group commit; whoever has it does so alone.
pub(super) struct Writer<D: Disk, R, N> {
    commit: GroupCommit<D, R>,
    notify: N,
    layouts: Layouts<D>,
    began: Instant,
    is_closing: bool,
    written_bytes: Arc<AtomicU64>,
}

/// What is to be done next, without the writer.
pub(super) enum Next<F> {
    Sync(SyncJob<F>),
    /// Wait for a command, at most so long.
    Wait(Option<Duration>),
    /// The journal closes, and another thread has a sync in hand.
    LeaveToOthers,
    /// The journal is to be closed now.
    End,
}

impl<D: Disk, R: Wire + Send + 'static, N: FnMut(JournalEvent)> Writer<D, R, N> {
    /// Takes over the group commit, with a thread for its layouts.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        commit: GroupCommit<D, R>,
        notify: N,
        inbox: Arc<Inbox<Command<R>>>,
        written_bytes: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let layouts = Layouts::start(inbox)?;
        let began = Instant::now();
        Ok(Self { commit, notify, layouts, began, is_closing: false, written_bytes })
    }

    /// Ends a sync if one was done, does what the inbox asks for, and tells what has become of the
    /// records.
    ///
    /// # Errors
    /// [`JournalError`], for ever.
    pub(super) fn advance(
        &mut self,
        done: Option<SyncDone>,
        inbox: &Inbox<Command<R>>,
    ) -> Result<Next<D::File>, JournalError> {
        if let Some(done) = done {
            self.commit.end_sync(done)?;
            self.tell_persisted();
        }
        for command in inbox.take() {
            self.take(command)?;
        }
        let used_bytes = self.commit.journal().status().used_bytes;
        let job = self.commit.advance(self.now())?;
        let more = self.commit.journal().status().used_bytes - used_bytes;
        self.written_bytes.fetch_add(more, Ordering::Relaxed);
        self.tell_persisted();
        self.lay_out_if_needed()?;
        if let Some(room) = self.commit.room_changed(self.now()) {
            (self.notify)(JournalEvent::Room(room));
        }
        Ok(match job {
            Some(job) => Next::Sync(job),
            None if !self.is_closing => {
                Next::Wait(self.commit.wake_at().map(|at| at.saturating_sub(self.now())))
            }
            None if self.commit.is_syncing() => Next::LeaveToOthers,
            None => Next::End,
        })
    }

    /// Persists what is left, and lets go of the files.
    ///
    /// # Errors
    /// [`JournalError`] if the journal failed; also if there is no room for all records.
    pub(super) fn close(self) -> Result<PersistSeq, JournalError> {
        let Self { commit, mut notify, layouts, .. } = self;
        layouts.end();
        commit.close().inspect_err(|error| tell_failure(error, &mut notify))
    }

    /// Tells that the journal takes nothing more.
    pub(super) fn fail(mut self, error: JournalError) -> JournalError {
        tell_failure(&error, &mut self.notify);
        self.layouts.end();
        error
    }

    fn tell_persisted(&mut self) {
        if let Some(up_to) = self.commit.newly_persisted() {
            (self.notify)(JournalEvent::Persisted { up_to });
        }
    }

    fn take(&mut self, command: Command<R>) -> Result<(), JournalError> {
        match command {
            Command::Append(records) => self.commit.take(records),
            Command::RemoveThrough(covers) => self.commit.remove_through(covers)?,
            Command::LaidOut => {
                if let Ok(done) = self.layouts.done.recv() {
                    self.commit.end_layout(self.now(), done)?;
                }
            }
            Command::Close => self.is_closing = true,
        }
        Ok(())
    }

    /// Has the next segment laid out by the other thread, or here if that has gone.
    fn lay_out_if_needed(&mut self) -> Result<(), JournalError> {
        let job = self.commit.begin_layout(self.now());
        match job.map(|job| self.layouts.jobs.send(job)) {
            Some(Err(SendError(job))) => self.commit.end_layout(self.now(), job.run()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

fn tell_failure(error: &JournalError, notify: &mut impl FnMut(JournalEvent)) {
    tracing::error!("{error}");
    notify(JournalEvent::Failed(error.clone()));
}

/// A thread that lays out segments, since that takes long.
struct Layouts<D: Disk> {
    jobs: Sender<LayoutJob<D>>,
    done: Receiver<LayoutDone<D>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl<D: Disk> Layouts<D> {
    /// Starts the thread. It wakes the journal's threads when a segment is laid out.
    ///
    /// # Errors
    /// If the system gives no thread.
    fn start<R: Send + 'static>(wake: Arc<Inbox<Command<R>>>) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<LayoutJob<D>>();
        let (outbox, done) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("journal-layout".to_owned());
        let thread = thread.spawn(move || {
            for job in inbox {
                let laid_out = job.run_unless(|| told.load(Ordering::Relaxed));
                let Some(Ok(())) = laid_out.map(|laid_out| outbox.send(laid_out)) else {
                    return;
                };
                wake.put(Command::LaidOut);
            }
        })?;
        Ok(Self { jobs, done, is_over, thread })
    }

    /// Ends the thread, and waits for that: whoever opens the journal next in this process lays out
    /// segments of the same names.
    fn end(self) {
        let Self { jobs, done, is_over, thread } = self;
        is_over.store(true, Ordering::Relaxed);
        drop((jobs, done));
        if thread.join().is_err() {
            tracing::error!("the thread that lays out the journal's segments has panicked");
        }
    }
}
