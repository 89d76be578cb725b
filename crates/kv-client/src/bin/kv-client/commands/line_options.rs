//! What every command may say of itself.

use std::time::Duration;

/// The options that every command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineOptions {
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) timeout: Option<Duration>,
    /// How often it is run.
    pub(crate) repeat: Option<u64>,
    /// From the beginning of a run to that of the next one, at least.
    pub(crate) every: Option<Duration>,
}

impl LineOptions {
    /// How often the command is run: for ever if no more than an interval is named.
    pub(crate) const fn times(&self) -> u64 {
        match (self.repeat, self.every) {
            (Some(repeat), _) => repeat,
            (None, Some(_)) => u64::MAX,
            (None, None) => 1,
        }
    }

    /// The same with these where the line says nothing.
    pub(crate) fn or(self, repeat: Option<u64>, every: Option<Duration>) -> Self {
        Self { repeat: self.repeat.or(repeat), every: self.every.or(every), ..self }
    }
}
