//! Commands from a pipe.
//!
//! Commands on single keys run at the same time as long as their keys differ. Every other command
//! waits for all lines before it, and those behind it wait for its end. Results are printed in the
//! order of the lines.

use std::collections::{BTreeSet, VecDeque};
use std::future::{poll_fn, ready};
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use kv_client::{ClientError, SendState};
use kv_core::{Answer, CommandResult, Key, NodeId};
use tokio::task::{JoinHandle, unconstrained};

use super::requests::execute;
use super::source::Source;
use super::{Flow, Mode, Session};
use crate::args::start::{Defaults, Lines};
use crate::commands::command::{Command, Line, Request};
use crate::commands::line_options::LineOptions;
use crate::output::exit::ExitStatus;
use crate::output::finished::{Finished, Success};
use crate::shell::editor::Typed;
use crate::shell::input::{Input, InputLine};

impl Session {
    /// Runs lines to the end of the input or to `exit`, or to the first failure if that is to stop
    /// them; the first failure is the status.
    pub(crate) async fn run_pipe(mut self, input: Input, lines: Lines) -> io::Result<ExitStatus> {
        self.mode = Mode::Pipe;
        self.source = Source::Plain(input);
        let mut running = Running::new(lines);
        let mut status = ExitStatus::Done;
        while let Some(line) = self.next_of_pipe(&mut running, &mut status).await? {
            self.line = Some(self.line.unwrap_or(0) + 1);
            let bytes = line.len();
            let flow = match Self::parse(&line) {
                Ok(None) => continue,
                Ok(Some(Line { command: Command::Execute(request), options }))
                    if self.transaction.is_none() && is_independent(&request, &options) =>
                {
                    while !running.takes(&request.key, bytes) {
                        self.print_first(&mut running, &mut status).await?;
                    }
                    if running.is_stopped_by(status) {
                        continue;
                    }
                    let defaults = self.defaults.with(options);
                    running.begin(self.start(request, bytes, defaults).await);
                    continue;
                }
                Ok(Some(line)) => {
                    self.print_all(&mut running, &mut status).await?;
                    if running.is_stopped_by(status) {
                        continue;
                    }
                    self.run(line).await?
                }
                Err(error) => {
                    self.print_all(&mut running, &mut status).await?;
                    if running.is_stopped_by(status) {
                        continue;
                    }
                    self.refuse(&error, self.defaults.json)?;
                    Flow::Next(ExitStatus::Usage)
                }
            };
            match flow {
                Flow::Exit => break,
                Flow::Next(next) => status = of_pipe(status, next),
            }
        }
        Ok(of_pipe(status, self.abandon_transaction()?))
    }

    /// The next line, once another may run; `None` after the last one, when all have ended. Prints
    /// what ends meanwhile.
    async fn next_of_pipe(
        &mut self,
        running: &mut Running,
        status: &mut ExitStatus,
    ) -> io::Result<Option<InputLine>> {
        loop {
            if running.is_stopped_by(*status) {
                self.print_all(running, status).await?;
                return Ok(None);
            }
            if !running.has_room() {
                self.print_first(running, status).await?;
                continue;
            }
            if let Some(line) = self.waiting.pop_front() {
                return Ok(Some(line));
            }
            tokio::select! {
                biased;
                event = self.events.recv(), if !running.lines.is_empty() => self.tell_event(event),
                ended = running.first_end() => self.print_end(running, ended, status)?,
                typed = self.source.next() => match typed {
                    Typed::Lines(lines) => self.waiting.extend(lines),
                    Typed::Interrupt | Typed::End => {
                        self.print_all(running, status).await?;
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// Begins a request, which goes on by itself.
    async fn start(&self, request: Request, bytes: usize, defaults: Defaults) -> Unprinted {
        let (command, key, line) = (request.name, request.key.clone(), self.line);
        let client = self.client.clone();
        let mut work = Box::pin(unconstrained(async move {
            let begin = Instant::now();
            let result = execute(&client, request, defaults.timeout, SendState::default()).await;
            End { result, elapsed: begin.elapsed(), server: client.server() }
        }));
        // The first step hands it to the client, so that requests go in the order of the lines.
        let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        let work = match at_once {
            Poll::Ready(end) => tokio::spawn(ready(end)),
            Poll::Pending => tokio::spawn(work),
        };
        Unprinted { command, key, line, bytes, defaults, work }
    }

    async fn print_all(
        &mut self,
        running: &mut Running,
        status: &mut ExitStatus,
    ) -> io::Result<()> {
        while !running.lines.is_empty() {
            self.print_first(running, status).await?;
        }
        Ok(())
    }

    /// Waits for the end of the first line that has not ended, and prints it.
    async fn print_first(
        &mut self,
        running: &mut Running,
        status: &mut ExitStatus,
    ) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => self.tell_event(event),
                ended = running.first_end() => return self.print_end(running, ended, status),
            }
        }
    }

    fn print_end(
        &mut self,
        running: &mut Running,
        end: End,
        status: &mut ExitStatus,
    ) -> io::Result<()> {
        let Some(first) = running.remove_first(&end) else {
            return Ok(());
        };
        let End { result, elapsed, server } = end;
        if result.is_err() || running.lines.is_empty() {
            self.tell_rest();
        }
        let Unprinted { command, key, line, defaults, .. } = first;
        let (key, result) = (Some(key), result.map_err(Into::into));
        let finished = Finished { command, key, names_key: false, line, server, elapsed, result };
        *status = of_pipe(*status, self.print(finished, defaults)?);
        Ok(())
    }
}

/// Whether a line may run at the same time as others: an operation on one key, once.
const fn is_independent(request: &Request, options: &LineOptions) -> bool {
    // A read of a weaker level is no older than what the lines before it have seen.
    options.times() == 1 && request.options.level.is_none()
}

/// A missing key is no failure in a pipe.
fn of_pipe(status: ExitStatus, next: ExitStatus) -> ExitStatus {
    if next == ExitStatus::NotFound { status } else { status.or_later(next) }
}

/// The lines that run and those that wait for an earlier one to be printed.
struct Running {
    lines: VecDeque<Unprinted>,
    keys: BTreeSet<Key>,
    /// How long the lines are together.
    bytes: usize,
    limits: Lines,
    /// About how large answers are of late.
    answer_bytes: usize,
}

struct Unprinted {
    command: &'static str,
    key: Key,
    line: Option<u64>,
    bytes: usize,
    defaults: Defaults,
    work: JoinHandle<End>,
}

/// How a line ended.
struct End {
    result: Result<Success, ClientError>,
    elapsed: Duration,
    server: Option<NodeId>,
}

impl Running {
    fn new(limits: Lines) -> Self {
        let answer_bytes = ANSWERS_BYTES_MAX / LINES_AT_FIRST;
        Self { lines: VecDeque::new(), keys: BTreeSet::new(), bytes: 0, limits, answer_bytes }
    }

    /// Whether no further line may begin, since one has failed.
    fn is_stopped_by(&self, status: ExitStatus) -> bool {
        self.limits.stop_on_error && status != ExitStatus::Done
    }

    /// Whether one more line may begin.
    fn has_room(&self) -> bool {
        let by_answers = ANSWERS_BYTES_MAX / self.answer_bytes.max(1);
        self.lines.len() < self.limits.max.min(by_answers.max(1))
    }

    /// Whether a line about this key may begin.
    fn takes(&self, key: &Key, bytes: usize) -> bool {
        let fits = self.lines.is_empty() || self.bytes.saturating_add(bytes) <= LINES_BYTES_MAX;
        fits && !self.keys.contains(key)
    }

    fn begin(&mut self, line: Unprinted) {
        self.keys.insert(line.key.clone());
        self.bytes += line.bytes;
        self.lines.push_back(line);
    }

    /// Waits for the end of the first line, for ever if there is none. Nothing is lost if it is
    /// dropped.
    async fn first_end(&mut self) -> End {
        match self.lines.front_mut() {
            Some(first) => (&mut first.work).await.unwrap_or(End {
                result: Err(ClientError::Stopped),
                elapsed: Duration::ZERO,
                server: None,
            }),
            None => std::future::pending().await,
        }
    }

    fn remove_first(&mut self, end: &End) -> Option<Unprinted> {
        let first = self.lines.pop_front()?;
        self.keys.remove(&first.key);
        self.bytes -= first.bytes;
        self.answer_bytes = (self.answer_bytes - self.answer_bytes.div_ceil(8)).max(end.bytes());
        Some(first)
    }
}

impl End {
    fn bytes(&self) -> usize {
        let Ok(Success::Done(done)) = &self.result else {
            return 0;
        };
        let Answer::Results(results) = &done.answer else {
            return 0;
        };
        let sizes = results.iter().map(|result| match result {
            CommandResult::Value(Some(found)) => found.value.as_bytes().len(),
            CommandResult::Value(None)
            | CommandResult::Written
            | CommandResult::Number(_)
            | CommandResult::Length(_)
            | CommandResult::Changed(_)
            | CommandResult::TimeToLive(_)
            | CommandResult::Expiry(_) => 0,
        });
        sizes.sum()
    }
}

/// Lines that run have at most so many bytes together, unless it is a single one.
const LINES_BYTES_MAX: usize = 16 << 20;

/// About how much the answers may have together that are not printed. How large they will be shows
/// in those before them alone.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// So many lines run before the first answer tells how large they are.
const LINES_AT_FIRST: usize = 8;
