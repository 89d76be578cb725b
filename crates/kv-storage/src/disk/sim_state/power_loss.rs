//! What a loss of power leaves of what no sync has covered.

use std::cmp::Ordering;
use std::ops::Range;

use super::{SimState, Write, draw, overwrite};

/// What a loss of power may do to writes, and to changes of names, that no sync has covered.
/// Otherwise the disk keeps the first so many of them, whole. Each change of a name is kept whole or
/// not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashHabits {
    /// It may keep a part of one.
    pub tears: bool,
    /// It may keep one and lose an earlier one.
    pub reorders: bool,
}

/// What a loss of power did to writes that no sync had covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerLoss {
    /// How many there were.
    pub unsynced: u64,
    /// Of how many a part was kept.
    pub torn: u64,
    /// How many were kept, whole or in part, though an earlier one was not, or not whole.
    pub reordered: u64,
}

impl SimState {
    pub(crate) fn crash(&mut self) -> PowerLoss {
        self.end_life();
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        let loss = self.lose_unsynced(&numbers);
        for inode in self.inodes.values_mut() {
            inode.current.clone_from(&inode.durable);
        }
        self.lose_unsynced_names();
        self.names.clone_from(&self.durable_names);
        self.forget_nameless();
        loss
    }

    /// Lets each write to some files that was not synced come to the disk or not.
    pub(super) fn lose_unsynced(&mut self, numbers: &[u64]) -> PowerLoss {
        let mut writes = Vec::new();
        for number in numbers {
            let pending =
                self.inodes.get_mut(number).map(|inode| std::mem::take(&mut inode.pending));
            writes.extend(pending.into_iter().flatten().map(|write| (*number, write)));
        }
        writes.sort_unstable_by_key(|(_, write)| write.order);
        let mut loss = PowerLoss {
            unsynced: u64::try_from(writes.len()).unwrap_or(u64::MAX),
            ..PowerLoss::default()
        };
        let whole_ones = if self.habits.reorders {
            None
        } else {
            Some(draw(&mut self.stream, writes.len() + 1))
        };
        let mut is_first_lost = false;
        for (place, (number, write)) in writes.into_iter().enumerate() {
            let whole = 0..write.bytes.len();
            let kept = match whole_ones.map(|whole_ones| place.cmp(&whole_ones)) {
                Some(Ordering::Less) => whole.clone(),
                Some(Ordering::Greater) => 0..0,
                Some(Ordering::Equal) => self.part(&write),
                None => match self.stream.below(3) {
                    0 => 0..0,
                    1 => whole.clone(),
                    _ => self.part(&write),
                },
            };
            loss.torn += u64::from(!kept.is_empty() && kept != whole);
            loss.reordered += u64::from(!kept.is_empty() && is_first_lost);
            is_first_lost |= kept != whole;
            if let Some(inode) = self.inodes.get_mut(&number)
                && let Some(bytes) = write.bytes.get(kept.clone()).filter(|kept| !kept.is_empty())
            {
                overwrite(&mut inode.durable, write.offset + kept.start, bytes);
            }
        }
        loss
    }

    /// Lets each change of a name that was not synced come to the disk or not: a directory's blocks
    /// need not be written in the order of their changes.
    fn lose_unsynced_names(&mut self) {
        let changes = std::mem::take(&mut self.name_changes);
        let first_ones = draw(&mut self.stream, changes.len() + 1);
        for (place, change) in changes.into_iter().enumerate() {
            let is_kept =
                if self.habits.reorders { self.stream.chance(500) } else { place < first_ones };
            if is_kept {
                change.apply(&mut self.durable_names);
            }
        }
    }

    /// A part of a write, the front of it or any other; nothing on a disk that tears none.
    fn part(&mut self, write: &Write) -> Range<usize> {
        if !self.habits.tears {
            return 0..0;
        }
        let len = write.bytes.len();
        let from = draw(&mut self.stream, len);
        let until = from + draw(&mut self.stream, len - from + 1);
        if self.stream.chance(500) { from..until } else { 0..until }
    }
}
