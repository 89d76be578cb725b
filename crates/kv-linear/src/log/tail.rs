//! What a server holds after its commit, in few words.

use kv_core::wire_struct;

use crate::log::Log;
use crate::log::epoch::{Epoch, LogIndex};

/// The end of a server's log: the epochs of what comes after its commit. Since an epoch and an
/// index name one entry, two of them give the last place where two logs agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Up to here the sender knows its log to be committed.
    pub commit: LogIndex,
    /// The hash of the log up to there.
    pub commit_hash: u64,
    /// The epoch of the entry there.
    pub commit_epoch: Epoch,
    /// The epochs of what follows, ascending.
    pub runs: Vec<Run>,
    /// The last entry.
    pub last: LogIndex,
    /// The hash of the whole log.
    pub last_hash: u64,
}

wire_struct!(Tail { commit, commit_hash, commit_epoch, runs, last, last_hash });

/// Entries of one epoch that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their epoch.
    pub epoch: Epoch,
    /// The first of them that is after the commit.
    pub first: LogIndex,
}

wire_struct!(Run { epoch, first });

impl Tail {
    /// The tail of a log that is committed up to `commit`.
    pub(crate) fn of(log: &Log, commit: LogIndex) -> Self {
        let base = log.position_at(commit).unwrap_or_else(|| log.base());
        let mut runs = Vec::new();
        let mut at = base.index.next();
        while let Some(epoch) = log.epoch_at(at) {
            runs.push(Run { epoch, first: at });
            at = log.last_of(epoch).next();
        }
        let last = log.last();
        Self {
            commit: base.index,
            commit_hash: base.hash,
            commit_epoch: base.epoch,
            runs,
            last: last.index,
            last_hash: last.hash,
        }
    }

    /// The epoch of its last entry: of two logs the one is better whose last entry has the greater
    /// epoch, and of equal ones the longer.
    pub(crate) fn rank(&self) -> (Epoch, LogIndex) {
        (self.runs.last().map_or(self.commit_epoch, |run| run.epoch), self.last)
    }

    /// The run that a position after the commit is in.
    fn run_at(&self, index: LogIndex) -> Option<Run> {
        let after = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(after.checked_sub(1)?).copied()
    }
}

/// Up to where another server's log and this one, committed up to `commit`, are known to be equal.
/// Both commits are of one log, so that they agree as far as the lower one goes.
pub(crate) fn agreement(log: &Log, commit: LogIndex, tail: &Tail) -> LogIndex {
    let last = log.last().index;
    if last < tail.commit {
        return commit;
    }
    let shares_commit = commit >= tail.commit || log.hash_at(tail.commit) == Some(tail.commit_hash);
    if !shares_commit {
        return commit;
    }
    let mut at = last.min(tail.last);
    while at > tail.commit {
        let (Some(own), Some(theirs)) = (log.epoch_at(at), tail.run_at(at)) else {
            // What is not kept any more was committed, and theirs may differ from it.
            return tail.commit;
        };
        if own == theirs.epoch {
            return at;
        }
        let first = if own > theirs.epoch { log.first_of(own) } else { theirs.first };
        at = first.min(at).previous();
    }
    tail.commit
}

#[cfg(test)]
mod tests {
    use kv_core::{Incarnation, NodeId};

    use super::*;
    use crate::log::Position;
    use crate::log::entry::{Entry, EntryHeader};

    fn epoch(round: u32) -> Epoch {
        Epoch { round, owner: NodeId::FIRST, incarnation: Incarnation(1) }
    }

    /// A log with an entry of each round in turn.
    fn log(rounds: &[u32]) -> Log {
        let mut log = Log::starting_after(Position::default());
        for round in rounds {
            let last = log.last();
            log.append(Entry::new(
                EntryHeader {
                    index: last.index.next(),
                    epoch: epoch(*round),
                    log_time_ms: 0,
                    operations_before: 0,
                    operations: 0,
                    previous_hash: last.hash,
                },
                &[],
            ));
        }
        log
    }

    fn agree(own: (&[u32], u64), theirs: (&[u32], u64)) -> u64 {
        let tail = Tail::of(&log(theirs.0), LogIndex(theirs.1));
        agreement(&log(own.0), LogIndex(own.1), &tail).0
    }

    #[test]
    fn a_tail_has_a_run_for_each_epoch_after_the_commit() {
        let tail = Tail::of(&log(&[0, 0, 1, 1, 4]), LogIndex(1));
        let runs: Vec<_> = tail.runs.iter().map(|run| (run.epoch.round, run.first.0)).collect();
        assert_eq!(runs, [(0, 2), (1, 3), (4, 5)]);
        assert_eq!(tail.rank(), (epoch(4), LogIndex(5)));
        let whole = Tail::of(&log(&[0, 2]), LogIndex(2));
        assert_eq!((whole.runs.len(), whole.rank()), (0, (epoch(2), LogIndex(2))));
    }

    #[test]
    fn logs_agree_up_to_the_last_place_with_one_epoch() {
        assert_eq!(agree((&[0, 0, 1, 1], 0), (&[0, 0, 1], 0)), 3);
        assert_eq!(agree((&[0, 0, 1, 1], 0), (&[0, 0, 0, 0, 0], 0)), 2);
        assert_eq!(agree((&[0, 0, 0, 3], 0), (&[0, 0, 2, 2, 2], 1)), 2);
        assert_eq!(agree((&[0, 2, 2], 0), (&[0, 1, 3, 3], 0)), 1);
        assert_eq!(agree((&[0, 0], 2), (&[0, 0], 2)), 2);
        assert_eq!(agree((&[1], 0), (&[2, 2], 0)), 0);
    }

    #[test]
    fn what_lies_below_the_others_commit_is_known_only_as_far_as_it_is_committed_here() {
        assert_eq!(agree((&[0, 0], 1), (&[0, 0, 0, 0], 4)), 1);
        assert_eq!(agree((&[0, 1, 1, 1], 1), (&[0, 2, 2], 3)), 1);
        assert_eq!(agree((&[0, 2, 2, 2], 1), (&[0, 2, 2], 3)), 3);
    }
}
