//! Views of a server's state, for its own disk and for a follower far behind.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

use kv_core::{
    CheckpointChange, OpenView, PersistSeq, ViewChunk, ViewId, ViewRead, ViewScope, Wire,
};

use crate::core::Core;
use crate::durable::list::ListOnDisk;
use crate::log::entry::Entry;
use crate::mutation::Mutation;
use crate::recovery::checkpoint::{Metadata, entry_key, session_key, state_key};
use crate::state_machine::expiry::{Expiry, Held};
use crate::state_machine::sessions::ViewedSession;

/// What a view shows of the log and the sessions: they come before the keys, of which the store has
/// a view.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    id: ViewId,
    tail: VecDeque<Entry>,
    next_slot: usize,
    /// Slots that the checkpoint on disk may hold, and this one does not.
    gone: Range<usize>,
    sessions: VecDeque<ViewedSession>,
    next_session: usize,
    sessions_gone: Range<usize>,
}

/// Opens a view. What changed may hold more than the records that it covers say; these change nothing when they
/// are replayed on it. `None` while entries are gone here that the disk still has, and while the
/// promise is not on disk: what was learned to be committed in an epoch must not outlive the promise
/// of it, or a server that forgot only that would drop what is committed. `None` of what changed as well
/// while a log that was kept has no cluster, since a checkpoint would say that the server is empty, and
/// until its cluster is known to have committed it, since a checkpoint does not say that it was founded on it.
pub(crate) fn open(core: &mut Core, scope: ViewScope) -> Option<OpenView> {
    let has_cluster = core.salvaged.is_none() && core.replica.commit() >= core.founded_on;
    let is_due = core.replica.is_cut_on_disk() && core.is_promise_durable() && has_cluster;
    if scope == ViewScope::Changes && !is_due {
        return None;
    }
    let (covers, tail, sessions) = (covers(core), tail(core), sessions(core));
    let metadata = metadata_of(core).to_bytes();
    let store = core.replica.machine_mut().store_mut();
    let (id, keys) = match scope {
        ViewScope::Changes => store.open_changes(covers)?,
        ViewScope::Whole => (store.open_whole(), store.len()),
    };
    let (mut gone, mut sessions_gone) = (0..0, 0..0);
    if scope == ViewScope::Changes {
        let slots = core.tail_on_disk.take(covers, tail.len());
        if !core.broken.is(Mutation::CheckpointKeepsTheFormerTail) {
            gone = tail.len()..slots;
        }
        sessions_gone = sessions.len()..core.sessions_on_disk.take(covers, sessions.len());
    }
    if scope == ViewScope::Changes && core.broken.is(Mutation::CheckpointForgetsAChange) {
        // What is read here nobody gets.
        core.replica.machine_mut().store_mut().read_view(id, |_, _| ControlFlow::Break(()));
    }
    let items = tail.len() + gone.len() + sessions.len() + sessions_gone.len() + keys;
    core.views.push(LogView {
        id,
        tail,
        next_slot: 0,
        gone,
        sessions,
        next_session: 0,
        sessions_gone,
    });
    Some(OpenView { id, covers, metadata, items })
}

/// Reads on in a view.
pub(crate) fn read(core: &mut Core, id: ViewId, bytes_max: usize) -> Option<ViewChunk> {
    let log = core.views.iter_mut().find(|view| view.id == id)?;
    let mut chunk = Chunk { changes: Vec::new(), bytes: 0, bytes_max };
    while let Some(change) = log.next() {
        if chunk.add(change).is_break() {
            return Some(ViewChunk { changes: chunk.changes, is_last: false });
        }
    }
    let forgets_deadlines = core.broken.is(Mutation::CheckpointForgetsDeadlines);
    let store = core.replica.machine_mut().store_mut();
    let read = store.read_view(id, |key, held| {
        let held = held.map(|held| match forgets_deadlines {
            true => Held { expiry: Expiry::NEVER, ..held.clone() }.to_bytes(),
            false => held.to_bytes(),
        });
        chunk.add((state_key(key), held))
    })?;
    Some(ViewChunk { changes: chunk.changes, is_last: read == ViewRead::End })
}

pub(crate) fn close(core: &mut Core, id: ViewId) {
    core.views.retain(|view| view.id != id);
    core.replica.machine_mut().store_mut().close_view(id);
    core.tidy_soon();
}

/// Notes that a checkpoint that was taken is on disk.
pub(crate) fn note_written(core: &mut Core, covers: PersistSeq) {
    core.tail_on_disk.note_written(covers);
    core.sessions_on_disk.note_written(covers);
    core.replica.machine_mut().store_mut().note_written(covers);
    core.tidy_soon();
}

/// Notes that the checkpoint on disk holds the log and the state as they are.
pub(crate) fn note_recovered(core: &mut Core) {
    core.tail_on_disk = ListOnDisk::of(core.replica.log().len());
    core.sessions_on_disk = ListOnDisk::of(core.replica.machine().sessions().len());
    core.replica.machine_mut().store_mut().note_recovered();
}

fn covers(core: &Core) -> PersistSeq {
    let persisted = core.journal.persisted();
    core.staged_after.map_or(persisted, |staged| staged.min(persisted))
}

fn metadata_of(core: &Core) -> Option<Metadata> {
    let identity = core.identity_on_disk?;
    let forgets = core.broken.is(Mutation::CheckpointWithoutDedup);
    Some(Metadata {
        cluster: identity.cluster,
        configuration: core.configuration_hash,
        incarnation: identity.incarnation,
        recovering: identity.recovering,
        promised: core.promised_on_disk(),
        refuted: core.refuted,
        known: core.known.on_disk(),
        applied: core.replica.applied(),
        dedup: if forgets { Vec::new() } else { core.replica.dedup().into() },
    })
}

/// The entries after what is applied that are on disk.
fn tail(core: &Core) -> VecDeque<Entry> {
    if core.identity_on_disk.is_none() {
        return VecDeque::new();
    }
    let replica = &core.replica;
    let tail = replica.log().from(replica.applied().index.next());
    tail.take_while(|entry| entry.index() <= replica.durable()).cloned().collect()
}

/// The sessions, which get their byte forms when they are read.
fn sessions(core: &Core) -> VecDeque<ViewedSession> {
    if core.identity_on_disk.is_none() || core.broken.is(Mutation::CheckpointForgetsAnswers) {
        return VecDeque::new();
    }
    core.replica.machine().sessions().viewed()
}

impl LogView {
    fn next(&mut self) -> Option<CheckpointChange> {
        if let Some(entry) = self.tail.pop_front() {
            let slot = self.next_slot;
            self.next_slot += 1;
            return Some((entry_key(slot), Some(entry.to_bytes())));
        }
        if let Some(slot) = self.gone.next() {
            return Some((entry_key(slot), None));
        }
        if let Some(session) = self.sessions.pop_front() {
            let slot = self.next_session;
            self.next_session += 1;
            return Some((session_key(slot), Some(session.to_line())));
        }
        self.sessions_gone.next().map(|slot| (session_key(slot), None))
    }
}

struct Chunk {
    changes: Vec<CheckpointChange>,
    bytes: usize,
    bytes_max: usize,
}

impl Chunk {
    fn add(&mut self, change: CheckpointChange) -> ControlFlow<()> {
        let (key, held) = &change;
        self.bytes += key.len() + held.as_ref().map_or(0, bytes::Bytes::len) + ITEM_BYTES;
        self.changes.push(change);
        let is_full = self.bytes >= self.bytes_max;
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// What an item takes beside its bytes.
const ITEM_BYTES: usize = 16;
