//! Results in words.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use kv_client::ClientError;
use kv_core::{CommandResult, Done, Key, NotDone, PeerLag, Served, Status, Version, Versioned};
use kv_proto::id_ranges;

use super::finished::{Failure, Finished, Success};
use super::screen::{Screen, Style, at_line};
use crate::commands::words::{as_line, as_word, in_quotes};

/// Prints how a command ended.
pub(crate) fn print(finished: Finished, style: Style, screen: &mut Screen) -> io::Result<()> {
    match finished.result {
        Ok(Success::Done(done)) => print_done(done, finished.elapsed, style, screen),
        Ok(Success::Status(status)) => screen.line(status_text(&status)),
        Ok(Success::Listed | Success::Paused) => Ok(()),
        Err(Failure::Interrupted(interrupted)) => {
            screen.note(&interrupted.to_string());
            Ok(())
        }
        Err(Failure::Error(error)) => {
            let message = error_text(&error);
            screen.complain(&at_line(finished.line, &message));
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
        // Each command of the command line is a request of its own.
        ClientError::NotDone(NotDone::NotANumber { .. }) => {
            "not done: the value is no whole number of 64 bits, or the sum would be none".to_owned()
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

fn print_done(done: Done, elapsed: Duration, style: Style, screen: &mut Screen) -> io::Result<()> {
    let (version, served) = (done.version, done.served);
    let (result, version) = match done.answer.single() {
        Some(CommandResult::Value(Some(found))) => {
            let Versioned { value, version } = found;
            match style {
                Style::Terminal => (in_quotes(value.as_bytes()), Some(version)),
                Style::Pipe => (as_line(value.as_bytes()), Some(version)),
                Style::Raw => return screen.line(value.as_bytes()),
                Style::Exact => return screen.exactly(value.as_bytes()),
            }
        }
        Some(CommandResult::Value(None)) => {
            if style != Style::Terminal {
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
    match style {
        Style::Terminal => {
            let suffix = screen.paint().dim(suffix(version, served, elapsed));
            screen.line(format!("{result}  {suffix}"))
        }
        Style::Pipe | Style::Raw | Style::Exact => screen.line(result),
    }
}

fn suffix(version: Option<Version>, served: Served, elapsed: Duration) -> String {
    let version = version.map_or_else(String::new, |version| format!("version {version}, "));
    let millis = elapsed.as_secs_f64() * 1000.0;
    format!("({version}{served}, {millis:.1} ms)")
}

/// A key with what it holds, as a line with its end.
pub(crate) fn entry_line(key: &Key, found: &Versioned, style: Style) -> String {
    let value = match style {
        Style::Terminal => in_quotes(found.value.as_bytes()),
        Style::Pipe | Style::Raw | Style::Exact => as_word(found.value.as_bytes()),
    };
    format!("{} = {value} (version {})\n", as_word(key.as_bytes()), found.version)
}

fn status_text(status: &Status) -> String {
    let cluster = &status.cluster;
    let id = status.cluster_id.map_or_else(String::new, |id| format!(", id {:016x}", id.0));
    let mut text = format!(
        "server {}: {}, {}, incarnation {}\n\
         cluster: servers {}, W={} R={}, configuration {}{id}\n\
         connected to: {}",
        status.node,
        as_line(status.engine.as_bytes()),
        status.role,
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
    let lag = |PeerLag { peer, entries }: &PeerLag| format!("server {peer} by {entries}");
    let lags: Vec<String> = status.lags.iter().map(lag).collect();
    if !lags.is_empty() {
        let _ = write!(text, "\nbehind in the log: {}", lags.join(", "));
    }
    for (name, value) in status.figures() {
        let _ = write!(text, "\n{name}: {value}");
    }
    text
}

const NOT_FOUND: &str = "(not found)";
