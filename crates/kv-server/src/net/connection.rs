//! The writing side of a connection: one buffer, written without waiting as far as the socket takes
//! it.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kv_proto::put_alive;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::net::bounds::admission::Identity;

/// What is to be written to one socket. Messages are encoded straight into its buffer, which is
/// written once a turn of the loop; only where the socket takes no more, a task waits for it.
pub(crate) struct Connection {
    socket: OwnedWriteHalf,
    buffer: RefCell<BytesMut>,
    /// A task waits for the socket to take more.
    has_writer: Cell<bool>,
    writer_ended: Notify,
    /// The buffer has grown so much that it is given back once it is written.
    is_large: Cell<bool>,
    /// Something was written since the last sign of life was due.
    has_written: Cell<bool>,
    is_closed: Cell<bool>,
    closed: Notify,
    /// A request may be taken again that had to wait.
    room: Notify,
    patience: Duration,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing is left.
    All,
    /// The socket takes no more for now.
    Part,
    /// The connection is lost.
    Lost,
}

impl Connection {
    /// A connection that counts as lost once the other side takes nothing for `patience`.
    pub(crate) fn new(socket: OwnedWriteHalf, patience: Duration) -> Rc<Self> {
        Rc::new(Self {
            socket,
            buffer: RefCell::new(BytesMut::new()),
            has_writer: Cell::new(false),
            writer_ended: Notify::new(),
            is_large: Cell::new(false),
            has_written: Cell::new(false),
            is_closed: Cell::new(false),
            closed: Notify::new(),
            room: Notify::new(),
            patience,
        })
    }

    /// Lets `encode` append to what will be written.
    pub(crate) fn put<T>(&self, encode: impl FnOnce(&mut BytesMut) -> T) -> T {
        encode(&mut self.buffer.borrow_mut())
    }

    /// How many bytes wait to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.buffer.borrow().len()
    }

    /// Writes as much as the socket takes at once. What is left is written by a task of its own,
    /// which calls `on_drained` once nothing is.
    pub(crate) fn write(self: &Rc<Self>, on_drained: impl FnOnce() + 'static) -> Written {
        if self.has_writer.get() {
            return Written::Part;
        }
        let written = self.write_now();
        match written {
            Written::All => {}
            Written::Lost => self.close(),
            Written::Part => {
                self.has_writer.set(true);
                let connection = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    if connection.write_rest().await.is_err() {
                        connection.close();
                    }
                    connection.has_writer.set(false);
                    connection.writer_ended.notify_waiters();
                    connection.make_room();
                    on_drained();
                });
            }
        }
        written
    }

    /// Shows the other side that this one lives, unless something was written since the last call or
    /// waits to be.
    pub(crate) fn show_life(self: &Rc<Self>) {
        let has_written = self.has_written.replace(false);
        if !has_written && self.waiting_bytes() == 0 && !self.is_closed.get() {
            self.put(|wire| put_alive(Identity::GROUP, wire));
            self.write(|| {});
        }
    }

    /// Writes all that waits, as the last thing before the connection is closed.
    pub(crate) async fn write_out(&self) {
        while self.has_writer.get() {
            self.writer_ended.notified().await;
        }
        if !self.is_closed.get() {
            // Closing is all that is left, whatever comes of this.
            let _ = self.write_rest().await;
        }
    }

    /// Tells the reader that there may be room for a further request.
    pub(crate) fn make_room(&self) {
        self.room.notify_one();
    }

    /// Completes when there may be room for a further request.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Ends the connection: its reader stops, and nothing more is written.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.closed.notify_one();
    }

    /// Completes once the connection was closed.
    pub(crate) async fn closed(&self) {
        if !self.is_closed.get() {
            self.closed.notified().await;
        }
    }

    fn write_now(&self) -> Written {
        let mut buffer = self.buffer.borrow_mut();
        // What is written is no part of its capacity any more.
        self.is_large.set(self.is_large.get() || buffer.capacity() > CAPACITY_MAX);
        while !buffer.is_empty() {
            match self.socket.try_write(&buffer) {
                Ok(0) => return Written::Lost,
                Ok(count) => {
                    buffer.advance(count);
                    self.has_written.set(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Written::Part,
                Err(_) => return Written::Lost,
            }
        }
        if self.is_large.take() {
            *buffer = BytesMut::new();
        } else {
            buffer.clear();
        }
        Written::All
    }

    async fn write_rest(&self) -> Result<(), Stalled> {
        loop {
            match self.write_now() {
                Written::All => return Ok(()),
                Written::Lost => return Err(Stalled),
                Written::Part => {}
            }
            let writable = timeout(self.patience, self.socket.writable());
            writable.await.map_err(|_| Stalled)?.map_err(|_| Stalled)?;
            if self.is_closed.get() {
                return Err(Stalled);
            }
        }
    }
}

/// The other side takes nothing.
#[derive(Clone, Copy, Debug)]
struct Stalled;

/// A buffer that has grown beyond this is given back once it is written.
const CAPACITY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn all_that_waits_is_written_before_a_connection_is_closed_to_a_reader_that_is_behind() {
        // More than sockets take by themselves.
        const LEN: usize = 32 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reading_half, writer) = listener.accept().await.unwrap().0.into_split();
        let writing = async {
            let connection = Connection::new(writer, Duration::from_secs(60));
            connection.put(|wire| wire.resize(LEN, 7));
            assert_eq!(connection.write(|| {}), Written::Part);
            let reading = tokio::spawn(async move {
                let mut read = Vec::new();
                reader
                    .take(u64::try_from(LEN).unwrap())
                    .read_to_end(&mut read)
                    .await
                    .map(|_| read.len())
            });
            connection.write_out().await;
            connection.close();
            drop((connection, reading_half));
            assert_eq!(reading.await.unwrap().unwrap(), LEN);
        };
        LocalSet::new().run_until(writing).await;
    }
}
