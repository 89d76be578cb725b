//! Where results and messages go.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use kv_cli::output::Stdout;
use serde_json::json;

use super::console::Console;
use super::pager::Pager;
use super::paint::Paint;
use crate::commands::words::as_message;

/// The standard output, for results, and the standard error, for all else.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    style: Style,
    pager: Pager,
    paint: Paint,
    err_paint: Paint,
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
    /// As they are, without so much as an end of line.
    Exact,
}

impl Screen {
    pub(crate) fn standard(style: Style, pager: Pager) -> Self {
        let (paint, err_paint) = (Paint::on(&io::stdout()), Paint::on(&io::stderr()));
        let (out, err) = (Box::new(BufWriter::new(Stdout)), Box::new(io::stderr()));
        Self { out, err, style, pager, paint, err_paint }
    }

    /// Prints nothing in colour.
    pub(crate) fn without_colours(self) -> Self {
        Self { paint: Paint::OFF, err_paint: Paint::OFF, ..self }
    }

    /// A terminal where lines are typed.
    pub(crate) fn shared(self, console: &Console) -> Self {
        let err: Box<dyn Write + Send> = match io::stderr().is_terminal() {
            true => Box::new(console.clone()),
            false => self.err,
        };
        Self { out: Box::new(console.clone()), err, ..self }
    }

    pub(crate) const fn style(&self) -> Style {
        self.style
    }

    /// Prints a result as a line.
    ///
    /// # Errors
    /// If it cannot be written, or nobody reads it any more; the program then ends.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) -> io::Result<()> {
        self.out.write_all(line.as_ref())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    /// Prints bytes alone.
    ///
    /// # Errors
    /// Like [`Screen::line`].
    pub(crate) fn exactly(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    /// Prints a piece of a line.
    ///
    /// # Errors
    /// Like [`Screen::line`].
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// What shows long results.
    pub(crate) const fn pager(&self) -> &Pager {
        &self.pager
    }

    /// The colours of the standard output.
    pub(crate) const fn paint(&self) -> Paint {
        self.paint
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

    /// Prints a message about what happens beside the commands.
    pub(crate) fn event(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", self.err_paint.yellow(as_message(text)));
    }

    /// Prints a message about what went wrong.
    pub(crate) fn complain(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", self.err_paint.red(as_message(text)));
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
            // That it cannot be written shows at the next result and in the exit code.
            let _ = self.line(object.to_string());
        } else {
            self.complain(&at_line(line, error));
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
