//! What may stand between two servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a proxy does with the bytes that pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Pass,
    /// Keeps them back, and new connections too, until it passes them again.
    Hold,
    /// Keeps back those of connections that stand, for ever.
    HoldOld,
    /// Keeps back those that the side which has connected sends.
    HoldForth,
    /// Passes some of them twice.
    Repeat,
    /// Passes some of them not at all.
    Drop,
    /// Passes some of them with a bit changed.
    Flip,
}

/// Passes connections on to one server. Stops when it is dropped.
pub(crate) struct Proxy {
    address: String,
    mood: watch::Sender<(Mood, u64)>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}

impl Proxy {
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mood = watch::Sender::new((Mood::Pass, 0));
        let seen = mood.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(connect(from, to.clone(), seen.clone()));
            }
        });
        Self { address, mood, task }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_modify(|(present, changes)| {
            *present = mood;
            *changes += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(from: TcpStream, to: String, mut mood: watch::Receiver<(Mood, u64)>) {
    let born = mood.borrow().1;
    if mood.wait_for(|(mood, _)| *mood != Mood::Hold).await.is_err() {
        return;
    }
    let Ok(to) = TcpStream::connect(to).await else {
        return;
    };
    let ((from_reader, from_writer), (to_reader, to_writer)) = (from.into_split(), to.into_split());
    let random = Arc::new(AtomicU64::new(born + 1));
    let back = pass(Way::Back, born, to_reader, from_writer, mood.clone(), Arc::clone(&random));
    let forth = pass(Way::Forth, born, from_reader, to_writer, mood, random);
    // Either end ends both.
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}

async fn pass(
    way: Way,
    born: u64,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mood: watch::Receiver<(Mood, u64)>,
    random: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 4096];
    loop {
        let read = from.read(&mut buffer).await;
        // The end is held like everything else.
        let is_held = |(mood, changes): &(Mood, u64)| match mood {
            Mood::Hold => true,
            Mood::HoldOld => *changes > born,
            Mood::HoldForth => way == Way::Forth,
            Mood::Pass | Mood::Repeat | Mood::Drop | Mood::Flip => false,
        };
        if mood.wait_for(|mood| !is_held(mood)).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = read else {
            return;
        };
        let mut bytes = buffer[..count].to_vec();
        let mood = mood.borrow().0;
        if drawn(&random).is_multiple_of(4) {
            let at = usize::try_from(drawn(&random)).unwrap() % count;
            match mood {
                Mood::Repeat => bytes.extend_from_within(at..),
                Mood::Drop => drop(bytes.remove(at)),
                Mood::Flip => bytes[at] ^= 1 << (drawn(&random) % 8),
                Mood::Pass | Mood::Hold | Mood::HoldOld | Mood::HoldForth => {}
            }
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// A small number from a fixed sequence (xorshift).
fn drawn(random: &AtomicU64) -> u64 {
    let mut number = random.load(Ordering::Relaxed).max(1);
    number ^= number << 13;
    number ^= number >> 7;
    number ^= number << 17;
    random.store(number, Ordering::Relaxed);
    number >> 33
}
