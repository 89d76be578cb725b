//! Whether a journal ends in a torn tail or is damaged, once all its segments have been read.

use kv_core::PersistSeq;

use super::scanner::Scanner;
use super::{FIRST_NUMBER, Leftover, Scan};
use crate::disk::Disk;
use crate::journal::error::JournalError;
use crate::journal::segment;
use crate::mutation::Mutation;

impl<D: Disk> Scanner<'_, D> {
    pub(super) fn finish(mut self) -> Result<Scan<D::File>, JournalError> {
        self.check_beginning()?;
        self.check_end()?;
        let last = self.last.unwrap_or_else(|| self.last_without_records());
        let is_whole = last >= self.known_durable.max(self.covers);
        if is_whole || self.broken.is(Mutation::DurableThroughIgnored) {
            self.scan.last = last;
            self.forget_sure();
            for (place, segment) in self.scan.segments.iter().enumerate() {
                let first = self.unsure.iter().find(|(_, unsure, _)| *unsure == place);
                let unsure =
                    first.map(|(.., from)| Leftover { place, from: *from, until: segment.end });
                self.scan.unsure.extend(unsure);
            }
            self.scan.durable_through = self.known_durable;
            return Ok(self.scan);
        }
        let damage_at = self.hole.filter(|hole| hole.has_leftovers() || self.known_durable > last);
        let segment = damage_at.and_then(|hole| self.scan.segments.get(hole.place));
        match (damage_at, segment) {
            (Some(hole), Some(segment)) => Err(JournalError::Damaged {
                file: self.disk.path(&segment::name(segment.number)),
                offset: hole.offset,
                seq: last.next(),
            }),
            _ => Err(JournalError::BehindCheckpoint { last, covers: self.covers }),
        }
    }

    /// Segments go only when a checkpoint reflects their records, so one without records begins with
    /// the first segment where there is no checkpoint.
    fn check_beginning(&self) -> Result<(), JournalError> {
        let begins_late =
            self.scan.segments.first().is_some_and(|first| first.number != FIRST_NUMBER);
        if begins_late && self.last.is_none() && self.covers == PersistSeq(0) {
            let file = self.disk.path(&segment::name(FIRST_NUMBER));
            return Err(JournalError::MissingSegment { file });
        }
        Ok(())
    }

    /// The segment in which records go on was there when that was noted, and is the last to go.
    fn check_end(&self) -> Result<(), JournalError> {
        match self.scan.segments.last().filter(|last| last.continues) {
            Some(last) => {
                let file = self.disk.path(&segment::name(last.number + 1));
                Err(JournalError::MissingSegment { file })
            }
            None => Ok(()),
        }
    }

    /// Where a journal without records stands: after those that went with its first segments, or
    /// before one that is missing though the checkpoint says that it was on disk.
    fn last_without_records(&self) -> PersistSeq {
        match (self.scan.segments.first(), self.missing) {
            (Some(first), None) if first.number != FIRST_NUMBER => self.covers,
            (Some(first), Some(missing)) if first.number != FIRST_NUMBER => {
                self.covers.min(PersistSeq(missing.0.saturating_sub(1)))
            }
            (Some(_) | None, _) => PersistSeq(0),
        }
    }
}
