//! Checkpoints are written on a thread of their own, from changes that come bit by bit.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use kv_core::{CheckpointChange, CheckpointDelta, PersistSeq};
use kv_storage::{CheckpointError, CheckpointStore, CheckpointWritten};

/// Writes one checkpoint after the other. Dropped without [`CheckpointThread::close`], it ends what
/// it has and nobody hears of it.
#[derive(Debug)]
pub(crate) struct CheckpointThread {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
}

/// What the thread tells.
#[derive(Debug)]
pub(crate) enum CheckpointEvent {
    /// Changes were taken; there is room for as many again.
    Taken,
    /// A checkpoint was written, or not.
    Ended(Result<CheckpointWritten, CheckpointError>),
}

#[derive(Debug)]
enum Command {
    Begin { covers: PersistSeq, metadata: Bytes, changes: usize },
    Changes { changes: Vec<CheckpointChange>, is_last: bool },
    Abandon,
}

impl CheckpointThread {
    /// Starts the thread; it calls `notify` for each event.
    pub(crate) fn start(
        mut store: CheckpointStore,
        notify: impl Fn(CheckpointEvent) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let notify: Notify = Arc::new(notify);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            kv_storage::give_way();
            let inbox = Arc::new(Mutex::new(inbox));
            while let Some(command) = next(&inbox) {
                // What is left of one that failed is passed over.
                if let Command::Begin { covers, metadata, changes } = command {
                    let source = Changes::new(&inbox, &notify, changes);
                    let is_whole = Arc::clone(&source.is_whole);
                    let changes = Box::new(source);
                    let delta = CheckpointDelta { covers, metadata, changes };
                    match store.write_if(delta, || is_whole.load(Ordering::Relaxed)) {
                        Err(CheckpointError::Abandoned { .. }) => {}
                        ended => notify(CheckpointEvent::Ended(ended)),
                    }
                }
            }
        })?;
        Ok(Self { commands, thread })
    }

    /// Begins a checkpoint, of which about so many changes will come. Never waits.
    pub(crate) fn begin(&self, covers: PersistSeq, metadata: Bytes, changes: usize) {
        self.tell(Command::Begin { covers, metadata, changes });
    }

    /// Hands over the next changes; the checkpoint takes effect with the last ones.
    pub(crate) fn write(&self, changes: Vec<CheckpointChange>, is_last: bool) {
        self.tell(Command::Changes { changes, is_last });
    }

    /// There will be no more changes: the checkpoint that was begun is dropped.
    pub(crate) fn abandon(&self) {
        self.tell(Command::Abandon);
    }

    /// Waits until a checkpoint that has all its changes is written; one that has not is dropped.
    pub(crate) fn close(self) {
        drop(self.commands);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn tell(&self, command: Command) {
        // A thread that has died is noticed by what it notified.
        let _ = self.commands.send(command);
    }
}

type Inbox = Arc<Mutex<Receiver<Command>>>;
type Notify = Arc<dyn Fn(CheckpointEvent) + Send + Sync>;

fn next(inbox: &Inbox) -> Option<Command> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// The changes of one checkpoint as they come.
struct Changes {
    inbox: Inbox,
    notify: Notify,
    current: std::vec::IntoIter<CheckpointChange>,
    /// About how many are to come.
    left: usize,
    is_last: bool,
    is_whole: Arc<AtomicBool>,
}

impl Changes {
    fn new(inbox: &Inbox, notify: &Notify, left: usize) -> Self {
        Self {
            inbox: Arc::clone(inbox),
            notify: Arc::clone(notify),
            current: Vec::new().into_iter(),
            left,
            is_last: false,
            is_whole: Arc::default(),
        }
    }
}

impl Iterator for Changes {
    type Item = CheckpointChange;

    fn next(&mut self) -> Option<CheckpointChange> {
        loop {
            if let Some(change) = self.current.next() {
                self.left = self.left.saturating_sub(1);
                return Some(change);
            }
            if self.is_last {
                self.is_whole.store(true, Ordering::Relaxed);
                return None;
            }
            match next(&self.inbox) {
                Some(Command::Changes { changes, is_last }) => {
                    self.current = changes.into_iter();
                    self.is_last = is_last;
                    (self.notify)(CheckpointEvent::Taken);
                }
                Some(Command::Begin { .. } | Command::Abandon) | None => return None,
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::NodeId;
    use kv_storage::StoreIdentity;

    use super::*;

    fn change(name: &'static str) -> CheckpointChange {
        (Bytes::from(name), Some(Bytes::from("v")))
    }

    fn keys(store: &mut CheckpointStore) -> Option<Vec<Bytes>> {
        let (checkpoint, reading) = store.read().unwrap()?;
        let keys = checkpoint.items.map(|(key, _)| key).collect();
        reading.finish().unwrap();
        Some(keys)
    }

    #[test]
    fn a_checkpoint_takes_effect_with_its_last_changes_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
            CheckpointStore::open(folder.path(), identity).unwrap()
        };
        let (told, events) = mpsc::channel();
        let told = Mutex::new(told);
        let notify = move |event| told.lock().unwrap().send(event).unwrap();
        let thread = CheckpointThread::start(open(), notify).unwrap();
        let event = || events.recv_timeout(Duration::from_secs(30)).unwrap();
        let metadata = Bytes::from("m");
        thread.begin(PersistSeq(1), metadata.clone(), 2);
        thread.write(vec![change("a")], false);
        assert!(matches!(event(), CheckpointEvent::Taken));
        thread.abandon();
        thread.begin(PersistSeq(2), metadata.clone(), 2);
        thread.write(vec![change("b")], false);
        thread.write(vec![change("c")], true);
        assert!(matches!(event(), CheckpointEvent::Taken));
        assert!(matches!(event(), CheckpointEvent::Taken));
        let ended = event();
        assert!(
            matches!(ended, CheckpointEvent::Ended(Ok(written)) if written.rows == 2),
            "the abandoned one left nothing"
        );
        thread.begin(PersistSeq(3), metadata, 2);
        thread.write(vec![change("d")], false);
        thread.close();
        assert_eq!(keys(&mut open()), Some(vec![Bytes::from("b"), Bytes::from("c")]));
    }
}
