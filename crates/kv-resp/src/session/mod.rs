//! One client's session: requests in, replies out, and what it asks of the engine in between.

mod immediate;
mod outcome;
mod paging;
mod singles;
mod transaction;
mod unit;

use bytes::{Bytes, BytesMut};
use kv_core::{Operation, Outcome};

use crate::data::{self, DataCommand};
use crate::error::ReplyError;
use crate::front::{ClientRecord, Context};
use crate::reader::RequestReader;
use crate::reply::{Protocol, Reply};
use crate::session::paging::Paging;
use crate::session::singles::Singles;
use crate::session::transaction::{Queue, Transaction, Watched};
use crate::session::unit::Unit;
use crate::spec::{self, Kind, Spec};

/// A client of Redis's protocol.
///
/// Its owner calls [`advance`](Self::advance) with what has come in, carries out what that asks
/// for, and hands the outcomes to [`on_outcome`](Self::on_outcome). Commands take effect in the
/// order in which they came; those that came together and need nothing from each other are asked
/// for together, as one batch.
#[derive(Debug)]
pub struct Session {
    id: u64,
    protocol: Protocol,
    reader: RequestReader,
    /// The words of the last request that was read.
    words: Vec<Bytes>,
    /// Those words are not carried out yet.
    is_pending: bool,
    unit: Unit,
    singles: Singles,
    work: Work,
    queue: Option<Queue>,
    watched: Watched,
    asks: Vec<Operation>,
    pause: Option<std::time::Duration>,
    /// The last command that was found in the table.
    last: Option<&'static Spec>,
    /// What that is called, with its subcommand.
    last_name: &'static str,
    /// Commands were carried out since the client's record was written.
    is_used: bool,
    is_closing: bool,
    /// What it sent is a request of HTTP.
    is_http: bool,
    mute: Mute,
}

/// What a session waits for.
#[derive(Debug)]
enum Work {
    Nothing,
    Unit,
    Singles,
    Transaction(Box<Transaction>),
    Watching(Vec<kv_core::Key>),
    Paging(Box<Paging>),
}

/// Which replies are left out (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mute {
    No,
    /// That of the command behind this one.
    Next,
    /// That of this command.
    This,
    All,
}

/// What a session needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input.
    Input,
    /// The outcomes of what it asked ([`Session::take_asks`]).
    Outcomes,
    /// Room for more output.
    Room,
    /// So much time.
    Time(std::time::Duration),
    /// Nothing: what is in its output is the last of it.
    Close,
}

impl Session {
    /// A session of a client that has connected.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            protocol: Protocol::default(),
            reader: RequestReader::default(),
            words: Vec::new(),
            is_pending: false,
            unit: Unit::default(),
            singles: Singles::default(),
            work: Work::Nothing,
            queue: None,
            watched: Watched::new(),
            asks: Vec::new(),
            pause: None,
            last: None,
            last_name: "NULL",
            is_used: false,
            is_closing: false,
            is_http: false,
            mute: Mute::No,
        }
    }

    /// The client's number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether its connection is closed because a web browser or the like has connected. A page that
    /// somebody looks at may have sent what follows, so nothing of that is carried out.
    #[must_use]
    pub const fn is_http(&self) -> bool {
        self.is_http
    }

    /// How long the request at the front of the input is at least.
    #[must_use]
    pub fn announced_len(&self) -> Option<usize> {
        self.reader.announced_len()
    }

    /// Goes on with what has come in, as far as that goes, and appends replies to `out`.
    pub fn advance(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Next {
        let next = self.go_on(context, input, out);
        if std::mem::take(&mut self.is_used) {
            self.write_record(context);
        }
        next
    }

    fn go_on(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Next {
        loop {
            if !matches!(self.work, Work::Nothing) {
                return Next::Outcomes;
            }
            if let Some(pause) = self.pause.take() {
                return Next::Time(pause);
            }
            if out.len() >= OUTPUT_BYTES_MAX {
                return Next::Room;
            }
            if let Some(command) = self.unit.one_by_one.pop() {
                self.begin_single(context, command, out);
                continue;
            }
            if self.is_closing {
                return Next::Close;
            }
            if !self.is_pending {
                match self.reader.next(input, &mut self.words) {
                    Ok(true) => self.is_pending = true,
                    // What came before it is answered first; an error is found again then.
                    Ok(false) | Err(_) if self.has_gathered() => {
                        self.ask_gathered(context, out);
                        continue;
                    }
                    Ok(false) => return Next::Input,
                    Err(error) => {
                        self.reply(context, &ReplyError::from(error).into(), out);
                        self.is_closing = true;
                        continue;
                    }
                }
            }
            self.take_request(context, out);
        }
    }

    /// What the engine is asked, in order. Each is to get one outcome, by its place.
    pub fn take_asks(&mut self) -> impl Iterator<Item = Operation> {
        self.asks.drain(..)
    }

    /// Takes the outcome of what was asked as number `place`, and appends replies to `out`; whether
    /// [`advance`](Self::advance) has something to do now, even without further input.
    pub fn on_outcome(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        outcome: Outcome,
        out: &mut BytesMut,
    ) -> bool {
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => {}
            Work::Unit => self.on_unit_outcome(context, outcome, out),
            Work::Singles => self.on_single_outcome(context, place, outcome, out),
            Work::Transaction(transaction) => {
                self.on_transaction_outcome(context, *transaction, outcome, out);
            }
            Work::Watching(keys) => self.on_watched(context, &keys, outcome, out),
            Work::Paging(paging) => self.on_page(context, *paging, outcome, out),
        }
        matches!(self.work, Work::Nothing) || !self.asks.is_empty()
    }

    /// Whether [`advance`](Self::advance) has something to do even if nothing waits in the input.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.asks.is_empty()
            || self.is_pending
            || self.is_closing
            || self.pause.is_some()
            || self.has_gathered()
            || !self.unit.one_by_one.is_empty()
    }

    /// Carries out the request that was read, unless what came before it must be answered first.
    fn take_request(&mut self, context: &mut Context<'_>, out: &mut BytesMut) {
        let found = self.find();
        if self.queue.is_none()
            && let Ok(spec) = found
            && spec.kind == Kind::Data
            && let Some(parsed) = data::parse(spec.name, &self.words)
            && let Ok(command) = parsed
        {
            return self.take_data(context, spec, command, out);
        }
        if self.has_gathered() {
            return self.ask_gathered(context, out);
        }
        self.is_pending = false;
        if is_http(&self.words) {
            self.is_http = true;
            self.is_closing = true;
            return;
        }
        self.note_command(context);
        self.write_record(context);
        context.front.stats.refused += u64::from(found.is_err());
        match found {
            Err(ReplyError::Arity { command: "exec" }) => {
                self.queue = None;
                self.watched.clear();
                self.reply(context, &ReplyError::ExecArity.into(), out);
            }
            Err(error) => {
                if let Some(queue) = &mut self.queue {
                    queue.is_broken = true;
                }
                self.reply(context, &error.into(), out);
            }
            Ok(spec) => self.carry_out(context, spec, out),
        }
    }

    /// Puts a command to those that are carried out together, or has these carried out first.
    fn take_data(
        &mut self,
        context: &mut Context<'_>,
        spec: &'static Spec,
        command: DataCommand,
        out: &mut BytesMut,
    ) {
        let is_taken = if self.mute != Mute::No && self.has_gathered() {
            false
        } else if context.front.facts.is_linearizable {
            self.take_into_unit(context, command, out)
        } else {
            self.take_single(context, spec.name, &command, out)
        };
        if is_taken {
            self.is_pending = false;
            self.words.clear();
            self.note_command(context);
        } else {
            self.ask_gathered(context, out);
        }
    }

    /// Whether there are commands that wait to be carried out together.
    fn has_gathered(&self) -> bool {
        !self.unit.is_empty() || !self.singles.is_empty()
    }

    fn ask_gathered(&mut self, context: &mut Context<'_>, out: &mut BytesMut) {
        if self.singles.is_empty() {
            self.ask_unit(context, out);
        } else {
            self.ask_singles();
        }
    }

    fn carry_out(&mut self, context: &mut Context<'_>, spec: &'static Spec, out: &mut BytesMut) {
        let words = std::mem::take(&mut self.words);
        if self.queue.is_some() && !is_taken_at_once(spec) {
            let reply = self.enqueue(context, spec, &words);
            self.reply(context, &reply, out);
        } else {
            match spec.kind {
                Kind::Data => {
                    let parsed = data::parse(spec.name, &words);
                    let reply = match parsed {
                        Some(Err(error)) => error.into(),
                        Some(Ok(_)) | None => immediate::object(&words),
                    };
                    self.reply(context, &reply, out);
                }
                Kind::Immediate => {
                    let reply = self.immediate(context, spec, &words);
                    self.reply(context, &reply, out);
                }
                Kind::Paged => self.begin_paging(context, spec, &words, out),
                Kind::Transaction => self.transaction_command(context, spec, &words, out),
            }
        }
        self.words = words;
        self.words.clear();
    }

    /// Appends a reply, unless the client wants none.
    fn reply(&mut self, context: &mut Context<'_>, reply: &Reply, out: &mut BytesMut) {
        if matches!(reply, Reply::Error(_)) {
            context.front.stats.errors += 1;
        }
        if !self.is_reply_unwanted() {
            reply.encode(self.protocol, out);
        }
    }

    /// Whether the client does not want the next reply.
    const fn is_reply_unwanted(&mut self) -> bool {
        match self.mute {
            Mute::No => false,
            Mute::Next => {
                self.mute = Mute::This;
                true
            }
            Mute::This => {
                self.mute = Mute::No;
                true
            }
            Mute::All => true,
        }
    }

    /// The command that the words ask for: most often the one before once more.
    fn find(&mut self) -> Result<&'static Spec, ReplyError> {
        if let (Some(last), Some(name)) = (self.last, self.words.first())
            && name.eq_ignore_ascii_case(last.name.as_bytes())
            && last.kind == Kind::Data
            && last.takes(self.words.len())
            && !last.has_subcommands()
        {
            return Ok(last);
        }
        let found = spec::find(&self.words);
        self.last = found.as_ref().ok().copied();
        self.last_name = self.last.map_or("NULL", |spec| spec::full_name(spec, &self.words));
        found
    }

    const fn note_command(&mut self, context: &mut Context<'_>) {
        context.front.stats.commands += 1;
        self.is_used = true;
    }

    /// Writes down what others are shown of the client.
    fn write_record(&self, context: &mut Context<'_>) {
        let now = context.now.mono;
        let queued = self.queue.as_ref().map(Queue::len);
        if let Some(record) = self.record(context) {
            record.last_used = now;
            record.last_command = self.last_name;
            record.protocol = self.protocol;
            record.queued = queued;
        }
    }

    fn record<'a>(&self, context: &'a mut Context<'_>) -> Option<&'a mut ClientRecord> {
        context.front.clients.get_mut(&self.id)
    }
}

/// With so much output a session waits until it is written, if commands wait in its input.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Whether a line is one with which requests of HTTP begin that others can have a browser send, or go
/// on. There are no such commands.
fn is_http(words: &[Bytes]) -> bool {
    let is = |word: &[u8]| words.first().is_some_and(|first| first.eq_ignore_ascii_case(word));
    is(b"post") || is(b"host:")
}

/// Commands that no transaction holds: they are about it, or about the connection as such.
fn is_taken_at_once(spec: &Spec) -> bool {
    spec.kind == Kind::Transaction && spec.name != "unwatch"
        || matches!(spec.name, "quit" | "reset")
}
