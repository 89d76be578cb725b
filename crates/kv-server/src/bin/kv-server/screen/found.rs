//! What a server found in its data directory, in words.

use kv_server::{FoundData, ServerConfig};

use super::start::NEXT_ROW;
use crate::screen::hints;

pub(super) fn data_text(found: &FoundData) -> String {
    let directory = found.directory.display();
    if found.is_new {
        return format!("{directory} (new)");
    }
    let (held, records) = (held_text(found), counted(found.records, "record"));
    let took = found.took.as_secs_f64();
    format!("{directory}: found {held}; {records} since the last checkpoint; read in {took:.2} s")
}

/// Where there is what a server does not go on with, how much, and what to do with it.
pub(super) fn set_aside_text(found: &FoundData) -> Option<String> {
    let (last, older) = found.set_aside.split_last()?;
    let all_bytes: u64 = found.set_aside.iter().map(|one| one.bytes).sum();
    let named = older.iter().rev().take(OLDER_NAMED_MAX).map(|one| {
        let name = one.folder.file_name().unwrap_or_default().display();
        format!(", {name} ({})", mebibytes(one.bytes))
    });
    let named: String = named.collect();
    let unnamed = match older.len().saturating_sub(OLDER_NAMED_MAX) {
        0 => String::new(),
        count => format!(" and {count} older"),
    };
    let total = match older.len() {
        0 => String::new(),
        _ => format!(", {} in all", mebibytes(all_bytes)),
    };
    let (last, bytes) = (last.folder.display(), mebibytes(last.bytes));
    Some(format!(
        "{last} ({bytes}){named}{unnamed}{total}:{NEXT_ROW}what this server held before a loss of \
         power, which only you remove.{NEXT_ROW}`kv-server inspect {last}` shows it; `kv-server \
         backup {last} FILE` saves its keys;{NEXT_ROW}`rm -r {last}` once nobody needs it"
    ))
}

/// Of more folders than these the oldest are counted and not named.
const OLDER_NAMED_MAX: usize = 3;

/// `84.0 MiB`
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The data of all servers of a cluster.
pub(super) fn cluster_data_text(first: &ServerConfig, found: &[&FoundData]) -> String {
    let Some(data) = &first.data else {
        return IN_MEMORY.to_owned();
    };
    let folder = data.folder.display();
    let anew = hints::to_begin_anew(&data.folder, first.consistency);
    if found.iter().all(|found| found.is_new) {
        return format!("{folder} (new); started again, the servers go on with it{NEXT_ROW}{anew}");
    }
    // A server that was behind when it stopped holds fewer.
    let most = found.iter().max_by_key(|found| found.keys);
    let held = most.map_or_else(String::new, |found| held_text(found));
    let took: f64 = found.iter().map(|found| found.took.as_secs_f64()).sum();
    format!("{folder}: found {held}; read in {took:.2} s{NEXT_ROW}{anew}")
}

fn held_text(found: &FoundData) -> String {
    let keys = counted(found.keys, "key");
    match found.unconfirmed {
        0 => keys,
        1 => format!("{keys} and 1 log entry to be confirmed"),
        count => format!("{keys} and {count} log entries to be confirmed"),
    }
}

/// `1 key`, `12,345 keys`
pub(crate) fn counted(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{text} {what}{plural}")
}

pub(super) const IN_MEMORY: &str = "in memory: data is lost when the server stops";
