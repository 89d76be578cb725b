//! What has been complained of, so that a log does not fill with it.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::NodeId;
use kv_proto::RefusalCode;
use tokio::time::Instant;

/// Remembers refusals by who was refused and why, and lets each be told at growing intervals.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: BTreeMap<(Option<NodeId>, u8), Told>,
}

#[derive(Debug)]
struct Told {
    next: Instant,
    interval: Duration,
    untold: u64,
}

impl Complaints {
    /// Whether to tell of a refusal; if so, how many like it were not told of since the last one.
    /// `who` is the server that was refused, `None` for clients and strangers.
    pub(crate) fn tell(
        &mut self,
        who: Option<NodeId>,
        code: RefusalCode,
        now: Instant,
    ) -> Option<u64> {
        let told = self.told.entry((who, number_of(code))).or_insert(Told {
            next: now,
            interval: INTERVAL_MIN,
            untold: 0,
        });
        if now < told.next {
            told.untold += 1;
            return None;
        }
        told.next = now + told.interval;
        told.interval = (told.interval * 2).min(INTERVAL_MAX);
        Some(std::mem::take(&mut told.untold))
    }
}

/// Few enough numbers, whatever the code, that the table stays small: ids are bounded as well.
const fn number_of(code: RefusalCode) -> u8 {
    match code {
        RefusalCode::Version => 1,
        RefusalCode::Cluster => 2,
        RefusalCode::Configuration => 3,
        RefusalCode::Node => 4,
        RefusalCode::Full => 5,
        RefusalCode::Malformed => 6,
        RefusalCode::Other(_) => 7,
    }
}

/// From the first complaint to the second; doubled from then on.
const INTERVAL_MIN: Duration = Duration::from_secs(60);

const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_and_then_at_doubling_intervals() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let node = Some(NodeId::FIRST);
        let mut tell = |seconds: u32, who, code| {
            complaints.tell(who, code, start + Duration::from_secs(u64::from(seconds)))
        };
        assert_eq!(tell(0, node, RefusalCode::Configuration), Some(0));
        assert_eq!(tell(0, node, RefusalCode::Cluster), Some(0), "another reason");
        assert_eq!(tell(0, None, RefusalCode::Cluster), Some(0), "somebody else");
        let told: Vec<(u32, u64)> = (1..=900)
            .filter_map(|second| Some((second, tell(second, node, RefusalCode::Configuration)?)))
            .collect();
        assert_eq!(told, [(60, 59), (180, 119), (420, 239), (900, 479)]);
    }
}
