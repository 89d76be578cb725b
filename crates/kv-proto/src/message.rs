//! What each side of a connection may send, and when.
//!
//! | from | to | in the handshake | afterwards |
//! |---|---|---|---|
//! | whoever connects | a server | [`Hello`] | |
//! | a server | whoever connects | [`HelloReply`] | |
//! | a client | a server | | [`Request`] |
//! | a server | a client | | [`ServerToClient`] |
//! | a server | the server that it has connected to | | [`PeerToPeer`] |
//!
//! After the handshake either side sends [`put_alive`](crate::put_alive) where it has nothing else to
//! send, so that a connection on which nothing comes is known to be dead.

use bytes::{Bytes, BytesMut};
use kv_core::driver::SnapshotFrame;
use kv_core::{DecodeError, GroupId, Wire};

use crate::frame::{
    FRAME_LEN_MAX, Frame, FrameError, FrameMessage, HANDSHAKE_FRAME_LEN_MAX, KIND_OF_ALL_VERSIONS,
    MessageTooLarge, put_frame,
};
use crate::handshake::{Hello, Refusal, ServerState, Welcome};
use crate::request::{MalformedRequest, Request, Response};

/// How a server answers a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloReply {
    /// It accepts the connection.
    Welcome(Welcome),
    /// It closes it.
    Refusal(Refusal),
}

/// What a server sends to a client that it has welcomed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerToClient {
    /// It answers a request.
    Response(Response),
    /// How it is has changed.
    State(ServerState),
    /// It closes the connection.
    Refusal(Refusal),
}

/// What a server sends to a server that has welcomed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerToPeer {
    /// A message of one engine to another, in the engine's own byte form.
    Message(Bytes),
    /// A part of a snapshot, or the answer to one.
    Snapshot(SnapshotFrame),
}

impl Hello {
    /// Reads the first message on a connection.
    ///
    /// # Errors
    /// [`FrameError::UnexpectedKind`] or [`FrameError::Decode`].
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            HELLO => Ok(Self::from_bytes(frame.payload)?),
            kind => Err(unexpected(kind, "a connection begins with a hello")),
        }
    }
}

impl HelloReply {
    /// Reads the answer to a hello.
    ///
    /// # Errors
    /// [`FrameError::UnexpectedKind`] or [`FrameError::Decode`].
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            WELCOME => Ok(Self::Welcome(Welcome::from_bytes(frame.payload)?)),
            REFUSAL => Ok(Self::Refusal(refusal(frame.payload)?)),
            kind => Err(unexpected(kind, "a hello is answered with a welcome or a refusal")),
        }
    }
}

impl Request {
    /// Reads a request. One whose id can be read gets an answer, whatever is wrong with the rest of
    /// it, and the connection is kept.
    ///
    /// # Errors
    /// [`FrameError::UnexpectedKind`], or [`FrameError::Decode`] if there is no id.
    pub fn from_frame(frame: Frame) -> Result<Result<Self, MalformedRequest>, FrameError> {
        match frame.kind {
            REQUEST => {
                let id = u64::decode(&mut frame.payload.clone())?;
                Ok(Self::from_bytes(frame.payload).map_err(|error| MalformedRequest { id, error }))
            }
            kind => Err(unexpected(kind, "only requests may follow a client's hello")),
        }
    }
}

impl ServerToClient {
    /// Reads what a server sends to a client.
    ///
    /// # Errors
    /// [`FrameError::UnexpectedKind`] or [`FrameError::Decode`].
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            RESPONSE => Ok(Self::Response(Response::from_bytes(frame.payload)?)),
            STATE => Ok(Self::State(ServerState::from_bytes(frame.payload)?)),
            REFUSAL => Ok(Self::Refusal(refusal(frame.payload)?)),
            kind => Err(unexpected(kind, "only responses and news may follow a server's welcome")),
        }
    }
}

impl PeerToPeer {
    /// Reads what a server sends to another. The engine's message is not looked into.
    ///
    /// # Errors
    /// [`FrameError::UnexpectedKind`] or [`FrameError::Decode`].
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        match frame.kind {
            PEER => Ok(Self::Message(frame.payload)),
            SNAPSHOT => Ok(Self::Snapshot(SnapshotFrame::from_bytes(frame.payload)?)),
            kind => {
                let expected = "only engines' messages and snapshots may follow a server's hello";
                Err(unexpected(kind, expected))
            }
        }
    }
}

/// Appends a frame with an engine's message to what will be written to a peer.
///
/// # Errors
/// [`MessageTooLarge`] if the frame would be over [`FRAME_LEN_MAX`]; nothing is appended then.
pub fn put_peer_frame(
    group: GroupId,
    message: &impl Wire,
    wire: &mut BytesMut,
) -> Result<(), MessageTooLarge> {
    put_frame(wire, PEER, group, FRAME_LEN_MAX, message)
}

impl FrameMessage for Hello {
    const KIND: u8 = HELLO;
    const FRAME_LEN_MAX: usize = HANDSHAKE_FRAME_LEN_MAX;
}

impl FrameMessage for Welcome {
    const KIND: u8 = WELCOME;
    const FRAME_LEN_MAX: usize = HANDSHAKE_FRAME_LEN_MAX;
}

impl FrameMessage for Refusal {
    const KIND: u8 = REFUSAL;
    const FRAME_LEN_MAX: usize = HANDSHAKE_FRAME_LEN_MAX;
}

impl FrameMessage for Request {
    const KIND: u8 = REQUEST;
}

impl FrameMessage for Response {
    const KIND: u8 = RESPONSE;
}

impl FrameMessage for ServerState {
    const KIND: u8 = STATE;
}

impl FrameMessage for SnapshotFrame {
    const KIND: u8 = SNAPSHOT;
}

/// A later version may add to a refusal.
fn refusal(mut payload: Bytes) -> Result<Refusal, DecodeError> {
    Refusal::decode(&mut payload)
}

const fn unexpected(kind: u8, expected: &'static str) -> FrameError {
    FrameError::UnexpectedKind { kind, expected }
}

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSAL: u8 = KIND_OF_ALL_VERSIONS;
const REQUEST: u8 = 4;
const RESPONSE: u8 = 5;
const PEER: u8 = 6;
const SNAPSHOT: u8 = 7;
// 8 is that of a frame that only shows life.
const STATE: u8 = 9;

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use kv_core::{Key, NodeId, Operation, RequestOptions, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::handshake::{RefusalCode, Role};
    use crate::request::{RequestBody, ResponseBody};

    fn frame(kind: u8, payload: impl Into<Bytes>) -> Frame {
        Frame { group: GroupId(0), kind, payload: payload.into() }
    }

    fn frame_of<M: FrameMessage>(message: &M) -> Frame {
        frame(M::KIND, message.to_bytes())
    }

    fn put() -> Request {
        let body = RequestBody::Execute {
            op: Operation::put(Key::new("k").unwrap(), Value::default()),
            options: RequestOptions::default(),
        };
        Request { id: 77, body }
    }

    #[test]
    fn an_illegal_request_keeps_its_id_and_the_connection() {
        assert_eq!(Request::from_frame(frame_of(&put())).unwrap(), Ok(put()));
        let mut payload = BytesMut::from(&put().to_bytes()[..]);
        payload.put_u8(0);
        let error = DecodeError::Trailing { left: 1 };
        let malformed = Request::from_frame(frame(REQUEST, payload)).unwrap();
        assert_eq!(malformed, Err(MalformedRequest { id: 77, error }));
        let without_id = Request::from_frame(frame(REQUEST, &[1, 2, 3][..]));
        assert!(matches!(without_id, Err(FrameError::Decode(DecodeError::Truncated { .. }))));
    }

    #[test]
    fn each_direction_takes_its_own_kinds_and_no_other() {
        let takes = |kind| {
            let frame = || frame(kind, Bytes::new());
            [
                Hello::from_frame(frame()).err(),
                HelloReply::from_frame(frame()).err(),
                Request::from_frame(frame()).err(),
                ServerToClient::from_frame(frame()).err(),
                PeerToPeer::from_frame(frame()).err(),
            ]
            .map(|error| !matches!(error, Some(FrameError::UnexpectedKind { .. })))
        };
        assert_eq!(takes(HELLO), [true, false, false, false, false]);
        assert_eq!(takes(WELCOME), [false, true, false, false, false]);
        assert_eq!(takes(REFUSAL), [false, true, false, true, false]);
        assert_eq!(takes(REQUEST), [false, false, true, false, false]);
        assert_eq!(takes(RESPONSE), [false, false, false, true, false]);
        assert_eq!(takes(PEER), [false, false, false, false, true]);
        assert_eq!(takes(SNAPSHOT), [false, false, false, false, true]);
        assert_eq!(takes(STATE), [false, false, false, true, false]);
        assert_eq!(takes(200), [false; 5]);
    }

    #[test]
    fn a_refusal_of_a_later_version_may_be_longer() {
        let refusal = Refusal::new(RefusalCode::Version, "upgrade");
        let mut payload = BytesMut::from(&refusal.to_bytes()[..]);
        payload.put_slice(b"more");
        let reply = HelloReply::from_frame(frame(REFUSAL, payload.clone())).unwrap();
        assert_eq!(reply, HelloReply::Refusal(refusal.clone()));
        let ended = ServerToClient::from_frame(frame(REFUSAL, payload)).unwrap();
        assert_eq!(ended, ServerToClient::Refusal(refusal));
    }

    #[test]
    fn messages_are_read_as_they_were_sent() {
        let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
        assert_eq!(Hello::from_frame(frame_of(&hello)).unwrap(), hello);
        let refusal = Refusal::new(RefusalCode::Full, "full");
        let reply = HelloReply::from_frame(frame_of(&refusal)).unwrap();
        assert_eq!(reply, HelloReply::Refusal(refusal.clone()));
        let ended = ServerToClient::from_frame(frame_of(&refusal)).unwrap();
        assert_eq!(ended, ServerToClient::Refusal(refusal));
        let response = Response { id: 1, body: ResponseBody::Malformed("no".to_owned()) };
        let answer = ServerToClient::from_frame(frame_of(&response)).unwrap();
        assert_eq!(answer, ServerToClient::Response(response));
        let state = ServerState { sequencer: Some(NodeId::FIRST), waiting: None, cluster_id: None };
        let news = ServerToClient::from_frame(frame_of(&state)).unwrap();
        assert_eq!(news, ServerToClient::State(state));
        let snapshot = SnapshotFrame::Refused { snapshot: 3 };
        let read = PeerToPeer::from_frame(frame_of(&snapshot)).unwrap();
        assert_eq!(read, PeerToPeer::Snapshot(snapshot));
        let payload = Bytes::from_static(b"message");
        let read = PeerToPeer::from_frame(frame(PEER, payload.clone())).unwrap();
        assert_eq!(read, PeerToPeer::Message(payload));
    }

    proptest! {
        #[test]
        fn arbitrary_messages_of_every_kind_never_panic(
            kind in 0u8..10,
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let frame = frame(kind, body);
            let _ = Hello::from_frame(frame.clone());
            let _ = HelloReply::from_frame(frame.clone());
            let _ = Request::from_frame(frame.clone());
            let _ = ServerToClient::from_frame(frame.clone());
            let _ = PeerToPeer::from_frame(frame);
        }
    }
}
