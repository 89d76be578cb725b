//! What clients ask and servers answer.

use kv_core::{
    DecodeError, Operation, Outcome, RequestOptions, SnapshotPart, Status, wire_enum, wire_struct,
};

/// What a client asks. Its id is the client's own, and free again once it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request in its response.
    pub id: u64,
    /// What is asked.
    pub body: RequestBody,
}

wire_struct!(Request { id, body });

/// A client asked for something that is not legal, such as a key that is too large. The connection is
/// sound; the answer is [`ResponseBody::Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request {id} is not legal: {error}")]
pub struct MalformedRequest {
    /// The request's id.
    pub id: u64,
    /// What is wrong with it.
    pub error: DecodeError,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every request is the large one")]
pub enum RequestBody {
    /// To do something; answered by [`ResponseBody::Outcome`].
    Execute {
        /// What.
        op: Operation,
        /// How.
        options: RequestOptions,
    },
    /// To say how the server is; answered by [`ResponseBody::Status`].
    Status,
    /// To forget the request with this id: nobody waits for it. Not answered itself; the request
    /// that it names may still be.
    Cancel,
    /// For all that the server holds at one moment, on disk, in its engine's own byte form;
    /// answered by several [`ResponseBody::Snapshot`], the last of which says so.
    Snapshot,
}

wire_enum!(RequestBody, "request", {
    0 => Execute { op, options },
    1 => Status,
    2 => Cancel,
    3 => Snapshot,
});

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The answer.
    pub body: ResponseBody,
}

wire_struct!(Response { id, body });

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// How an operation ended.
    Outcome(Outcome),
    /// How the server is.
    Status(Box<Status>),
    /// The request is not legal and nothing was done; in words.
    Malformed(String),
    /// A part of what the server holds.
    Snapshot(SnapshotPart),
}

wire_enum!(ResponseBody, "response", {
    0 => Outcome(outcome),
    1 => Status(status),
    2 => Malformed(why),
    3 => Snapshot(part),
});
