//! What a client can ask for.

use std::time::Duration;

use bytes::Bytes;

use crate::cluster::id::NodeId;
use crate::cluster::quorum::Quorum;
use crate::key::{Key, Value};
use crate::request::batch::{Batch, Command};
use crate::version::Version;
use crate::{wire_enum, wire_struct};

/// One request's work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Commands that take effect at once and in order, if all conditions hold.
    Batch(Batch),
    /// A page of the keys in a range, in ascending order.
    Scan(Scan),
    /// A page of all that this server itself holds; not a consistent read.
    Dump(Dump),
    /// Opens a session, in which each request takes effect once, however often it is sent. The
    /// version of the answer, [`Version::Log`](crate::Version::Log), is its [`SessionId`]; there are
    /// no results.
    OpenSession,
    /// That another server becomes the sequencer. Done once its first entry is committed.
    Lead {
        /// The server that is to lead.
        node: NodeId,
    },
}

wire_enum!(Operation, "operation", {
    0 => Batch(batch),
    1 => Scan(scan),
    2 => Dump(dump),
    3 => OpenSession,
    4 => Lead { node },
});

/// A page of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    /// The least key wanted, itself included; empty for the first of all.
    pub from: Bytes,
    /// The end of the range, itself excluded; `None` for no end.
    pub until: Option<Bytes>,
    /// The last key of the page before this one.
    pub after: Option<Key>,
    /// The most entries wanted; a page may be shorter.
    pub limit: u32,
}

wire_struct!(Scan { from, until, after, limit });

impl Scan {
    /// The key at which the page begins, and whether that key itself may be on it; `None` for the
    /// first of all keys.
    #[must_use]
    pub fn start(&self) -> (Option<Key>, bool) {
        if let Some(after) = self.after.as_ref().filter(|after| after.as_bytes() >= self.from) {
            return (Some(after.clone()), false);
        }
        // A start longer than any key lies right behind the longest key that it begins with.
        let longest = self.from.slice(..self.from.len().min(Key::LEN_MAX));
        let is_whole = longest.len() == self.from.len();
        (Key::new(longest).ok(), is_whole)
    }

    /// The same range, without the bytes of its bounds that no key can reach, and with bytes of its own.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        // One byte more than a key can have tells a bound from the longest key that it begins with.
        let reached = |bound: &Bytes| {
            let reached = bound.get(..=Key::LEN_MAX).unwrap_or(bound);
            Bytes::copy_from_slice(reached)
        };
        Self {
            from: reached(&self.from),
            until: self.until.as_ref().map(reached),
            after: self.after.as_ref().map(Key::detached),
            limit: self.limit,
        }
    }

    /// Whether a key lies before the end of the range.
    #[must_use]
    pub fn is_before_end(&self, key: &Key) -> bool {
        self.until.as_ref().is_none_or(|until| key.as_bytes() < until)
    }

    /// Whether a key may be on the page.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        let (start, is_in) = self.start();
        let is_behind = start.is_none_or(|start| *key > start || (is_in && *key == start));
        is_behind && self.is_before_end(key)
    }
}

/// A page of what a server holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dump {
    /// The last key of the page before this one.
    pub after: Option<Key>,
    /// The most entries wanted; a page may be shorter.
    pub limit: u32,
}

wire_struct!(Dump { after, limit });

impl Operation {
    /// Reads one key.
    #[must_use]
    pub fn get(key: Key) -> Self {
        Self::of(Command::Get { key })
    }

    /// Writes one key.
    #[must_use]
    pub fn put(key: Key, value: Value) -> Self {
        Self::of(Command::Put { key, value, time_to_live: None })
    }

    /// Removes one key.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self::of(Command::Delete { key })
    }

    /// One command without conditions.
    #[must_use]
    pub fn of(command: Command) -> Self {
        Self::Batch(Batch { conditions: Vec::new(), commands: vec![command] })
    }

    /// The key of an operation that is one command without conditions.
    #[must_use]
    pub fn single_key(&self) -> Option<&Key> {
        match self {
            Self::Batch(batch) => batch.single().map(Command::key),
            Self::Scan(_) | Self::Dump(_) | Self::OpenSession | Self::Lead { .. } => None,
        }
    }

    /// Whether the operation changes nothing, so that it is safe to repeat.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.commands.iter().all(Command::is_read_only),
            Self::Scan(_) | Self::Dump(_) => true,
            Self::OpenSession | Self::Lead { .. } => false,
        }
    }

    /// Whether the operation does nothing but remove keys, or open the session in which a client
    /// does so, and is small: what a full disk takes from its reserve, so that it gets room.
    #[must_use]
    pub fn lets_data_go(&self) -> bool {
        match self {
            Self::Batch(batch) => {
                batch.removes_only() && batch.size_bytes() <= LETTING_GO_BYTES_MAX
            }
            Self::OpenSession => true,
            Self::Scan(_) | Self::Dump(_) | Self::Lead { .. } => false,
        }
    }
}

/// Room for one key of any length and what it is to hold, or for a thousand usual keys.
const LETTING_GO_BYTES_MAX: usize = 128 << 10;

/// What a request asks beside its operation: `RequestOptions::default()`, and what is to be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RequestOptions {
    /// After this long the request gets its answer, definite or unknown; 5 s by default.
    pub timeout: Duration,
    /// W for this request alone (eventual engine).
    pub write_quorum: Option<Quorum>,
    /// R for this request alone (eventual engine).
    pub read_quorum: Option<Quorum>,
    /// The level to serve a read at; the engine's own by default. A write has no level.
    pub level: Option<Level>,
    /// What the client has seen. Linearizable engine: the newest version of any answer; a read at the
    /// level [`Level::Sequential`] is no older than that. Eventual engine: the newest version of the
    /// request's key; a read shows that or a newer one, from whichever server has it, and a write is
    /// stamped after it.
    pub seen: Option<Version>,
    /// What names a write, so that it takes effect once although it is sent again, to whichever
    /// server. It is without meaning for a read, and in an engine that keeps no sessions.
    pub identity: Option<RequestIdentity>,
    /// If a copy that was sent before may take effect or has: how long ago the request was made. It
    /// changes nothing but what the server's log of operations says.
    pub sent_before: Option<Duration>,
}

wire_struct!(RequestOptions {
    timeout,
    write_quorum,
    read_quorum,
    level,
    seen,
    identity,
    sent_before
});

/// Names a session: the number of the operation that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl crate::Wire for SessionId {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, crate::DecodeError> {
        u64::decode(input).map(Self)
    }
}

/// Names a request of a session (Ongaro, *Consensus: Bridging Theory and Practice*, 2014, section
/// 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestIdentity {
    /// The session.
    pub session: SessionId,
    /// The request's number in it, from 1; at most [`RequestIdentity::WINDOW`] above
    /// `acknowledged_below`.
    pub number: u64,
    /// The client knows how all requests below this number ended, or has given them up: none of them
    /// takes effect any more, and their answers are forgotten.
    pub acknowledged_below: u64,
}

wire_struct!(RequestIdentity { session, number, acknowledged_below });

impl RequestIdentity {
    /// How many requests of a session may have no known end.
    pub const WINDOW: u64 = 4_096;
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            write_quorum: None,
            read_quorum: None,
            level: None,
            seen: None,
            identity: None,
            sent_before: None,
        }
    }
}

impl RequestOptions {
    /// The same with this timeout.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with this W.
    #[must_use]
    pub fn with_write_quorum(mut self, quorum: impl Into<Option<Quorum>>) -> Self {
        self.write_quorum = quorum.into();
        self
    }

    /// The same with this R.
    #[must_use]
    pub fn with_read_quorum(mut self, quorum: impl Into<Option<Quorum>>) -> Self {
        self.read_quorum = quorum.into();
        self
    }

    /// The same at this level.
    #[must_use]
    pub fn with_level(mut self, level: impl Into<Option<Level>>) -> Self {
        self.level = level.into();
        self
    }

    /// The same with what the client has seen.
    #[must_use]
    pub fn with_seen(mut self, seen: impl Into<Option<Version>>) -> Self {
        self.seen = seen.into();
        self
    }

    /// The same with what names a write.
    #[must_use]
    pub fn with_identity(mut self, identity: impl Into<Option<RequestIdentity>>) -> Self {
        self.identity = identity.into();
        self
    }

    /// The same as a request that was made so long ago.
    #[must_use]
    pub fn with_sent_before(mut self, ago: impl Into<Option<Duration>>) -> Self {
        self.sent_before = ago.into();
        self
    }
}

/// A consistency level that a read can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// It sees every write that was acknowledged before it began (linearizable engine).
    Linearizable,
    /// It is local, and sees at least what its client has seen ([`RequestOptions::seen`]): so a client
    /// reads its own writes, and never goes back, at whichever server. It may be old otherwise
    /// (linearizable engine).
    Sequential,
    /// It sees what [`Level::Linearizable`] does, and takes a position in the log for that, as a write
    /// does: the textbook way, which costs as much as a write (linearizable engine).
    Sequenced,
    /// What it shows is held by W servers before it is answered, as if it had been written again: with
    /// W + R > N no later read shows anything older (Attiya, Bar-Noy and Dolev, *Sharing Memory Robustly
    /// in Message-Passing Systems*, 1995). In the linearizable engine every read is like that.
    Atomic,
}

wire_enum!(Level, "consistency level", {
    0 => Linearizable,
    1 => Sequential,
    2 => Sequenced,
    3 => Atomic,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wire;
    use crate::request::batch::{Check, Condition, ExpiryMs};

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_trimmed_scan_is_of_the_same_keys() {
        let longest = vec![b'b'; Key::LEN_MAX];
        let beyond = Bytes::from(vec![b'b'; 3 * Key::LEN_MAX]);
        let keys = [b"a".to_vec(), b"b".to_vec(), longest, b"c".to_vec()];
        let keys = keys.map(|key| Key::new(key).unwrap());
        let bounds = [Bytes::new(), "b".into(), beyond, "c".into()];
        for from in &bounds {
            for until in &bounds {
                let (from, until) = (from.clone(), Some(until.clone()));
                let scan = Scan { from, until, after: None, limit: 1 };
                let trimmed = scan.trimmed();
                assert!(trimmed.from.len() <= Key::LEN_MAX + 1);
                for key in &keys {
                    assert_eq!(trimmed.contains(key), scan.contains(key), "{key:?}");
                }
            }
        }
    }

    #[test]
    fn what_changes_nothing_is_read_only() {
        let get = Command::Get { key: key("k") };
        let delete = Command::Delete { key: key("k") };
        let time_to_live = Command::TimeToLive { key: key("k") };
        let batch = |commands| Operation::Batch(Batch::new(vec![], commands).unwrap());
        assert!(batch(vec![get.clone(), time_to_live]).is_read_only());
        assert!(batch(vec![Command::Expiry { key: key("k") }]).is_read_only());
        assert!(!batch(vec![get, delete]).is_read_only());
        assert!(Operation::Dump(Dump { after: None, limit: 1 }).is_read_only());
    }

    #[test]
    fn what_only_removes_keys_and_is_small_lets_data_go() {
        let delete = || Command::Delete { key: key("k") };
        let get = Command::Get { key: key("k") };
        let put = Command::Rewrite { key: key("k"), value: Value::new("v").unwrap() };
        let large = Check::ValueIs(Value::new(vec![0; LETTING_GO_BYTES_MAX]).unwrap());
        let condition = |check| Condition { key: key("k"), check };
        let lets_go = |conditions, commands| {
            Operation::Batch(Batch::new(conditions, commands).unwrap()).lets_data_go()
        };
        assert!(lets_go(vec![], vec![get.clone(), delete()]));
        assert!(lets_go(vec![condition(Check::Present)], vec![delete(), delete()]));
        assert!(!lets_go(vec![condition(large)], vec![delete()]));
        assert!(!lets_go(vec![], vec![delete(), put]));
        assert!(!lets_go(vec![], vec![get]));
        assert!(Operation::OpenSession.lets_data_go());
    }

    #[test]
    fn golden_bytes_of_a_put() {
        let put = Operation::put(key("k"), Value::new("v").unwrap());
        let expected: &[u8] =
            &[0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, b'k', 1, 0, 0, 0, b'v', 0];
        assert_eq!(&put.to_bytes()[..], expected);
    }

    #[test]
    fn golden_bytes_of_what_has_to_do_with_expiry() {
        let condition = Condition { key: key("k"), check: Check::ExpiryIs(Some(ExpiryMs(258))) };
        let commands = vec![
            Command::Rewrite { key: key("k"), value: Value::new("v").unwrap() },
            Command::ExpireAt { key: key("k"), expiry: ExpiryMs(259) },
            Command::Expiry { key: key("k") },
        ];
        let batch = Operation::Batch(Batch::new(vec![condition], commands).unwrap());
        let expected: &[u8] = &[
            0, 1, 0, 0, 0, 1, 0, 0, 0, b'k', 4, 1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7, 1, 0, 0,
            0, b'k', 1, 0, 0, 0, b'v', 8, 1, 0, 0, 0, b'k', 3, 1, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0,
            b'k',
        ];
        assert_eq!(&batch.to_bytes()[..], expected);
        assert_eq!(Operation::from_bytes(batch.to_bytes()), Ok(batch));
    }
}
