//! The contract between a consistency engine and whatever drives it.

pub(crate) mod checkpoint;
pub(crate) mod effect;

use std::fmt;
use std::time::Duration;

use crate::cluster::ClusterConfig;
use crate::cluster::id::{Incarnation, NodeId, PersistSeq, RequestId};
use crate::engine::checkpoint::{
    Checkpoint, OpenView, RecoverError, SnapshotPart, ViewChunk, ViewScope,
};
use crate::engine::effect::Effects;
use crate::request::operation::{Operation, RequestOptions};
use crate::seed::SeedStream;
use crate::status::Status;
use crate::store::ViewId;
use crate::wire::Wire;

/// A replication protocol as a state machine without IO: inputs in, effects out.
///
/// A *driver* owns the engine; [`driver::DriverCore`](crate::driver::DriverCore) is one. It calls
/// [`step`](Self::step) for each input, carries out the effects in order, and steps
/// [`Input::Timeout`] once [`next_deadline`](Self::next_deadline) has come. The contract, each clause with a test in `kv_sim::conformance` that every engine passes:
///
/// 1. **The engine withholds.** It emits no acknowledgement or reply that promises durability
///    before [`Input::Persisted`] covers the record, so a driver cannot get this wrong. A driver
///    without a disk answers `Persisted` at once. Several [`Persist`](crate::Effect::Persist) may
///    be outstanding; their sequence numbers are dense and start at 1 after what was recovered.
/// 2. **The driver owns the effects** and drains them first in, first out, after each step or
///    batch of steps.
/// 3. **`step` is total.** It returns no error and does not panic on anything that a peer or a
///    client sent. Bad input is counted, logged and dropped.
/// 4. **A message may be lost, duplicated, delayed, reordered.** Retransmission is the engine's,
///    by deadline, with backoff and bounds.
/// 5. **After a `Timeout` at `now`, the next deadline is none or later than `now`.** It is cheap
///    and re-read after each batch of steps; there are no timers to cancel. A deadline that is
///    already due means: step a timeout before you flush. That is how an engine gathers a batch
///    into one message.
/// 6. **At most one reply for a request.** An [`Outcome`](crate::Outcome) is done, definitely not
///    done, or unknown; it is never "not done" when that is unsure. After [`Input::Cancel`] there
///    may be none.
/// 7. **Same inputs, same effects, byte for byte.** Clocks arrive in [`Now`], randomness as the
///    configuration's seed.
/// 8. **An engine goes on from what was persisted.** [`recover`](Self::recover) takes a checkpoint
///    and the records after it; records that were not covered by `Persisted` may be missing from
///    the end. Checkpoints and snapshots are *views* of the state at one moment, read in
///    [chunks](Self::read_view) while the engine goes on; to open one, to read a chunk of it and to
///    end it may each take no longer than a chunk does. A checkpoint is [what changed](ViewScope::Changes) since the one
///    on disk: such changes, applied in order, make the [whole state](ViewScope::Whole), whichever
///    of them were not written or not told of, and whatever took the state's place meanwhile. A
///    peer's snapshot comes in parts, in order, each of which the engine stages; it switches to
///    the snapshot in one step at the end.
/// 9. **A broken invariant that a peer reveals is a [`Halt`](crate::Effect::Halt)**; the driver
///    stops the process with it. All other bad input falls under 3.
/// 10. **Results that may exceed a frame come in pages**, by cursor.
/// 11. **What a full disk cannot keep is refused at once.** From [`Input::DiskShort`] until
///     [`Input::DiskRoom`] a request of the server's own clients whose record would go to this
///     disk first is answered "not done". With [`Shortage::SpaceForData`] the engine may take what
///     [lets data go](crate::Operation::lets_data_go).
///
/// # Example
/// [`local::LocalCluster`](crate::local::LocalCluster) runs engines in ten lines; see there.
pub trait ConsistencyEngine: Sized {
    /// The engine's name in handshakes, on screens and in errors.
    const NAME: &'static str;

    /// Whether W and R are the cluster's, so that servers with different ones refuse each other;
    /// otherwise they are the coordinator's own.
    const SHARED_QUORUMS: bool = true;

    /// Whether the engine keeps sessions ([`Operation::OpenSession`]), in which each request takes
    /// effect once, however often it is sent.
    const SESSIONS: bool = false;

    /// What is sent to peers.
    type Message: Wire + Clone + fmt::Debug + PartialEq;

    /// What must reach the disk. Self-contained: replaying the records in order needs no other
    /// knowledge than the state that they made.
    type Record: Wire + Clone + fmt::Debug + PartialEq;

    /// Makes an engine from what its disk holds: nothing at all for an empty start.
    ///
    /// `records` are those that the checkpoint does not cover, in order; the first follows
    /// [`Checkpoint::covers`], or is 1 without a checkpoint.
    ///
    /// # Errors
    /// [`RecoverError`] if the disk's content is not this engine's, or of another cluster
    /// configuration. Nothing is changed by a recovery that fails.
    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Self::Record)>,
    ) -> Result<Self, RecoverError>;

    /// Takes one input and appends what is to be done to `out`.
    fn step(
        &mut self,
        now: Now,
        input: Input<Self::Message>,
        out: &mut Effects<Self::Message, Self::Record>,
    );

    /// When the engine next wants a [`Input::Timeout`], on the scale of [`Now::mono`].
    fn next_deadline(&self) -> Option<Duration>;

    /// Opens a view of the state that records up to the last persisted one have made. It has no
    /// part in what the engine does. `None` if it cannot be had at the moment; the driver tries
    /// again later.
    ///
    /// A view of [`ViewScope::Changes`] has what changed since the checkpoint on disk: that is the
    /// one that [`Input::CheckpointWritten`] told of last, or else the one that the engine was
    /// recovered from; without either, everything has changed. Opened again before it is told, it
    /// has all of it again, as it is then: so a driver whose disk was full tries again. A driver
    /// has one of them at a time. It opens the next once this one is written, and told of if at
    /// all, or never will be.
    ///
    /// [`Store`](crate::Store) has what it takes.
    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView>;

    /// Reads on in a view: the next items, ascending by key, until they have about `bytes_max`
    /// bytes; at least one, if there is one. `None` if the view is gone: the state that it showed
    /// was replaced. Then what was read of it is of no use.
    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk>;

    /// Ends a view, read to its end or not. A checkpoint that was not read to its end is not
    /// written.
    fn close_view(&mut self, view: ViewId);

    /// The server that orders requests now, as far as this one knows, itself included; clients do
    /// best to connect to it. `None` in an engine whose servers all take requests alike, and while
    /// nobody is known to. It is asked after every turn of the driver, so it must cost little.
    fn sequencer(&self) -> Option<NodeId> {
        None
    }

    /// Whether a server that was told of its [`Input::Stop`] leaves nothing behind that another one
    /// does better after it, such as a part that it hands over. The driver waits for it, not for long.
    fn may_stop(&self) -> bool {
        true
    }

    /// The state in figures.
    fn status(&self) -> Status;

    /// A hash of the state without its clocks and deadlines, for comparing replicas that should
    /// agree and for pruning in model checking.
    fn fingerprint(&self) -> u64;
}

/// What happens to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<M> {
    /// A client asks for something.
    Request {
        /// Names the request in its reply and in a cancel.
        id: RequestId,
        /// What is asked for.
        op: Operation,
        /// How.
        options: RequestOptions,
    },
    /// Nobody waits for the reply any more. What was begun may still take effect.
    Cancel {
        /// Which request.
        id: RequestId,
    },
    /// A message came from a peer.
    Message {
        /// From whom, as the connection's handshake said.
        from: NodeId,
        /// What.
        message: M,
    },
    /// A peer is connected again. A hint, not a proof.
    PeerUp {
        /// Which peer.
        peer: NodeId,
        /// Its incarnation as its handshake named it; [`Incarnation::UNKNOWN`] if it was still
        /// joining.
        incarnation: Incarnation,
    },
    /// A peer is not connected, or an attempt to connect has failed. A hint, not a proof.
    PeerDown {
        /// Which peer.
        peer: NodeId,
    },
    /// All records up to this one are on disk.
    Persisted {
        /// The last of them.
        up_to: PersistSeq,
    },
    /// A checkpoint is on disk; records up to `covers` will not be replayed.
    CheckpointWritten {
        /// The [`OpenView::covers`] of its view.
        covers: PersistSeq,
    },
    /// A part of a peer's snapshot has come. The parts of one snapshot come in order, from 0, each
    /// once; part 0 of another one ends what came before. The next ones follow only as the
    /// records that the engine made of these are persisted.
    SnapshotPart {
        /// From whom.
        from: NodeId,
        /// The part.
        part: SnapshotPart,
    },
    /// The disk has no room for what a write may need; records that were asked for wait until it
    /// has. The engine refuses what it cannot keep, and tells its peers what they must know.
    DiskShort {
        /// What is lacking.
        shortage: Shortage,
    },
    /// The disk has room again.
    DiskRoom,
    /// The server is about to stop, once [`may_stop`](ConsistencyEngine::may_stop) says so or soon
    /// anyway. No further request comes.
    Stop,
    /// The deadline has come.
    Timeout,
}

/// What the disk lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Space, but for what [lets data go](crate::Operation::lets_data_go): a reserve has room for that.
    SpaceForData,
    /// Space.
    Space,
    /// File descriptors: no further file can be opened.
    OpenFiles,
}

/// The clocks at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment of this process; never goes back. For deadlines.
    pub mono: Duration,
    /// Time since the Unix epoch; may jump. For versions and expiry.
    pub wall: Duration,
}

/// What every engine is told when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The server that the engine is.
    pub node: NodeId,
    /// The cluster as this server was told.
    pub cluster: ClusterConfig,
    /// Decides all randomness. Neither two servers nor two incarnations of one may share it: it also
    /// names them, and clusters.
    pub seed: u64,
    /// Waiting times.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// Whether the first of the servers asks for the sequencer's part whenever it has caught up.
    pub hand_back: bool,
    /// Whether the server may found a cluster, where it starts empty and meets none. Otherwise it
    /// waits to be taken into one.
    pub may_found: bool,
}

impl EngineConfig {
    /// A configuration with the default times and bounds, and a seed that no other has: for servers
    /// that are to serve.
    #[must_use]
    pub fn new(node: NodeId, cluster: ClusterConfig) -> Self {
        Self::seeded(node, cluster, SeedStream::drawn_by_the_system())
    }

    /// A configuration with the default times and bounds, and a seed that makes what the engine does
    /// repeatable: for tests. Servers that keep data must not be started from a seed twice.
    #[must_use]
    pub fn seeded(node: NodeId, cluster: ClusterConfig, seed: u64) -> Self {
        let (timing, limits) = (Timing::default(), Limits::default());
        Self { node, cluster, seed, timing, limits, hand_back: false, may_found: true }
    }
}

/// Waiting times of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long to wait for an answer from a peer before sending again; doubled up to
    /// `resend_max`.
    pub resend_min: Duration,
    /// The longest wait between two sendings of one message.
    pub resend_max: Duration,
    /// How often an idle sequencer sends a heartbeat.
    pub heartbeat: Duration,
    /// How long nothing may be heard of a sequencer before another one is chosen; up to twice as
    /// long. At least two heartbeats.
    pub election: Duration,
    /// How long a server that starts empty waits for all its peers.
    pub join_wait: Duration,
    /// About how often a server of the eventual engine asks a peer, one after the other, for what it
    /// lacks; [`Duration::MAX`] for never, unless the peer has just come back.
    pub anti_entropy: Duration,
    /// How often a server of the eventual engine compares all that it holds with each peer, by hashes
    /// of ranges of keys; [`Duration::MAX`] for never.
    pub comparison: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            resend_min: Duration::from_millis(100),
            resend_max: Duration::from_secs(2),
            heartbeat: Duration::from_millis(100),
            election: Duration::from_secs(1),
            join_wait: Duration::from_secs(1),
            anti_entropy: Duration::from_secs(1),
            comparison: Duration::from_secs(600),
        }
    }
}

/// Bounds of an engine. What happens at a bound stands beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight; one more is answered [`NotDone::Overloaded`](crate::NotDone::Overloaded).
    pub requests_max: usize,
    /// Log entries that may be sequenced and not yet committed; more wait in the queue of
    /// requests.
    pub window_entries_max: usize,
    /// Bytes that may be sequenced and not yet committed; more wait in the queue of requests.
    pub window_bytes_max: usize,
    /// Bytes after which a message takes no further entry; a single larger entry goes alone.
    pub message_bytes_max: usize,
    /// Entries that came too early and are held back; one more is dropped, to be sent again.
    pub hold_back_entries_max: usize,
    /// Bytes of delivered log kept for peers that are behind; a peer that needs more is sent a
    /// snapshot.
    pub log_bytes_max: usize,
    /// Entries of delivered log kept for them. In memory a small entry takes some 300 bytes.
    pub log_entries_max: usize,
    /// Entries in a page of a scan or a dump; a page also ends once it has 1 MiB.
    pub page_entries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_max: 65_536,
            window_entries_max: 16_384,
            window_bytes_max: 64 << 20,
            message_bytes_max: 1 << 20,
            hold_back_entries_max: 16_384,
            log_bytes_max: 256 << 20,
            log_entries_max: 100_000,
            page_entries_max: 1_000,
        }
    }
}
