//! What happens to a client's connection.

use kv_core::NodeId;
use kv_proto::{Refusal, Welcome};

use crate::connection::error::{DialFailure, LostReason};

/// What happens to a client's connection, for people and logs; nothing has to be done about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A server accepted the client.
    Connected {
        /// Which.
        server: NodeId,
        /// What it said of itself.
        welcome: Box<Welcome>,
        /// The servers that were tried in vain since the last connection, each once.
        skipped: Vec<DialFailure>,
    },
    /// The client has gone to the server that orders requests, from one that went on serving it.
    Moved {
        /// From which server.
        from: NodeId,
        /// To which.
        server: NodeId,
        /// What it said of itself.
        welcome: Box<Welcome>,
    },
    /// The connection to a server has ended; the client goes on to the next one.
    Lost {
        /// Which server.
        server: NodeId,
        /// How.
        why: LostReason,
    },
    /// A server does not take this client; told once for each server until one accepts it.
    Refused {
        /// Which server.
        server: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// Every server has been tried in vain; the client goes on trying. Told once until one accepts
    /// it.
    NoneAnswers {
        /// How each attempt failed.
        failures: Vec<DialFailure>,
    },
}
