//! What a driver does that breaks a rule, where that takes more than to leave something out.

use super::DriverRule;
use crate::cluster::id::RequestId;
use crate::driver::session::SessionId;
use crate::driver::{DriverCore, streams};
use crate::engine::ConsistencyEngine;
use crate::engine::checkpoint::{SnapshotPart, ViewScope};

impl<E: ConsistencyEngine> DriverCore<E> {
    /// The request that a reply is taken to be for.
    pub(in crate::driver) fn mistaken_request(&self, request: RequestId) -> RequestId {
        let present = self.sessions.in_place_of(request);
        let is_broken = self.config.broken.is(DriverRule::ReplyToReusedPlace);
        present.filter(|_| is_broken).unwrap_or(request)
    }

    /// The session that a reply goes to.
    pub(in crate::driver) fn mistaken_session(&self, session: SessionId) -> SessionId {
        if !self.config.broken.is(DriverRule::ReplyToAnotherSession) {
            return session;
        }
        let mut others = self.sessions.all().into_iter().rev().filter(|other| *other != session);
        others.next().unwrap_or(session)
    }

    /// What a session is given in place of a part of its snapshot, or of the news that the view is
    /// gone.
    pub(in crate::driver) fn mistaken_part(
        &mut self,
        part: Option<SnapshotPart>,
        (snapshot, number): (u64, u32),
    ) -> Option<SnapshotPart> {
        if part.is_none() && self.config.broken.is(DriverRule::SessionSnapshotCutShort) {
            let (metadata, items) = Default::default();
            return Some(SnapshotPart { snapshot, number, metadata, items, is_last: true });
        }
        if self.config.broken.is(DriverRule::SessionSnapshotMoves) && number > 0 {
            return self.part_as_it_is(part, (snapshot, number));
        }
        part
    }

    /// The part of this number of a view that is opened only for it.
    fn part_as_it_is(
        &mut self,
        part: Option<SnapshotPart>,
        (snapshot, number): (u64, u32),
    ) -> Option<SnapshotPart> {
        let part = part?;
        let view = self.engine.open_view(ViewScope::Whole)?.id;
        let bytes_max = self.config.part_bytes_max;
        let mut read = |number| {
            let name = (snapshot, number);
            streams::part(&mut self.engine, view, name, part.metadata.clone(), bytes_max)
        };
        let before = (0..number).all(|before| read(before).is_some_and(|part| !part.is_last));
        let present = if before { read(number) } else { None };
        self.engine.close_view(view);
        Some(match present {
            Some(present) => SnapshotPart { is_last: part.is_last, ..present },
            None => SnapshotPart { items: Vec::new(), ..part },
        })
    }
}
