//! The command line: `kv-client [SERVER_ID] [COMMAND...]`.
//!
//! Without a command it reads commands from the terminal, with a prompt, or line by line from a
//! pipe.

mod args;
mod bench;
mod commands;
mod output;
mod session;
mod shell;

use std::io::{self, ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use kv_client::Client;
use tokio::runtime::Handle;

use args::start::{Defaults, Start, Task};
use args::{Args, ArgsError, manual};
use bench::BenchArgs;
use output::console::Console;
use output::exit::ExitStatus;
use output::pager::Pager;
use output::screen::{Screen, Style};
use session::Session;
use session::health::Targets;
use shell::editor::Editor;
use shell::history;
use shell::input::Input;
use shell::key_lookup::KeyLookup;
#[cfg(unix)]
use shell::signals;
use shell::terminal_mode::TerminalMode;

/// Runs the program on the process's own arguments, streams and environment.
///
/// The exit code is 0 if all was done, 1 if something was definitely not done, 2 for wrong usage, 3
/// for a missing key (a single `get` only), 4 if the cluster is unavailable or the outcome is
/// unknown. Output that could not be written is 1, whatever else was done. Of several commands from a pipe the first failure counts; a session at a terminal ends
/// with 0.
fn main() -> ExitCode {
    kv_cli::output::exit_code(start())
}

fn start() -> ExitCode {
    let args = match Args::of(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return answer("kv-client", &error, asks_for_json()),
    };
    // A command that is not understood may ask for it, too.
    let json = args.json || asks_for_json();
    warn_of_the_environment(json);
    let start = match args.start() {
        Ok(start) => start,
        Err(ArgsError::Parser(command, error)) => {
            return answer(command, &error, json);
        }
        Err(error) => {
            standard_screen().error(&error, None, json);
            return ExitStatus::Usage.into();
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if !matches!(start.task, Task::Bench(_)) {
        builder.worker_threads(1);
    }
    match builder.enable_all().build() {
        Ok(runtime) => {
            let status = runtime.block_on(run(start));
            // The connection needs no farewell, and nothing else is under way.
            runtime.shutdown_background();
            status.into()
        }
        Err(error) => {
            standard_screen().complain(&format!("the program cannot start: {error}"));
            ExitStatus::NotDone.into()
        }
    }
}

async fn run(start: Start) -> ExitStatus {
    let on_terminal = std::io::stdout().is_terminal();
    let style = match (&start.task, on_terminal) {
        (_, true) => Style::Terminal,
        (Task::Session, false) => Style::Pipe,
        (Task::Line(_) | Task::Bench(_) | Task::Completions(_) | Task::Manual, false) => Style::Raw,
    };
    let mut screen = Screen::standard(style, start.pager);
    if start.plain {
        screen = screen.without_colours();
    }
    let (targets, defaults) =
        (Targets { config: start.config, named: start.named }, start.defaults);
    let result = match start.task {
        Task::Line(line) => session(targets, defaults, screen).0.run_one(*line).await,
        Task::Bench(bench) => bench.run(&mut screen).await,
        Task::Completions(shell) => {
            screen.exactly(&manual::completions(shell)).map(|()| ExitStatus::Done)
        }
        Task::Manual => {
            manual::page().and_then(|page| screen.exactly(&page)).map(|()| ExitStatus::Done)
        }
        Task::Session if on_terminal && std::io::stdin().is_terminal() => {
            let (session, lookup) = session(targets, defaults, screen);
            if start.plain || !is_able_terminal() {
                session.run_plain(Input::stdin()).await
            } else {
                run_shell(session, lookup, history::file(start.history.as_deref())).await
            }
        }
        Task::Session => {
            let (session, _) = session(targets, defaults, screen);
            session.run_pipe(Input::stdin(), start.lines).await
        }
    };
    result.unwrap_or_else(|error| status_of(&error))
}

/// How the program ends that cannot go on printing.
fn status_of(error: &io::Error) -> ExitStatus {
    // Nobody reads the output any more; that is how pipes end.
    if error.kind() == ErrorKind::BrokenPipe {
        return ExitStatus::Done;
    }
    if !kv_cli::output::has_failed() {
        standard_screen().complain(&error.to_string());
    }
    ExitStatus::NotDone
}

async fn run_shell(
    session: Session,
    lookup: KeyLookup,
    history: Option<PathBuf>,
) -> io::Result<ExitStatus> {
    let console = Console::default();
    let (mode, _restoration) = TerminalMode::hold();
    #[cfg(unix)]
    if let Err(error) = signals::watch(mode.clone(), console.clone()) {
        tracing::debug!(%error, "a signal will leave the terminal as the editor needs it");
    }
    let assistant = session.assistant(lookup, console.clone());
    match Editor::start(assistant, history, mode.clone()) {
        Ok(editor) => session.run_shell(editor, &console).await,
        Err(_) => {
            mode.give_back();
            session.run_plain(Input::stdin()).await
        }
    }
}

fn session(targets: Targets, defaults: Defaults, screen: Screen) -> (Session, KeyLookup) {
    let (client, events) = Client::start(targets.config.clone());
    let lookup = KeyLookup::at(client.clone(), Handle::current());
    (Session::new(client, events, targets, screen, defaults), lookup)
}

/// Names the variables that look like settings and are none.
fn warn_of_the_environment(json: bool) {
    for line in kv_cli::environment::warnings() {
        let object = || serde_json::json!({ "event": "warning", "message": line }).to_string();
        standard_screen().event(&if json { object() } else { line.clone() });
    }
}

/// Prints what the parser of the arguments says instead of a start: help, the version, or in one
/// line what is wrong.
fn answer(command: &str, error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // A failure has been reported, and shows in the exit code.
        let _ = kv_cli::output::write_help(error);
        return ExitStatus::Done.into();
    }
    let parser = Args::command().subcommand(BenchArgs::command());
    let line = match kv_cli::environment::bad_variable(&parser, error) {
        Some(bad) => bad.to_string(),
        None => kv_cli::output::in_one_line(error),
    };
    standard_screen().error(&format!("{line} (see {command} --help)"), None, json);
    ExitStatus::Usage.into()
}

/// Whether arguments that cannot be read ask for JSON all the same.
fn asks_for_json() -> bool {
    let words = std::env::args_os().take_while(|word| word != "--");
    words.into_iter().any(|word| word == "--json") || is_set("KV_JSON")
}

/// As the parser of the arguments takes a switch's variable.
fn is_set(variable: &str) -> bool {
    let value = std::env::var(variable).unwrap_or_default().to_lowercase();
    !matches!(value.as_str(), "" | "n" | "no" | "f" | "false" | "off" | "0")
}

fn standard_screen() -> Screen {
    Screen::standard(Style::Raw, Pager::of(Some(String::new())))
}

/// Whether the terminal can move its cursor.
fn is_able_terminal() -> bool {
    std::env::var("TERM").is_ok_and(|term| !INABLE_TERMINALS.contains(&term.as_str()))
}

const INABLE_TERMINALS: &[&str] = &["", "dumb", "cons25", "emacs"];
