//! `COMMAND`: the table of commands.

use bytes::Bytes;

use crate::error::ReplyError;
use crate::glob;
use crate::reply::Reply;
use crate::session::immediate::debug;
use crate::spec::{self, SPECS, Spec};

pub(super) fn command(arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    let Some((subcommand, names)) = arguments.split_first() else {
        return Ok(Reply::Array(SPECS.iter().map(describe).collect()));
    };
    let named = || names.iter().map(|name| spec::by_name(name));
    match (subcommand.to_ascii_lowercase().as_slice(), names) {
        (b"count", []) => Ok(Reply::count(SPECS.len())),
        (b"info", []) => Ok(Reply::Array(SPECS.iter().map(describe).collect())),
        (b"info", _) => {
            let described = named().map(|spec| spec.map_or(Reply::NullArray, describe));
            Ok(Reply::Array(described.collect()))
        }
        (b"docs", []) => Ok(Reply::Map(SPECS.iter().map(document).collect())),
        (b"docs", _) => Ok(Reply::Map(named().flatten().map(document).collect())),
        (b"list", options) => list(options),
        (b"getkeys", words) => keys_of(words),
        (b"help", _) => Ok(debug::help("COMMAND", HELP)),
        _ => Err(ReplyError::unknown_subcommand("command", subcommand)),
    }
}

fn describe(spec: &'static Spec) -> Reply {
    let (first, last, step) = spec.keys;
    Reply::Array(vec![
        Reply::text(spec.name),
        Reply::Integer(spec.arity),
        Reply::Set(spec.flags.iter().copied().map(Reply::Simple).collect()),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        Reply::Set(Vec::new()),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
    ])
}

fn document(spec: &'static Spec) -> (Reply, Reply) {
    let about = vec![(Reply::text("summary"), Reply::text(spec.summary))];
    (Reply::text(spec.name), Reply::Map(about))
}

fn list(options: &[Bytes]) -> Result<Reply, ReplyError> {
    let all = spec::names();
    let named: Vec<&'static str> = match options {
        [] => all.collect(),
        [filter, by, pattern] if filter.eq_ignore_ascii_case(b"filterby") => {
            match by.to_ascii_lowercase().as_slice() {
                b"pattern" => {
                    let mut steps = glob::STEPS_MAX;
                    let mut named = Vec::new();
                    for name in all {
                        if glob::matches(pattern, name.as_bytes(), &mut steps)? {
                            named.push(name);
                        }
                    }
                    named
                }
                // There are no modules and no categories.
                b"module" | b"aclcat" => Vec::new(),
                _ => return Err(ReplyError::Syntax),
            }
        }
        _ => return Err(ReplyError::Syntax),
    };
    Ok(Reply::texts(&named))
}

fn keys_of(words: &[Bytes]) -> Result<Reply, ReplyError> {
    let spec = words.first().and_then(|name| spec::by_name(name));
    let spec = spec.ok_or(ReplyError::Other { what: "Invalid command specified" })?;
    if !spec.takes(words.len()) {
        return Err(ReplyError::Other {
            what: "Invalid number of arguments specified for command",
        });
    }
    let (first, last, step) = spec.keys;
    let (Ok(first), Ok(step @ 1..)) = (usize::try_from(first), usize::try_from(step)) else {
        return Err(ReplyError::Other { what: "The command has no key arguments" });
    };
    let end = usize::try_from(last).map_or(words.len(), |last| last + 1);
    let keys = words.get(first..end).unwrap_or_default().iter().step_by(step);
    Ok(Reply::Array(keys.cloned().map(Reply::Bulk).collect()))
}

const HELP: &[&str] = &[
    "(no subcommand)",
    "COUNT",
    "DOCS [<command-name> ...]",
    "GETKEYS <full-command>",
    "INFO [<command-name> ...]",
    "LIST [FILTERBY PATTERN <pattern>]",
];
