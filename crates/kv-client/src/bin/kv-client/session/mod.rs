//! Runs commands one after the other and prints what they bring.

mod interrupts;
mod listing;
mod notices;
mod source;
mod terminal;
mod wait;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use kv_client::{Client, ClientError, Event, SendState};
use kv_core::{Key, Outcome, RequestOptions};
use kv_proto::Welcome;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::args::start::Defaults;
use crate::commands::command::{Command, Line, PutInput, Request};
use crate::commands::help::help_text;
use crate::commands::usage::UsageError;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Effect, Failure, Finished, Interrupted, Success};
use crate::output::screen::{Screen, Style};
use crate::output::{json, text};
use crate::shell::editor::Typed;
use crate::shell::input::{self, Input, InputLine, LINE_BYTES_MAX};
use crate::shell::known_keys::KnownKeys;
use crate::shell::prompt::{Prompt, full_text, short_text};
use interrupts::Interrupts;
use listing::Listing;
use notices::Notices;
use source::Source;
use wait::{LinesDropped, WaitMode};

/// Commands in order, with one client.
pub(crate) struct Session {
    client: Client,
    events: broadcast::Receiver<Event>,
    notices: Notices,
    screen: Screen,
    defaults: Defaults,
    mode: Mode,
    source: Source,
    /// Lines that came during a pause.
    waiting: VecDeque<InputLine>,
    interrupts: Interrupts,
    line: Option<u64>,
    /// What the server said of itself that the client was connected to last.
    welcome: Option<Box<Welcome>>,
    prompt: Prompt,
    known: KnownKeys,
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
        screen: Screen,
        defaults: Defaults,
    ) -> Self {
        Self {
            client,
            events,
            notices: Notices::default(),
            screen,
            defaults,
            mode: Mode::One,
            source: Source::Ended,
            waiting: VecDeque::new(),
            interrupts: Interrupts::ignored(),
            line: None,
            welcome: None,
            prompt: Prompt::default(),
            known: KnownKeys::default(),
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

    /// Runs lines to the end of the input or to `exit`; the first failure is the status.
    pub(crate) async fn run_pipe(mut self, input: Input) -> io::Result<ExitStatus> {
        self.mode = Mode::Pipe;
        self.source = Source::Plain(input);
        let mut first_failure = None;
        while let Some(line) = self.next_line().await {
            self.line = Some(self.line.unwrap_or(0) + 1);
            match self.run_line(line).await? {
                Flow::Exit => break,
                Flow::Next(ExitStatus::Done | ExitStatus::NotFound) => {}
                Flow::Next(failure) => {
                    first_failure.get_or_insert(failure);
                }
            }
        }
        Ok(first_failure.unwrap_or(ExitStatus::Done))
    }

    async fn next_line(&mut self) -> Option<InputLine> {
        if let Some(line) = self.waiting.pop_front() {
            return Some(line);
        }
        match self.source.next().await {
            Typed::Lines(lines) => {
                self.waiting.extend(lines);
                self.waiting.pop_front()
            }
            Typed::Interrupt | Typed::End => None,
        }
    }

    async fn run_line(&mut self, line: InputLine) -> io::Result<Flow> {
        let parsed = match &line {
            InputLine::Text(text) => Line::parse(text),
            InputLine::TooLong => Err(UsageError::LineTooLong { limit: LINE_BYTES_MAX }),
            InputLine::NoText => Err(UsageError::NoText),
        };
        match parsed {
            Ok(Some(line)) => self.run(line).await,
            Ok(None) => Ok(Flow::Next(ExitStatus::Done)),
            Err(error) => {
                self.screen.error(&error, self.line, self.defaults.json);
                Ok(Flow::Next(ExitStatus::Usage))
            }
        }
    }

    async fn run(&mut self, line: Line) -> io::Result<Flow> {
        self.interrupts.forget();
        let defaults = self.defaults.with(line.options);
        let begin = Instant::now();
        let (command, key, result) = match self.work(line.command, defaults).await? {
            Work::Exit => return Ok(Flow::Exit),
            Work::Told(status) => return Ok(Flow::Next(status)),
            Work::Ended(command, key, result) => (command, key, result),
        };
        let finished = Finished {
            command,
            key,
            line: self.line,
            server: self.client.server(),
            elapsed: begin.elapsed(),
            result,
        };
        let status = finished.status();
        finished.known_key().into_iter().for_each(|key| self.known.add(key));
        if finished.is_interrupted() {
            self.leave_interrupted_line();
        }
        if defaults.json {
            self.screen.line(json::finished(finished))?;
        } else {
            text::print(finished, self.style(defaults), &mut self.screen)?;
        }
        Ok(Flow::Next(status))
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
        let client = self.client.clone();
        let (command, result) = match command {
            Command::Exit => return Ok(Work::Exit),
            Command::Help(topic) => {
                let text = match defaults.json {
                    true => json::help(topic, self.line),
                    false => help_text(topic),
                };
                self.screen.line(text)?;
                return Ok(Work::Told(ExitStatus::Done));
            }
            Command::Execute(request) => return Ok(self.request(request, timeout).await),
            Command::PutInput(put) => {
                return Ok(match self.value_from_input(put).await {
                    Ok(request) => self.request(request, timeout).await,
                    Err(error) => {
                        self.screen.error(&error, self.line, defaults.json);
                        Work::Told(ExitStatus::Usage)
                    }
                });
            }
            Command::Scan(prefix) => return self.list(Listing::Scan(prefix), defaults).await,
            Command::Dump => return self.list(Listing::Dump, defaults).await,
            Command::Status => {
                let status = async { client.status_within(timeout).await };
                let status = async { status.await.map(|status| Success::Status(Box::new(status))) };
                ("status", self.wait_for(WaitMode::Request, status).await)
            }
            Command::Delay(pause) => {
                ("delay", self.pause(pause).await.map(|()| Ok(Success::Paused)))
            }
        };
        let effect = Effect::None;
        Ok(Work::Ended(command, None, ended(result, || effect)))
    }

    async fn request(&mut self, request: Request, timeout: Duration) -> Work {
        let client = self.client.clone();
        let (name, key) = (request.name, request.key.clone());
        let is_read_only = request.operation.is_read_only();
        let send_state = SendState::default();
        let work = execute(&client, request, timeout, send_state.clone());
        let result = self.wait_for(WaitMode::Request, work).await;
        let effect = || match send_state.revoke() {
            true => Effect::NotSent,
            false if is_read_only => Effect::None,
            false => Effect::Possible,
        };
        Work::Ended(name, Some(key), ended(result, effect))
    }

    async fn value_from_input(&self, put: PutInput) -> Result<Request, UsageError> {
        if self.mode != Mode::One {
            return Err(UsageError::InputTaken);
        }
        let read = tokio::task::spawn_blocking(input::whole_value).await;
        let stopped = |_| io::Error::from(io::ErrorKind::Interrupted);
        let value = read.map_err(stopped).and_then(|value| value);
        put.with(value.map_err(|error| UsageError::InputUnreadable(error.kind()))?)
    }

    fn tell(&mut self, event: Event) {
        if let Some(line) = self.notice_line(Ok(event)) {
            self.screen.event(&line);
        }
    }

    fn notice_line(&mut self, event: Result<Event, RecvError>) -> Option<String> {
        // Events that were missed in a long wait are of the past.
        let event = event.ok()?;
        if let Event::Connected { welcome, .. } = &event {
            self.welcome = Some(welcome.clone());
        }
        self.prompt.set(&self.prompt_text());
        if self.defaults.json {
            return Some(notices::json(&event));
        }
        self.notices.line(event, matches!(self.mode, Mode::Plain | Mode::Shell))
    }

    fn prompt_text(&self) -> String {
        match self.mode {
            Mode::Shell => full_text(self.client.server(), self.welcome.as_deref()),
            Mode::One | Mode::Pipe | Mode::Plain => short_text(self.client.server()),
        }
    }
}

/// How a command ended that Ctrl-C may have interrupted.
fn ended(
    result: Result<Result<Success, ClientError>, LinesDropped>,
    effect: impl FnOnce() -> Effect,
) -> Result<Success, Failure> {
    match result {
        Ok(result) => result.map_err(Failure::Error),
        Err(LinesDropped(lines_dropped)) => {
            Err(Failure::Interrupted(Interrupted { effect: effect(), lines_dropped }))
        }
    }
}

async fn execute(
    client: &Client,
    request: Request,
    timeout: Duration,
    send_state: SendState,
) -> Result<Success, ClientError> {
    let options = RequestOptions { timeout, ..request.options };
    match client.execute_revocable(request.operation, options, send_state).await? {
        Outcome::Done(done) => Ok(Success::Done(done)),
        Outcome::NotDone(reason) => Err(ClientError::NotDone(reason)),
        Outcome::Unknown(unknown) => Err(ClientError::Unknown(unknown)),
    }
}
