//! The engine's bounds and waiting times among the settings.

use std::time::Duration;

use clap::{Args, value_parser};
use kv_core::{Limits, Timing};
use kv_proto::{DurationError, parse_duration};

/// The engine's bounds; the defaults are those of [`kv_core::Limits`].
#[derive(Debug, Args)]
#[command(next_help_heading = "The engine's bounds")]
pub(crate) struct LimitSettings {
    /// Requests in hand; one more is answered `overloaded`
    #[arg(long, env = "KV_REQUESTS_MAX", value_name = "N", default_value = "65536")]
    #[arg(value_parser = value_parser!(u32).range(1..), hide_short_help = true)]
    requests_max: u32,

    /// Log entries that may be sequenced and not yet committed; more wait
    #[arg(long, env = "KV_WINDOW_ENTRIES_MAX", value_name = "N", default_value = "16384")]
    #[arg(value_parser = value_parser!(u32).range(1..), hide_short_help = true)]
    window_entries_max: u32,

    /// MiB that may be sequenced and not yet committed; more wait
    #[arg(long, env = "KV_WINDOW_MIB", value_name = "MIB", default_value = "64")]
    #[arg(value_parser = value_parser!(u32).range(1..=4095), hide_short_help = true)]
    window_mib: u32,

    /// KiB after which a message to a server takes no further entry
    #[arg(long, env = "KV_MESSAGE_KIB", value_name = "KIB", default_value = "1024")]
    #[arg(value_parser = value_parser!(u32).range(1..=8192), hide_short_help = true)]
    message_kib: u32,

    /// Entries that came too early and are held back; one more is dropped and sent again
    #[arg(long, env = "KV_HOLD_BACK_ENTRIES_MAX", value_name = "N", default_value = "16384")]
    #[arg(value_parser = value_parser!(u32).range(1..), hide_short_help = true)]
    hold_back_entries_max: u32,

    /// MiB of delivered log kept for servers that are behind; who needs more gets a checkpoint
    #[arg(long, env = "KV_KEPT_LOG_MIB", value_name = "MIB", default_value = "256")]
    #[arg(value_parser = value_parser!(u32).range(1..=4095), hide_short_help = true)]
    kept_log_mib: u32,

    /// Entries of delivered log kept for servers that are behind; some 300 bytes each and their values
    #[arg(long, env = "KV_KEPT_LOG_ENTRIES", value_name = "N", default_value = "100000")]
    #[arg(value_parser = value_parser!(u32).range(1..), hide_short_help = true)]
    kept_log_entries: u32,

    /// Keys in a page of a dump or a scan
    #[arg(long, env = "KV_PAGE_ENTRIES_MAX", value_name = "N", default_value = "1000")]
    #[arg(value_parser = value_parser!(u32).range(1..=1_000_000), hide_short_help = true)]
    page_entries_max: u32,
}

impl LimitSettings {
    pub(crate) fn apply(&self, limits: &mut Limits) {
        limits.requests_max = size(self.requests_max, 1);
        limits.window_entries_max = size(self.window_entries_max, 1);
        limits.window_bytes_max = size(self.window_mib, 1 << 20);
        limits.message_bytes_max = size(self.message_kib, 1 << 10);
        limits.hold_back_entries_max = size(self.hold_back_entries_max, 1);
        limits.log_bytes_max = size(self.kept_log_mib, 1 << 20);
        limits.log_entries_max = size(self.kept_log_entries, 1);
        limits.page_entries_max = size(self.page_entries_max, 1);
    }
}

/// The engine's waiting times; the defaults are those of [`kv_core::Timing`].
#[derive(Debug, Args)]
#[command(next_help_heading = "The engine's waiting times")]
pub(crate) struct TimingSettings {
    /// How long to wait for another server's answer before sending again; doubles each time
    #[arg(long, env = "KV_RESEND_MIN", value_name = "TIME", default_value = "100ms")]
    #[arg(value_parser = parse_wait, hide_short_help = true)]
    resend_min: Duration,

    /// The longest wait between two sendings of one message
    #[arg(long, env = "KV_RESEND_MAX", value_name = "TIME", default_value = "2s")]
    #[arg(value_parser = parse_wait, hide_short_help = true)]
    resend_max: Duration,

    /// How often an idle sequencer shows that it lives
    #[arg(long, env = "KV_HEARTBEAT", value_name = "TIME", default_value = "100ms")]
    #[arg(value_parser = parse_wait, hide_short_help = true)]
    heartbeat: Duration,

    /// How long nothing may be received from the sequencer before another is chosen; up to twice as long
    #[arg(long, env = "KV_ELECTION", value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = parse_wait, hide_short_help = true)]
    election: Duration,

    /// How long a server that starts empty waits to hear of all other servers
    #[arg(long, env = "KV_JOIN_WAIT", value_name = "TIME", default_value = "1s")]
    #[arg(value_parser = parse_wait, hide_short_help = true)]
    join_wait: Duration,
}

impl TimingSettings {
    pub(crate) fn apply(&self, timing: &mut Timing) {
        timing.resend_min = self.resend_min;
        timing.resend_max = self.resend_max;
        timing.heartbeat = self.heartbeat;
        timing.election = self.election;
        timing.join_wait = self.join_wait;
    }
}

fn size(count: u32, unit_bytes: usize) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(unit_bytes)
}

/// Reads a waiting time from 1 ms to an hour: zero would never let the engine rest.
fn parse_wait(text: &str) -> Result<Duration, WaitError> {
    let wait = parse_duration(text)?;
    let legal = Duration::from_millis(1)..=Duration::from_secs(3600);
    if legal.contains(&wait) { Ok(wait) } else { Err(WaitError::OutOfRange) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum WaitError {
    #[error("{0}")]
    Duration(#[from] DurationError),
    #[error("a waiting time is from 1ms to 1h")]
    OutOfRange,
}
