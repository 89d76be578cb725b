//! Where the lines of a session come from.

use tokio::time::Instant;

use crate::shell::editor::{Editor, Typed};
use crate::shell::input::Input;

/// Where the lines of a session come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// There are no more.
    Ended,
    /// They come as they come.
    Plain(Input),
    /// Each is asked for.
    Edited(Editor),
}

impl Source {
    /// Whether a line is being typed in an editor.
    pub(crate) const fn is_open(&self) -> bool {
        match self {
            Self::Edited(editor) => editor.is_open(),
            Self::Ended | Self::Plain(_) => false,
        }
    }

    /// Whether lines come without being asked for.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Shows the prompt of an editor, unless a line is being typed there.
    pub(crate) fn ask(&mut self, prompt: &str) {
        if let Self::Edited(editor) = self {
            editor.ask(prompt.to_owned());
        }
    }

    /// When an editor should be asked for a line although a request is under way; `None` if there
    /// is none, or if a line is being typed.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        match self {
            Self::Edited(editor) => (!editor.is_open()).then(|| editor.opens_at()),
            Self::Ended | Self::Plain(_) => None,
        }
    }

    /// Makes a signal of Ctrl-C until the next line is asked for, if none is being typed.
    pub(crate) fn heed_signals(&self) {
        if let Self::Edited(editor) = self {
            editor.heed_signals();
        }
    }

    /// Gives the terminal to another program until it is taken back.
    pub(crate) fn give_terminal(&self) {
        if let Self::Edited(editor) = self {
            editor.give_terminal();
        }
    }

    /// Takes the terminal back.
    pub(crate) fn take_terminal(&self) {
        if let Self::Edited(editor) = self {
            editor.take_terminal();
        }
    }

    /// Leaves a line that is being typed as it is.
    pub(crate) async fn abandon(&mut self) {
        if let Self::Edited(editor) = self {
            editor.abandon().await;
        }
    }

    /// The next line; nothing is lost if it is dropped.
    pub(crate) async fn next(&mut self) -> Typed {
        let typed = match self {
            Self::Ended => Typed::End,
            Self::Plain(input) => {
                input.next().await.map_or(Typed::End, |line| Typed::Lines(vec![line]))
            }
            Self::Edited(editor) => editor.next().await,
        };
        if typed == Typed::End {
            *self = Self::Ended;
        }
        typed
    }
}
