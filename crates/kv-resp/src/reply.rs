//! Replies, and their form in both versions of the protocol.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::Value;

use crate::error::ReplyError;

/// A version of the protocol, which a session chooses with `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What a session begins with.
    #[default]
    Resp2,
    /// With maps, sets, doubles, booleans and one null.
    Resp3,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK` and the like.
    Simple(&'static str),
    /// `-ERR ...` and the like.
    Error(ReplyError),
    /// A number.
    Integer(i64),
    /// Any bytes.
    Bulk(Bytes),
    /// What a key holds.
    Value(Value),
    /// No value.
    Null,
    /// No array: what an `EXEC` answers that did nothing.
    NullArray,
    /// Several replies.
    Array(Vec<Self>),
    /// Pairs; a flat array in RESP2.
    Map(Vec<(Self, Self)>),
    /// Several replies without order; an array in RESP2.
    Set(Vec<Self>),
    /// Text for people; a bulk string in RESP2.
    Text(String),
    /// A floating point number in its text; a bulk string in RESP2.
    Double(&'static str),
    /// Yes or no; 1 or 0 in RESP2.
    Boolean(bool),
    /// An integer of any size in its text; a bulk string in RESP2.
    BigNumber(&'static str),
    /// A message that answers nothing (RESP3); an array in RESP2.
    Push(Vec<Self>),
    /// Attributes of the reply behind them, which RESP2 does not have.
    Attributed(Vec<(Self, Self)>, Box<Self>),
}

impl Reply {
    /// What most commands answer that have no result.
    pub const OK: Self = Self::Simple("OK");

    /// A bulk string of a text.
    #[must_use]
    pub fn text(text: &'static str) -> Self {
        Self::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A bulk string of a text that was made.
    #[must_use]
    pub fn owned(text: String) -> Self {
        Self::Bulk(Bytes::from(text))
    }

    /// An array of bulk strings.
    #[must_use]
    pub fn texts(texts: &[&'static str]) -> Self {
        Self::Array(texts.iter().map(|text| Self::text(text)).collect())
    }

    /// 1 or 0.
    #[must_use]
    pub const fn flag(flag: bool) -> Self {
        Self::Integer(if flag { 1 } else { 0 })
    }

    /// A number of things.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// How many bytes it brings, without those that say what they are.
    pub(crate) fn payload_len(&self) -> usize {
        let of_all = |replies: &[Self]| replies.iter().map(Self::payload_len).sum();
        let of_pairs = |pairs: &[(Self, Self)]| {
            pairs.iter().map(|(name, value)| name.payload_len() + value.payload_len()).sum()
        };
        match self {
            Self::Bulk(bytes) => bytes.len(),
            Self::Value(value) => value.as_bytes().len(),
            Self::Text(text) => text.len(),
            Self::Array(replies) | Self::Set(replies) | Self::Push(replies) => of_all(replies),
            Self::Map(pairs) => of_pairs(pairs),
            Self::Attributed(pairs, reply) => {
                let len: usize = of_pairs(pairs);
                len + reply.payload_len()
            }
            Self::Simple(_)
            | Self::Error(_)
            | Self::Integer(_)
            | Self::Null
            | Self::NullArray
            | Self::Double(_)
            | Self::Boolean(_)
            | Self::BigNumber(_) => 0,
        }
    }

    /// Appends the reply in the form of a version.
    pub fn encode(&self, protocol: Protocol, out: &mut BytesMut) {
        let is_resp3 = protocol == Protocol::Resp3;
        match self {
            Self::Simple(text) => put_line(out, b'+', text.as_bytes()),
            Self::Error(error) => put_error(out, error),
            Self::Integer(number) => put_number(out, b':', *number),
            Self::Bulk(bytes) => put_bulk(out, bytes),
            Self::Value(value) => put_bulk(out, value.as_bytes()),
            Self::Null if is_resp3 => out.put_slice(b"_\r\n"),
            Self::Null => out.put_slice(b"$-1\r\n"),
            Self::NullArray if is_resp3 => out.put_slice(b"_\r\n"),
            Self::NullArray => out.put_slice(b"*-1\r\n"),
            Self::Array(replies) => put_all(out, b'*', replies, protocol),
            Self::Set(replies) => {
                put_all(out, if is_resp3 { b'~' } else { b'*' }, replies, protocol)
            }
            Self::Push(replies) => {
                put_all(out, if is_resp3 { b'>' } else { b'*' }, replies, protocol)
            }
            Self::Map(pairs) => put_map(out, pairs, protocol),
            Self::Text(text) if is_resp3 => {
                put_len(out, b'=', text.len() + VERBATIM.len());
                out.put_slice(VERBATIM);
                out.put_slice(text.as_bytes());
                out.put_slice(b"\r\n");
            }
            Self::Text(text) => put_bulk(out, text.as_bytes()),
            Self::Double(text) if is_resp3 => put_line(out, b',', text.as_bytes()),
            Self::BigNumber(text) if is_resp3 => put_line(out, b'(', text.as_bytes()),
            Self::Double(text) | Self::BigNumber(text) => put_bulk(out, text.as_bytes()),
            Self::Boolean(flag) if is_resp3 => {
                put_line(out, b'#', if *flag { b"t" } else { b"f" });
            }
            Self::Boolean(flag) => put_number(out, b':', i64::from(*flag)),
            Self::Attributed(attributes, reply) => {
                if is_resp3 {
                    put_len(out, b'|', attributes.len());
                    put_pairs(out, attributes, protocol);
                }
                reply.encode(protocol, out);
            }
        }
    }
}

impl From<ReplyError> for Reply {
    fn from(error: ReplyError) -> Self {
        Self::Error(error)
    }
}

impl<E: Into<ReplyError>> From<Result<Self, E>> for Reply {
    fn from(result: Result<Self, E>) -> Self {
        result.unwrap_or_else(|error| Self::Error(error.into()))
    }
}

/// Appends an error. What a client sent may be part of it, so line ends in it become spaces.
pub(crate) fn put_error(out: &mut BytesMut, error: &ReplyError) {
    out.put_u8(b'-');
    let from = out.len();
    error.put(out);
    for byte in out.iter_mut().skip(from) {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.put_slice(b"\r\n");
}

/// Appends a bulk string.
pub(crate) fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    out.reserve(bytes.len() + BULK_OVERHEAD);
    put_len(out, b'$', bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// Appends a number behind the byte that says what it is.
pub(crate) fn put_number(out: &mut BytesMut, kind: u8, number: i64) {
    out.put_u8(kind);
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
    out.put_slice(b"\r\n");
}

fn put_len(out: &mut BytesMut, kind: u8, len: usize) {
    out.put_u8(kind);
    out.put_slice(itoa::Buffer::new().format(len).as_bytes());
    out.put_slice(b"\r\n");
}

fn put_line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn put_all(out: &mut BytesMut, kind: u8, replies: &[Reply], protocol: Protocol) {
    put_len(out, kind, replies.len());
    replies.iter().for_each(|reply| reply.encode(protocol, out));
}

fn put_map(out: &mut BytesMut, pairs: &[(Reply, Reply)], protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => put_len(out, b'*', 2 * pairs.len()),
        Protocol::Resp3 => put_len(out, b'%', pairs.len()),
    }
    put_pairs(out, pairs, protocol);
}

fn put_pairs(out: &mut BytesMut, pairs: &[(Reply, Reply)], protocol: Protocol) {
    for (name, value) in pairs {
        name.encode(protocol, out);
        value.encode(protocol, out);
    }
}

/// What a text for people begins with in RESP3: its format.
const VERBATIM: &[u8] = b"txt:";

/// The most bytes of a bulk string that are not its own.
const BULK_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> [String; 2] {
        [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut out = BytesMut::new();
            reply.encode(protocol, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        })
    }

    #[test]
    fn each_version_has_its_own_forms() {
        let pair = vec![(Reply::text("a"), Reply::Integer(-1))];
        let cases = [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::text(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Map(pair.clone()), "*2\r\n$1\r\na\r\n:-1\r\n", "%1\r\n$1\r\na\r\n:-1\r\n"),
            (Reply::Set(vec![]), "*0\r\n", "~0\r\n"),
            (Reply::Push(vec![]), "*0\r\n", ">0\r\n"),
            (Reply::Text("x".to_owned()), "$1\r\nx\r\n", "=5\r\ntxt:x\r\n"),
            (Reply::Double("3.141"), "$5\r\n3.141\r\n", ",3.141\r\n"),
            (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
            (Reply::BigNumber("12"), "$2\r\n12\r\n", "(12\r\n"),
            (
                Reply::Attributed(pair, Box::new(Reply::OK)),
                "+OK\r\n",
                "|1\r\n$1\r\na\r\n:-1\r\n+OK\r\n",
            ),
        ];
        for (reply, resp2, resp3) in cases {
            assert_eq!(encoded(&reply), [resp2, resp3]);
        }
    }

    #[test]
    fn an_error_stays_a_line() {
        let error = ReplyError::unknown_command(&[Bytes::from_static(b"a\r\nb")]);
        assert_eq!(
            encoded(&Reply::Error(error))[0],
            "-ERR unknown command 'a  b', with args beginning with: \r\n"
        );
    }
}
