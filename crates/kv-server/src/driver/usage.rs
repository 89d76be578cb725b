//! What this process has used, as Linux tells it.

use std::time::Duration;

use kv_resp::Usage;

/// Reads it; nothing where the system does not tell.
pub(crate) fn usage() -> Usage {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let mut fields = fields.split_whitespace();
    let mut next_at = |place: usize| fields.nth(place).and_then(|field| field.parse().ok());
    let (user, system): (u32, u32) = (next_at(11).unwrap_or(0), next_at(0).unwrap_or(0));
    Usage { user: TICK * user, system: TICK * system, memory_bytes: memory_bytes() }
}

fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// The unit of these times, for programs the same on every machine.
const TICK: Duration = Duration::from_millis(10);
