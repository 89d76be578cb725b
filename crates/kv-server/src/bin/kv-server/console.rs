//! What can be typed at the servers of this process: `exit`, `dump` and `status`.

use std::io::{BufRead, IsTerminal};

use kv_core::{Answer, Dump, Operation, RequestOptions};
use kv_server::{LocalClient, LocalError, ServerGone};
use tokio::sync::{mpsc, oneshot};

use crate::screen;

/// Listens to the terminal, if there is one; what comes back completes on `exit`, and fails where
/// there is no terminal.
pub(crate) fn start(clients: Vec<LocalClient>) -> oneshot::Receiver<()> {
    let (exit, exited) = oneshot::channel();
    if !std::io::stdin().is_terminal() {
        return exited;
    }
    let (lines, typed) = mpsc::channel(1);
    // A thread, because reading from a terminal cannot be interrupted: it ends with the process.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    tokio::spawn(obey(clients, typed, exit));
    exited
}

async fn obey(
    clients: Vec<LocalClient>,
    mut typed: mpsc::Receiver<String>,
    exit: oneshot::Sender<()>,
) {
    while let Some(line) = typed.recv().await {
        let done = match line.trim() {
            "" => Ok(()),
            "exit" | "quit" => {
                // The server may be stopping already.
                let _ = exit.send(());
                return;
            }
            "dump" => dump_all(&clients).await,
            "status" => show_status(&clients).await,
            other => {
                let words = "type `dump`, `status` or `exit`; clients use kv-client";
                screen::say(format_args!("`{other}` is not known here: {words}"));
                Ok(())
            }
        };
        if done.is_err() {
            return;
        }
    }
}

async fn show_status(clients: &[LocalClient]) -> Result<(), ServerGone> {
    for client in clients {
        screen::show_status(&client.status().await?);
    }
    Ok(())
}

async fn dump_all(clients: &[LocalClient]) -> Result<(), ServerGone> {
    for client in clients {
        if clients.len() > 1 {
            let node = client.status().await?.node;
            screen::say(format_args!("server {node} holds:"));
        }
        dump(client).await?;
    }
    Ok(())
}

async fn dump(client: &LocalClient) -> Result<(), ServerGone> {
    let mut after = None;
    loop {
        let op = Operation::Dump(Dump { after, limit: PAGE_LEN });
        let done = match client.execute(op, RequestOptions::default()).await {
            Ok(done) => done,
            Err(LocalError::Gone(gone)) => return Err(gone),
            Err(error) => {
                screen::say(format_args!("{error}"));
                return Ok(());
            }
        };
        let Answer::Page(page) = done.answer else { return Ok(()) };
        let next = page.next.clone();
        // Whoever has stopped the terminal stops this command alone.
        let shown = tokio::task::spawn_blocking(move || screen::show_dump_page(&page));
        if shown.await.is_err() || next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

const PAGE_LEN: u32 = 1_000;
