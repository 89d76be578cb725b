//! A connection to a server without a client that checks what it sends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};

use bytes::BytesMut;
use kv_core::GroupId;
use kv_proto::{
    Frame, FrameDecoder, FrameMessage, Hello, HelloReply, Request, RequestBody, Role,
    ServerToClient, put_message,
};

use crate::running::process::PATIENCE;

/// A connection over which anything can be sent.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    decoder: FrameDecoder,
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
        Self { stream, decoder: FrameDecoder::new(GROUP), received: BytesMut::new() }
    }

    /// Connects as a client does.
    ///
    /// # Panics
    /// If the server does not accept it.
    #[must_use]
    pub fn client(address: SocketAddrV4) -> Self {
        match Self::knock(address) {
            (connection, HelloReply::Welcome(_)) => connection,
            (_, answer) => panic!("not welcome: {answer:?}"),
        }
    }

    /// Connects as a client does; returns what the server answers to that.
    ///
    /// # Panics
    /// If nothing comes in time, or something else.
    #[must_use]
    pub fn knock(address: SocketAddrV4) -> (Self, HelloReply) {
        let mut connection = Self::open(address);
        let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
        connection.send(&hello);
        let frame = connection.receive_frame().expect("the server answers");
        connection.decoder.lift_limit();
        (connection, HelloReply::from_frame(frame).expect("the server welcomes or refuses"))
    }

    /// Sends a message.
    ///
    /// # Panics
    /// If it makes no frame, or the connection is lost.
    pub fn send(&mut self, message: &impl FrameMessage) {
        let mut wire = BytesMut::new();
        put_message(GROUP, message, &mut wire).expect("the message makes a frame");
        self.send_bytes(&wire);
    }

    /// Sends a request.
    ///
    /// # Panics
    /// If it makes no frame, or the connection is lost.
    pub fn request(&mut self, id: u64, body: RequestBody) {
        self.send(&Request { id, body });
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
    /// If nothing comes in time, the connection is reset, or what comes is no message to a client.
    pub fn receive(&mut self) -> Option<ServerToClient> {
        loop {
            let frame = self.receive_frame()?;
            let message = ServerToClient::from_frame(frame).expect("the server answers or refuses");
            if !matches!(message, ServerToClient::State(_)) {
                return Some(message);
            }
        }
    }

    fn receive_frame(&mut self) -> Option<Frame> {
        let mut part = [0; 4096];
        loop {
            let frame = self.decoder.decode(&mut self.received).expect("the server sends frames");
            if frame.is_some() {
                return frame;
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

/// The group that a client talks to.
const GROUP: GroupId = GroupId(0);
