//! Runs commands one after the other and prints what they bring.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use kv_core::{Answer, CommandResult, Done, Key, NodeId, RequestOptions, Status};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{sleep, timeout};

use super::args::Defaults;
use super::command::{Command, Line, Request, UsageError};
use super::exit::ExitStatus;
use super::help::help_text;
use super::input::{Input, InputLine, LINE_BYTES_MAX};
use super::interrupts::Interrupts;
use super::news::{self, News};
use super::screen::Screen;
use super::words::as_line;
use super::{json, text};
use crate::answer::{DumpEntries, done};
use crate::client::Client;
use crate::error::ClientError;
use crate::event::Event;

/// How a command ended, to be printed.
pub(crate) struct Finished {
    pub(crate) command: &'static str,
    pub(crate) key: Option<Key>,
    /// Where it stands in the input, from 1, if that is a pipe.
    pub(crate) line: Option<u64>,
    /// The server that the client is connected to, or that answered.
    pub(crate) server: Option<NodeId>,
    pub(crate) elapsed: Duration,
    pub(crate) result: Result<Success, ClientError>,
}

/// What a command brought.
pub(crate) enum Success {
    Done(Done),
    Dump(DumpEntries),
    Status(Box<Status>),
    Paused,
}

/// Commands in order, with one client.
pub(crate) struct Session {
    client: Client,
    events: broadcast::Receiver<Event>,
    news: News,
    screen: Screen,
    defaults: Defaults,
    input: Option<Input>,
    /// Lines that came during a pause.
    waiting: VecDeque<InputLine>,
    interrupts: Interrupts,
    on_terminal: bool,
    line: Option<u64>,
    first_failure: Option<ExitStatus>,
}

/// What comes after a command.
enum Flow {
    Next(ExitStatus),
    Exit,
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
            news: News::default(),
            screen,
            defaults,
            input: None,
            waiting: VecDeque::new(),
            interrupts: Interrupts::ignored(),
            on_terminal: false,
            line: None,
            first_failure: None,
        }
    }

    /// Runs one command; a missing key has a status of its own here.
    pub(crate) async fn run_one(mut self, line: Line) -> io::Result<ExitStatus> {
        match self.run(line).await? {
            Flow::Next(status) => Ok(status),
            Flow::Exit => Ok(ExitStatus::Done),
        }
    }

    /// Runs lines to the end of the input or to `exit`; the first failure is the status.
    pub(crate) async fn run_pipe(mut self, input: Input) -> io::Result<ExitStatus> {
        self.input = Some(input);
        while let Some(line) = self.next_line().await {
            self.line = Some(self.line.unwrap_or(0) + 1);
            match self.run_line(line).await? {
                Flow::Exit => break,
                Flow::Next(ExitStatus::Done | ExitStatus::NotFound) => {}
                Flow::Next(failure) => {
                    self.first_failure.get_or_insert(failure);
                }
            }
        }
        Ok(self.first_failure.unwrap_or(ExitStatus::Done))
    }

    /// Talks to a person until `exit`, the end of the input, or Ctrl-C at the prompt.
    pub(crate) async fn run_terminal(mut self, input: Input) -> io::Result<ExitStatus> {
        self.input = Some(input);
        self.on_terminal = true;
        self.interrupts = Interrupts::taken();
        self.greet().await;
        loop {
            let prompt = self.prompt();
            let line = if let Some(line) = self.waiting.pop_front() {
                let text = match &line {
                    InputLine::Text(text) => as_line(text.trim_ascii()),
                    InputLine::TooLong => String::new(),
                };
                self.screen.line(prompt + &text)?;
                Some(line)
            } else {
                self.ask().await?
            };
            let Some(line) = line else {
                self.screen.line("")?;
                return Ok(ExitStatus::Done);
            };
            if let Flow::Exit = self.run_line(line).await? {
                return Ok(ExitStatus::Done);
            }
        }
    }

    /// Waits a moment for the first server, so that the prompt can name it.
    async fn greet(&mut self) {
        match timeout(GREETING_MAX, self.events.recv()).await {
            Ok(Ok(event)) => self.tell(event),
            Ok(Err(_)) => {}
            Err(_) => self.screen.note("no server has answered yet; still trying"),
        }
    }

    /// Shows the prompt and waits for a line; `None` for the end or Ctrl-C.
    async fn ask(&mut self) -> io::Result<Option<InputLine>> {
        let prompt = self.prompt();
        self.screen.prompt(&prompt)?;
        loop {
            tokio::select! {
                line = next(&mut self.input) => return Ok(line),
                event = self.events.recv() => {
                    if let Some(line) = self.news_line(event) {
                        self.screen.note(&format!("\n{line}"));
                        let prompt = self.prompt();
                        self.screen.prompt(&prompt)?;
                    }
                }
                () = self.interrupts.next() => return Ok(None),
            }
        }
    }

    fn prompt(&self) -> String {
        match self.client.server() {
            Some(server) => format!("kv {server}> "),
            None => "kv> ".to_owned(),
        }
    }

    async fn next_line(&mut self) -> Option<InputLine> {
        match self.waiting.pop_front() {
            Some(line) => Some(line),
            None => next(&mut self.input).await,
        }
    }

    async fn run_line(&mut self, line: InputLine) -> io::Result<Flow> {
        let parsed = match &line {
            InputLine::Text(text) => Line::parse(text),
            InputLine::TooLong => Err(UsageError::LineTooLong { limit: LINE_BYTES_MAX }),
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
        let defaults = self.defaults.with(line.options);
        let options = RequestOptions { timeout: defaults.timeout, ..RequestOptions::default() };
        let client = self.client.clone();
        let begin = Instant::now();
        let (command, key, result) = match line.command {
            Command::Exit => return Ok(Flow::Exit),
            Command::Help(topic) => {
                self.screen.line(help_text(topic))?;
                return Ok(Flow::Next(ExitStatus::Done));
            }
            Command::Execute(request) => {
                let (name, key) = (request.name, request.key.clone());
                let result = self.attend(execute(&client, request, defaults.timeout)).await;
                (name, Some(key), result)
            }
            Command::Dump => {
                let dump = async { client.dump_with(&options).await.map(Success::Dump) };
                ("dump", None, self.attend(dump).await)
            }
            Command::Status => {
                let status = async { client.status_within(defaults.timeout).await };
                let status = async { status.await.map(|status| Success::Status(Box::new(status))) };
                ("status", None, self.attend(status).await)
            }
            Command::Delay(pause) => {
                let result = self.pause(pause).await.then_some(Ok(Success::Paused));
                ("delay", None, result)
            }
        };
        let Some(result) = result else {
            self.screen.note("\ninterrupted");
            return Ok(Flow::Next(ExitStatus::Unclear));
        };
        let finished = Finished {
            command,
            key,
            line: self.line,
            server: client.server(),
            elapsed: begin.elapsed(),
            result,
        };
        let status = finished.status();
        if defaults.json {
            self.screen.line(json::finished(finished))?;
        } else {
            text::print(finished, &mut self.screen)?;
        }
        Ok(Flow::Next(status))
    }

    /// Waits for a command and tells meanwhile what happens to the connection; `None` after Ctrl-C.
    async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    if let Some(line) = self.news_line(event) {
                        self.screen.note(&line);
                    }
                }
                result = &mut work => break Some(result),
                () = self.interrupts.next() => break None,
            }
        };
        self.tell_rest();
        result
    }

    /// Waits while lines gather; false after Ctrl-C, which drops them.
    async fn pause(&mut self, pause: Duration) -> bool {
        if self.on_terminal {
            let text = format!("pausing for {pause:?}; lines typed meanwhile run afterwards");
            self.screen.note(&text);
        }
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            let has_room = self.waiting.len() < WAITING_MAX;
            tokio::select! {
                () = &mut over => break,
                line = next(&mut self.input), if has_room && self.input.is_some() => match line {
                    Some(line) => {
                        self.waiting.push_back(line);
                        self.tell_waiting();
                    }
                    None => self.input = None,
                },
                event = self.events.recv() => {
                    if let Some(line) = self.news_line(event) {
                        self.screen.note(&line);
                    }
                }
                () = self.interrupts.next() => {
                    self.waiting.clear();
                    return false;
                }
            }
        }
        self.tell_rest();
        true
    }

    fn tell_waiting(&mut self) {
        if !self.on_terminal {
            return;
        }
        let text = match self.waiting.len() {
            1 => "1 line waits".to_owned(),
            WAITING_MAX => format!("{WAITING_MAX} lines wait; further ones are read afterwards"),
            count => format!("{count} lines wait"),
        };
        self.screen.note(&text);
    }

    /// Tells what has happened by now, all of it.
    fn tell_rest(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.tell(event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if let Some(line) = self.news.rest() {
            self.screen.note(&line);
        }
    }

    fn tell(&mut self, event: Event) {
        if let Some(line) = self.news_line(Ok(event)) {
            self.screen.note(&line);
        }
    }

    fn news_line(&mut self, event: Result<Event, RecvError>) -> Option<String> {
        // Events that were missed in a long wait are of the past.
        let event = event.ok()?;
        if self.defaults.json {
            return Some(news::json(&event));
        }
        self.news.line(event, self.on_terminal)
    }
}

impl Finished {
    fn status(&self) -> ExitStatus {
        match &self.result {
            Ok(Success::Done(done)) if is_missing(&done.answer) => ExitStatus::NotFound,
            Ok(_) => ExitStatus::Done,
            Err(error) => ExitStatus::of_error(error),
        }
    }
}

fn is_missing(answer: &Answer) -> bool {
    matches!(answer, Answer::Results(results)
        if matches!(results.as_slice(), [CommandResult::Value(None)]))
}

async fn execute(
    client: &Client,
    request: Request,
    timeout: Duration,
) -> Result<Success, ClientError> {
    let options = RequestOptions { timeout, ..request.options };
    let outcome = client.execute(request.operation, options).await?;
    done(outcome).map(Success::Done)
}

async fn next(input: &mut Option<Input>) -> Option<InputLine> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

/// How many lines wait for the end of a pause; further ones wait where they come from.
const WAITING_MAX: usize = 1024;

/// How long the first prompt waits for a server.
const GREETING_MAX: Duration = Duration::from_secs(2);
