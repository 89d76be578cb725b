//! What all sessions of a server have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{SeedStream, Status};

use crate::cursors::Cursors;
use crate::reply::Protocol;

/// What a server tells of itself, and what it counts.
#[derive(Debug)]
pub struct Front {
    /// What does not change while it runs.
    pub facts: Facts,
    pub(crate) clients: BTreeMap<u64, ClientRecord>,
    pub(crate) cursors: Cursors,
    pub(crate) stats: Stats,
    pub(crate) kills: Vec<u64>,
    pub(crate) random: SeedStream,
}

/// What does not change while a server runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The version of the program.
    pub version: &'static str,
    /// The port on which Redis clients are taken.
    pub port: u16,
    /// The most clients at once.
    pub clients_max: usize,
    /// [`Now::mono`](kv_core::Now::mono) when it was started.
    pub started: Duration,
    /// Whether the engine orders all operations in one log; otherwise only reads, single writes and
    /// deletes are taken.
    pub is_linearizable: bool,
    /// Whether data is kept on disk.
    pub is_durable: bool,
    /// What the process has used so far.
    pub usage: fn() -> Usage,
    /// A number that differs from start to start.
    pub seed: u64,
}

/// What a process has used, as far as its system tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time of the processor in the program.
    pub user: Duration,
    /// Time of the processor in the system on its behalf.
    pub system: Duration,
    /// Memory that is resident.
    pub memory_bytes: u64,
}

/// A client that is connected.
#[derive(Clone, Debug)]
pub(crate) struct ClientRecord {
    pub(crate) address: String,
    pub(crate) name: Bytes,
    pub(crate) library: [Bytes; 2],
    pub(crate) since: Duration,
    pub(crate) last_used: Duration,
    pub(crate) last_command: &'static str,
    pub(crate) protocol: Protocol,
    /// How many commands its transaction holds, if it has begun one.
    pub(crate) queued: Option<usize>,
}

/// What has happened since the start, or since `CONFIG RESETSTAT`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: u64,
    pub(crate) commands: u64,
    pub(crate) rejected: u64,
    pub(crate) errors: u64,
    /// Commands that there are not, or with too few or too many words.
    pub(crate) refused: u64,
}

/// What a session looks at when it goes on.
pub struct Context<'a> {
    /// What all sessions have in common.
    pub front: &'a mut Front,
    /// The clocks.
    pub now: kv_core::Now,
    /// How the server is.
    pub status: &'a dyn Fn() -> Status,
}

impl Front {
    /// A front without sessions.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        let random = SeedStream::new(facts.seed);
        Self {
            facts,
            clients: BTreeMap::new(),
            cursors: Cursors::default(),
            stats: Stats::default(),
            kills: Vec::new(),
            random,
        }
    }

    /// A client has connected.
    pub fn connected(&mut self, id: u64, address: String, now: kv_core::Now) {
        self.stats.connections += 1;
        let record = ClientRecord {
            address,
            name: Bytes::new(),
            library: [Bytes::new(), Bytes::new()],
            since: now.mono,
            last_used: now.mono,
            last_command: "NULL",
            protocol: Protocol::Resp2,
            queued: None,
        };
        self.clients.insert(id, record);
    }

    /// A client has gone.
    pub fn disconnected(&mut self, id: u64) {
        self.clients.remove(&id);
    }

    /// A client was refused, since there are too many.
    pub fn rejected(&mut self) {
        self.stats.rejected += 1;
    }

    /// The clients whose connections are to be closed, since `CLIENT KILL` named them.
    pub fn take_kills(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.kills)
    }
}
