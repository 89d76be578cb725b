//! The command line: `kv-client [SERVER_ID] [COMMAND...]`.
//!
//! Without a command it reads commands from the terminal, with a prompt, or line by line from a
//! pipe. [`main`] is the whole program.

mod args;
mod command;
mod exit;
mod help;
mod input;
mod interrupts;
mod json;
mod news;
mod screen;
mod session;
mod suggestion;
mod text;
mod words;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::client::Client;
use args::{Args, Start};
use exit::ExitStatus;
use input::Input;
use screen::{Screen, Style};
use session::Session;

/// Runs the program on the process's own arguments, streams and environment.
///
/// The exit code is 0 if all was done, 1 if something was definitely not done, 2 for wrong usage, 3
/// for a missing key (a single `get` only), 4 if the cluster is unavailable or the outcome is
/// unknown. Of several commands from a pipe the first failure counts; a session at a terminal ends
/// with 0.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let json = args.json;
    let start = match args.start() {
        Ok(start) => start,
        Err(error) => {
            let mut screen = Screen::standard(Style::Raw);
            screen.error(&error, None, json);
            return ExitStatus::Usage.into();
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(run(start));
            // The connection needs no farewell, and nothing else is under way.
            runtime.shutdown_background();
            status.into()
        }
        Err(error) => {
            let mut screen = Screen::standard(Style::Raw);
            screen.note(&format!("the program cannot start: {error}"));
            ExitStatus::NotDone.into()
        }
    }
}

async fn run(start: Start) -> ExitStatus {
    let on_terminal = std::io::stdout().is_terminal();
    let is_session = std::io::stdin().is_terminal() && on_terminal && start.line.is_none();
    let style = match (&start.line, on_terminal) {
        (_, true) => Style::Terminal,
        (Some(_), false) => Style::Raw,
        (None, false) => Style::Pipe,
    };
    let screen = Screen::standard(style);
    let (client, events) = Client::start(start.config);
    let session = Session::new(client, events, screen, start.defaults);
    let result = match start.line {
        Some(line) => session.run_one(line).await,
        None if is_session => session.run_terminal(Input::stdin()).await,
        None => session.run_pipe(Input::stdin()).await,
    };
    // Nobody reads the output any more; that is how pipes end.
    result.unwrap_or(ExitStatus::Done)
}
