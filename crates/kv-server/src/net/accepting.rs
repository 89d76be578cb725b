//! How connections are accepted, at each of a server's ports.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::driver::event::Ending;

/// Gives each connection to `serve` until the server is told to stop.
pub(crate) async fn accept(
    socket: TcpListener,
    mut ending: watch::Receiver<Ending>,
    mut serve: impl AsyncFnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            // An error means that the server has been dropped.
            _ = ending.wait_for(|ending| *ending != Ending::Not) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => serve(stream, from).await,
            Err(error) => {
                // Most often there are no more file descriptors; connections that end free
                // some, and trying at once would only burn the processor.
                tracing::error!(%error, "cannot accept connections: raise `ulimit -n`");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection in a task of its own.
pub(crate) fn spawn<R: Display + 'static>(
    from: SocketAddr,
    serving: impl Future<Output = Result<(), R>> + 'static,
) {
    tokio::task::spawn_local(async move {
        if let Err(error) = serving.await {
            tracing::debug!(%from, %error, "a connection ended");
        }
    });
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
