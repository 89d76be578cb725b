//! All that a server holds, for a client that asks for it: a backup.

use bytes::Bytes;

use super::DriverCore;
use super::session::SessionId;
use super::streams;
use crate::engine::ConsistencyEngine;
use crate::engine::checkpoint::{SnapshotPart, ViewScope};
use crate::request::not_done::NotDone;
use crate::store::ViewId;

/// A snapshot that goes to a session.
#[derive(Clone, Debug)]
pub(super) struct SessionSnapshot {
    session: SessionId,
    tag: u64,
    view: ViewId,
    snapshot: u64,
    next_number: u32,
    metadata: Bytes,
}

/// What a session that asked for a snapshot gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionPart {
    /// A part of it.
    Part {
        /// The session's own name for what it asked.
        tag: u64,
        /// The part.
        part: SnapshotPart,
    },
    /// The state was replaced by another one: there are no more parts.
    Gone {
        /// The session's own name for what it asked.
        tag: u64,
    },
}

impl<E: ConsistencyEngine> DriverCore<E> {
    /// A session asks for all that the server holds; it is read by
    /// [`next_session_part`](Self::next_session_part), as fast as the session takes it.
    ///
    /// # Errors
    /// [`NotDone::Overloaded`] if too many such snapshots are under way, or none can be had at the
    /// moment.
    pub fn begin_session_snapshot(&mut self, session: SessionId, tag: u64) -> Result<(), NotDone> {
        let limit = NotDone::Overloaded { limit: SESSION_SNAPSHOTS_MAX };
        if u64::try_from(self.session_snapshots.len()).is_ok_and(|len| len >= SESSION_SNAPSHOTS_MAX)
        {
            return Err(limit);
        }
        let Some(view) = self.engine.open_view(ViewScope::Whole) else {
            return Err(limit);
        };
        self.last_snapshot += 1;
        self.session_snapshots.push(SessionSnapshot {
            session,
            tag,
            view: view.id,
            snapshot: self.last_snapshot,
            next_number: 0,
            metadata: view.metadata,
        });
        Ok(())
    }

    /// The next part of the snapshot that a session asked for first; `None` if none is under way.
    pub fn next_session_part(&mut self, session: SessionId) -> Option<SessionPart> {
        let mut all = self.session_snapshots.iter_mut();
        let under_way = all.find(|under_way| under_way.session == session)?;
        let name = (under_way.snapshot, under_way.next_number);
        let (tag, view) = (under_way.tag, under_way.view);
        let metadata = std::mem::take(&mut under_way.metadata);
        under_way.next_number += 1;
        let bytes_max = self.config.part_bytes_max;
        let part = streams::part(&mut self.engine, view, name, metadata, bytes_max);
        #[cfg(feature = "mutations")]
        let part = self.mistaken_part(part, name);
        if part.as_ref().is_none_or(|part| part.is_last) {
            self.session_snapshots.retain(|other| other.view != view);
            self.engine.close_view(view);
        }
        Some(part.map_or(SessionPart::Gone { tag }, |part| SessionPart::Part { tag, part }))
    }

    pub(super) fn close_session_snapshots(&mut self, session: SessionId) {
        self.end_session_snapshots(|other| other.session == session);
    }

    pub(super) fn cancel_session_snapshots(&mut self, session: SessionId, tag: u64) {
        self.end_session_snapshots(|other| other.session == session && other.tag == tag);
    }

    fn end_session_snapshots(&mut self, is_over: impl Fn(&SessionSnapshot) -> bool) {
        for snapshot in self.session_snapshots.extract_if(.., |other| is_over(other)) {
            self.engine.close_view(snapshot.view);
        }
    }
}

/// How many clients may be given a snapshot at once. Each keeps aside what changes meanwhile.
pub(super) const SESSION_SNAPSHOTS_MAX: u64 = 4;
