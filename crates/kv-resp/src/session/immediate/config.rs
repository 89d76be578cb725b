//! `CONFIG`: what clients ask of it when they connect.

use bytes::Bytes;

use crate::error::ReplyError;
use crate::front::{Context, Facts, Stats};
use crate::glob;
use crate::reader::RequestReader;
use crate::reply::Reply;
use crate::session::immediate::debug;

pub(super) fn config(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    let [subcommand, arguments @ ..] = arguments else {
        return Err(ReplyError::Arity { command: "config" });
    };
    match (subcommand.to_ascii_lowercase().as_slice(), arguments) {
        (b"get", patterns) => {
            let patterns: Vec<_> = patterns.iter().map(|word| word.to_ascii_lowercase()).collect();
            let mut steps = glob::STEPS_MAX;
            let mut pairs = Vec::new();
            for (name, value) in settings(&context.front.facts) {
                for pattern in &patterns {
                    if glob::matches(pattern, name.as_bytes(), &mut steps)? {
                        pairs.push((Reply::text(name), Reply::owned(value)));
                        break;
                    }
                }
            }
            Ok(Reply::Map(pairs))
        }
        (b"set", pairs) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            pairs.chunks(2).try_for_each(|pair| set(&context.front.facts, pair))?;
            Ok(Reply::OK)
        }
        (b"set", _) => Err(ReplyError::Arity { command: "config|set" }),
        (b"resetstat", []) => {
            context.front.stats = Stats::default();
            Ok(Reply::OK)
        }
        (b"rewrite", []) => {
            Err(ReplyError::Other { what: "The server is running without a config file" })
        }
        (b"help", _) => Ok(debug::help("CONFIG", HELP)),
        _ => Err(ReplyError::unknown_subcommand("config", subcommand)),
    }
}

/// A setting may be set to what it is. Others belong to the server's own settings.
fn set(facts: &Facts, pair: &[Bytes]) -> Result<(), ReplyError> {
    let [name, value] = pair else {
        return Err(ReplyError::Arity { command: "config|set" });
    };
    let wrong = || ReplyError::ConfigSet { name: String::from_utf8_lossy(name).into_owned() };
    let settings = settings(facts);
    let known = settings.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
    let (known, present) = known.ok_or_else(wrong)?;
    let is_without_effect = IGNORED.contains(known);
    if is_without_effect || value.eq_ignore_ascii_case(present.as_bytes()) {
        Ok(())
    } else {
        Err(ReplyError::Other {
            what: "CONFIG SET failed - this setting cannot be changed here: see docs/redis.md",
        })
    }
}

/// The settings that are shown, by their names.
fn settings(facts: &Facts) -> Vec<(&'static str, String)> {
    let fixed = [
        ("appendonly", if facts.is_durable { "yes" } else { "no" }),
        ("appendfsync", if facts.is_durable { "always" } else { "no" }),
        ("close-on-replica-write", "yes"),
        ("cluster-enabled", "no"),
        ("databases", "1"),
        ("latency-tracking", "no"),
        ("lazyfree-lazy-user-flush", "no"),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("min-replicas-to-write", "0"),
        ("notify-keyspace-events", ""),
        ("repl-diskless-load", "disabled"),
        ("save", ""),
        ("slowlog-log-slower-than", "-1"),
        ("slowlog-max-len", "0"),
        ("tcp-keepalive", "30"),
        ("timeout", "0"),
    ];
    let mut settings: Vec<(&'static str, String)> =
        fixed.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    settings.extend([
        ("maxclients", facts.clients_max.to_string()),
        ("port", facts.port.to_string()),
        ("proto-max-bulk-len", RequestReader::BULK_BYTES_MAX.to_string()),
    ]);
    settings
}

/// Settings that are taken without effect, since clients and test suites set them.
const IGNORED: &[&str] = &[
    "latency-tracking",
    "lazyfree-lazy-user-flush",
    "save",
    "slowlog-log-slower-than",
    "slowlog-max-len",
];

const HELP: &[&str] = &["GET <pattern>", "RESETSTAT", "REWRITE", "SET <directive> <value>"];
