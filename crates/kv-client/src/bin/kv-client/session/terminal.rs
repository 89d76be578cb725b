//! A session with a person.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::interrupts::Interrupts;
use super::source::Source;
use crate::commands::words::as_line;
use crate::output::console::Console;
use crate::output::exit::ExitStatus;
use crate::session::{Flow, Mode, Session};
use crate::shell::assistant::Assistant;
use crate::shell::editor::{Editor, Typed};
use crate::shell::input::{Input, InputLine};
use crate::shell::key_lookup::KeyLookup;

impl Session {
    /// Talks to a person at a plain terminal until `exit`, the end of the input, or Ctrl-C at the
    /// prompt.
    pub(crate) async fn run_plain(mut self, input: Input) -> io::Result<ExitStatus> {
        self.begin(Mode::Plain, Source::Plain(input)).await;
        loop {
            let line = match self.waiting_line()? {
                Some(line) => line,
                None => match self.next_plain().await? {
                    Typed::Lines(lines) => match self.take_lines(lines) {
                        Some(line) => line,
                        None => continue,
                    },
                    Typed::Interrupt | Typed::End => {
                        self.screen.line("")?;
                        self.abandon_transaction()?;
                        return Ok(ExitStatus::Done);
                    }
                },
            };
            if let Flow::Exit = self.run_line(line).await? {
                self.abandon_transaction()?;
                return Ok(ExitStatus::Done);
            }
        }
    }

    /// Talks to a person at a terminal with an editor until `exit` or Ctrl-D.
    pub(crate) async fn run_shell(
        mut self,
        editor: Editor,
        console: &Console,
    ) -> io::Result<ExitStatus> {
        self.screen = self.screen.shared(console);
        self.begin(Mode::Shell, Source::Edited(editor)).await;
        let mut was_interrupted = false;
        loop {
            let line = match self.waiting_line()? {
                Some(line) => line,
                None => match self.next_edited().await {
                    Typed::Lines(lines) => match self.take_lines(lines) {
                        Some(line) => line,
                        None => continue,
                    },
                    Typed::Interrupt => {
                        if was_interrupted {
                            self.screen.note("Ctrl-D or `exit` leaves");
                        }
                        was_interrupted = true;
                        continue;
                    }
                    Typed::End => {
                        self.abandon_transaction()?;
                        return Ok(ExitStatus::Done);
                    }
                },
            };
            was_interrupted = false;
            if let Flow::Exit = self.run_line(line).await? {
                self.abandon_transaction()?;
                self.source.abandon().await;
                return Ok(ExitStatus::Done);
            }
        }
    }

    /// What helps to type commands of this session.
    pub(crate) fn assistant(&self, lookup: KeyLookup, console: Console) -> Assistant {
        Assistant {
            known: self.known.clone(),
            lookup,
            prompt: self.prompt.clone(),
            paint: self.screen.paint(),
            console,
        }
    }

    /// Waits a moment for the first server, so that the prompt can name it.
    async fn begin(&mut self, mode: Mode, source: Source) {
        self.mode = mode;
        self.source = source;
        self.interrupts = Interrupts::taken();
        match timeout(GREETING_MAX, self.events.recv()).await {
            Ok(Ok(event)) => self.tell(event),
            Ok(Err(_)) => {}
            Err(_) => self.screen.note("no server has answered yet; still trying"),
        }
    }

    /// The line that was typed, to be run now; several are shown again, each as it runs.
    fn take_lines(&mut self, mut lines: Vec<InputLine>) -> Option<InputLine> {
        if lines.len() < 2 {
            return lines.pop();
        }
        self.waiting.extend(lines);
        None
    }

    /// The next line that came while another one ran, which is shown again.
    fn waiting_line(&mut self) -> io::Result<Option<InputLine>> {
        let Some(line) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let text = match &line {
            InputLine::Text(text) => as_line(text.trim_ascii()),
            InputLine::TooLong | InputLine::NoText => String::new(),
        };
        self.screen.line(self.prompt_text() + &text)?;
        Ok(Some(line))
    }

    async fn next_plain(&mut self) -> io::Result<Typed> {
        self.screen.prompt(&self.prompt_text())?;
        loop {
            tokio::select! {
                typed = self.source.next() => return Ok(typed),
                event = self.events.recv() => {
                    if let Some(line) = self.notice_line(event) {
                        self.screen.note(&format!("\n{line}"));
                        self.screen.prompt(&self.prompt_text())?;
                    }
                }
                () = self.interrupts.next() => return Ok(Typed::Interrupt),
            }
        }
    }

    async fn next_edited(&mut self) -> Typed {
        let prompt = self.prompt_text();
        self.prompt.set(&prompt);
        self.source.ask(&prompt);
        loop {
            tokio::select! {
                typed = self.source.next() => return typed,
                event = self.events.recv() => {
                    if let Some(line) = self.notice_line(event) {
                        self.screen.event(&line);
                    }
                }
            }
        }
    }
}

/// How long the first prompt waits for a server.
const GREETING_MAX: Duration = Duration::from_secs(2);
