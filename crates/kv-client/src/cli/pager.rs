//! Long results, a screen at a time.

use std::io::{self, Write};
use std::process::{Command, Stdio};

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

    /// Shows lines if they are more than the screen has; false if they are to be printed.
    pub(crate) fn show(&self, lines: &[String]) -> bool {
        let Some(command) = &self.command else {
            return false;
        };
        rows().is_some_and(|rows| lines.len() >= rows) && page(command, lines).is_ok()
    }
}

/// # Errors
/// If there is no such pager. One that is left early has shown what was wanted.
fn page(command: &str, lines: &[String]) -> io::Result<()> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {command}")).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Leave when all fits, keep colours, do not clear the screen afterwards.
        shell.env("LESS", "FRX");
    }
    let mut pager = shell.spawn()?;
    if let Some(mut stdin) = pager.stdin.take() {
        for line in lines {
            if writeln!(stdin, "{line}").is_err() {
                break;
            }
        }
    }
    match pager.wait()?.code() {
        Some(NOT_FOUND | NOT_EXECUTABLE) => Err(io::ErrorKind::NotFound.into()),
        Some(_) | None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_way_without() {
        for none in ["", "off", "cat"] {
            assert_eq!(Pager::of(Some(none.to_owned())).command, None);
        }
        assert_eq!(Pager::of(Some("less -S".to_owned())).command.as_deref(), Some("less -S"));
    }

    #[test]
    fn a_pager_that_is_missing_is_told_from_one_that_is_left() {
        let lines = vec!["x".to_owned(); 100_000];
        assert!(page("kv-no-such-pager 2>/dev/null", &lines).is_err());
        assert!(page("true", &lines).is_ok());
    }
}
