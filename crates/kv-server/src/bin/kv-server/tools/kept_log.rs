//! How far the log goes that is left in a data directory.

use std::fmt::{self, Display};

use anyhow::bail;
use kv_core::{ClusterId, NodeId, Status};
use kv_proto::id_ranges;

/// How far the log in a data directory goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptLog {
    pub(crate) directory: String,
    pub(crate) node: NodeId,
    pub(crate) cluster: Option<ClusterId>,
    /// The greatest one is ahead.
    end: LogEnd,
}

/// Where a log ends: the epoch of its last entry, and that entry's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct LogEnd {
    round: u64,
    owner: u64,
    incarnation: u64,
    last: u64,
}

impl KeptLog {
    pub(crate) fn of(directory: &str, node: NodeId, status: &Status) -> Self {
        let known = |position: Option<u64>| position.unwrap_or_default();
        let positions = &status.positions;
        let end = LogEnd {
            round: known(positions.epoch_round),
            owner: known(positions.epoch_owner),
            incarnation: known(positions.epoch_incarnation),
            last: known(positions.last),
        };
        Self { directory: directory.to_owned(), node, cluster: status.cluster_id, end }
    }
}

impl KeptLog {
    /// The owner of the epoch in which it ends.
    pub(crate) const fn sequencer(&self) -> u64 {
        self.end.owner
    }

    /// Whether there is anything in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.end.last == 0
    }
}

impl Display for KeptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            LogEnd { last: 0, .. } => write!(f, "its log is empty"),
            LogEnd { round, owner, last, .. } => {
                write!(f, "its log ends at entry {last} of epoch {round} of server {owner}")
            }
        }
    }
}

/// The log that is ahead of the others, with its engine; `None` if there is none at all.
pub(crate) fn newest_of<E>(logs: Vec<(KeptLog, E)>) -> anyhow::Result<Option<(KeptLog, E)>> {
    let mut newest: Option<(KeptLog, E)> = None;
    for (log, engine) in logs {
        let Some((best, _)) = &newest else {
            newest = Some((log, engine));
            continue;
        };
        if let (Some(one), Some(other)) = (best.cluster, log.cluster)
            && one != other
        {
            bail!(
                "{} holds cluster {:016x} and {} cluster {:016x}: name the directories of one \
                 cluster",
                best.directory,
                one.0,
                log.directory,
                other.0
            );
        }
        if log.end > best.end {
            newest = Some((log, engine));
        }
    }
    Ok(newest)
}

/// Which of several logs has the most; more than one may.
pub(crate) fn who_is_ahead(best: &KeptLog, logs: &[KeptLog]) -> String {
    let mut first: Vec<NodeId> =
        logs.iter().filter(|log| log.end == best.end).map(|log| log.node).collect();
    first.sort_unstable();
    first.dedup();
    match first.as_slice() {
        [one] => format!("server {one} is ahead"),
        several if logs.len() == several.len() => {
            format!("servers {} have the same log, and none is ahead", id_ranges(several))
        }
        several => {
            format!("servers {} have the same log, and are ahead", id_ranges(several))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_that_is_ahead_is_chosen_by_its_epoch_and_then_by_its_end() {
        let log = |directory: &str, cluster: Option<u64>, (round, owner, last)| KeptLog {
            directory: directory.to_owned(),
            node: NodeId::FIRST,
            cluster: cluster.map(ClusterId),
            end: LogEnd { round, owner, incarnation: 1, last },
        };
        let chosen = |logs: &[KeptLog]| {
            let logs = logs.iter().map(|log| (log.clone(), ())).collect();
            newest_of(logs).map(|newest| newest.map(|(log, ())| log.directory))
        };
        let (short, long) = (log("a", Some(7), (0, 1, 30)), log("b", Some(7), (0, 1, 40)));
        let later = log("c", Some(7), (1, 1, 35));
        let new = log("d", None, (0, 0, 0));
        assert_eq!(chosen(&[short.clone(), long.clone()]).unwrap().as_deref(), Some("b"));
        assert_eq!(chosen(&[long.clone(), short.clone()]).unwrap().as_deref(), Some("b"));
        assert_eq!(chosen(&[later, long.clone()]).unwrap().as_deref(), Some("c"));
        assert_eq!(chosen(&[new.clone(), short.clone()]).unwrap().as_deref(), Some("a"));
        assert_eq!(chosen(&[]).unwrap(), None);
        let other = log("e", Some(8), (9, 9, 9));
        let error = chosen(&[short, new, other]).unwrap_err().to_string();
        assert!(error.starts_with("a holds cluster 0000000000000007 and e cluster"), "{error}");
    }

    #[test]
    fn logs_that_end_alike_are_not_ahead_of_each_other() {
        let log = |id, last| KeptLog {
            directory: String::new(),
            node: NodeId::new(id).unwrap(),
            cluster: None,
            end: LogEnd { round: 0, owner: 1, incarnation: 1, last },
        };
        let (one, two, three) = (log(1, 9), log(2, 9), log(3, 4));
        let all = [two.clone(), one.clone(), three.clone()];
        assert_eq!(who_is_ahead(&one, &all), "servers 1-2 have the same log, and are ahead");
        assert_eq!(who_is_ahead(&one, &all[1..]), "server 1 is ahead");
        assert_eq!(
            who_is_ahead(&two, &all[..2]),
            "servers 1-2 have the same log, and none is ahead"
        );
    }
}
