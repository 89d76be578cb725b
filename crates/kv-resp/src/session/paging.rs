//! Commands on the keys as a whole, page by page.

use bytes::{Bytes, BytesMut};
use kv_core::{Batch, Command, Key, Operation, Outcome, Page, Scan, parse_integer};

use crate::error::ReplyError;
use crate::front::Context;
use crate::glob;
use crate::reply::Reply;
use crate::session::{Session, Work, outcome};
use crate::spec::Spec;

/// A command that reads pages of keys.
#[derive(Debug)]
pub(super) enum Paging {
    Scan(ScanOptions),
    /// `KEYS`, with what it has found.
    Keys {
        pattern: Bytes,
        found: Vec<Reply>,
        bytes: usize,
    },
    /// `DBSIZE`, in the linearizable engine: after a read, this server holds at least what it saw.
    Count,
    /// `RANDOMKEY`; whether it looks at the first keys, since there were none behind its start.
    Random {
        is_second: bool,
    },
    /// `FLUSHALL`, which reads a page.
    Flush,
    /// `FLUSHALL`, which deletes what it read; behind which key it goes on.
    Flushing {
        next: Option<Key>,
    },
}

/// The options of `SCAN`.
#[derive(Debug)]
pub(super) struct ScanOptions {
    after: Option<Key>,
    pattern: Option<Bytes>,
    count: u32,
    /// Whether keys of the only type are wanted.
    wants_strings: bool,
}

impl Session {
    pub(super) fn begin_paging(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        words: &[Bytes],
        out: &mut BytesMut,
    ) {
        if let Err(error) = self.try_paging(context, spec, words, out) {
            self.reply(context, &error.into(), out);
        }
    }

    fn try_paging(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        words: &[Bytes],
        out: &mut BytesMut,
    ) -> Result<(), ReplyError> {
        let is_linearizable = context.front.facts.is_linearizable;
        let paging = match spec.name {
            "scan" => Paging::Scan(ScanOptions::parse(context, words)?),
            "keys" => {
                let pattern = words.get(1).cloned().unwrap_or_default();
                Paging::Keys { pattern, found: Vec::new(), bytes: 0 }
            }
            "dbsize" if is_linearizable => Paging::Count,
            "dbsize" => {
                let reply = count(context);
                self.reply(context, &reply, out);
                return Ok(());
            }
            "randomkey" => Paging::Random { is_second: false },
            name if !is_linearizable => {
                return Err(ReplyError::NeedsLinearizable { command: name });
            }
            _ => {
                check_flush(words)?;
                Paging::Flush
            }
        };
        let after = match &paging {
            Paging::Scan(options) => options.after.clone(),
            Paging::Random { .. } => {
                let start = context.front.random.next_u64().to_be_bytes();
                Key::new(Bytes::copy_from_slice(&start)).ok()
            }
            Paging::Keys { .. } | Paging::Count | Paging::Flush | Paging::Flushing { .. } => None,
        };
        self.ask_page(paging, after);
        Ok(())
    }

    fn ask_page(&mut self, paging: Paging, after: Option<Key>) {
        let (limit, from) = match &paging {
            Paging::Scan(options) => (options.count, prefix_of(options.pattern.as_ref())),
            Paging::Keys { pattern, .. } => (PAGE_KEYS, prefix_of(Some(pattern))),
            Paging::Count => (1, Bytes::new()),
            Paging::Random { .. } | Paging::Flush | Paging::Flushing { .. } => {
                (PAGE_KEYS, Bytes::new())
            }
        };
        self.asks.push(Operation::Scan(Scan { until: end_of(&from), from, after, limit }));
        self.work = Work::Paging(Box::new(paging));
    }

    pub(super) fn on_page(
        &mut self,
        context: &mut Context<'_>,
        paging: Paging,
        outcome: Outcome,
        out: &mut BytesMut,
    ) {
        if let Paging::Flushing { next } = paging {
            return match (outcome::results(outcome), next) {
                // Keys that are written meanwhile need not keep it at work for ever.
                (Ok(_), Some(next)) => self.ask_page(Paging::Flush, Some(next)),
                (Ok(_), None) => self.reply(context, &Reply::OK, out),
                (Err(error), _) => self.reply(context, &error.into(), out),
            };
        }
        let page = match outcome::page(outcome) {
            Ok(page) => page,
            Err(error) => return self.reply(context, &error.into(), out),
        };
        let reply = match paging {
            Paging::Scan(options) => options.reply(context, page).into(),
            Paging::Keys { pattern, mut found, mut bytes } => {
                let matching = matching(page.entries, Some(&pattern));
                let keys = match matching {
                    Ok(keys) => keys,
                    Err(error) => return self.reply(context, &error.into(), out),
                };
                bytes += keys.iter().map(|key| key.as_bytes().len() + KEY_BYTES).sum::<usize>();
                found.extend(keys.iter().map(|key| Reply::Bulk(key.to_shared())));
                match page.next {
                    _ if bytes > FOUND_BYTES_MAX => ReplyError::TooManyFound.into(),
                    Some(next) => {
                        let paging = Paging::Keys { pattern, found, bytes };
                        return self.ask_page(paging, Some(next));
                    }
                    None => Reply::Array(found),
                }
            }
            Paging::Count => count(context),
            Paging::Random { is_second } if page.entries.is_empty() && page.next.is_some() => {
                // There were keys that are deleted by now, and no others so far.
                return self.ask_page(Paging::Random { is_second }, page.next);
            }
            Paging::Random { is_second } if page.entries.is_empty() && !is_second => {
                return self.ask_page(Paging::Random { is_second: true }, None);
            }
            Paging::Random { .. } => {
                let keys = u64::try_from(page.entries.len()).unwrap_or(0);
                let place = usize::try_from(context.front.random.below(keys)).unwrap_or(0);
                let some = page.entries.get(place);
                some.map_or(Reply::Null, |(key, _)| Reply::Bulk(key.to_shared()))
            }
            Paging::Flush | Paging::Flushing { .. } => {
                let next = page.next;
                let deletes = page.entries.into_iter().map(|(key, _)| Command::Delete { key });
                match Batch::new(Vec::new(), deletes.collect()) {
                    Ok(batch) => {
                        self.asks.push(Operation::Batch(batch));
                        self.work = Work::Paging(Box::new(Paging::Flushing { next }));
                        return;
                    }
                    // There was nothing left to delete.
                    Err(_) => Reply::OK,
                }
            }
        };
        self.reply(context, &reply, out);
    }
}

impl ScanOptions {
    fn parse(context: &Context<'_>, words: &[Bytes]) -> Result<Self, ReplyError> {
        let [_, cursor, options @ ..] = words else {
            return Err(ReplyError::Arity { command: "scan" });
        };
        let cursor = std::str::from_utf8(cursor).ok().and_then(|text| text.parse::<u64>().ok());
        let cursor = cursor.ok_or(ReplyError::Cursor)?;
        let (mut pattern, mut count, mut wants_strings) = (None, DEFAULT_COUNT, true);
        for pair in options.chunks(2) {
            let [option, value] = pair else {
                return Err(ReplyError::Syntax);
            };
            match option.to_ascii_lowercase().as_slice() {
                b"match" => pattern = Some(value.clone()),
                b"count" => {
                    let wanted = parse_integer(value).ok_or(ReplyError::NotAnInteger)?;
                    if wanted < 1 {
                        return Err(ReplyError::Syntax);
                    }
                    count = u32::try_from(wanted).unwrap_or(u32::MAX).min(PAGE_KEYS);
                }
                b"type" => wants_strings = value.eq_ignore_ascii_case(b"string"),
                _ => return Err(ReplyError::Syntax),
            }
        }
        let after = match cursor {
            0 => None,
            cursor => {
                let key = context.front.cursors.key(cursor);
                Some(key.cloned().ok_or(ReplyError::Cursor)?)
            }
        };
        Ok(Self { after, pattern, count, wants_strings })
    }

    fn reply(&self, context: &mut Context<'_>, page: Page) -> Result<Reply, ReplyError> {
        let keys = if self.wants_strings {
            matching(page.entries, self.pattern.as_ref())?
        } else {
            Vec::new()
        };
        let keys = keys.iter().map(|key| Reply::Bulk(key.to_shared())).collect();
        let cursor = page.next.map_or(0, |next| context.front.cursors.cursor_behind(next));
        Ok(Reply::Array(vec![Reply::owned(cursor.to_string()), Reply::Array(keys)]))
    }
}

/// The keys of a page that a pattern describes.
fn matching<T>(entries: Vec<(Key, T)>, pattern: Option<&Bytes>) -> Result<Vec<Key>, ReplyError> {
    let mut steps = glob::STEPS_MAX;
    let mut keys = Vec::new();
    for (key, _) in entries {
        if match pattern {
            None => true,
            Some(pattern) => glob::matches(pattern, key.as_bytes(), &mut steps)?,
        } {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// How many keys this server holds.
fn count(context: &Context<'_>) -> Reply {
    let keys = (context.status)().positions.keys.unwrap_or(0);
    Reply::Integer(i64::try_from(keys).unwrap_or(i64::MAX))
}

fn check_flush(words: &[Bytes]) -> Result<(), ReplyError> {
    match words {
        [_] => Ok(()),
        [_, how] if how.eq_ignore_ascii_case(b"async") || how.eq_ignore_ascii_case(b"sync") => {
            Ok(())
        }
        _ => Err(ReplyError::Syntax),
    }
}

/// What all keys begin with that match a pattern.
fn prefix_of(pattern: Option<&Bytes>) -> Bytes {
    let Some(pattern) = pattern else {
        return Bytes::new();
    };
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let len = pattern.iter().position(is_special).unwrap_or(pattern.len());
    pattern.slice(..len)
}

/// The first bytes behind all that begin with these; `None` if there are none.
fn end_of(prefix: &[u8]) -> Option<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if let Some(next) = last.checked_add(1) {
            *last = next;
            return Some(Bytes::from(end));
        }
        end.pop();
    }
    None
}

/// What `SCAN` looks at without `COUNT`, as in Redis.
const DEFAULT_COUNT: u32 = 10;

/// The most keys that are read at once.
const PAGE_KEYS: u32 = 1000;

/// The most bytes that `KEYS` finds, and what each key counts for itself.
const FOUND_BYTES_MAX: usize = 128 << 20;
const KEY_BYTES: usize = 64;
