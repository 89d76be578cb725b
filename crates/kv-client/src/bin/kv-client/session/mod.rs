//! Runs commands one after the other and prints what they bring.

pub(crate) mod health;
mod interrupts;
mod listing;
mod notices;
mod pipe;
mod requests;
mod source;
mod terminal;
mod transaction;
mod wait;

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use kv_client::{Client, Event};
use kv_core::Key;
use kv_proto::Welcome;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::args::start::Defaults;
use crate::commands::command::{Command, Line};
use crate::commands::help::help_text;
use crate::commands::usage::UsageError;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Finished, Success};
use crate::output::screen::{Screen, Style};
use crate::output::{json, text};
use crate::shell::input::{InputLine, LINE_BYTES_MAX};
use crate::shell::known_keys::KnownKeys;
use crate::shell::prompt::{Prompt, full_text, in_transaction, short_text};
use health::Targets;
use interrupts::Interrupts;
use notices::Notices;
use source::Source;
use transaction::Transaction;
use wait::WaitMode;

/// Commands in order, with one client.
pub(crate) struct Session {
    client: Client,
    events: broadcast::Receiver<Event>,
    targets: Targets,
    notices: Notices,
    screen: Screen,
    defaults: Defaults,
    mode: Mode,
    source: Source,
    /// Lines that came during a pause.
    waiting: VecDeque<InputLine>,
    interrupts: Interrupts,
    line: Option<u64>,
    /// Whether Ctrl-C was pressed since the last line began.
    was_interrupted: bool,
    /// What the server said of itself that the client was connected to last.
    welcome: Option<Box<Welcome>>,
    prompt: Prompt,
    known: KnownKeys,
    /// The lines since `begin`.
    transaction: Option<Transaction>,
}

/// Where commands come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One command of the program's arguments.
    One,
    /// Lines from a pipe or a file.
    Pipe,
    /// A person at a terminal that can do nothing but print.
    Plain,
    /// A person at a terminal, with an editor.
    Shell,
}

/// What comes after a command.
enum Flow {
    Next(ExitStatus),
    Exit,
}

/// How far a command has come.
enum Work {
    /// It asks to leave.
    Exit,
    /// It has printed all that there is to say.
    Told(ExitStatus),
    Ended(&'static str, Option<Key>, Result<Success, Failure>),
}

impl Session {
    pub(crate) fn new(
        client: Client,
        events: broadcast::Receiver<Event>,
        targets: Targets,
        screen: Screen,
        defaults: Defaults,
    ) -> Self {
        Self {
            client,
            events,
            targets,
            notices: Notices::default(),
            screen,
            defaults,
            mode: Mode::One,
            source: Source::Ended,
            waiting: VecDeque::new(),
            interrupts: Interrupts::ignored(),
            line: None,
            was_interrupted: false,
            welcome: None,
            prompt: Prompt::default(),
            known: KnownKeys::default(),
            transaction: None,
        }
    }

    /// Runs one command; a missing key has a status of its own here.
    pub(crate) async fn run_one(mut self, line: Line) -> io::Result<ExitStatus> {
        // Notices has the form that the line asks for.
        self.defaults = self.defaults.with(line.options);
        match self.run(line).await? {
            Flow::Next(status) => Ok(status),
            Flow::Exit => Ok(ExitStatus::Done),
        }
    }

    async fn run_line(&mut self, line: InputLine) -> io::Result<Flow> {
        match Self::parse(&line) {
            Ok(Some(line)) => self.run(line).await,
            Ok(None) => Ok(Flow::Next(ExitStatus::Done)),
            Err(error) => {
                self.refuse(&error, self.defaults.json)?;
                Ok(Flow::Next(ExitStatus::Usage))
            }
        }
    }

    /// What a line means; `None` if nothing.
    fn parse(line: &InputLine) -> Result<Option<Line>, UsageError> {
        match line {
            InputLine::Text(text) => Line::parse(text),
            InputLine::TooLong => Err(UsageError::LineTooLong { limit: LINE_BYTES_MAX }),
            InputLine::NoText => Err(UsageError::NoText),
        }
    }

    /// Prints a mistake of the user.
    fn refuse(&mut self, error: &UsageError, json: bool) -> io::Result<()> {
        self.screen.error(error, self.line, json);
        self.break_transaction()?;
        match self.mode == Mode::Pipe && !json {
            true => self.screen.line(text::WRONG_USAGE),
            false => Ok(()),
        }
    }

    /// Runs a line, as often as it asks for; the first failure is the status.
    async fn run(&mut self, line: Line) -> io::Result<Flow> {
        self.interrupts.forget();
        self.was_interrupted = false;
        let (times, every) = (line.options.times(), line.options.every.unwrap_or_default());
        let is_of_transaction = self.transaction.is_some() || line.command == Command::Begin;
        if is_of_transaction && times != 1 {
            let error = UsageError::NotInTransaction { what: "--repeat or --every" };
            self.refuse(&error, self.defaults.with(line.options).json)?;
            return Ok(Flow::Next(ExitStatus::Usage));
        }
        let mut status = ExitStatus::Done;
        let mut due = Instant::now();
        for turn in 0..times {
            if turn > 0 {
                due = (due + every).max(Instant::now());
                let pause = tokio::time::sleep_until(due.into());
                // An interruption shows below.
                let _ = self.wait_for(WaitMode::Request, pause).await;
            }
            if self.was_interrupted {
                break;
            }
            match self.run_once(line.clone()).await? {
                Flow::Exit => return Ok(Flow::Exit),
                Flow::Next(next) => status = status.or_later(next),
            }
        }
        Ok(Flow::Next(status))
    }

    async fn run_once(&mut self, line: Line) -> io::Result<Flow> {
        let defaults = self.defaults.with(line.options);
        let begin = Instant::now();
        let work = match self.transaction_step(line.command, line.options, defaults).await? {
            ControlFlow::Break(work) => work,
            ControlFlow::Continue(command) => self.work(command, defaults).await?,
        };
        match work {
            Work::Exit => Ok(Flow::Exit),
            Work::Told(status) => Ok(Flow::Next(status)),
            Work::Ended(command, key, result) => {
                let names_key = false;
                let ended = self.ended(command, key, names_key, begin, result);
                self.print(ended, defaults).map(Flow::Next)
            }
        }
    }

    fn ended(
        &self,
        command: &'static str,
        key: Option<Key>,
        names_key: bool,
        begin: Instant,
        result: Result<Success, Failure>,
    ) -> Finished {
        Finished {
            command,
            key,
            names_key,
            line: self.line,
            server: self.client.server(),
            elapsed: begin.elapsed(),
            result,
        }
    }

    /// Prints how a command ended.
    fn print(&mut self, finished: Finished, defaults: Defaults) -> io::Result<ExitStatus> {
        let status = finished.status();
        finished.known_key().into_iter().for_each(|key| self.known.add(key));
        if finished.is_interrupted() {
            self.leave_interrupted_line();
        }
        if defaults.json {
            self.screen.line(json::finished(finished))?;
        } else {
            let one_line_each = self.mode == Mode::Pipe;
            text::print(finished, self.style(defaults), one_line_each, &mut self.screen)?;
        }
        Ok(status)
    }

    /// A plain terminal has shown `^C`.
    fn leave_interrupted_line(&mut self) {
        if self.mode != Mode::Shell {
            self.screen.note("");
        }
    }

    fn style(&self, defaults: Defaults) -> Style {
        match (defaults.raw, self.mode) {
            (false, _) => self.screen.style(),
            (true, Mode::One) => Style::Exact,
            (true, Mode::Pipe | Mode::Plain | Mode::Shell) => Style::Raw,
        }
    }

    async fn work(&mut self, command: Command, defaults: Defaults) -> io::Result<Work> {
        let timeout = defaults.timeout;
        let (command, result) = match command {
            Command::Exit => return Ok(Work::Exit),
            // They have been carried out before.
            Command::Begin | Command::Commit | Command::Discard => {
                return Ok(Work::Told(ExitStatus::Done));
            }
            Command::Help(topic) => {
                let text = match defaults.json {
                    true => json::help(topic, self.line),
                    false => help_text(topic),
                };
                self.screen.line(text)?;
                return Ok(Work::Told(ExitStatus::Done));
            }
            Command::Execute(request) => return Ok(self.request(request, timeout).await),
            Command::Each(requests) => return self.each(requests, defaults).await,
            Command::DeletePrefix(prefix, options) => {
                return Ok(self.delete_prefix(&prefix, options, timeout).await);
            }
            Command::PutInput(put) => {
                return Ok(match self.value_from_input(put).await {
                    Ok(request) => self.request(request, timeout).await,
                    Err(error) => {
                        self.refuse(&error, defaults.json)?;
                        Work::Told(ExitStatus::Usage)
                    }
                });
            }
            Command::List(listing, shape) => return self.list(listing, shape, defaults).await,
            Command::Status { all, wait } => return Ok(self.status(all, wait, timeout).await),
            Command::Health { reads, wait } => return Ok(self.health(reads, wait, timeout).await),
            Command::Lead(node) => return Ok(self.lead(node, timeout).await),
            Command::Delay(pause) => {
                ("delay", self.pause(pause).await.map(|()| Ok(Success::Paused)))
            }
        };
        let effect = Effect::None;
        Ok(Work::Ended(command, None, requests::ended(result, || effect)))
    }

    fn tell(&mut self, event: Event) {
        self.tell_event(Ok(event));
    }

    fn tell_event(&mut self, event: Result<Event, RecvError>) {
        if let Some(line) = self.notice_line(event) {
            self.screen.event(&line);
        }
    }

    fn notice_line(&mut self, event: Result<Event, RecvError>) -> Option<String> {
        // Events that were missed in a long wait are of the past.
        let event = event.ok()?;
        if let Event::Connected { welcome, .. } | Event::Moved { welcome, .. } = &event {
            self.welcome = Some(welcome.clone());
        }
        self.prompt.set(&self.prompt_text());
        if self.defaults.json {
            return Some(notices::json(&event));
        }
        // A single command goes to the sequencer each time: that is no news.
        if self.mode == Mode::One && matches!(event, Event::Moved { .. }) {
            return None;
        }
        self.notices.line(event, matches!(self.mode, Mode::Plain | Mode::Shell))
    }

    fn prompt_text(&self) -> String {
        let text = match self.mode {
            Mode::Shell => full_text(self.client.server(), self.welcome.as_deref()),
            Mode::One | Mode::Pipe | Mode::Plain => short_text(self.client.server()),
        };
        match &self.transaction {
            Some(transaction) => in_transaction(&text, &transaction.state()),
            None => text,
        }
    }
}
