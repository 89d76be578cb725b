//! How the two sides of a connection show that they live, and when the other counts as dead.

use std::time::Duration;

/// How often a side shows that it lives, and how long the other may be silent.
///
/// After the handshake a side that has sent nothing for `interval` sends
/// [`put_alive`](crate::put_alive). One from which nothing has come for `silence_max` counts as dead,
/// whatever its socket says: the connection is closed, and made anew by the side that had dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often a side that sends nothing else shows that it lives.
    pub interval: Duration,
    /// How long the other side may send nothing.
    pub silence_max: Duration,
}

impl Liveness {
    /// Between servers. Six signs of life in a row have to be lost or late.
    pub const PEERS: Self =
        Self { interval: Duration::from_millis(250), silence_max: Duration::from_millis(1500) };

    /// Of a server, as its client sees it: less than the time of a request, so that a read can still
    /// go to another server.
    pub const OF_SERVER: Self =
        Self { interval: Duration::from_millis(400), silence_max: Duration::from_secs(2) };

    /// Of a client, as its server sees it: a program may be suspended for a moment. Its interval is how
    /// often the server shows the client that it lives, five times as often as the client needs.
    pub const OF_CLIENT: Self =
        Self { interval: Self::OF_SERVER.interval, silence_max: Duration::from_secs(10) };
}
