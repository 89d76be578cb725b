//! A connection to a server without a client that checks what it sends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};

use bytes::BytesMut;
use kv_core::GroupId;
use kv_proto::{FrameCodec, Hello, Message, Request, RequestBody, Role};
use tokio_util::codec::{Decoder, Encoder};

use crate::process::PATIENCE;

/// A connection over which anything can be sent.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    codec: FrameCodec,
    received: BytesMut,
}

impl RawConnection {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// If nothing listens there.
    #[must_use]
    pub fn open(address: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(address).expect("a server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time limit can be set");
        Self { stream, codec: FrameCodec::new(GroupId(0)), received: BytesMut::new() }
    }

    /// Connects as a client does.
    ///
    /// # Panics
    /// If the server does not accept it.
    #[must_use]
    pub fn client(address: SocketAddrV4) -> Self {
        match Self::knock(address) {
            (connection, Some(Message::Welcome(_))) => connection,
            (_, answer) => panic!("not welcome: {answer:?}"),
        }
    }

    /// Connects as a client does; returns what the server answers to that.
    ///
    /// # Panics
    /// If nothing comes in time.
    #[must_use]
    pub fn knock(address: SocketAddrV4) -> (Self, Option<Message>) {
        let mut connection = Self::open(address);
        let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
        connection.send(Message::Hello(hello));
        let answer = connection.receive();
        (connection, answer)
    }

    /// Sends a message.
    ///
    /// # Panics
    /// If it makes no frame, or the connection is lost.
    pub fn send(&mut self, message: Message) {
        let mut wire = BytesMut::new();
        self.codec.encode(message, &mut wire).expect("the message makes a frame");
        self.send_bytes(&wire);
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If it makes no frame, or the connection is lost.
    pub fn request(&mut self, id: u64, body: RequestBody) {
        self.send(Message::Request(Request { id, body }));
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection is lost.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection stands");
    }

    /// Ends what is sent; what the server says can still be received.
    ///
    /// # Panics
    /// If the connection is lost.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// Waits for a message; `None` when the server has closed the connection.
    ///
    /// # Panics
    /// If nothing comes in time, the connection is reset, or what comes is no message.
    pub fn receive(&mut self) -> Option<Message> {
        let mut part = [0; 4096];
        loop {
            let message = self.codec.decode(&mut self.received).expect("the server sends frames");
            if message.is_some() {
                return message;
            }
            let len = self.stream.read(&mut part).expect("the server answers or closes");
            if len == 0 {
                assert!(self.received.is_empty(), "the server closed within a frame");
                return None;
            }
            self.received.extend_from_slice(part.get(..len).unwrap_or_default());
        }
    }
}
