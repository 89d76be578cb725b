//! Results in words.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use kv_core::{CommandResult, Done, NotDone, Served, Status, Version, Versioned};

use super::screen::{Screen, Style, at_line};
use super::session::{Finished, Success};
use super::words::{as_line, as_word, in_quotes};
use crate::answer::{DumpEntries, single};
use crate::error::ClientError;
use crate::route::id_ranges;

/// Prints how a command ended.
pub(crate) fn print(finished: Finished, screen: &mut Screen) -> io::Result<()> {
    match finished.result {
        Ok(Success::Done(done)) => print_done(done, finished.elapsed, screen),
        Ok(Success::Dump(dump)) => print_dump(&dump, screen),
        Ok(Success::Status(status)) => screen.line(status_text(&status)),
        Ok(Success::Paused) => Ok(()),
        Err(error) => {
            let message = error_text(&error);
            screen.note(&at_line(finished.line, &message));
            Ok(())
        }
    }
}

/// What an error says, with what the key holds where a condition did not hold.
pub(crate) fn error_text(error: &ClientError) -> String {
    match error {
        ClientError::NotDone(NotDone::ConditionFailed { found: Some(found), .. }) => format!(
            "not done: the value is {} (version {})",
            in_quotes(found.value.as_bytes()),
            found.version
        ),
        ClientError::NotDone(NotDone::ConditionFailed { found: None, .. }) => {
            "not done: the key is missing".to_owned()
        }
        ClientError::NotDone(_)
        | ClientError::Unknown(_)
        | ClientError::Malformed { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Unavailable { .. }
        | ClientError::Refused { .. }
        | ClientError::Busy { .. }
        | ClientError::TimedOut { .. }
        | ClientError::NoAnswer { .. }
        | ClientError::Lost { .. }
        | ClientError::Unexpected { .. }
        | ClientError::DumpInterrupted
        | ClientError::Stopped => error.to_string(),
    }
}

fn print_done(done: Done, elapsed: Duration, screen: &mut Screen) -> io::Result<()> {
    let (version, served) = (done.version, done.served);
    let (result, version) = match single(done.answer) {
        Some(CommandResult::Value(Some(found))) => {
            let Versioned { value, version } = found;
            match screen.style() {
                Style::Terminal => (in_quotes(value.as_bytes()), Some(version)),
                Style::Pipe => (as_line(value.as_bytes()), Some(version)),
                Style::Raw => return screen.line(value.as_bytes()),
            }
        }
        Some(CommandResult::Value(None)) => {
            if screen.style() != Style::Terminal {
                screen.note(NOT_FOUND);
                return Ok(());
            }
            (NOT_FOUND.to_owned(), None)
        }
        Some(CommandResult::Written) => ("ok".to_owned(), version),
        Some(CommandResult::Number(number)) => (number.to_string(), version),
        Some(CommandResult::Length(length)) => (length.to_string(), version),
        None => ("done".to_owned(), version),
    };
    match screen.style() {
        Style::Terminal => screen.line(result + &suffix(version, served, elapsed)),
        Style::Pipe | Style::Raw => screen.line(result),
    }
}

fn suffix(version: Option<Version>, served: Served, elapsed: Duration) -> String {
    let version = version.map_or_else(String::new, |version| format!("version {version}, "));
    let millis = elapsed.as_secs_f64() * 1000.0;
    format!("  ({version}{served}, {millis:.1} ms)")
}

fn print_dump(dump: &DumpEntries, screen: &mut Screen) -> io::Result<()> {
    for (key, found) in &dump.entries {
        let value = match screen.style() {
            Style::Terminal => in_quotes(found.value.as_bytes()),
            Style::Pipe | Style::Raw => as_word(found.value.as_bytes()),
        };
        let key = as_word(key.as_bytes());
        screen.line(format!("{key} = {value} (version {})", found.version))?;
    }
    if screen.style() == Style::Terminal {
        let count = dump.entries.len();
        let keys = if count == 1 { "key" } else { "keys" };
        screen.line(format!("{count} {keys} at server {}", dump.server))?;
    }
    Ok(())
}

fn status_text(status: &Status) -> String {
    let cluster = &status.cluster;
    let mut text = format!(
        "server {}: {}, life {}\ncluster: servers {}, W={} R={}, configuration {}\nconnected to: {}",
        status.node,
        as_line(status.engine.as_bytes()),
        status.incarnation,
        id_ranges(cluster.voters()),
        cluster.write_quorum(),
        cluster.read_quorum(),
        cluster.version(),
        match status.connected.as_slice() {
            [] => "no other server".to_owned(),
            peers => id_ranges(peers),
        },
    );
    // Writing to a string does not fail.
    let _ = match &status.waiting {
        None => write!(text, "\nserving"),
        Some(waiting) => write!(text, "\nnot serving: {waiting}"),
    };
    for (name, count) in &status.counters {
        let _ = write!(text, "\n{}: {count}", as_line(name.as_bytes()));
    }
    text
}

const NOT_FOUND: &str = "(not found)";
