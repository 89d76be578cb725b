//! Where results and messages go.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;

use super::words::as_message;

/// The standard output, for results, and the standard error, for all else.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    style: Style,
}

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// In quotes, with what is known about them.
    Terminal,
    /// Alone on their line, in quotes only where a line would not stay a line.
    Pipe,
    /// As they are.
    Raw,
}

impl Screen {
    pub(crate) fn standard(style: Style) -> Self {
        Self { out: Box::new(io::stdout()), err: Box::new(io::stderr()), style }
    }

    pub(crate) const fn style(&self) -> Style {
        self.style
    }

    /// Prints a result as a line.
    ///
    /// # Errors
    /// If nobody reads it any more; the program then ends.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) -> io::Result<()> {
        self.out.write_all(line.as_ref())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Prints text without an end of line.
    pub(crate) fn prompt(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Prints a message for people. That nobody reads it is no error: the results count.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", as_message(text));
    }

    /// Prints a mistake of the user: in JSON as a result, else as a message, with the line's number
    /// in a pipe.
    pub(crate) fn error(&mut self, error: &dyn Display, line: Option<u64>, json: bool) {
        if json {
            let object = json!({
                "outcome": "usage",
                "message": error.to_string(),
                "line": line,
            });
            // A closed output shows at the next result.
            let _ = self.line(object.to_string());
        } else {
            self.note(&at_line(line, error));
        }
    }
}

/// A message with the number of the line that it is about.
pub(crate) fn at_line(line: Option<u64>, message: &dyn Display) -> String {
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_string(),
    }
}
