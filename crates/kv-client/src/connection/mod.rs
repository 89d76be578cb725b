//! One connection to a server, after the handshake.

pub(crate) mod dial;
pub(crate) mod error;
pub(crate) mod following;
pub(crate) mod route;

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::{GroupId, NodeId};
use kv_proto::{
    FrameDecoder, Liveness, MessageTooLarge, Request, Response, ServerState, ServerToClient,
    Welcome, put_alive, put_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use error::LostReason;

/// One connection to a server: frames that wait to be written, and bytes that were read.
///
/// It counts the bytes of all frames, so that a request whose frame was not written to its end is
/// known to have had no effect.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    decoder: FrameDecoder,
    input: BytesMut,
    output: BytesMut,
    server: NodeId,
    window: usize,
    quorum_max: u16,
    bytes_encoded: u64,
    bytes_written: u64,
    last_read: Instant,
    last_write: Instant,
    /// When this side is next to show that it lives, unless it has written something by then.
    show_life_at: Instant,
    /// Why nothing can be written any more, while what was read before is still looked at.
    failure: Option<LostReason>,
}

/// What a server says on a connection that it keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromServer {
    Response(Response),
    State(ServerState),
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        decoder: FrameDecoder,
        input: BytesMut,
        server: NodeId,
        welcome: &Welcome,
    ) -> Self {
        Self {
            stream,
            decoder,
            input,
            output: BytesMut::new(),
            server,
            window: usize::try_from(welcome.in_flight_max.max(1)).unwrap_or(usize::MAX),
            quorum_max: welcome.config.write_quorum().max(welcome.config.read_quorum()),
            bytes_encoded: 0,
            bytes_written: 0,
            last_read: Instant::now(),
            last_write: Instant::now(),
            show_life_at: Instant::now() + LIVENESS.interval,
            failure: None,
        }
    }

    pub(crate) const fn server(&self) -> NodeId {
        self.server
    }

    /// So many servers take part in any request that asks for no more.
    pub(crate) const fn quorum_max(&self) -> u16 {
        self.quorum_max
    }

    /// How many requests the server takes at once, at least 1.
    pub(crate) const fn window(&self) -> usize {
        self.window
    }

    /// Whether the socket has taken all of a request that ends there.
    pub(crate) const fn has_written(&self, frame_end: u64) -> bool {
        frame_end <= self.bytes_written
    }

    /// Whether a request that was put into the next write at `since`, and ends at `frame_end`, met
    /// nothing but silence: no byte has come since, and those of the request are gone or stuck.
    pub(crate) fn is_silent(&self, since: Instant, frame_end: u64, stuck_after: Duration) -> bool {
        let stuck = self.last_write + stuck_after <= Instant::now();
        self.last_read <= since && (self.has_written(frame_end) || stuck)
    }

    /// When [`watch`](Self::watch) is to be called next.
    pub(crate) fn watch_at(&self) -> Instant {
        self.show_life_at.min(self.last_read + LIVENESS.silence_max)
    }

    /// Shows the server that this side lives, if that is due.
    ///
    /// # Errors
    /// [`LostReason::Silent`] if nothing has come from the server for too long.
    pub(crate) fn watch(&mut self, now: Instant) -> Result<(), LostReason> {
        if now >= self.last_read + LIVENESS.silence_max {
            return Err(LostReason::Silent { after: LIVENESS.silence_max });
        }
        if now >= self.show_life_at {
            if self.output.is_empty() && self.last_write + LIVENESS.interval <= now {
                put_alive(GROUP, &mut self.output);
                self.bytes_encoded += u64::try_from(self.output.len()).unwrap_or(u64::MAX);
            }
            self.show_life_at = now + LIVENESS.interval;
        }
        Ok(())
    }

    /// Whether the next write takes further requests.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < WRITE_BYTES_MAX
    }

    /// Adds a request to the next write; returns how many bytes the socket will have taken once the
    /// request is written to its end.
    ///
    /// # Errors
    /// [`MessageTooLarge`] if the request does not fit into a frame; nothing is added then.
    pub(crate) fn put(&mut self, request: &Request) -> Result<u64, MessageTooLarge> {
        let before = self.output.len();
        put_message(GROUP, request, &mut self.output)?;
        let added = self.output.len() - before;
        self.bytes_encoded += u64::try_from(added).unwrap_or(u64::MAX);
        Ok(self.bytes_encoded)
    }

    /// Waits until some bytes have been read or written. Nothing is lost if it is dropped, and all
    /// that came before a failure has been read when the failure is returned.
    pub(crate) async fn progress(&mut self) -> Result<(), LostReason> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.input.reserve(READ_BYTES);
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            biased;
            read = reader.read_buf(&mut self.input) => {
                if read? == 0 {
                    return Err(LostReason::Closed);
                }
                self.last_read = Instant::now();
            }
            written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                match written {
                    Ok(written) => {
                        self.bytes_written += u64::try_from(written).unwrap_or(u64::MAX);
                        self.last_write = Instant::now();
                    }
                    Err(error) => self.on_write_error(&error),
                }
            }
        }
        Ok(())
    }

    /// The server may have answered before it closed the connection.
    fn on_write_error(&mut self, error: &io::Error) {
        self.failure = Some(LostReason::Failed { kind: error.kind() });
        while let Ok(1..) = self.stream.try_read_buf(&mut self.input) {
            self.input.reserve(READ_BYTES);
        }
    }

    /// Takes the next message out of what was read.
    pub(crate) fn next_message(&mut self) -> Result<Option<FromServer>, LostReason> {
        let Some(frame) = self.decoder.decode(&mut self.input)? else {
            return Ok(None);
        };
        match ServerToClient::from_frame(frame)? {
            ServerToClient::Response(response) => Ok(Some(FromServer::Response(response))),
            ServerToClient::State(state) => Ok(Some(FromServer::State(state))),
            ServerToClient::Refusal(refusal) => Err(LostReason::Refused(refusal)),
        }
    }
}

/// How a server shows that it lives, and when it counts as dead.
const LIVENESS: Liveness = Liveness::OF_SERVER;

/// The group that clients talk to.
pub(crate) const GROUP: GroupId = GroupId(0);

/// A write takes no further request once it has this many bytes.
const WRITE_BYTES_MAX: usize = 1 << 20;

const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use kv_core::{ClusterConfig, Incarnation, Quorum};
    use kv_proto::{RequestBody, ResponseBody};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let one = Quorum::Count(1);
        let welcome = Welcome {
            node: NodeId::FIRST,
            incarnation: Incarnation::UNKNOWN,
            engine: "fake".to_owned(),
            config: ClusterConfig::new([NodeId::FIRST], one, one).unwrap(),
            cluster_id: None,
            in_flight_max: 0,
            sessions: false,
            sequencer: None,
        };
        let decoder = FrameDecoder::new(GROUP);
        let buffer = BytesMut::new();
        (Connection::new(stream, decoder, buffer, NodeId::FIRST, &welcome), peer)
    }

    fn status(id: u64) -> Request {
        Request { id, body: RequestBody::Status }
    }

    #[tokio::test]
    async fn a_server_that_takes_no_requests_at_once_takes_one() {
        assert_eq!(pair().await.0.window(), 1);
    }

    #[tokio::test]
    async fn a_frame_is_written_when_its_last_byte_is() {
        let (mut connection, _peer) = pair().await;
        let first = connection.put(&status(1)).unwrap();
        assert!(!connection.has_written(first));
        connection.progress().await.unwrap();
        assert!(connection.has_written(first));
        let second = connection.put(&status(2)).unwrap();
        assert!(second > first);
        assert!(!connection.has_written(second));
    }

    #[tokio::test]
    async fn answers_that_came_before_a_failed_write_are_read() {
        for _ in 0..20 {
            let (mut connection, mut peer) = pair().await;
            let body = ResponseBody::Malformed("no".to_owned());
            let response = Response { id: 1, body };
            let mut frame = BytesMut::new();
            put_message(GROUP, &response, &mut frame).unwrap();
            peer.write_all(&frame).await.unwrap();
            connection.stream.readable().await.unwrap();
            connection.stream.shutdown().await.unwrap();
            connection.put(&status(2)).unwrap();
            let mut responses = Vec::new();
            loop {
                while let Some(response) = connection.next_message().unwrap() {
                    responses.push(response);
                }
                if connection.progress().await.is_err() {
                    break;
                }
            }
            assert_eq!(responses, [FromServer::Response(response)]);
        }
    }
}
