//! Commands that came together and are carried out together.

use bytes::{Bytes, BytesMut};
use kv_core::{Batch, BatchError, Command, Operation, Outcome};

use crate::clock::now_ms;
use crate::data::{DataCommand, Shape, put_replies, straight};
use crate::error::ReplyError;
use crate::front::Context;
use crate::reply::Reply;
use crate::session::{Session, Work, outcome};

/// A run of commands that the engine carries out as they are, as one batch: in order, and as a
/// whole.
#[derive(Debug, Default)]
pub(super) struct Unit {
    members: Vec<(DataCommand, Shape)>,
    commands: Vec<Command>,
    bytes: usize,
    /// Commands whose batch failed by what the keys hold, the last one first.
    pub(super) one_by_one: Vec<DataCommand>,
}

impl Unit {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it deletes keys, each with two of the engine's commands.
    fn is_a_delete(&self) -> bool {
        matches!(self.members.first(), Some((_, Shape::Deleted { .. })))
    }

    /// Puts a command to it; gives it back if it does not fit.
    fn put(&mut self, command: DataCommand, bytes: usize, now_ms: i64) -> Option<DataCommand> {
        let before = self.commands.len();
        let Some(shape) = straight(&command, now_ms, &mut self.commands) else {
            return Some(command);
        };
        let is_full = self.commands.len() > COMMANDS_MAX || self.bytes + bytes > BYTES_MAX;
        if is_full && before > 0 {
            self.commands.truncate(before);
            return Some(command);
        }
        self.bytes += bytes;
        self.members.push((command, shape));
        None
    }
}

impl Session {
    /// Puts a command to the unit, or begins to carry it out by itself; whether that was possible
    /// before the unit is done.
    pub(super) fn take_into_unit(
        &mut self,
        context: &mut Context<'_>,
        command: DataCommand,
        out: &mut BytesMut,
    ) -> bool {
        let bytes = self.words.iter().map(Bytes::len).sum();
        match self.unit.put(command, bytes, now_ms(context.now)) {
            None => true,
            Some(command) if self.unit.is_empty() => {
                self.begin_single(context, command, out);
                true
            }
            Some(_) => false,
        }
    }

    /// Asks for what was put to the unit.
    pub(super) fn ask_unit(&mut self, context: &mut Context<'_>, out: &mut BytesMut) {
        self.unit.bytes = 0;
        let room = Vec::with_capacity(self.unit.commands.len());
        match Batch::new(Vec::new(), std::mem::replace(&mut self.unit.commands, room)) {
            Ok(batch) => {
                self.asks.push(Operation::Batch(batch));
                self.work = Work::Unit;
            }
            // A command that does not fit is alone.
            Err(BatchError::TooMany { .. }) if !self.unit.is_a_delete() => {
                let error = ReplyError::TooManyKeys { max: Batch::LEN_MAX };
                self.fail_unit(context, &error, out);
            }
            Err(error) => self.fail_unit(context, &error.into(), out),
        }
    }

    pub(super) fn on_unit_outcome(
        &mut self,
        context: &mut Context<'_>,
        outcome: Outcome,
        out: &mut BytesMut,
    ) {
        if outcome::is_of_the_state(&outcome) {
            let members = self.unit.members.drain(..).rev();
            self.unit.one_by_one.extend(members.map(|(command, _)| command));
            return;
        }
        let results = match outcome::results(outcome) {
            Ok(results) => results,
            Err(error) => return self.fail_unit(context, &error, out),
        };
        let mut results = results.into_iter();
        let protocol = self.protocol;
        let mut members = std::mem::take(&mut self.unit.members);
        for (_, shape) in members.drain(..) {
            let from = out.len();
            if put_replies(shape, &mut results, protocol, out).is_none() {
                out.truncate(from);
                Reply::Error(ReplyError::Unfit).encode(protocol, out);
            }
            if self.is_reply_unwanted() {
                out.truncate(from);
            }
        }
        self.unit.members = members;
    }

    fn fail_unit(&mut self, context: &mut Context<'_>, error: &ReplyError, out: &mut BytesMut) {
        for _ in 0..std::mem::take(&mut self.unit.members).len() {
            self.reply(context, &Reply::Error(error.clone()), out);
        }
    }
}

/// The most commands of the engine in a unit, and about the most bytes, unless one command alone has
/// more.
const COMMANDS_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;
