//! A list in the checkpoint on disk that each checkpoint holds anew: of entries, or of sessions.

use kv_core::PersistSeq;

/// How many items the checkpoint on disk may hold, so that the next one removes them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListOnDisk {
    count_max: usize,
    /// What was taken last and is not known to be on disk.
    taken: Option<(PersistSeq, usize)>,
}

impl ListOnDisk {
    /// The list of a checkpoint on disk that holds `count` items.
    pub(crate) const fn of(count: usize) -> Self {
        Self { count_max: count, taken: None }
    }

    /// Notes that a checkpoint with `count` items is taken; gives how many may be on disk.
    pub(crate) fn take(&mut self, covers: PersistSeq, count: usize) -> usize {
        let before = self.taken.take();
        self.count_max = self.count_max.max(before.map_or(0, |(_, count)| count));
        // Of two that cover as much, either may turn out to be on disk.
        let as_much = before.filter(|(covered, _)| *covered == covers);
        self.taken = Some((covers, as_much.map_or(count, |(_, before)| before.max(count))));
        self.count_max
    }

    pub(crate) fn note_written(&mut self, covers: PersistSeq) {
        if let Some((_, count)) = self.taken.take_if(|taken| taken.0 == covers) {
            self.count_max = count;
        }
    }
}
