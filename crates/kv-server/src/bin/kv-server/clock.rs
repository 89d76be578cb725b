//! A server whose wall clock is off those of the others says so on its screen.

use std::time::Duration;

use kv_core::Status;
use kv_server::LocalClient;
use tokio::time::sleep;

use crate::screen;

/// Says when a server's wall clock begins to be off those of the others, and when it agrees with them
/// again. Ends with the server. The linearizable engine does without.
pub(crate) async fn watch(client: LocalClient) {
    let mut standing = Standing::default();
    loop {
        sleep(PERIOD).await;
        let Ok(status) = client.status().await else {
            return;
        };
        if let Some(line) = standing.news(&status) {
            screen::say(format_args!("{line}"));
        }
    }
}

/// What was said last.
#[derive(Debug, Default)]
struct Standing {
    is_off: bool,
}

impl Standing {
    /// What there is to say, if that has changed.
    fn news(&mut self, status: &Status) -> Option<String> {
        let at = &status.positions;
        let (ahead, behind) = (at.clock_ahead_ms.unwrap_or(0), at.clock_behind_ms.unwrap_or(0));
        let off_ms = ahead.max(behind);
        let least_ms = if self.is_off { AGREES_BELOW_MS } else { OFF_MS_MIN };
        let was_off = std::mem::replace(&mut self.is_off, off_ms >= least_ms);
        match (was_off, self.is_off) {
            (false, true) => {
                let how = if ahead > behind { "ahead of" } else { "behind" };
                let (seconds, tenths) = (off_ms / 1_000, off_ms % 1_000 / 100);
                Some(format!(
                    "this server's clock is {seconds}.{tenths} s {how} those of the other servers: set \
                     it right, since writes are refused from 10 s on"
                ))
            }
            (true, false) => Some("this server's clock agrees with the others again".to_owned()),
            (false, false) | (true, true) => None,
        }
    }
}

/// How often the clocks are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// From here on it is off.
const OFF_MS_MIN: u64 = 1_000;

/// Below that one that was off agrees again.
const AGREES_BELOW_MS: u64 = 500;

#[cfg(test)]
mod tests {
    use kv_core::{ClusterConfig, Incarnation, NodeId, Positions, Quorum, Role};

    use super::*;

    fn status(clock_ahead_ms: Option<u64>, clock_behind_ms: Option<u64>) -> Status {
        let all = Quorum::All;
        Status {
            engine: "eventual".to_owned(),
            node: NodeId::FIRST,
            incarnation: Incarnation::UNKNOWN,
            cluster_id: None,
            cluster: ClusterConfig::new([NodeId::FIRST], all, all).unwrap(),
            role: Role::Coordinator,
            connected: Vec::new(),
            waiting: None,
            positions: Positions { clock_ahead_ms, clock_behind_ms, ..Positions::default() },
            lags: Vec::new(),
            counters: Vec::new(),
        }
    }

    #[test]
    fn a_clock_that_is_off_is_said_once_and_so_is_its_agreement() {
        let mut standing = Standing::default();
        let mut news = |ahead, behind| standing.news(&status(ahead, behind));
        assert_eq!(news(None, None), None);
        assert_eq!(news(Some(999), None), None);
        let off = news(Some(3_250), None).unwrap();
        assert!(off.starts_with("this server's clock is 3.2 s ahead of those of"), "{off}");
        assert_eq!(news(Some(3_300), None), None);
        assert_eq!(news(Some(700), None), None, "it is not right yet");
        let again = news(Some(20), None).unwrap();
        assert_eq!(again, "this server's clock agrees with the others again");
        let off = news(None, Some(12_000)).unwrap();
        assert!(off.starts_with("this server's clock is 12.0 s behind those of"), "{off}");
    }
}
