//! A journal on threads of its own.

mod inbox;
mod writer;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::group_commit::{GroupCommit, SyncPolicy};
use crate::journal::{Journal, JournalError, Room, SYNCS_MAX};
use inbox::Inbox;
use writer::{Next, Writer};

/// Hands records to threads that write and sync them.
///
/// It is a [`GroupCommit`] on real time: all batches that have come while no sync could begin are
/// written at once and synced together. There is a thread for each sync that may be under way, and
/// whichever is free does what there is to do, so that a sync takes no change of threads. What
/// happened is told by a function that the owner gives, in order.
///
/// Dropped without [`JournalThread::close`], it persists what it has and nobody hears of it.
#[derive(Debug)]
pub struct JournalThread<R> {
    inbox: Arc<Inbox<Command<R>>>,
    threads: Vec<JoinHandle<Option<Ended>>>,
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
    /// The journal takes nothing more, and its threads end. Nothing that was not said to be
    /// persisted is.
    Failed(JournalError),
}

#[derive(Debug)]
enum Command<R> {
    Append(Vec<(PersistSeq, R)>),
    RemoveThrough(PersistSeq),
    /// A segment was laid out, or not; the done work is in its own channel.
    LaidOut,
    Close,
}

impl<R: Wire + Send + 'static> JournalThread<R> {
    /// Starts the threads. They call `notify` for each event, in order.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<D: Disk>(
        journal: Journal<D>,
        policy: SyncPolicy,
        notify: impl FnMut(JournalEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::new());
        let written_bytes = Arc::new(AtomicU64::new(0));
        let commit = GroupCommit::new(journal, policy);
        let writer = Writer::start(commit, notify, Arc::clone(&inbox), Arc::clone(&written_bytes))?;
        let writer = Arc::new(Mutex::new(Some(writer)));
        let mut started = Self { inbox, threads: Vec::new(), written_bytes };
        for _ in 0..SYNCS_MAX {
            let (inbox, writer) = (Arc::clone(&started.inbox), Arc::clone(&writer));
            let thread = thread::Builder::new().name("journal".to_owned());
            started.threads.push(thread.spawn(move || serve(&inbox, &writer))?);
        }
        Ok(started)
    }

    /// Hands over records, in order; never waits.
    pub fn append(&self, records: Vec<(PersistSeq, R)>) {
        self.inbox.put(Command::Append(records));
    }

    /// Lets go of records that a checkpoint reflects, which is on disk.
    pub fn remove_through(&self, covers: PersistSeq) {
        self.inbox.put(Command::RemoveThrough(covers));
    }

    /// How many bytes of records and headers were written since the start of the threads.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Persists all that was handed over and ends the threads; returns the last record.
    ///
    /// # Errors
    /// [`JournalError`] if the journal failed; also if there is no room for all records.
    pub fn close(mut self) -> Result<PersistSeq, JournalError> {
        self.inbox.put(Command::Close);
        let mut ended = None;
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(result) => ended = result.or(ended),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        ended.unwrap_or_else(|| unreachable!("one of the threads ends the journal"))
    }
}

impl<R> Drop for JournalThread<R> {
    fn drop(&mut self) {
        self.inbox.put(Command::Close);
    }
}

/// What each of the threads does until the journal ends; the result, of the one that ends it.
fn serve<D: Disk, R: Wire + Send + 'static, N: FnMut(JournalEvent)>(
    inbox: &Inbox<Command<R>>,
    writer: &Mutex<Option<Writer<D, R, N>>>,
) -> Option<Ended> {
    let mut done = None;
    loop {
        // Where a thread has panicked, or ended the journal, there is nothing to go on with.
        let mut held = writer.lock().ok()?;
        // Taken by whoever has the writer, so that they stay in order.
        match held.as_mut()?.advance(done.take(), inbox) {
            Ok(Next::Sync(job)) => {
                drop(held);
                done = Some(job.run());
            }
            Ok(Next::Wait(at_most)) => {
                drop(held);
                inbox.wait(at_most);
            }
            Ok(Next::LeaveToOthers) => return None,
            Ok(Next::End) => {
                let writer = held.take()?;
                inbox.close();
                return Some(writer.close());
            }
            Err(error) => {
                let writer = held.take()?;
                inbox.close();
                return Some(Err(writer.fail(error)));
            }
        }
    }
}
