//! Results in words.

use std::io;
use std::time::Duration;

use kv_client::{Certainty, ClientError};
use kv_core::{
    CommandResult, Done, Key, KeyExpiry, NotDone, Served, TimeToLive, Version, Versioned,
};

use super::finished::{Failure, Finished, Success, is_missing};
use super::screen::{Screen, Style, at_line};
use super::status::status_text;
use crate::commands::command::Part;
use crate::commands::words::{as_line, as_word, in_quotes};

/// Prints how a command ended. With `one_line_each` a command that brought nothing prints a line as
/// well, so that lines of output can be told apart by their number.
pub(crate) fn print(
    finished: Finished,
    style: Style,
    one_line_each: bool,
    screen: &mut Screen,
) -> io::Result<()> {
    let key = finished.key.filter(|_| finished.names_key && style == Style::Terminal);
    let name = key.map_or_else(String::new, |key| format!("{} = ", as_word(key.as_bytes())));
    let elapsed = finished.elapsed;
    match finished.result {
        Ok(Success::Done(done)) if is_missing(&done.answer) => match style {
            Style::Terminal => {
                print_line(format!("{name}{NOT_FOUND}"), &done, None, elapsed, style, screen)
            }
            Style::Pipe | Style::Raw | Style::Exact if one_line_each => screen.line(NOT_FOUND),
            Style::Pipe | Style::Raw | Style::Exact => {
                screen.note(NOT_FOUND);
                Ok(())
            }
        },
        Ok(Success::Done(done)) => print_done(name, done, elapsed, style, screen),
        Ok(Success::Existence(is_found, done)) => {
            print_line(format!("{name}{is_found}"), &done, None, elapsed, style, screen)
        }
        Ok(Success::Removed(count)) => screen.line(match style {
            Style::Terminal => format!("{} removed", keys(count)),
            Style::Pipe | Style::Raw | Style::Exact => count.to_string(),
        }),
        Ok(Success::Status { status, all }) => screen.line(status_text(&status, all)),
        Ok(Success::Health(health)) => screen.line(health.text()),
        Ok(Success::Counted(count)) => screen.line(count.to_string()),
        Ok(Success::Led(node)) => screen.line(format!("server {node} is the sequencer")),
        Ok(Success::Committed(count, done)) => print_commit(count, done, elapsed, style, screen),
        Ok(Success::Discarded(count)) if style == Style::Terminal => {
            screen.line(format!("discarded: {} dropped, nothing done", lines(count)))
        }
        Ok(Success::Listed | Success::Paused | Success::Begun | Success::Discarded(_)) => Ok(()),
        Err(Failure::NotCommitted(why)) => {
            screen.complain(&at_line(finished.line, &why));
            Ok(())
        }
        Err(Failure::Interrupted(interrupted)) => {
            screen.note(&interrupted.to_string());
            Ok(())
        }
        Err(Failure::Error(error)) => {
            let message = error_text(&error);
            screen.complain(&at_line(finished.line, &message));
            match one_line_each {
                true => screen.line(no_result(&error)),
                false => Ok(()),
            }
        }
    }
}

/// What stands for the result of a command that failed.
pub(crate) fn no_result(error: &ClientError) -> &'static str {
    match error.certainty() {
        Certainty::NotDone => NOT_DONE,
        Certainty::Unknown => UNKNOWN,
    }
}

/// `1 key`, `3 keys`
pub(crate) fn keys(count: u64) -> String {
    counted(count, "key")
}

/// `1 byte`, `3 bytes`
pub(crate) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// `1 line`, `3 lines`
fn lines(count: usize) -> String {
    match count {
        1 => "1 line".to_owned(),
        _ => format!("{count} lines"),
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
        | ClientError::Stopped
        | _ => error.to_string(),
    }
}

/// `name` goes before what people see.
fn print_done(
    name: String,
    done: Done,
    elapsed: Duration,
    style: Style,
    screen: &mut Screen,
) -> io::Result<()> {
    let (result, version) = match done.answer.clone().single() {
        Some(CommandResult::Value(Some(found))) => {
            let Versioned { value, version } = found;
            match style {
                Style::Terminal => (name + &in_quotes(value.as_bytes()), Some(version)),
                Style::Pipe => (as_pipe_line(value.as_bytes()), Some(version)),
                Style::Raw => return screen.line(value.as_bytes()),
                Style::Exact => return screen.exactly(value.as_bytes()),
            }
        }
        Some(
            CommandResult::Value(None)
            | CommandResult::Changed(false)
            | CommandResult::TimeToLive(TimeToLive::Missing)
            | CommandResult::Expiry(KeyExpiry::Missing),
        ) => (NOT_FOUND.to_owned(), None),
        Some(CommandResult::Changed(true)) => ("ok".to_owned(), done.version),
        Some(
            CommandResult::TimeToLive(TimeToLive::Endless)
            | CommandResult::Expiry(KeyExpiry::Never),
        ) => ("forever".to_owned(), None),
        Some(CommandResult::Expiry(KeyExpiry::At(at))) => (at.0.to_string(), None),
        Some(CommandResult::TimeToLive(TimeToLive::Left(left))) => {
            (format!("{}ms", left.as_millis()), None)
        }
        Some(CommandResult::Written) => ("ok".to_owned(), done.version),
        Some(CommandResult::Number(number)) => (number.to_string(), done.version),
        Some(CommandResult::Length(length)) => (length.to_string(), done.version),
        None => ("done".to_owned(), done.version),
    };
    print_line(result, &done, version, elapsed, style, screen)
}

/// People are told; the results of the lines are all that programs want.
fn print_commit(
    count: usize,
    done: Option<Done>,
    elapsed: Duration,
    style: Style,
    screen: &mut Screen,
) -> io::Result<()> {
    match (style, done) {
        (Style::Terminal, Some(done)) => {
            let result = format!("{} committed", lines(count));
            print_line(result, &done, done.version, elapsed, style, screen)
        }
        (Style::Terminal, None) => screen.line("nothing to commit"),
        (Style::Pipe | Style::Raw | Style::Exact, _) => Ok(()),
    }
}

fn print_line(
    result: String,
    done: &Done,
    version: Option<Version>,
    elapsed: Duration,
    style: Style,
    screen: &mut Screen,
) -> io::Result<()> {
    match style {
        Style::Terminal => {
            let suffix = screen.paint().dim(suffix(version, done.served, elapsed));
            screen.line(format!("{result}  {suffix}"))
        }
        Style::Pipe | Style::Raw | Style::Exact => screen.line(result),
    }
}

/// A value on its line, in quotes where it could be taken for what stands in place of a value.
fn as_pipe_line(value: &[u8]) -> String {
    let is_like = |stand_in: &&str| stand_in.as_bytes() == value;
    if [NOT_FOUND, NOT_DONE, UNKNOWN, WRONG_USAGE].iter().any(is_like) {
        return in_quotes(value);
    }
    as_line(value)
}

fn suffix(version: Option<Version>, served: Served, elapsed: Duration) -> String {
    let version = version.map_or_else(String::new, |version| format!("version {version}, "));
    let millis = elapsed.as_secs_f64() * 1000.0;
    format!("({version}{served}, {millis:.1} ms)")
}

/// What is shown of a key, with the end that belongs to it.
pub(crate) fn entry_bytes(key: &Key, found: &Versioned, style: Style, form: &ListForm) -> Vec<u8> {
    let (key, value) = (key.as_bytes(), found.value.as_bytes());
    let joined = |parts: &[&[u8]]| parts.concat();
    match form {
        ListForm::Null(Part::Keys) => joined(&[key, b"\0"]),
        ListForm::Null(Part::Values) => joined(&[value, b"\0"]),
        ListForm::Null(Part::Entries | Part::Count) => joined(&[key, b"\0", value, b"\0"]),
        ListForm::Raw(Part::Keys) => joined(&[key, b"\n"]),
        ListForm::Raw(Part::Values) => joined(&[value, b"\n"]),
        ListForm::Raw(Part::Entries | Part::Count) => joined(&[key, b"\t", value, b"\n"]),
        ListForm::Quoted(part) => {
            let shown = match style {
                Style::Terminal => in_quotes(value),
                Style::Pipe | Style::Raw | Style::Exact if *part == Part::Values => as_line(value),
                Style::Pipe | Style::Raw | Style::Exact => as_word(value),
            };
            let line = match part {
                Part::Keys => as_word(key),
                Part::Values => shown,
                Part::Entries | Part::Count => {
                    format!("{} = {shown} (version {})", as_word(key), found.version)
                }
            };
            (line + "\n").into_bytes()
        }
    }
}

/// How the keys of a list are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListForm {
    /// A line each, with quotes and escapes where they are needed.
    Quoted(Part),
    /// As they are, a tab between key and value, and a line each.
    Raw(Part),
    /// As they are, with a NUL behind each.
    Null(Part),
}

// What stands in place of a result. A value that reads like one of these is printed in quotes.
const NOT_FOUND: &str = "(not found)";
pub(crate) const NOT_DONE: &str = "(not done)";
const UNKNOWN: &str = "(unknown)";
pub(crate) const WRONG_USAGE: &str = "(wrong usage)";
