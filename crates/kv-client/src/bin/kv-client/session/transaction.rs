//! Transactions: the lines between `begin` and `commit`.
//!
//! They are kept here, and nothing is sent before `commit`, which makes one request of them. A line
//! that is refused breaks the transaction: the lines before it end as not done, and so do those that
//! follow, up to `commit` or `discard`.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use kv_client::{ClientError, SendState};
use kv_core::{
    Answer, Batch, BatchError, Command as Step, Condition, Done, NodeId, NotDone, Operation,
    RequestOptions,
};

use super::requests::success;
use super::wait::{LinesDropped, WaitMode};
use crate::args::start::Defaults;
use crate::commands::command::{Command, Request};
use crate::commands::line_options::LineOptions;
use crate::commands::usage::UsageError;
use crate::commands::words::as_word;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Interrupted, NotCommitted, Success};
use crate::output::screen::at_line;
use crate::output::text::{NOT_DONE, error_text, no_result};
use crate::session::{Mode, Session, Work};

/// A transaction that has begun.
pub(super) struct Transaction {
    /// The line of its `begin`.
    began: Option<u64>,
    lines: Vec<Queued>,
    /// Of the keys and values of all lines.
    bytes: usize,
    /// A line was refused; none is kept any more.
    is_broken: bool,
}

/// A line of a transaction.
struct Queued {
    request: Request,
    line: Option<u64>,
    defaults: Defaults,
}

impl Transaction {
    /// How it stands, for the prompt.
    pub(super) fn state(&self) -> String {
        match self.is_broken {
            true => "refused".to_owned(),
            false => format!("{} queued", self.lines.len()),
        }
    }

    /// Keeps a line.
    fn push(&mut self, queued: Queued) -> Result<(), BatchError> {
        let count = self.lines.len() + 1;
        if count > Batch::LEN_MAX {
            return Err(BatchError::TooMany { count });
        }
        let size = self.bytes + queued.request.batch().map_or(0, Batch::size_bytes);
        if size > Batch::BYTES_MAX {
            return Err(BatchError::TooLarge { size });
        }
        self.bytes = size;
        self.lines.push(queued);
        Ok(())
    }
}

impl Queued {
    fn conditions(&self) -> &[Condition] {
        self.request.batch().map_or(&[], Batch::conditions)
    }

    fn commands(&self) -> &[Step] {
        self.request.batch().map_or(&[], Batch::commands)
    }
}

impl Session {
    /// Does what has to do with transactions, and gives back all other commands.
    pub(super) async fn transaction_step(
        &mut self,
        command: Command,
        options: LineOptions,
        defaults: Defaults,
    ) -> io::Result<ControlFlow<Work, Command>> {
        let work = match (command, self.transaction.is_some()) {
            (Command::Begin, false) if self.mode == Mode::One => {
                self.refused(&UsageError::BeginAlone, defaults)?
            }
            (Command::Begin, false) => self.begin_transaction(defaults),
            (Command::Begin, true) => self.refused(&UsageError::BegunAlready, defaults)?,
            (Command::Commit | Command::Discard, false) => {
                self.refused(&UsageError::NoTransaction, defaults)?
            }
            (Command::Commit, true) => self.commit(defaults).await?,
            (Command::Discard, true) => {
                let count = self.transaction.take().map_or(0, |dropped| dropped.lines.len());
                Work::Ended("discard", None, Ok(Success::Discarded(count)))
            }
            (Command::Execute(request), true) => self.queue(vec![request], options, defaults)?,
            (Command::Each(requests), true) => self.queue(requests, options, defaults)?,
            (command, true) => match name_of_others(&command) {
                Some(what) => self.refused(&UsageError::NotInTransaction { what }, defaults)?,
                None => return Ok(ControlFlow::Continue(command)),
            },
            (command, false) => return Ok(ControlFlow::Continue(command)),
        };
        Ok(ControlFlow::Break(work))
    }

    fn begin_transaction(&mut self, defaults: Defaults) -> Work {
        let (began, lines) = (self.line, Vec::new());
        self.transaction = Some(Transaction { began, lines, bytes: 0, is_broken: false });
        self.tell_person(defaults, "lines are kept until `commit` or `discard`");
        Work::Ended("begin", None, Ok(Success::Begun))
    }

    fn queue(
        &mut self,
        requests: Vec<Request>,
        options: LineOptions,
        defaults: Defaults,
    ) -> io::Result<Work> {
        if options.timeout.is_some() {
            return self.refused(&UsageError::OptionOfCommit { option: "--timeout" }, defaults);
        }
        if requests.iter().any(|request| request.options != RequestOptions::default()) {
            let what = "a line with --r, --w or --level";
            return self.refused(&UsageError::NotInTransaction { what }, defaults);
        }
        let line = self.line;
        for request in requests {
            let queued = Queued { request, line, defaults };
            match &mut self.transaction {
                Some(transaction) if !transaction.is_broken => {
                    if let Err(error) = transaction.push(queued) {
                        return self.refused(&error.into(), defaults);
                    }
                }
                Some(_) | None => self.print_not_done(&queued)?,
            }
        }
        let is_broken = self.transaction.as_ref().is_some_and(|open| open.is_broken);
        self.tell_person(defaults, if is_broken { ONLY_DISCARD } else { "queued" });
        Ok(Work::Told(if is_broken { ExitStatus::NotDone } else { ExitStatus::Done }))
    }

    fn refused(&mut self, error: &UsageError, defaults: Defaults) -> io::Result<Work> {
        self.refuse(error, defaults.json)?;
        Ok(Work::Told(ExitStatus::Usage))
    }

    /// A line was refused: if it stands in a transaction, nothing of that will be done.
    pub(super) fn break_transaction(&mut self) -> io::Result<()> {
        let Some(transaction) = self.transaction.as_mut().filter(|open| !open.is_broken) else {
            return Ok(());
        };
        transaction.is_broken = true;
        let lines = std::mem::take(&mut transaction.lines);
        self.tell_person(self.defaults, ONLY_DISCARD);
        lines.iter().try_for_each(|queued| self.print_not_done(queued))
    }

    /// Ends a transaction that nobody will commit.
    pub(super) fn abandon_transaction(&mut self) -> io::Result<ExitStatus> {
        let Some(transaction) = self.transaction.take() else {
            return Ok(ExitStatus::Done);
        };
        transaction.lines.iter().try_for_each(|queued| self.print_not_done(queued))?;
        let message = "the transaction that begins here was not committed: nothing of it was done";
        self.screen.complain(&at_line(transaction.began, &message));
        Ok(ExitStatus::NotDone)
    }

    /// Carries out all lines, or none.
    async fn commit(&mut self, defaults: Defaults) -> io::Result<Work> {
        let Some(Transaction { lines, is_broken, .. }) = self.transaction.take() else {
            return Ok(Work::Told(ExitStatus::Done));
        };
        if is_broken {
            let why = Failure::NotCommitted(NotCommitted::RefusedLine);
            return Ok(Work::Ended("commit", None, Err(why)));
        }
        if lines.is_empty() {
            return Ok(Work::Ended("commit", None, Ok(Success::Committed(0, None))));
        }
        let conditions = lines.iter().flat_map(Queued::conditions).cloned();
        let commands = lines.iter().flat_map(Queued::commands).cloned();
        let batch = match Batch::new(conditions.collect(), commands.collect()) {
            Ok(batch) => batch,
            Err(error) => return self.refused(&error.into(), defaults),
        };
        let begin = Instant::now();
        let (client, operation) = (self.client.clone(), Operation::Batch(batch));
        let options = RequestOptions::default().with_timeout(defaults.timeout);
        let is_read_only = operation.is_read_only();
        let send_state = SendState::default();
        let work = client.execute_revocable(operation, options, send_state.clone());
        match self.wait_for(WaitMode::Request, work).await {
            Ok(Ok(done)) => self.print_committed(&lines, done, begin, defaults),
            Ok(Err(error)) => self.print_failed(&lines, &error, begin, defaults),
            Err(LinesDropped(lines_dropped)) => {
                let effect = match send_state.revoke() {
                    true => Effect::NotSent,
                    false if is_read_only => Effect::None,
                    false => Effect::Possible,
                };
                let interrupted = Interrupted { effect, lines_dropped };
                Ok(Work::Ended("commit", None, Err(Failure::Interrupted(interrupted))))
            }
        }
    }

    fn print_committed(
        &mut self,
        lines: &[Queued],
        done: Done,
        begin: Instant,
        defaults: Defaults,
    ) -> io::Result<Work> {
        let Done { answer, version, served } = done;
        let results = match answer {
            Answer::Results(results) if results.len() == lines.len() => results,
            Answer::Results(_) | Answer::Page(_) => {
                let server = self.client.server().unwrap_or(NodeId::FIRST);
                let error = ClientError::Unexpected { server };
                return self.print_failed(lines, &error, begin, defaults);
            }
        };
        for (Queued { request, line, defaults }, result) in lines.iter().zip(results) {
            let answer = Answer::Results(vec![result]);
            let success = success(request.asks_existence, Done { answer, version, served });
            let (name, key) = (request.name, Some(request.key.clone()));
            let mut finished = self.ended(name, key, true, begin, Ok(success));
            finished.line = *line;
            self.print(finished, *defaults)?;
        }
        let done = Done { answer: Answer::Results(Vec::new()), version, served };
        Ok(Work::Ended("commit", None, Ok(Success::Committed(lines.len(), Some(done)))))
    }

    /// Prints that none was done, and which of the lines is to blame, if one is.
    fn print_failed(
        &mut self,
        lines: &[Queued],
        error: &ClientError,
        begin: Instant,
        defaults: Defaults,
    ) -> io::Result<Work> {
        let culprit = culprit(lines, error);
        for (place, queued) in lines.iter().enumerate() {
            if queued.defaults.json {
                let failure = match culprit {
                    Some(culprit) if culprit != place => {
                        Failure::NotCommitted(NotCommitted::OtherLine)
                    }
                    Some(_) | None => Failure::Error(error.clone()),
                };
                self.print_failure(queued, failure, begin)?;
            } else if self.mode == Mode::Pipe {
                self.screen.line(no_result(error))?;
            }
        }
        if defaults.json {
            return Ok(Work::Ended("commit", None, Err(Failure::Error(error.clone()))));
        }
        let text = error_text(error);
        match culprit.and_then(|place| lines.get(place)) {
            None => self.screen.complain(&at_line(self.line, &text)),
            Some(Queued { request, line, .. }) => {
                let key = as_word(request.key.as_bytes());
                self.screen.complain(&at_line(*line, &format!("{} {key}: {text}", request.name)));
                let all = "not committed: nothing of the transaction was done";
                self.screen.complain(&at_line(self.line, &all));
            }
        }
        Ok(Work::Told(ExitStatus::of_error(error)))
    }

    fn print_not_done(&mut self, queued: &Queued) -> io::Result<()> {
        if queued.defaults.json {
            let failure = Failure::NotCommitted(NotCommitted::OtherLine);
            return self.print_failure(queued, failure, Instant::now());
        }
        match self.mode == Mode::Pipe {
            true => self.screen.line(NOT_DONE),
            false => Ok(()),
        }
    }

    fn print_failure(
        &mut self,
        queued: &Queued,
        failure: Failure,
        begin: Instant,
    ) -> io::Result<()> {
        let (name, key) = (queued.request.name, Some(queued.request.key.clone()));
        let mut finished = self.ended(name, key, true, begin, Err(failure));
        finished.line = queued.line;
        self.print(finished, queued.defaults).map(drop)
    }

    fn tell_person(&mut self, defaults: Defaults, text: &str) {
        if matches!(self.mode, Mode::Plain | Mode::Shell) && !defaults.json {
            self.screen.note(text);
        }
    }
}

/// The line that made the whole fail.
fn culprit(lines: &[Queued], error: &ClientError) -> Option<usize> {
    match error {
        ClientError::NotDone(NotDone::ConditionFailed { index, .. }) => {
            let asks = lines
                .iter()
                .enumerate()
                .flat_map(|(place, queued)| queued.conditions().iter().map(move |_| place));
            asks.into_iter().nth(usize::from(*index))
        }
        ClientError::NotDone(NotDone::NotANumber { index } | NotDone::ValueTooLarge { index }) => {
            Some(usize::from(*index)).filter(|place| *place < lines.len())
        }
        ClientError::NotDone(_)
        | ClientError::Unknown(_)
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
        | _ => None,
    }
}

/// The name of a command that is not an operation on single keys; `None` if it is allowed
/// everywhere, or refused for another reason.
const fn name_of_others(command: &Command) -> Option<&'static str> {
    match command {
        Command::DeletePrefix(..) => Some("delete --prefix"),
        Command::List(..) => Some("a list"),
        Command::Status { .. } => Some("status"),
        Command::Health { .. } => Some("health"),
        Command::Lead(_) => Some("lead"),
        Command::Delay(_) => Some("delay"),
        Command::Execute(_)
        | Command::Each(_)
        | Command::PutInput(_)
        | Command::Begin
        | Command::Commit
        | Command::Discard
        | Command::Help(_)
        | Command::Exit => None,
    }
}

const ONLY_DISCARD: &str = "a line of the transaction was refused: it can only be discarded";
