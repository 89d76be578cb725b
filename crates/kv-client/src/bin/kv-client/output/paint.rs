//! Colours.

use std::io::IsTerminal;

/// Paints text where it is shown on a terminal that likes colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    pub(crate) const OFF: Self = Self { is_on: false };

    /// For a stream that is a terminal, unless `NO_COLOR` has a value or the terminal is dumb.
    pub(crate) fn on(stream: &impl IsTerminal) -> Self {
        let asks_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_able = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self { is_on: stream.is_terminal() && is_able && !asks_for_none }
    }

    /// For what matters less.
    pub(crate) fn dim(self, text: String) -> String {
        self.wrap("2", text)
    }

    /// For what the eye looks for.
    pub(crate) fn bold(self, text: String) -> String {
        self.wrap("1", text)
    }

    /// For what went wrong.
    pub(crate) fn red(self, text: String) -> String {
        self.wrap("31", text)
    }

    /// For what happens beside the commands.
    pub(crate) fn yellow(self, text: String) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: String) -> String {
        match self.is_on && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text,
        }
    }
}
