//! The session's own state: its version of the protocol, its name, its transaction.

use bytes::Bytes;

use kv_core::parse_integer;

use crate::error::ReplyError;
use crate::front::Context;
use crate::reply::{Protocol, Reply};
use crate::session::immediate::authenticate;
use crate::session::immediate::client::check_name;
use crate::session::immediate::info::REDIS_VERSION;
use crate::session::{Mute, Session};

impl Session {
    pub(super) fn hello(
        &mut self,
        context: &mut Context<'_>,
        arguments: &[Bytes],
    ) -> Result<Reply, ReplyError> {
        let mut protocol = self.protocol;
        let mut name = None;
        if let [version, options @ ..] = arguments {
            protocol = match parse_integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err(ReplyError::NoProtocol),
                None => return Err(ReplyError::ProtocolVersion),
            };
            name = hello_options(options)?;
        }
        if let Some(name) = name {
            check_name(&name)?;
            self.set_name(context, name);
        }
        self.protocol = protocol;
        let id = i64::try_from(self.id).unwrap_or(i64::MAX);
        let version = if protocol == Protocol::Resp3 { 3 } else { 2 };
        Ok(Reply::Map(vec![
            (Reply::text("server"), Reply::text("redis")),
            (Reply::text("version"), Reply::text(REDIS_VERSION)),
            (Reply::text("proto"), Reply::Integer(version)),
            (Reply::text("id"), Reply::Integer(id)),
            (Reply::text("mode"), Reply::text("standalone")),
            (Reply::text("role"), Reply::text("master")),
            (Reply::text("modules"), Reply::Array(Vec::new())),
        ]))
    }

    /// Makes the session as it was when it began.
    pub(super) fn reset(&mut self, context: &mut Context<'_>) -> Reply {
        self.protocol = Protocol::default();
        self.queue = None;
        self.watched.clear();
        self.mute = Mute::No;
        self.set_name(context, Bytes::new());
        Reply::Simple("RESET")
    }

    pub(super) fn set_name(&self, context: &mut Context<'_>, name: Bytes) {
        if let Some(record) = self.record(context) {
            record.name = name;
        }
    }
}

/// `AUTH user password` and `SETNAME name`; gives the name.
fn hello_options(mut options: &[Bytes]) -> Result<Option<Bytes>, ReplyError> {
    let mut name = None;
    while let [option, values @ ..] = options {
        options = match (option.to_ascii_lowercase().as_slice(), values) {
            (b"auth", [user, password, rest @ ..]) => {
                authenticate(&[user.clone(), password.clone()])?;
                rest
            }
            (b"setname", [wanted, rest @ ..]) => {
                name = Some(wanted.clone());
                rest
            }
            _ => {
                let option = String::from_utf8_lossy(option).into_owned();
                return Err(ReplyError::HelloOption { option });
            }
        };
    }
    Ok(name)
}
