//! Making records durable, on whichever thread.

use kv_core::PersistSeq;

use crate::disk::{DiskError, DiskFile};
use crate::mutation::{Broken, Mutation};

/// The work of making durable all that was written when it began. Meanwhile the journal takes
/// more records.
#[derive(Debug)]
pub struct SyncJob<F> {
    pub(crate) files: Vec<F>,
    pub(crate) up_to: PersistSeq,
    pub(crate) broken: Broken,
}

/// How a [`SyncJob`] went, for [`Journal::end_sync`](crate::Journal::end_sync).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDone {
    pub(crate) up_to: PersistSeq,
    pub(crate) result: Result<(), DiskError>,
}

impl<F: DiskFile> SyncJob<F> {
    /// The last record that the sync makes durable.
    #[must_use]
    pub const fn up_to(&self) -> PersistSeq {
        self.up_to
    }

    /// Syncs.
    #[must_use]
    pub fn run(self) -> SyncDone {
        let mut result = self.files.iter().try_for_each(DiskFile::sync);
        if self.broken.is(Mutation::FailedSyncRetried) && result.is_err() {
            result = self.files.iter().try_for_each(DiskFile::sync);
        }
        SyncDone { up_to: self.up_to, result }
    }
}
