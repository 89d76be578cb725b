//! Lines that are typed with the help of an editor.

use std::path::PathBuf;
use std::sync::mpsc as blocking;

use rustyline::config::{BellStyle, ColorMode, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor as LineEditor};
use tokio::sync::mpsc;

use super::assistant::Assistant;
use super::console::Console;
use super::history;
use crate::cli::input::InputLine;

/// What a person did at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Line(InputLine),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

/// A line editor on a thread of its own, which asks for one line at a time.
#[derive(Debug)]
pub(crate) struct Editor {
    asks: blocking::SyncSender<String>,
    typed: mpsc::Receiver<Typed>,
    console: Console,
    is_open: bool,
}

impl Editor {
    /// # Errors
    /// If the terminal is none after all.
    pub(crate) fn start(
        assistant: Assistant,
        history: Option<PathBuf>,
    ) -> Result<Self, ReadlineError> {
        let config = Config::builder()
            .max_history_size(history::LINES_MAX)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            // Text above the line waits while the editor waits for a second tab.
            .completion_show_all_if_ambiguous(true)
            .bell_style(BellStyle::None)
            // The assistant decides on colours; without this it is not asked for the prompt.
            .color_mode(ColorMode::Forced)
            .build();
        let mut editor = LineEditor::with_config(config)?;
        editor.set_helper(Some(assistant));
        let console = Console::with_printer(editor.create_external_printer()?);
        let (asks, asked) = blocking::sync_channel(1);
        let (sender, typed) = mpsc::channel(1);
        std::thread::spawn(move || read_lines(editor, history, &asked, &sender));
        Ok(Self { asks, typed, console, is_open: false })
    }

    /// The terminal that the editor shares.
    pub(crate) fn console(&self) -> Console {
        self.console.clone()
    }

    /// Whether a line is being typed.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Lets a line be typed, if none is.
    pub(crate) fn ask(&mut self, prompt: String) {
        if !self.is_open {
            self.console.open();
            self.is_open = true;
            // A thread that has ended shows as the end of what is typed.
            let _ = self.asks.send(prompt);
        }
    }

    /// Leaves a line that is being typed as it is, on a line of its own.
    pub(crate) fn abandon(&mut self) {
        if self.is_open {
            self.console.abandon_line();
        }
    }

    /// What a person does next; nothing is lost if it is dropped. For ever if no line is being
    /// typed.
    pub(crate) async fn next(&mut self) -> Typed {
        if !self.is_open {
            return std::future::pending().await;
        }
        let typed = self.typed.recv().await;
        self.is_open = false;
        self.console.close();
        typed.unwrap_or(Typed::End)
    }
}

fn read_lines(
    mut editor: LineEditor<Assistant, FileHistory>,
    history: Option<PathBuf>,
    asked: &blocking::Receiver<String>,
    typed: &mpsc::Sender<Typed>,
) {
    if let Some(path) = &history {
        // There is no history before the first session.
        let _ = editor.load_history(path);
    }
    while let Ok(prompt) = asked.recv() {
        let next = match editor.readline(&prompt) {
            Ok(line) => {
                remember(&mut editor, history.as_ref(), &line);
                Typed::Line(InputLine::Text(line.into_bytes()))
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupt,
            // Bytes that are no text; the terminal itself is well.
            Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Typed::Interrupt
            }
            Err(_) => Typed::End,
        };
        if typed.blocking_send(next).is_err() {
            return;
        }
    }
}

fn remember(editor: &mut LineEditor<Assistant, FileHistory>, path: Option<&PathBuf>, line: &str) {
    let line = line.trim_ascii_end();
    if line.is_empty() || line.len() > history::LINE_BYTES_MAX {
        return;
    }
    let added = editor.add_history_entry(line);
    if let (Ok(true), Some(path)) = (added, path)
        && let Err(error) = editor.append_history(path)
    {
        tracing::debug!(%error, path = %path.display(), "the history is not written");
    }
}
