//! `kv-server`: parses the command line and runs a server until it is told to stop.

mod cli;
mod clock;
mod console;
mod descriptors;
mod dev;
mod fleet;
mod manual;
mod names;
#[cfg(test)]
mod page;
mod screen;
mod settings;
mod tools;

use std::process::ExitCode;

use kv_server::{ServerError, StartError};
use kv_storage::DataDirectoryError;

use crate::cli::Invocation;
use crate::fleet::{Fleet, Plan};
use crate::screen::hints;
use crate::screen::options::{options_against, options_against_config};

fn main() -> ExitCode {
    for line in kv_cli::environment::warnings() {
        screen::complain(format_args!("{line}"));
    }
    // What is stored is for its owner alone: data, logs of operations and backups.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let invocation = Invocation::parse();
    // A server serves although its screen cannot be written; a tool has then failed.
    let is_server = matches!(invocation, Ok(Invocation::Run(_)));
    let code = carry_out(invocation);
    if is_server { code } else { kv_cli::output::exit_code(code) }
}

fn carry_out(invocation: Result<Invocation, cli::Answer>) -> ExitCode {
    match invocation {
        Ok(Invocation::Run(plan)) => serve(&plan),
        Ok(Invocation::ShowSettings(toml, problem)) => {
            screen::say(format_args!("{}", toml.trim_end()));
            problem.map_or(ExitCode::SUCCESS, cli::Answer::give)
        }
        Ok(Invocation::Print(text)) => {
            screen::print(&text);
            ExitCode::SUCCESS
        }
        Ok(Invocation::Inspect(settings)) => settings.run(),
        Ok(Invocation::Backup(settings)) => settings.run(),
        Ok(Invocation::Recover(settings)) => settings.run(),
        Ok(Invocation::Restore(settings)) => settings.run(),
        Err(answer) => answer.give(),
    }
}

fn serve(plan: &Plan) -> ExitCode {
    screen::start_printing();
    let code = serve_until_stopped(plan);
    screen::finish_printing();
    code
}

fn serve_until_stopped(plan: &Plan) -> ExitCode {
    match run(plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<StartError>() {
            Some(StartError::Config(problem)) => {
                cli::refuse(format_args!("{problem}{}", options_against_config(problem)))
            }
            Some(StartError::AddressInUse { address }) if plan.is_dev => {
                let text = hints::address_in_use(address, &plan.servers);
                screen::complain(format_args!("{text}"));
                ExitCode::FAILURE
            }
            Some(StartError::Data(error @ DataDirectoryError::OtherConfiguration { .. }))
                if plan.is_dev =>
            {
                let text = plan.servers.first().map(|config| hints::other_cluster(error, config));
                screen::complain(format_args!("{}", text.unwrap_or_default()));
                ExitCode::FAILURE
            }
            start => {
                let options = start.map_or("", options_against);
                screen::complain(format_args!("{error}{options}"));
                match error.downcast_ref::<ServerError>() {
                    Some(ServerError::Halted { .. }) => ExitCode::from(HALTED),
                    Some(_) | None => ExitCode::FAILURE,
                }
            }
        },
    }
}

/// The exit code of a server that must not go on and not be started again before somebody has looked:
/// what it holds contradicts what the others hold.
const HALTED: u8 = 3;

fn run(plan: &Plan) -> anyhow::Result<()> {
    cli::start_logging(&plan.log);
    let open_files_max = descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| anyhow::anyhow!("cannot start the server: {error}"))?;
    let outcome = runtime.block_on(async {
        let fleet = Fleet::start(plan, open_files_max).await?;
        let exit = console::start(fleet.clients());
        let outcome = fleet.run_until(until_stopped(exit)).await;
        screen::say(format_args!("stopped"));
        Ok(outcome?)
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Keeps SIGHUP from ending the server without a word, as when its terminal is closed.
async fn ignore_hangups() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            while hangups.recv().await.is_some() {
                tracing::info!("SIGHUP: it goes on; restart it for other settings to count");
            }
        }
        Err(error) => tracing::warn!(%error, "SIGHUP will end the server"),
    }
    std::future::pending().await
}

/// Completes on SIGINT, on SIGTERM, or when `exit` is typed.
async fn until_stopped(exit: tokio::sync::oneshot::Receiver<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM will not be noticed");
                std::future::pending::<()>().await;
            }
        }
    };
    let typed = async {
        if exit.await.is_err() {
            // There is no console; only signals stop the server.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
        () = typed => {}
        () = ignore_hangups() => {}
    }
}
