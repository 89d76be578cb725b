//! Commands that look before they write: one by itself, or all between `MULTI` and `EXEC`.
//!
//! All their keys are read, the commands are evaluated in order over what was read, and what they
//! write is one batch, on the condition that no key has changed meanwhile. If one has, all of it is
//! done anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kv_core::{Batch, Command, CommandResult, Key, KeyExpiry, NotDone, Operation, Outcome};

use crate::clock::now_ms;
use crate::data::{self, DataCommand, KeyState, Overlay, Read, evaluate, key_of};
use crate::error::ReplyError;
use crate::front::Context;
use crate::reply::Reply;
use crate::session::{Session, Work, immediate, outcome};
use crate::spec::{Kind, Spec};

/// The commands since `MULTI`.
#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: Vec<Queued>,
    bytes: usize,
    /// A command was refused, and so `EXEC` is.
    pub(super) is_broken: bool,
}

/// One command of a transaction.
#[derive(Debug)]
enum Queued {
    Data(DataCommand),
    Immediate(&'static Spec, Vec<Bytes>),
    /// A command whose words make no sense, which Redis finds out when it carries it out.
    Wrong(ReplyError),
}

/// The keys that are watched, and how each was then.
pub(super) type Watched = BTreeMap<Key, Option<KeyState>>;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    commands: Vec<Queued>,
    /// Those of all commands, and the watched ones.
    keys: Vec<Key>,
    watched: Watched,
    /// Whether it is between `MULTI` and `EXEC`.
    is_exec: bool,
    since: Duration,
    /// The replies, once what they depend on is being written.
    replies: Option<Vec<Reply>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }
}

impl Session {
    pub(super) fn transaction_command(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        words: &[Bytes],
        out: &mut BytesMut,
    ) {
        if !context.front.facts.is_linearizable {
            let error = ReplyError::NeedsLinearizable { command: spec.name };
            return self.reply(context, &error.into(), out);
        }
        let reply = match (spec.name, self.queue.is_some()) {
            ("multi", true) => ReplyError::NestedMulti.into(),
            ("multi", false) => {
                self.queue = Some(Queue::default());
                Reply::OK
            }
            ("discard", true) => {
                self.queue = None;
                self.watched.clear();
                Reply::OK
            }
            ("discard", false) => ReplyError::WithoutMulti { command: "DISCARD" }.into(),
            ("watch", true) => ReplyError::WatchInMulti.into(),
            ("watch", false) => match self.begin_watching(words) {
                Ok(()) if matches!(self.work, Work::Nothing) => Reply::OK,
                Ok(()) => return,
                Err(error) => error.into(),
            },
            ("exec", true) => return self.begin_exec(context, out),
            ("exec", false) => ReplyError::WithoutMulti { command: "EXEC" }.into(),
            _ => {
                self.watched.clear();
                Reply::OK
            }
        };
        self.reply(context, &reply, out);
    }

    /// Puts a command to the transaction that has begun.
    pub(super) fn enqueue(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        words: &[Bytes],
    ) -> Reply {
        let Some(queue) = &mut self.queue else {
            return Reply::OK;
        };
        queue.bytes += words.iter().map(|word| word.len() + WORD_BYTES).sum::<usize>();
        let queued = match spec.kind {
            Kind::Paged => Err(ReplyError::NotInTransaction),
            _ if queue.len() >= Batch::LEN_MAX => {
                Err(ReplyError::TooManyKeys { max: Batch::LEN_MAX })
            }
            _ if queue.bytes > QUEUE_BYTES_MAX => Err(ReplyError::TooMuch),
            Kind::Data => match data::parse(spec.name, words) {
                Some(Ok(command)) => Ok(Queued::Data(command)),
                Some(Err(error)) => Ok(Queued::Wrong(error)),
                None => Ok(Queued::Immediate(spec, words.to_vec())),
            },
            Kind::Immediate | Kind::Transaction => Ok(Queued::Immediate(spec, words.to_vec())),
        };
        let queued_len = match queued {
            Ok(queued) => {
                queue.commands.push(queued);
                queue.len()
            }
            Err(error) => {
                queue.is_broken = true;
                return error.into();
            }
        };
        if let Some(record) = self.record(context) {
            record.queued = Some(queued_len);
        }
        Reply::Simple("QUEUED")
    }

    fn begin_watching(&mut self, words: &[Bytes]) -> Result<(), ReplyError> {
        let words = words.iter().skip(1);
        let keys: BTreeSet<Key> = words.map(key_of).collect::<Result<_, _>>()?;
        let keys = keys.into_iter().filter(|key| !self.watched.contains_key(key));
        let keys: Vec<Key> = keys.map(|key| key.detached()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        if self.watched.len() + keys.len() > WATCHED_MAX {
            return Err(ReplyError::TooManyKeys { max: WATCHED_MAX });
        }
        let bytes: usize = self.watched.keys().chain(&keys).map(|key| key.as_bytes().len()).sum();
        if 2 * bytes > Batch::BYTES_MAX {
            return Err(ReplyError::TooMuch);
        }
        self.ask_for(&keys)?;
        self.work = Work::Watching(keys);
        Ok(())
    }

    pub(super) fn on_watched(
        &mut self,
        context: &mut Context<'_>,
        keys: &[Key],
        outcome: Outcome,
        out: &mut BytesMut,
    ) {
        let reply = match read_keys(keys, outcome) {
            Ok(mut overlay) => {
                for key in keys {
                    self.watched.insert(key.clone(), overlay.state(key));
                }
                Reply::OK
            }
            Err(error) => error.into(),
        };
        self.reply(context, &reply, out);
    }

    fn begin_exec(&mut self, context: &mut Context<'_>, out: &mut BytesMut) {
        let queue = self.queue.take().unwrap_or_default();
        let watched = std::mem::take(&mut self.watched);
        if queue.is_broken {
            return self.reply(context, &ReplyError::ExecAbort.into(), out);
        }
        self.begin(context, queue.commands, watched, true, out);
    }

    /// Carries out one command that looks before it writes.
    pub(super) fn begin_single(
        &mut self,
        context: &mut Context<'_>,
        command: DataCommand,
        out: &mut BytesMut,
    ) {
        self.begin(context, vec![Queued::Data(command)], Watched::new(), false, out);
    }

    fn begin(
        &mut self,
        context: &mut Context<'_>,
        commands: Vec<Queued>,
        watched: Watched,
        is_exec: bool,
        out: &mut BytesMut,
    ) {
        let mut keys: BTreeSet<Key> = watched.keys().cloned().collect();
        for command in &commands {
            if let Queued::Data(command) = command {
                command.for_each_key(|key| {
                    keys.insert(key.clone());
                });
            }
        }
        let keys: Vec<Key> = keys.into_iter().collect();
        let since = context.now.mono;
        let transaction = Transaction { commands, keys, watched, is_exec, since, replies: None };
        if transaction.keys.is_empty() {
            return self.evaluate(context, transaction, Overlay::default(), out);
        }
        self.begin_reading(context, transaction, out);
    }

    fn begin_reading(
        &mut self,
        context: &mut Context<'_>,
        transaction: Transaction,
        out: &mut BytesMut,
    ) {
        match self.ask_for(&transaction.keys) {
            Ok(()) => self.work = Work::Transaction(Box::new(transaction)),
            Err(error) => self.reply(context, &error.into(), out),
        }
    }

    fn ask_for(&mut self, keys: &[Key]) -> Result<(), ReplyError> {
        let reads = keys.iter().flat_map(|key| {
            [Command::Get { key: key.clone() }, Command::Expiry { key: key.clone() }]
        });
        let batch = Batch::new(Vec::new(), reads.collect())?;
        self.asks.push(Operation::Batch(batch));
        Ok(())
    }

    pub(super) fn on_transaction_outcome(
        &mut self,
        context: &mut Context<'_>,
        mut transaction: Transaction,
        outcome: Outcome,
        out: &mut BytesMut,
    ) {
        let Some(replies) = transaction.replies.take() else {
            return match read_keys(&transaction.keys, outcome) {
                Ok(overlay) => self.evaluate(context, transaction, overlay, out),
                Err(error) => self.reply(context, &error.into(), out),
            };
        };
        if let Outcome::NotDone(NotDone::ConditionFailed { .. }) = outcome {
            if context.now.mono.saturating_sub(transaction.since) > TRIES_TIME_MAX {
                return self.reply(context, &ReplyError::Contended.into(), out);
            }
            return self.begin_reading(context, transaction, out);
        }
        match outcome::results(outcome) {
            Ok(_) => self.finish(context, &transaction, replies, out),
            Err(error) => self.reply(context, &error.into(), out),
        }
    }

    fn evaluate(
        &mut self,
        context: &mut Context<'_>,
        mut transaction: Transaction,
        mut overlay: Overlay,
        out: &mut BytesMut,
    ) {
        let mut watched = transaction.watched.iter();
        if !watched.all(|(key, state)| overlay.state(key) == *state) {
            return self.reply(context, &Reply::NullArray, out);
        }
        let now_ms = now_ms(context.now);
        let mut replies = Vec::with_capacity(transaction.commands.len());
        let mut bytes = 0;
        for command in &transaction.commands {
            let reply = match command {
                Queued::Data(command) => evaluate(command, &mut overlay, now_ms),
                // It is carried out once what the others write is written.
                Queued::Immediate(..) => Reply::Null,
                Queued::Wrong(error) => error.clone().into(),
            };
            bytes += reply.payload_len();
            if bytes > Batch::BYTES_MAX || overlay.work_bytes() > WORK_BYTES_MAX {
                return self.reply(context, &ReplyError::TooMuch.into(), out);
            }
            replies.push(reply);
        }
        match overlay.into_batch() {
            Ok(None) => self.finish(context, &transaction, replies, out),
            Ok(Some(batch)) => {
                transaction.replies = Some(replies);
                self.asks.push(Operation::Batch(batch));
                self.work = Work::Transaction(Box::new(transaction));
            }
            Err(error) => self.reply(context, &error.into(), out),
        }
    }

    fn finish(
        &mut self,
        context: &mut Context<'_>,
        transaction: &Transaction,
        mut replies: Vec<Reply>,
        out: &mut BytesMut,
    ) {
        let mut bytes: usize = replies.iter().map(Reply::payload_len).sum();
        for (command, reply) in transaction.commands.iter().zip(&mut replies) {
            if let Queued::Immediate(spec, words) = command {
                *reply = match spec.kind {
                    _ if bytes > Batch::BYTES_MAX => ReplyError::TooMuch.into(),
                    Kind::Immediate => self.immediate(context, spec, words),
                    Kind::Data => immediate::object(words),
                    Kind::Paged | Kind::Transaction => Reply::OK,
                };
                bytes += reply.payload_len();
            }
        }
        let reply = if transaction.is_exec {
            Reply::Array(replies)
        } else {
            replies.pop().unwrap_or(ReplyError::Unfit.into())
        };
        self.reply(context, &reply, out);
    }
}

/// Lays down what a batch of reads brought: of each key its value and when it expires.
fn read_keys(keys: &[Key], outcome: Outcome) -> Result<Overlay, ReplyError> {
    let mut results = outcome::results(outcome)?.into_iter();
    let mut overlay = Overlay::default();
    for key in keys {
        let (Some(CommandResult::Value(found)), Some(CommandResult::Expiry(expiry))) =
            (results.next(), results.next())
        else {
            return Err(ReplyError::Unfit);
        };
        let expiry = match expiry {
            KeyExpiry::At(at) => Some(at),
            KeyExpiry::Missing | KeyExpiry::Never => None,
        };
        overlay.insert(
            key.clone(),
            found.map(|found| Read {
                value: found.value,
                state: KeyState { version: found.version, expiry },
            }),
        );
    }
    Ok(overlay)
}

/// For so long a transaction is tried again whose keys others change.
const TRIES_TIME_MAX: Duration = Duration::from_secs(5);

/// The most keys that are watched: an `EXEC` reads the value and the end of each.
const WATCHED_MAX: usize = Batch::LEN_MAX / 2;

/// The most bytes that the commands of a transaction copy: a moment's work.
const WORK_BYTES_MAX: usize = 256 << 20;

/// The most bytes of the words of a transaction, and what each word counts for itself.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const WORD_BYTES: usize = 64;
