//! `kv-server`: parses the command line and runs a server until it is told to stop.

mod cli;
mod console;
mod screen;

use std::process::ExitCode;

use anyhow::Context;
use kv_server::{Readiness, Server, StartError};

use crate::cli::Invocation;

fn main() -> ExitCode {
    let invocation = match Invocation::parse() {
        Ok(invocation) => invocation,
        Err(answer) => return answer.give(),
    };
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::complain(format_args!("{error:#}"));
            match error.downcast_ref::<StartError>() {
                Some(StartError::Config(_)) => ExitCode::from(cli::USAGE),
                Some(_) | None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(invocation: Invocation) -> anyhow::Result<()> {
    cli::start_logging(&invocation.log);
    let mut runtime = match invocation.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let runtime = runtime.enable_all().build().context("cannot start the server's threads")?;
    runtime.block_on(async {
        let config = invocation.config.clone();
        let server = match &invocation.listen {
            None => Server::start(config).await?,
            Some(address) => Server::start_at(address, config).await?,
        };
        screen::show_start(&invocation.config, server.local_address())?;
        let announcements = tokio::spawn(announce(server.readiness()));
        let exit = console::start(server.client());
        let outcome = server.run_until(until_stopped(exit)).await;
        announcements.abort();
        screen::say(format_args!("stopped"));
        Ok(outcome?)
    })
}

/// Says when the server begins to serve, and what it waits for before.
async fn announce(mut readiness: tokio::sync::watch::Receiver<Readiness>) {
    while readiness.changed().await.is_ok() {
        match *readiness.borrow_and_update() {
            Readiness::Starting => {}
            Readiness::Waiting(what) => screen::say(format_args!("{what}")),
            Readiness::Ready => screen::say(format_args!("ready")),
        }
    }
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
    }
}
