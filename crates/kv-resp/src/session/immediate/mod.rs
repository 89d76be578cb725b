//! Commands that a session answers by itself.

mod client;
mod command_table;
mod config;
mod connection;
mod debug;
mod info;

use bytes::Bytes;

use kv_core::parse_integer;

use crate::data::check_database;
use crate::error::ReplyError;
use crate::front::Context;
use crate::reply::Reply;
use crate::session::Session;
use crate::spec::Spec;

impl Session {
    /// Carries out a command that neither reads nor writes keys.
    pub(super) fn immediate(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        words: &[Bytes],
    ) -> Reply {
        let arguments = words.get(1..).unwrap_or_default();
        match spec.name {
            "auth" => authenticate(arguments).into(),
            "client" => self.client(context, arguments).into(),
            "command" => command_table::command(arguments).into(),
            "config" => config::config(context, arguments).into(),
            "debug" => self.debug(arguments).into(),
            "echo" => arguments.first().cloned().map_or(Reply::Null, Reply::Bulk),
            "function" => function(arguments).into(),
            "hello" => self.hello(context, arguments).into(),
            "info" => info::info(context, arguments),
            "lastsave" => seconds(context),
            "ping" => ping(arguments).into(),
            "quit" => {
                self.is_closing = true;
                Reply::OK
            }
            "reset" => self.reset(context),
            "role" => role(context),
            "select" => select(arguments).into(),
            "time" => time(context),
            "wait" => wait(context, arguments).into(),
            // `READONLY` and `READWRITE` of a cluster's clients.
            _ => Reply::OK,
        }
    }
}

/// `OBJECT` with words that name no key.
pub(super) fn object(words: &[Bytes]) -> Reply {
    let Some(subcommand) = words.get(1) else {
        return ReplyError::Arity { command: "object" }.into();
    };
    match subcommand.to_ascii_lowercase().as_slice() {
        b"help" => debug::help("OBJECT", &["ENCODING <key>", "IDLETIME <key>", "REFCOUNT <key>"]),
        _ => ReplyError::unknown_subcommand("object", subcommand).into(),
    }
}

fn ping(arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    match arguments {
        [] => Ok(Reply::Simple("PONG")),
        [text] => Ok(Reply::Bulk(text.clone())),
        _ => Err(ReplyError::Arity { command: "ping" }),
    }
}

/// There is one user, `default`, who needs no password.
pub(super) fn authenticate(arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    match arguments {
        [_] => Err(ReplyError::NoPassword),
        [user, _] if user.eq_ignore_ascii_case(b"default") => Ok(Reply::OK),
        [_, _] => Err(ReplyError::WrongPassword),
        _ => Err(ReplyError::Syntax),
    }
}

fn select(arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    let database = arguments.first().ok_or(ReplyError::Arity { command: "select" })?;
    check_database(database).map(|()| Reply::OK)
}

/// What a write is acknowledged by beside this server: in both engines a write that was answered
/// has W acknowledgements, so there is nothing to wait for.
fn wait(context: &Context<'_>, arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    let numbers = arguments.iter().map(|word| parse_integer(word).ok_or(ReplyError::NotAnInteger));
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    if numbers.get(1).is_some_and(|timeout| *timeout < 0) {
        return Err(ReplyError::Other { what: "timeout is negative" });
    }
    let acknowledged = (context.status)().cluster.write_quorum();
    Ok(Reply::Integer(i64::from(acknowledged).saturating_sub(1)))
}

/// Redis's functions: there are none.
fn function(arguments: &[Bytes]) -> Result<Reply, ReplyError> {
    let subcommand = arguments.first().map_or(&[][..], |word| word);
    match subcommand.to_ascii_lowercase().as_slice() {
        b"flush" => Ok(Reply::OK),
        b"list" => Ok(Reply::Array(Vec::new())),
        _ => Err(ReplyError::unknown_subcommand("function", subcommand)),
    }
}

fn time(context: &Context<'_>) -> Reply {
    let wall = context.now.wall;
    Reply::Array(vec![
        Reply::owned(wall.as_secs().to_string()),
        Reply::owned(wall.subsec_micros().to_string()),
    ])
}

fn seconds(context: &Context<'_>) -> Reply {
    Reply::Integer(i64::try_from(context.now.wall.as_secs()).unwrap_or(i64::MAX))
}

/// Every server takes reads and writes, which is what a client wants to know of a master.
fn role(context: &Context<'_>) -> Reply {
    let applied = (context.status)().positions.applied.unwrap_or(0);
    let applied = i64::try_from(applied).unwrap_or(i64::MAX);
    Reply::Array(vec![Reply::text("master"), Reply::Integer(applied), Reply::Array(Vec::new())])
}
