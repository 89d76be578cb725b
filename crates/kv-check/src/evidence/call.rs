//! One call of one key.

use std::fmt;
use std::time::Duration;

use kv_core::{Key, NodeId, RequestId, Value, Version};

use crate::brief::Brief;
use crate::history::Process;

/// One read or write of one key as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names it in findings.
    pub id: RequestId,
    /// Whose call it is. A session makes one call after the other.
    pub session: Process,
    /// The server that was asked.
    pub node: NodeId,
    /// The key.
    pub key: Key,
    /// What was asked for.
    pub action: Action,
    /// When it began.
    pub begin: Duration,
    /// The version that the server which was asked held of the key then, if that is known.
    pub held: Option<Version>,
    /// When and how it ended; `None` while it is open.
    pub end: Option<(Duration, End)>,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// What a key holds.
    Get,
    /// A value for a key.
    Put(Value),
    /// No value for a key.
    Delete,
    /// A value that depends on what the key held.
    Change,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A get was answered.
    Read {
        /// What it shows; `None` for a missing key.
        shown: Option<Shown>,
        /// The delete by which the key is missing, if the answer says so.
        deleted: Option<Version>,
        /// How many servers answered: as many as were asked for, or more if the engine says so.
        quorum: u16,
    },
    /// A write was acknowledged.
    Written {
        /// Its version.
        version: Version,
        /// How many servers acknowledged: as many as were asked for, or more if the engine says
        /// so.
        quorum: u16,
    },
    /// It has no effect and never will.
    NotDone,
    /// It may have taken effect, or may still; under this version, if that was told.
    Unknown {
        /// Its version.
        version: Option<Version>,
    },
}

/// A value that a read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The value.
    pub value: Value,
    /// Which write it is from.
    pub version: Version,
}

impl Call {
    /// When it was acknowledged, under which version, by how many servers; `None` if it is no
    /// acknowledged write.
    pub(crate) const fn acknowledged(&self) -> Option<(Duration, Version, u16)> {
        match &self.end {
            Some((at, End::Written { version, quorum })) => Some((*at, *version, *quorum)),
            Some((_, End::Read { .. } | End::NotDone | End::Unknown { .. })) | None => None,
        }
    }

    /// What a read that was answered shows; the inner `None` for a missing key.
    #[must_use]
    pub fn shown(&self) -> Option<Option<&Shown>> {
        match &self.end {
            Some((_, End::Read { shown, .. })) => Some(shown.as_ref()),
            Some((_, End::Written { .. } | End::NotDone | End::Unknown { .. })) | None => None,
        }
    }

    /// The version of what a read shows: of a value, or of the delete by which the key is missing.
    pub(crate) fn version_shown(&self) -> Option<Version> {
        match &self.end {
            Some((_, End::Read { shown, deleted, .. })) => {
                shown.as_ref().map(|shown| shown.version).or(*deleted)
            }
            Some((_, End::Written { .. } | End::NotDone | End::Unknown { .. })) | None => None,
        }
    }

    /// Whether it is a delete that may have been in effect by `moment`, under a version that is
    /// greater than `version`: then a missing key is newer than that.
    pub(crate) fn may_hide(&self, key: &Key, version: Version, moment: Duration) -> bool {
        let newer = match &self.end {
            None | Some((_, End::Unknown { version: None })) => true,
            Some((_, End::Written { version: own, .. } | End::Unknown { version: Some(own) })) => {
                *own >= version
            }
            Some((_, End::NotDone | End::Read { .. })) => false,
        };
        self.action == Action::Delete && self.key == *key && self.begin <= moment && newer
    }
}

/// `call 3 of client 5 at server 1, 120ms to 130ms: put b"k" b"v4": written as version 17`
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, session, key, node, begin, .. } = self;
        write!(f, "call {id} of client {} at server {node}, {begin:?} to ", session.0)?;
        match &self.end {
            Some((at, _)) => write!(f, "{at:?}: ")?,
            None => f.write_str("the end: ")?,
        }
        match &self.action {
            Action::Get => write!(f, "get {key:?}: ")?,
            Action::Put(value) => write!(f, "put {key:?} {}: ", Brief(value))?,
            Action::Delete => write!(f, "delete {key:?}: ")?,
            Action::Change => write!(f, "change {key:?}: ")?,
        }
        match &self.end {
            Some((_, end)) => end.fmt(f),
            None => f.write_str("no answer"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { shown: None, .. } => f.write_str("nothing"),
            Self::Read { shown: Some(Shown { value, version }), .. } => {
                write!(f, "{} (version {version})", Brief(value))
            }
            Self::Written { version, .. } => write!(f, "written as version {version}"),
            Self::NotDone => f.write_str("not done"),
            Self::Unknown { version: None } => f.write_str("unknown"),
            Self::Unknown { version: Some(version) } => {
                write!(f, "unknown, with version {version}")
            }
        }
    }
}
