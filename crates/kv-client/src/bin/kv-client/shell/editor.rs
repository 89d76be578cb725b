//! Lines that are typed with the help of an editor.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Signal, getpid, kill_process};
use rustyline::config::{BellStyle, ColorMode, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor as LineEditor};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::assistant::Assistant;
use super::history;
use super::input::InputLine;
use super::interruption::Interruption;
use super::terminal_mode::TerminalMode;
use crate::output::console::Console;

/// What a person did at the prompt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// At least one line; several if they were pasted.
    Lines(Vec<InputLine>),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

/// A line editor on a thread of its own, which asks for one line at a time.
///
/// What is typed while no line is asked for waits, in the editor or in the terminal, and is read
/// when the next one is.
#[derive(Debug)]
pub(crate) struct Editor {
    asks: blocking::SyncSender<String>,
    typed: mpsc::Receiver<Typed>,
    console: Console,
    mode: TerminalMode,
    is_open: bool,
    /// When the last line ended.
    closed: Instant,
}

impl Editor {
    /// Starts an editor on a terminal that hands over keys.
    ///
    /// # Errors
    /// If the terminal is none after all.
    pub(crate) fn start(
        assistant: Assistant,
        history: Option<PathBuf>,
        mode: TerminalMode,
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
        let console = assistant.console.clone();
        editor.set_helper(Some(assistant));
        console.ring_through(editor.create_external_printer()?);
        let interruption = Interruption::default();
        interruption.bind(&mut editor);
        let (asks, asked) = blocking::sync_channel(1);
        let (sender, typed) = mpsc::channel(1);
        let reader = Reader { editor, interruption, console: console.clone(), history };
        std::thread::spawn(move || reader.run(&asked, &sender));
        Ok(Self { asks, typed, console, mode, is_open: false, closed: Instant::now() })
    }

    /// Whether a line is being typed.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Lets a line be typed, if none is.
    pub(crate) fn ask(&mut self, prompt: String) {
        if !self.is_open {
            self.mode.hand_over_keys();
            self.console.open();
            self.is_open = true;
            // A thread that has ended shows as the end of what is typed.
            let _ = self.asks.send(prompt);
        }
    }

    /// When to ask for a line although a request is under way: it takes long, and only who reads
    /// what is typed notices Ctrl-C.
    pub(crate) fn opens_at(&self) -> Instant {
        self.closed + PATIENCE
    }

    /// Makes a signal of Ctrl-C until the next line is asked for, if none is being typed.
    pub(crate) fn heed_signals(&self) {
        if !self.is_open {
            self.mode.heed_signals();
        }
    }

    /// Makes no signals of keys any more, and takes the terminal back from another program.
    pub(crate) fn take_terminal(&self) {
        if !self.is_open {
            self.mode.hand_over_keys();
        }
    }

    /// Gives the terminal to another program until it is taken back.
    pub(crate) fn give_terminal(&self) {
        if !self.is_open {
            self.mode.give_back();
        }
    }

    /// Leaves a line that is being typed as it is, on a line of its own, with all that was to be
    /// shown above it.
    pub(crate) async fn abandon(&mut self) {
        for _ in 0..ABANDON_ATTEMPTS_MAX {
            if !self.is_open {
                return;
            }
            // The editor takes it for Ctrl-C, unless it has not begun yet.
            #[cfg(unix)]
            let _ = kill_process(getpid(), Signal::INT);
            let _ = timeout(ABANDON_PAUSE, self.next()).await;
        }
        self.console.abandon_line();
    }

    /// What a person does next; nothing is lost if it is dropped. For ever if no line is being
    /// typed.
    pub(crate) async fn next(&mut self) -> Typed {
        if !self.is_open {
            return std::future::pending().await;
        }
        let typed = self.typed.recv().await;
        self.is_open = false;
        self.closed = Instant::now();
        typed.unwrap_or(Typed::End)
    }
}

/// What reads lines on a thread of its own.
struct Reader {
    editor: LineEditor<Assistant, FileHistory>,
    interruption: Interruption,
    console: Console,
    history: Option<PathBuf>,
}

impl Reader {
    fn run(mut self, asked: &blocking::Receiver<String>, typed: &mpsc::Sender<Typed>) {
        if let Some(path) = &self.history {
            // There is no history before the first session.
            let _ = self.editor.load_history(path);
        }
        while let Ok(prompt) = asked.recv() {
            let read = self.editor.readline(&prompt);
            self.console.close();
            let next = match read {
                _ if self.interruption.take() => Typed::Interrupt,
                Ok(text) => self.lines(&text),
                Err(ReadlineError::Interrupted) => Typed::Interrupt,
                // The terminal itself is well.
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Typed::Lines(vec![InputLine::NoText])
                }
                Err(_) => Typed::End,
            };
            if typed.blocking_send(next).is_err() {
                return;
            }
        }
    }

    fn lines(&mut self, text: &str) -> Typed {
        let lines = text.trim_ascii_end().split('\n');
        lines.clone().for_each(|line| self.remember(line));
        Typed::Lines(lines.map(|line| InputLine::Text(line.as_bytes().to_vec())).collect())
    }

    fn remember(&mut self, line: &str) {
        let line = line.trim_ascii_end();
        if line.is_empty() || line.len() > history::LINE_BYTES_MAX {
            return;
        }
        let added = self.editor.add_history_entry(line);
        if let (Ok(true), Some(path)) = (added, &self.history)
            && let Err(error) = self.editor.append_history(path)
        {
            tracing::debug!(%error, path = %path.display(), "the history is not written");
        }
    }
}

/// How long the editor is waited for, at most, each time that it is told to leave a line.
const ABANDON_PAUSE: Duration = Duration::from_millis(50);

const ABANDON_ATTEMPTS_MAX: u32 = 20;

/// How long a request is waited for before a line may be typed. A shorter one is answered before
/// the next prompt appears.
const PATIENCE: Duration = Duration::from_millis(100);
