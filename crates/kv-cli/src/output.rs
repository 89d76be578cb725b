//! The standard output of a program.
//!
//! A write that fails is reported once on the standard error, and the program then ends with exit
//! code 1, whatever else it did: a script must not take a file that was cut off for a whole one. A
//! closed pipe is no failure. It is how `head` says that it has seen enough.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Writes bytes to the standard output.
///
/// # Errors
/// If they could not be written. That has been reported then, so the caller only has to stop, and to
/// end the program with what [`exit_code`] returns.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    drop(out);
    written.inspect_err(report)
}

/// Writes the help, version or mistake that the parser of the arguments returned: in colours on a
/// terminal, where help and version go to the standard output.
///
/// # Errors
/// Like [`write()`].
pub fn write_help(error: &clap::Error) -> io::Result<()> {
    let text = error.render();
    if wants_colours() {
        write(text.ansi().to_string().as_bytes())
    } else {
        write(text.to_string().as_bytes())
    }
}

/// What is wrong with the arguments, in one line: without the hints that follow.
#[must_use]
pub fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = lines.collect::<Vec<&str>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The standard output as a writer. It is not buffered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The exit code of a program that would end with `code`: 1 if some output could not be written.
#[must_use]
pub fn exit_code(code: ExitCode) -> ExitCode {
    if has_failed() { ExitCode::FAILURE } else { code }
}

/// Whether some output could not be written, which has been reported then.
#[must_use]
pub fn has_failed() -> bool {
    HAS_FAILED.load(Ordering::Relaxed)
}

fn report(error: &io::Error) {
    if error.kind() == ErrorKind::BrokenPipe || HAS_FAILED.swap(true, Ordering::Relaxed) {
        return;
    }
    // Where the standard error cannot be written either, the exit code is all that is left.
    let _ = writeln!(io::stderr(), "{}: cannot write the output: {error}", program());
}

fn program() -> String {
    let own = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&own).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn wants_colours() -> bool {
    use std::io::IsTerminal;
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Whether a write failed that nobody expects to fail.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);
