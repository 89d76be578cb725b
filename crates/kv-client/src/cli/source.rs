//! Where the lines of a session come from.

use super::input::Input;
use super::shell::editor::{Editor, Typed};

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
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Whether a line is being typed in an editor.
    pub(crate) const fn is_open(&self) -> bool {
        match self {
            Self::Edited(editor) => editor.is_open(),
            Self::Ended | Self::Plain(_) => false,
        }
    }

    /// Shows the prompt of an editor, unless a line is being typed there.
    pub(crate) fn ask(&mut self, prompt: &str) {
        if let Self::Edited(editor) = self {
            editor.ask(prompt.to_owned());
        }
    }

    /// Leaves a line that is being typed as it is.
    pub(crate) fn abandon(&mut self) {
        if let Self::Edited(editor) = self {
            editor.abandon();
        }
    }

    /// The next line; nothing is lost if it is dropped.
    pub(crate) async fn next(&mut self) -> Typed {
        let typed = match self {
            Self::Ended => Typed::End,
            Self::Plain(input) => input.next().await.map_or(Typed::End, Typed::Line),
            Self::Edited(editor) => editor.next().await,
        };
        if typed == Typed::End {
            *self = Self::Ended;
        }
        typed
    }
}
