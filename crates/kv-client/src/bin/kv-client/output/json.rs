//! Results as JSON, one object on a line.
//!
//! Keys and values that are not UTF-8 stand in base64 under `key_base64` and `value_base64`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kv_client::{Certainty, ClientError};
use kv_core::{
    Answer, CommandResult, Done, Key, KeyExpiry, NotDone, PeerLag, Served, Status, TimeToLive,
    Versioned,
};
use serde_json::{Map, Value as Json, json};

use super::finished::{Effect, Failure, Finished, Interrupted, NotCommitted, Success};
use super::status::{Health, ServerHealth, Service};
use super::text::error_text;
use crate::commands::command::Part;
use crate::commands::help::{COMMANDS, CommandHelp};

type Object = Map<String, Json>;

/// How a command ended.
pub(crate) fn finished(finished: Finished) -> String {
    let mut object = Object::new();
    put(&mut object, "command", finished.command);
    if let Some(key) = &finished.key {
        put_bytes(&mut object, "key", key.as_bytes());
    }
    if let Some(line) = finished.line {
        put(&mut object, "line", line);
    }
    if let Some(server) = finished.server {
        put(&mut object, "server", server.number());
    }
    let micros = u64::try_from(finished.elapsed.as_micros()).unwrap_or(u64::MAX);
    put(&mut object, "elapsed_us", micros);
    match finished.result {
        Ok(success) => {
            put(&mut object, "outcome", "done");
            put_success(&mut object, success);
        }
        Err(Failure::Error(error)) => put_error(&mut object, &error),
        Err(Failure::Interrupted(interrupted)) => put_interrupted(&mut object, interrupted),
        Err(Failure::NotCommitted(why)) => put_not_committed(&mut object, why),
    }
    Json::Object(object).to_string()
}

/// All commands, or one.
pub(crate) fn help(topic: Option<&CommandHelp>, line: Option<u64>) -> String {
    let mut object = Object::new();
    put(&mut object, "command", "help");
    if let Some(line) = line {
        put(&mut object, "line", line);
    }
    put(&mut object, "outcome", "done");
    let described = |help: &CommandHelp| {
        json!({
            "name": help.name,
            "aliases": help.aliases,
            "usage": help.usage,
            "options": help.all_options().map(|option| option.name).collect::<Vec<_>>(),
            "summary": help.summary,
            "details": help.description(),
        })
    };
    let commands: Vec<Json> = match topic {
        Some(help) => vec![described(help)],
        None => COMMANDS.iter().map(described).collect(),
    };
    put(&mut object, "commands", commands);
    Json::Object(object).to_string()
}

/// A key with what it holds, or the part of that which is asked for.
pub(crate) fn entry(key: &Key, found: &Versioned, part: Part) -> String {
    let mut entry = Object::new();
    if part != Part::Values {
        put_bytes(&mut entry, "key", key.as_bytes());
    }
    match part {
        Part::Entries => put_versioned(&mut entry, found),
        Part::Values => put_bytes(&mut entry, "value", found.value.as_bytes()),
        Part::Keys | Part::Count => {}
    }
    Json::Object(entry).to_string()
}

fn put_success(object: &mut Object, success: Success) {
    match success {
        Success::Done(done) => put_done(object, done),
        Success::Existence(is_found, done) => {
            put_done(object, done);
            put(object, "found", is_found);
        }
        Success::Counted(count) => put(object, "count", count),
        Success::Removed(count) => put(object, "removed", count),
        Success::Status { status, .. } => put(object, "status", status_object(&status)),
        Success::Health(health) => put_health(object, &health),
        Success::Led(node) => put(object, "sequencer", u64::from(node.number())),
        Success::Committed(count, done) => {
            put(object, "lines", count);
            if let Some(Done { version, served, .. }) = done {
                let answer = Answer::Results(Vec::new());
                put_done(object, Done { answer, version, served });
            }
        }
        Success::Discarded(count) => put(object, "lines", count),
        Success::Listed | Success::Paused | Success::Begun => {}
    }
}

fn put_done(object: &mut Object, done: Done) {
    if let Some(version) = done.version {
        put(object, "version", version.to_string());
    }
    put_served(object, done.served);
    match done.answer.single() {
        Some(CommandResult::Value(found)) => {
            put(object, "found", found.is_some());
            match found {
                Some(found) => put_versioned(object, &found),
                None => put(object, "value", Json::Null),
            }
        }
        Some(CommandResult::Number(number)) => put(object, "number", number),
        Some(CommandResult::Length(length)) => put(object, "length", length),
        Some(CommandResult::Changed(changed)) => put(object, "changed", changed),
        Some(CommandResult::TimeToLive(left)) => {
            put(object, "found", left != TimeToLive::Missing);
            match left {
                TimeToLive::Left(left) => {
                    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    put(object, "time_to_live_ms", left_ms);
                }
                TimeToLive::Endless | TimeToLive::Missing => {
                    put(object, "time_to_live_ms", Json::Null);
                }
            }
        }
        Some(CommandResult::Expiry(expiry)) => {
            put(object, "found", expiry != KeyExpiry::Missing);
            match expiry {
                KeyExpiry::At(at) => put(object, "expiry_ms", at.0),
                KeyExpiry::Missing | KeyExpiry::Never => put(object, "expiry_ms", Json::Null),
            }
        }
        Some(CommandResult::Written) | None => {}
    }
}

fn put_served(object: &mut Object, served: Served) {
    let level = match served {
        Served::Linearizable => "linearizable",
        Served::Sequential => "sequential",
        Served::Quorum { servers } => {
            put(object, "servers", servers);
            "quorum"
        }
        Served::Local => "local",
    };
    put(object, "served", level);
}

fn put_error(object: &mut Object, error: &ClientError) {
    let outcome = match error.certainty() {
        Certainty::NotDone => "not_done",
        Certainty::Unknown => "unknown",
    };
    put(object, "outcome", outcome);
    put(object, "reason", reason(error));
    put(object, "message", error_text(error));
    match error {
        ClientError::NotDone(NotDone::ConditionFailed { found, .. }) => {
            put(object, "found", found.is_some());
            if let Some(found) = found {
                put_versioned(object, found);
            }
        }
        ClientError::Unknown(unknown) => {
            put(object, "acks", unknown.acks);
            put(object, "needed", unknown.needed);
        }
        ClientError::NotDone(_)
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
        | _ => {}
    }
}

fn put_interrupted(object: &mut Object, interrupted: Interrupted) {
    let effect = match interrupted.effect {
        Effect::NotSent | Effect::None => "none",
        Effect::Possible => "possible",
    };
    put(object, "outcome", "interrupted");
    put(object, "effect", effect);
    put(object, "lines_dropped", interrupted.lines_dropped);
    put(object, "message", interrupted.to_string());
}

fn put_not_committed(object: &mut Object, why: NotCommitted) {
    put(object, "outcome", "not_done");
    put(object, "reason", "transaction");
    put(object, "message", why.to_string());
}

/// The kind of an error, for programs.
const fn reason(error: &ClientError) -> &'static str {
    match error {
        ClientError::NotDone(reason) => match reason {
            NotDone::Unavailable { .. } => "unavailable",
            NotDone::Waiting(_) => "waiting",
            NotDone::TimedOut { .. } => "timed_out",
            NotDone::NotSupported(_) => "not_supported",
            NotDone::Quorum(_) => "quorum",
            NotDone::ConditionFailed { .. } => "condition_failed",
            NotDone::NotANumber { .. } => "not_a_number",
            NotDone::ValueTooLarge { .. } => "value_too_large",
            NotDone::Overloaded { .. } => "overloaded",
            NotDone::NotCaughtUp { .. } => "not_caught_up",
            NotDone::ClockSkew { .. } => "clock_skew",
            NotDone::SessionExpired => "session_expired",
            NotDone::CannotLead(_) => "cannot_lead",
            _ => "other",
        },
        ClientError::Unknown(_) => "too_few_acks",
        ClientError::Malformed { .. } => "malformed",
        ClientError::TooLarge { .. } => "too_large",
        ClientError::Unavailable { .. } => "no_server",
        ClientError::Refused { .. } => "refused",
        ClientError::Busy { .. } => "busy",
        ClientError::TimedOut { .. } | ClientError::NoAnswer { .. } => "no_answer",
        ClientError::Lost { .. } => "server_lost",
        ClientError::Unexpected { .. } => "unexpected_answer",
        ClientError::DumpInterrupted => "dump_interrupted",
        ClientError::Stopped => "stopped",
        _ => "other",
    }
}

fn status_object(status: &Status) -> Json {
    let ids = |nodes: &[kv_core::NodeId]| -> Vec<u16> {
        nodes.iter().map(|node| node.number()).collect()
    };
    let lag = |lag: &PeerLag| json!({ "server": lag.peer.number(), "entries": lag.entries });
    let figures = status.figures().map(|(name, value)| (name.to_owned(), Json::from(value)));
    let counters: Object = figures.collect();
    let service = Service::of(status);
    json!({
        "engine": status.engine,
        "server": status.node.number(),
        "incarnation": status.incarnation.to_string(),
        "role": status.role.name(),
        "last_sequencer": status.last_sequencer().map(kv_core::NodeId::number),
        "outlook": status.outlook().map(|outlook| outlook.to_string()),
        "cluster_id": status.cluster_id.map(|cluster| format!("{:016x}", cluster.0)),
        "servers": ids(status.cluster.voters()),
        "write_quorum": status.cluster.write_quorum(),
        "read_quorum": status.cluster.read_quorum(),
        "configuration": status.cluster.version(),
        "connected": ids(&status.connected),
        "serves_reads": service.has_reads(),
        "serves_writes": service.has_writes(),
        "waiting": status.waiting.map(|waiting| waiting.to_string()),
        "lags": status.lags.iter().map(lag).collect::<Vec<_>>(),
        "counters": counters,
    })
}

fn put_health(object: &mut Object, health: &Health) {
    let server = |one: &ServerHealth| {
        let service = one.service();
        json!({
            "server": one.server.number(),
            "address": one.address,
            "serves_reads": service.has_reads(),
            "serves_writes": service.has_writes(),
            "message": one.remark(),
        })
    };
    put(object, "serving", health.serving());
    put(object, "servers", health.servers.iter().map(server).collect::<Vec<_>>());
    put(object, "message", health.verdict());
}

fn put_versioned(object: &mut Object, found: &Versioned) {
    put_bytes(object, "value", found.value.as_bytes());
    put(object, "version", found.version.to_string());
}

fn put_bytes(object: &mut Object, name: &str, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        put(object, name, text);
    } else {
        put(object, &format!("{name}_base64"), BASE64_STANDARD.encode(bytes));
    }
}

fn put(object: &mut Object, name: &str, value: impl Into<Json>) {
    object.insert(name.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{NodeId, Unknown, Value, Version};

    use super::*;

    fn object(result: Result<Success, ClientError>) -> Json {
        let text = finished(Finished {
            command: "get",
            key: Some(Key::new("x").unwrap()),
            names_key: false,
            line: None,
            server: Some(NodeId::FIRST),
            elapsed: Duration::from_micros(1500),
            result: result.map_err(Failure::Error),
        });
        assert!(!text.contains('\n'));
        serde_json::from_str(&text).unwrap()
    }

    fn got(value: Option<&'static [u8]>) -> Result<Success, ClientError> {
        let found = value
            .map(|value| Versioned { value: Value::new(value).unwrap(), version: Version::Log(3) });
        Ok(Success::Done(Done {
            answer: Answer::Results(vec![CommandResult::Value(found)]),
            version: Some(Version::Log(9)),
            served: Served::Quorum { servers: 2 },
        }))
    }

    #[test]
    fn a_value_and_a_missing_one() {
        assert_eq!(
            object(got(Some(b"a\n\"b"))),
            json!({
                "command": "get", "key": "x", "server": 1, "elapsed_us": 1500, "outcome": "done",
                "found": true, "value": "a\n\"b", "version": "3", "served": "quorum", "servers": 2
            })
        );
        let missing = object(got(None));
        assert_eq!(missing["found"], json!(false));
        assert_eq!(missing["value"], Json::Null);
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let object = object(got(Some(b"\x00\xff")));
        assert_eq!(object["value_base64"], json!("AP8="));
        assert_eq!(object.get("value"), None);
    }

    #[test]
    fn errors_say_how_sure_they_are() {
        let refused =
            object(Err(ClientError::NotDone(NotDone::Unavailable { reachable: 1, needed: 2 })));
        assert_eq!(refused["outcome"], json!("not_done"));
        assert_eq!(refused["reason"], json!("unavailable"));
        let unknown =
            object(Err(ClientError::Unknown(Unknown { version: None, acks: 1, needed: 2 })));
        assert_eq!(unknown["outcome"], json!("unknown"));
        assert_eq!((&unknown["acks"], &unknown["needed"]), (&json!(1), &json!(2)));
    }
}
