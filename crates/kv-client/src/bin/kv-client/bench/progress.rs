//! How far a measurement has come.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::load::Gauge;

/// A line on the standard error, if that is a terminal, which says how far a measurement has come.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    until: Instant,
    ticks: Interval,
    last: (Instant, u64),
    is_shown: bool,
}

impl Progress {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(began: Instant, until: Instant) -> Self {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { began, until, ticks, last: (began, 0), is_shown: std::io::stderr().is_terminal() }
    }

    /// Waits until it is time to show it again.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    pub(crate) fn show(&mut self, gauge: &Gauge) {
        let now = Instant::now();
        let (since, before) = self.last;
        let (done, failed) =
            (gauge.done.load(Ordering::Relaxed), gauge.failed.load(Ordering::Relaxed));
        self.last = (now, done);
        if self.is_shown {
            let rate = per_second(done.saturating_sub(before), now - since);
            let part = (now - self.began).div_duration_f64(self.until - self.began);
            let left = self.until.saturating_duration_since(now).as_secs_f64();
            let line = line(part, left, rate, failed);
            // It is of no use to those who do not see it.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        }
    }

    pub(crate) fn clear(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// How many a second.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if time.is_zero() { 0.0 } else { count / time.as_secs_f64() }
}

fn line(part: f64, seconds_left: f64, rate: f64, failed: u64) -> String {
    let mut bar = String::new();
    let mut mark = 0.5;
    while mark < BAR_MARKS {
        bar.push(if mark <= part * BAR_MARKS { '#' } else { '.' });
        mark += 1.0;
    }
    let mut line = format!("[{bar}] {seconds_left:.0} s left, {rate:.0} requests/s");
    if failed > 0 {
        // Writing to a string does not fail.
        let _ = write!(line, ", {failed} failed");
    }
    line
}

const PERIOD: Duration = Duration::from_millis(250);

/// How many marks the bar has.
const BAR_MARKS: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let half = "###############...............";
        assert_eq!(line(0.5, 5.2, 1234.4, 0), format!("[{half}] 5 s left, 1234 requests/s"));
        let full = "#".repeat(30);
        assert_eq!(line(1.1, 0.0, 0.0, 7), format!("[{full}] 0 s left, 0 requests/s, 7 failed"));
        assert!(line(0.0, 1.0, 0.0, 0).starts_with("[.............................."));
    }
}
