//! `CLIENT`: the connections of the server.

use std::fmt::Write;

use bytes::Bytes;
use kv_core::{Now, parse_integer};

use crate::error::ReplyError;
use crate::front::{ClientRecord, Context};
use crate::reply::{Protocol, Reply};
use crate::session::immediate::debug;
use crate::session::{Mute, Session};

impl Session {
    pub(super) fn client(
        &mut self,
        context: &mut Context<'_>,
        arguments: &[Bytes],
    ) -> Result<Reply, ReplyError> {
        let [subcommand, arguments @ ..] = arguments else {
            return Err(ReplyError::Arity { command: "client" });
        };
        match (subcommand.to_ascii_lowercase().as_slice(), arguments) {
            (b"id", []) => Ok(Reply::Integer(i64::try_from(self.id).unwrap_or(i64::MAX))),
            (b"getname", []) => Ok(match self.record(context) {
                Some(record) if !record.name.is_empty() => Reply::Bulk(record.name.clone()),
                Some(_) | None => Reply::Null,
            }),
            (b"setname", [name]) => {
                check_name(name)?;
                self.set_name(context, name.clone());
                Ok(Reply::OK)
            }
            (b"setinfo", [attribute, value]) => self.set_info(context, attribute, value),
            (b"info", []) => {
                let now = context.now;
                let record = self.record(context);
                let line = record.map_or_else(String::new, |record| line_of(self.id, record, now));
                Ok(Reply::Text(line))
            }
            (b"list", options) => list(context, options),
            (b"kill", options) => self.kill(context, options),
            (b"reply", [mode]) => self.set_mute(mode),
            (b"no-evict" | b"no-touch", [mode]) => match mode.to_ascii_lowercase().as_slice() {
                b"on" | b"off" => Ok(Reply::OK),
                _ => Err(ReplyError::Syntax),
            },
            (b"help", _) => Ok(debug::help("CLIENT", HELP)),
            _ => Err(ReplyError::unknown_subcommand("client", subcommand)),
        }
    }

    fn set_info(
        &self,
        context: &mut Context<'_>,
        attribute: &Bytes,
        value: &Bytes,
    ) -> Result<Reply, ReplyError> {
        let place = match attribute.to_ascii_lowercase().as_slice() {
            b"lib-name" => 0,
            b"lib-ver" => 1,
            _ => return Err(ReplyError::Syntax),
        };
        check_name(value)?;
        if let Some(record) = self.record(context)
            && let Some(entry) = record.library.get_mut(place)
        {
            *entry = value.clone();
        }
        Ok(Reply::OK)
    }

    fn set_mute(&mut self, mode: &Bytes) -> Result<Reply, ReplyError> {
        self.mute = match mode.to_ascii_lowercase().as_slice() {
            b"on" => Mute::No,
            b"off" => Mute::All,
            // This very command has no reply either.
            b"skip" if self.mute == Mute::All => Mute::All,
            b"skip" => Mute::Next,
            _ => return Err(ReplyError::Syntax),
        };
        Ok(Reply::OK)
    }

    /// Closes connections: of one address in the old form, of all that fit in the new one.
    fn kill(&mut self, context: &mut Context<'_>, options: &[Bytes]) -> Result<Reply, ReplyError> {
        let is_old = options.len() == 1;
        let mut wanted = Wanted { skips: (!is_old).then_some(self.id), ..Wanted::default() };
        if let [address] = options {
            wanted.address = Some(address);
        } else {
            for pair in options.chunks(2) {
                let [option, value] = pair else {
                    return Err(ReplyError::Syntax);
                };
                wanted.add(option, value, self.id)?;
            }
        }
        let found = context.front.clients.iter();
        let found: Vec<u64> = found
            .filter(|(id, record)| wanted.is_met_by(**id, record))
            .map(|(id, _)| *id)
            .collect();
        if is_old && found.is_empty() {
            return Err(ReplyError::NoSuchClient);
        }
        let reply = if is_old { Reply::OK } else { Reply::count(found.len()) };
        self.is_closing |= found.contains(&self.id);
        context.front.kills.extend(found.into_iter().filter(|id| *id != self.id));
        Ok(reply)
    }
}

/// Which connections `CLIENT KILL` closes.
#[derive(Debug, Default)]
struct Wanted<'a> {
    id: Option<i64>,
    address: Option<&'a Bytes>,
    skips: Option<u64>,
    nobody: bool,
}

impl<'a> Wanted<'a> {
    fn add(&mut self, option: &Bytes, value: &'a Bytes, own: u64) -> Result<(), ReplyError> {
        let value_is = |word: &[u8]| value.eq_ignore_ascii_case(word);
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let what = "client-id should be greater than 0";
                let id = parse_integer(value).filter(|id| *id > 0);
                self.id = Some(id.ok_or(ReplyError::Other { what })?);
            }
            b"addr" => self.address = Some(value),
            b"skipme" if value_is(b"yes") => self.skips = Some(own),
            b"skipme" if value_is(b"no") => self.skips = None,
            b"type" if value_is(b"normal") => {}
            b"type"
                if [&b"master"[..], b"replica", b"slave", b"pubsub"].into_iter().any(value_is) =>
            {
                self.nobody = true;
            }
            b"type" => return Err(unknown_type(value)),
            b"user" if value_is(b"default") => {}
            b"user" => {
                let name = String::from_utf8_lossy(value).into_owned();
                return Err(ReplyError::ClientUser { name });
            }
            _ => return Err(ReplyError::Syntax),
        }
        Ok(())
    }

    fn is_met_by(&self, id: u64, record: &ClientRecord) -> bool {
        !self.nobody
            && self.id.is_none_or(|wanted| u64::try_from(wanted) == Ok(id))
            && self.address.is_none_or(|address| *address == record.address.as_bytes())
            && self.skips != Some(id)
    }
}

fn unknown_type(kind: &[u8]) -> ReplyError {
    ReplyError::ClientType { kind: String::from_utf8_lossy(kind).into_owned() }
}

fn list(context: &Context<'_>, options: &[Bytes]) -> Result<Reply, ReplyError> {
    let all = context.front.clients.iter();
    let mut text = String::new();
    let ids: Option<Vec<i64>> = match options {
        [] => None,
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let what = "Invalid client ID";
            let ids = ids.iter().map(|id| parse_integer(id).ok_or(ReplyError::Other { what }));
            Some(ids.collect::<Result<_, _>>()?)
        }
        [option, kind] if option.eq_ignore_ascii_case(b"type") => {
            match kind.to_ascii_lowercase().as_slice() {
                b"normal" => None,
                b"master" | b"replica" | b"slave" | b"pubsub" => Some(Vec::new()),
                _ => return Err(unknown_type(kind)),
            }
        }
        _ => return Err(ReplyError::Syntax),
    };
    for (id, record) in all {
        let is_wanted = |ids: &Vec<i64>| ids.iter().any(|wanted| u64::try_from(*wanted) == Ok(*id));
        if ids.as_ref().is_none_or(is_wanted) {
            text.push_str(&line_of(*id, record, context.now));
        }
    }
    Ok(Reply::Text(text))
}

fn line_of(id: u64, record: &ClientRecord, now: Now) -> String {
    let age = now.mono.saturating_sub(record.since).as_secs();
    let idle = now.mono.saturating_sub(record.last_used).as_secs();
    let queued = record.queued.and_then(|queued| i64::try_from(queued).ok()).unwrap_or(-1);
    let version = if record.protocol == Protocol::Resp3 { 3 } else { 2 };
    let flags = if queued < 0 { "N" } else { "x" };
    let [library, library_version] = record.library.each_ref().map(|b| String::from_utf8_lossy(b));
    let mut line = String::new();
    // Memory takes everything.
    let _ = writeln!(
        line,
        "id={id} addr={} fd=0 name={} age={age} idle={idle} flags={flags} db=0 sub=0 psub=0 ssub=0 \
         multi={queued} cmd={} user=default redir=-1 resp={version} lib-name={library} \
         lib-ver={library_version}",
        record.address,
        String::from_utf8_lossy(&record.name),
        record.last_command,
    );
    line
}

/// A name is one word.
pub(super) fn check_name(name: &Bytes) -> Result<(), ReplyError> {
    let is_legal = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if is_legal { Ok(()) } else { Err(ReplyError::ClientName) }
}

const HELP: &[&str] = &[
    "GETNAME",
    "ID",
    "INFO",
    "KILL <ip:port>",
    "KILL <option> <value> [<option> <value> [...]]",
    "LIST [ID <id> [<id> ...]]",
    "NO-EVICT (ON|OFF)",
    "REPLY (ON|OFF|SKIP)",
    "SETINFO <attribute> <value>",
    "SETNAME <name>",
];
