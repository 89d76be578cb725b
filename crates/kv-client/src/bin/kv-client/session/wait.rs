//! What happens while a command runs: notices, Ctrl-C, and lines that are typed already.

use std::time::Duration;

use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, sleep, sleep_until};

use crate::session::{Mode, Session};
use crate::shell::editor::Typed;

/// What a session listens to while a command runs, besides notices and Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitMode {
    /// A line may be typed if it takes long.
    Request,
    /// Lines may be typed at once, and are counted.
    Pause,
    /// Nothing is typed: the command is printing, or has lent the terminal to a pager.
    Output,
}

/// Ctrl-C was pressed, which drops the lines that wait as well: so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinesDropped(pub(super) usize);

impl Session {
    /// Waits for a command.
    ///
    /// # Errors
    /// [`LinesDropped`] after Ctrl-C.
    pub(super) async fn wait_for<T>(
        &mut self,
        mode: WaitMode,
        work: impl Future<Output = T>,
    ) -> Result<T, LinesDropped> {
        tokio::pin!(work);
        let result = loop {
            let takes_lines = mode != WaitMode::Output && self.waiting.len() < WAITING_LINES_MAX;
            if mode == WaitMode::Pause && takes_lines {
                self.source.ask(&self.prompt_text());
            } else if !takes_lines && mode != WaitMode::Output {
                self.source.heed_signals();
            }
            let reads = takes_lines
                && (self.source.is_open() || (mode == WaitMode::Pause && self.source.is_plain()));
            let opens_at = self.source.opens_at();
            let patience = sleep_until(opens_at.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                event = self.events.recv() => self.tell_event(event),
                result = &mut work => break Ok(result),
                () = self.interrupts.next() => break Err(self.drop_waiting()),
                typed = self.source.next(), if reads => match typed {
                    Typed::Lines(lines) => {
                        self.waiting.extend(lines);
                        if mode == WaitMode::Pause {
                            self.tell_waiting();
                        }
                    }
                    Typed::Interrupt => break Err(self.drop_waiting()),
                    Typed::End => {}
                },
                () = patience, if takes_lines && opens_at.is_some() => {
                    self.source.ask(&self.prompt_text());
                }
            }
        };
        self.tell_rest();
        self.was_interrupted |= result.is_err();
        result
    }

    /// Waits while lines gather.
    ///
    /// # Errors
    /// [`LinesDropped`] after Ctrl-C.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), LinesDropped> {
        if matches!(self.mode, Mode::Plain | Mode::Shell) {
            let pause = if pause.is_zero() { "0 ms".to_owned() } else { format!("{pause:?}") };
            let text = format!("pausing for {pause}; lines typed meanwhile run afterwards");
            self.screen.note(&text);
        }
        self.wait_for(WaitMode::Pause, sleep(pause)).await
    }

    fn drop_waiting(&mut self) -> LinesDropped {
        LinesDropped(self.waiting.drain(..).count())
    }

    fn tell_waiting(&mut self) {
        if !matches!(self.mode, Mode::Plain | Mode::Shell) {
            return;
        }
        let text = match self.waiting.len() {
            1 => "1 line waits".to_owned(),
            count @ 2..WAITING_LINES_MAX => format!("{count} lines wait"),
            count => format!("{count} lines wait; further ones are read afterwards"),
        };
        self.screen.note(&text);
    }

    /// Tells what has happened by now, all of it.
    pub(super) fn tell_rest(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.tell(event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if let Some(line) = self.notices.rest() {
            self.screen.event(&line);
        }
    }
}

/// How many lines wait for the end of a command; further ones wait where they come from.
const WAITING_LINES_MAX: usize = 1024;
