//! Long results, a screen at a time.

use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};

/// What shows long results on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pager {
    command: Option<String>,
}

impl Pager {
    /// The pager that is asked for, or that of the environment, or `less`. `off`, `cat` and nothing
    /// at all mean none.
    pub(crate) fn of(asked: Option<String>) -> Self {
        let of_environment = || std::env::var("PAGER").ok();
        let command = asked.or_else(of_environment).unwrap_or_else(|| "less".to_owned());
        let is_none = matches!(command.trim(), "" | "off" | "cat");
        Self { command: (!is_none).then_some(command) }
    }

    /// How many lines are too many for the screen; `None` if there is no pager for them.
    pub(crate) fn rows(&self) -> Option<usize> {
        self.command.as_ref().and_then(|_| rows())
    }

    /// Starts the pager.
    ///
    /// # Errors
    /// If that is not possible. A pager that does not exist shows only in [`Paging`].
    pub(crate) fn start(&self) -> io::Result<Paging> {
        let command = self.command.as_deref().unwrap_or("cat");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {command}")).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // Leave when all fits, keep colours, do not clear the screen afterwards.
            shell.env("LESS", "FRX");
        }
        Ok(Paging { child: shell.spawn()?, unproved: Some(Vec::new()) })
    }
}

/// A pager that is running.
#[derive(Debug)]
pub(crate) struct Paging {
    child: Child,
    /// What was written while there may be no such pager; it is printed then without one.
    unproved: Option<Vec<u8>>,
}

/// How a pager ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Paged {
    Shown,
    /// There is no such pager; what it should have shown.
    Missing(Vec<u8>),
}

impl Paging {
    /// Shows text, and waits while there is more than was looked at. False if the pager was left:
    /// what was wanted has been seen.
    pub(crate) fn show(&mut self, text: &[u8]) -> bool {
        if let Some(unproved) = &mut self.unproved {
            unproved.extend_from_slice(text);
        }
        let written = self.child.stdin.as_mut().is_some_and(|stdin| stdin.write_all(text).is_ok());
        if written && self.unproved.as_ref().is_some_and(|text| text.len() > PIPE_BYTES_MAX) {
            self.unproved = None;
        }
        written
    }

    /// Waits until the pager is left.
    ///
    /// # Errors
    /// If the system cannot wait for it.
    pub(crate) fn end(mut self) -> io::Result<Paged> {
        drop(self.child.stdin.take());
        let ended = loop {
            match self.child.wait() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                ended => break ended?,
            }
        };
        Ok(match (ended.code(), self.unproved) {
            (Some(NOT_FOUND | NOT_EXECUTABLE), Some(text)) => Paged::Missing(text),
            _ => Paged::Shown,
        })
    }
}

/// How many lines the screen has.
fn rows() -> Option<usize> {
    #[cfg(unix)]
    {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
        (size.ws_row > 0).then_some(usize::from(size.ws_row))
    }
    #[cfg(not(unix))]
    None
}

/// Exit codes of a shell.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// More than a pipe holds: somebody has read of it.
const PIPE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(command: &str) -> Paging {
        Pager::of(Some(command.to_owned())).start().unwrap()
    }

    #[test]
    fn there_is_a_way_without() {
        for none in ["", "off", "cat"] {
            assert_eq!(Pager::of(Some(none.to_owned())).command, None);
        }
        assert_eq!(Pager::of(Some("less -S".to_owned())).command.as_deref(), Some("less -S"));
    }

    #[test]
    fn a_pager_that_is_missing_gives_the_text_back() {
        let mut missing = paging("kv-no-such-pager 2>/dev/null");
        let mut text = Vec::new();
        let page = vec![b'x'; 100_000];
        for _ in 0..5 {
            text.extend_from_slice(&page);
            if !missing.show(&page) {
                break;
            }
        }
        assert_eq!(missing.end().unwrap(), Paged::Missing(text));
    }

    #[test]
    fn a_pager_that_is_left_has_shown_what_was_wanted() {
        let mut left = paging("true");
        while left.show(&[b'x'; 100_000]) {}
        assert_eq!(left.end().unwrap(), Paged::Shown);
    }
}
