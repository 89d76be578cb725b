//! What may stand between two processes.

use std::net::SocketAddrV4;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a proxy does with what is to pass it. "Forth" is what the side sends that has connected,
/// "back" is what it receives.
///
/// A cut closes no connection. What is sent meanwhile arrives when the cut ends, if the connection
/// still stands then: so it is with TCP, which sends again what was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Passes everything.
    Pass,
    /// Holds back everything, and new connections too.
    Cut,
    /// Holds back what is sent forth.
    CutForth,
    /// Holds back what is sent back.
    CutBack,
    /// Closes all connections, and new ones at once.
    Close,
}

/// Passes connections on to one address, as its [`Mood`] is. Stops when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddrV4,
    mood: watch::Sender<Mood>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    Back,
}

impl Proxy {
    /// Listens on a free port of the address to which it passes connections on, where nobody has to
    /// listen yet. To be called in a runtime.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(to: SocketAddrV4) -> Self {
        let listener = TcpListener::bind((*to.ip(), 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let mood = watch::Sender::new(Mood::Pass);
        let seen = mood.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(connect(from, to, seen.clone()));
            }
        });
        Self { address: SocketAddrV4::new(*to.ip(), port), mood, task }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Changes its mood, for the connections that stand as well.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mood {
    fn holds(self, direction: Direction) -> bool {
        match self {
            Self::Pass | Self::Close => false,
            Self::Cut => true,
            Self::CutForth => direction == Direction::Forth,
            Self::CutBack => direction == Direction::Back,
        }
    }
}

/// Passes a connection on until it is closed, by either side or by the proxy.
async fn connect(from: TcpStream, to: SocketAddrV4, mood: watch::Receiver<Mood>) {
    let mut closing = mood.clone();
    tokio::select! {
        biased;
        // It ends as well when the proxy is dropped.
        _ = closing.wait_for(|mood| *mood == Mood::Close) => {}
        () = pass_on(from, to, mood) => {}
    }
}

async fn pass_on(from: TcpStream, to: SocketAddrV4, mut mood: watch::Receiver<Mood>) {
    if mood.wait_for(|mood| *mood != Mood::Cut).await.is_err() {
        return;
    }
    let Ok(to) = TcpStream::connect(to).await else {
        return;
    };
    if from.set_nodelay(true).and(to.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_reader, from_writer), (to_reader, to_writer)) = (from.into_split(), to.into_split());
    let back = pass(Direction::Back, to_reader, from_writer, mood.clone());
    let forth = pass(Direction::Forth, from_reader, to_writer, mood);
    // Servers and clients never close one direction alone.
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}

async fn pass(
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mood: watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).await;
        // The end of a connection is held back like all else: who is cut off does not notice it.
        if mood.wait_for(|mood| !mood.holds(direction)).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = read else {
            return;
        };
        let Some(bytes) = buffer.get(..count) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::running::process::PATIENCE;

    /// A client and a server with a proxy between them.
    struct Pair {
        proxy: Proxy,
        listener: TcpListener,
        client: TcpStream,
        server: TcpStream,
    }

    impl Pair {
        async fn connect() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let proxy = Proxy::start(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).await;
            let client = TcpStream::connect(proxy.address()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            Self { proxy, listener, client, server }
        }
    }

    async fn send(to: &mut TcpStream, byte: u8) {
        to.write_all(&[byte]).await.unwrap();
    }

    /// Fails if nothing comes; `None` for the end.
    async fn receive(from: &mut TcpStream) -> Option<u8> {
        let read = timeout(PATIENCE, from.read_u8()).await;
        read.expect("something comes").ok()
    }

    async fn is_silent(from: &TcpStream) -> bool {
        timeout(Duration::from_millis(100), from.peek(&mut [0])).await.is_err()
    }

    #[tokio::test]
    async fn a_cut_both_ways_holds_back_bytes_ends_and_new_connections() {
        let Pair { proxy, listener, mut client, mut server } = Pair::connect().await;
        proxy.set(Mood::Cut);
        send(&mut client, 1).await;
        send(&mut server, 2).await;
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        send(&mut second, 3).await;
        drop(second);
        assert!(is_silent(&client).await && is_silent(&server).await);
        assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err());
        proxy.set(Mood::Pass);
        assert_eq!((receive(&mut server).await, receive(&mut client).await), (Some(1), Some(2)));
        let (mut second, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        assert_eq!((receive(&mut second).await, receive(&mut second).await), (Some(3), None));
    }

    #[tokio::test]
    async fn a_cut_one_way_holds_back_that_way_alone() {
        let Pair { proxy, mut client, mut server, .. } = Pair::connect().await;
        proxy.set(Mood::CutForth);
        send(&mut client, 1).await;
        send(&mut server, 2).await;
        assert_eq!(receive(&mut client).await, Some(2));
        assert!(is_silent(&server).await);
        proxy.set(Mood::CutBack);
        assert_eq!(receive(&mut server).await, Some(1));
        send(&mut client, 3).await;
        send(&mut server, 4).await;
        assert_eq!(receive(&mut server).await, Some(3));
        assert!(is_silent(&client).await);
        proxy.set(Mood::Pass);
        assert_eq!(receive(&mut client).await, Some(4));
    }

    #[tokio::test]
    async fn a_proxy_that_closes_leaves_no_connection_and_lets_none_be_made() {
        let Pair { proxy, listener, mut client, mut server } = Pair::connect().await;
        proxy.set(Mood::Cut);
        proxy.set(Mood::Close);
        assert_eq!((receive(&mut client).await, receive(&mut server).await), (None, None));
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(receive(&mut second).await, None);
        proxy.set(Mood::Pass);
        let mut third = TcpStream::connect(proxy.address()).await.unwrap();
        send(&mut third, 1).await;
        let (mut third, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        assert_eq!(receive(&mut third).await, Some(1), "an older connection came through");
    }
}
