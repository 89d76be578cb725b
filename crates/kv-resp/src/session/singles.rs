//! Commands in the eventual engine, which takes single reads, writes and deletes alone.

use bytes::BytesMut;
use kv_core::{Batch, Command, CommandResult, Key, Operation, Outcome};

use crate::clock::now_ms;
use crate::data::{DataCommand, Set, SetExpiry, SetReply, Shape, put_replies, straight};
use crate::error::ReplyError;
use crate::front::Context;
use crate::reply::Reply;
use crate::session::{Session, Work, outcome};

/// A run of commands whose requests are in flight together: all of them read, or all of them write.
#[derive(Debug, Default)]
pub(super) struct Singles {
    shapes: Vec<Shape>,
    commands: Vec<Command>,
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    /// The keys of a `DEL` that are looked at first.
    deletes: Vec<Key>,
}

impl Singles {
    pub(super) fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Whether a command of such a kind can go with the others.
    fn takes(&self, reads: bool, is_alone: bool) -> bool {
        let fits = |first: &Command| first.is_read_only() == reads && !is_alone;
        let has_room = self.commands.len() < COMMANDS_MAX && self.deletes.is_empty();
        self.commands.first().is_none_or(fits) && has_room
    }
}

impl Session {
    /// Puts a command to the others, or refuses it; whether that was possible before the others are
    /// done.
    pub(super) fn take_single(
        &mut self,
        context: &mut Context<'_>,
        name: &'static str,
        command: &DataCommand,
        out: &mut BytesMut,
    ) -> bool {
        let Some((shape, reads)) = shape_of(command) else {
            let error = ReplyError::NeedsLinearizable { command: name };
            return self.refuse_single(context, error, out);
        };
        let deletes =
            if let DataCommand::Delete { keys } = command { keys.as_slice() } else { &[] };
        if !self.singles.takes(reads, !deletes.is_empty()) {
            return false;
        }
        let get = |key: &Key| Command::Get { key: key.clone() };
        let commands = &mut self.singles.commands;
        let before = commands.len();
        // There is no time to live in this engine by which a key could be looked at.
        let shape = if let DataCommand::Delete { keys } | DataCommand::Exists { keys } = command {
            commands.extend(keys.iter().map(get));
            shape
        } else if let DataCommand::Type { key } = command {
            commands.push(get(key));
            shape
        } else {
            straight(command, now_ms(context.now), commands).unwrap_or(shape)
        };
        if commands.len() - before > Batch::LEN_MAX {
            commands.truncate(before);
            let error = ReplyError::TooManyKeys { max: Batch::LEN_MAX };
            return self.refuse_single(context, error, out);
        }
        self.singles.deletes = deletes.to_vec();
        self.singles.shapes.push(shape);
        true
    }

    /// Answers a command with an error, unless others before it are to be answered first; whether it
    /// did.
    fn refuse_single(
        &mut self,
        context: &mut Context<'_>,
        error: ReplyError,
        out: &mut BytesMut,
    ) -> bool {
        let is_first = self.singles.is_empty();
        if is_first {
            self.reply(context, &error.into(), out);
        }
        is_first
    }

    pub(super) fn ask_singles(&mut self) {
        let singles = &mut self.singles;
        singles.missing = singles.commands.len();
        singles.outcomes.clear();
        singles.outcomes.resize(singles.missing, None);
        self.asks.extend(singles.commands.drain(..).map(Operation::of));
        self.work = Work::Singles;
    }

    pub(super) fn on_single_outcome(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        outcome: Outcome,
        out: &mut BytesMut,
    ) {
        if let Some(empty @ None) = self.singles.outcomes.get_mut(place) {
            *empty = Some(outcome);
            self.singles.missing -= 1;
        }
        if self.singles.missing > 0 {
            self.work = Work::Singles;
            return;
        }
        let outcomes = std::mem::take(&mut self.singles.outcomes);
        let deletes = std::mem::take(&mut self.singles.deletes);
        if !deletes.is_empty() {
            let found: Result<Vec<_>, _> =
                outcomes.into_iter().flatten().map(single_result).collect();
            let found = match found {
                Ok(found) => found,
                // Nothing is deleted that could not be counted.
                Err(error) => {
                    self.singles.shapes.clear();
                    return self.reply(context, &Reply::Error(error), out);
                }
            };
            let is_there =
                |result: &&CommandResult| matches!(result, CommandResult::Value(Some(_)));
            self.singles.shapes = vec![Shape::WrittenOf {
                reply: i64::try_from(found.iter().filter(is_there).count()).unwrap_or(i64::MAX),
                count: deletes.len(),
            }];
            let deletes = deletes.into_iter().map(|key| Command::Delete { key });
            self.singles.commands.extend(deletes);
            return self.ask_singles();
        }
        let mut outcomes = outcomes.into_iter().flatten();
        for shape in std::mem::take(&mut self.singles.shapes) {
            // All outcomes of the command are taken here, also those behind an error.
            let of_command: Vec<Outcome> = outcomes.by_ref().take(shape.results()).collect();
            let results = of_command.into_iter().map(single_result);
            let results: Result<Vec<CommandResult>, ReplyError> = results.collect();
            let from = out.len();
            let put = results.and_then(|results| {
                put_replies(shape, &mut results.into_iter(), self.protocol, out)
                    .ok_or(ReplyError::Unfit)
            });
            match put {
                Ok(()) if self.is_reply_unwanted() => out.truncate(from),
                Ok(()) => {}
                Err(error) => {
                    out.truncate(from);
                    self.reply(context, &Reply::Error(error), out);
                }
            }
        }
    }
}

/// How the reply is made to a command that this engine takes, and whether it only reads.
fn shape_of(command: &DataCommand) -> Option<(Shape, bool)> {
    match command {
        DataCommand::Get { .. } => Some((Shape::Value, true)),
        DataCommand::Length { .. } => Some((Shape::ValueLength, true)),
        DataCommand::Type { .. } => Some((Shape::Type, true)),
        DataCommand::GetMany { keys } => Some((Shape::Values { count: keys.len() }, true)),
        DataCommand::Exists { keys } => Some((Shape::Existing { keys: keys.len() }, true)),
        DataCommand::Delete { keys } => Some((Shape::Existing { keys: keys.len() }, true)),
        DataCommand::Set(Set {
            expiry: SetExpiry::Never,
            condition: None,
            reply: SetReply::Ok,
            ..
        }) => Some((Shape::Written { count: 1 }, false)),
        DataCommand::SetMany { pairs, only_if_absent: false } => {
            Some((Shape::Written { count: pairs.len() }, false))
        }
        DataCommand::Set(_)
        | DataCommand::SetMany { only_if_absent: true, .. }
        | DataCommand::GetDelete { .. }
        | DataCommand::GetExpire { .. }
        | DataCommand::GetRange { .. }
        | DataCommand::SetRange { .. }
        | DataCommand::GetBit { .. }
        | DataCommand::SetBit { .. }
        | DataCommand::Append { .. }
        | DataCommand::Increment { .. }
        | DataCommand::IncrementFloat { .. }
        | DataCommand::Expire(_)
        | DataCommand::Persist { .. }
        | DataCommand::Lifetime { .. }
        | DataCommand::Rename { .. }
        | DataCommand::Copy { .. }
        | DataCommand::Object { .. }
        | DataCommand::Lcs(_) => None,
    }
}

fn single_result(outcome: Outcome) -> Result<CommandResult, ReplyError> {
    let mut results = outcome::results(outcome)?;
    results.pop().ok_or(ReplyError::Unfit)
}

/// The most requests in flight together, unless one command alone has more keys.
const COMMANDS_MAX: usize = 512;
