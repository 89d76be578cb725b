//! One simulated server: a process that comes and goes, and a disk that stays.

pub(crate) mod arrival;
pub(crate) mod clock;
pub(crate) mod session;
pub(crate) mod watched;

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::driver::{CheckpointPolicy, DriverConfig, DriverCore, DriverDisk, Output, SessionId};
use kv_core::{
    ClusterConfig, ConsistencyEngine, EngineConfig, HaltReason, NodeId, Now, PersistSeq, RequestId,
    SeedStream,
};

use crate::cluster::tape::TapedBatch;
use crate::config::SimConfig;
use crate::disk::Storage;
use crate::server::arrival::Arrival;
use crate::server::clock::Clock;
use crate::server::session::{Session, SnapshotBegin, read_sockets};
use crate::server::watched::Watched;
use crate::violation::Breach;

/// A server of the cluster, running or not.
#[derive(Debug)]
pub(crate) struct Server<E: ConsistencyEngine> {
    pub(crate) node: NodeId,
    /// How often the server was started.
    pub(crate) starts: u64,
    /// The server's own driver, while the process runs.
    pub(crate) driver: Option<DriverCore<Watched<E>>>,
    sessions: Vec<Session>,
    begun_snapshots: Vec<SnapshotBegin>,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) paused: bool,
    /// When the driver wants a turn, in virtual time.
    pub(crate) wake_at: Option<Duration>,
    pub(crate) work_scheduled: bool,
    /// The process was told to stop.
    pub(crate) is_stopping: bool,
    /// The process dies before it carries out this many more outputs.
    pub(crate) effects_to_live: Option<u64>,
    pub(crate) storage: Storage<E::Record>,
    /// A bit of the journal was flipped, so that it must be refused.
    pub(crate) disk_damaged: bool,
    /// What the server is told at its start in place of the cluster's configuration.
    pub(crate) own_config: Option<ClusterConfig>,
    /// The configuration under which the disk was last used.
    pub(crate) disk_config: Option<ClusterConfig>,
    pub(crate) clock: Clock,
    inbox: VecDeque<Arrival<E::Message>>,
}

/// What one turn was.
#[derive(Debug)]
pub(crate) struct Turn<M, R> {
    /// What the engine was given and gave, if that is kept.
    pub(crate) batch: Option<TapedBatch<M, R>>,
    /// How many steps there were.
    pub(crate) steps: u64,
}

/// An output of a server's driver.
pub(crate) type OutputOf<E> =
    Output<<E as ConsistencyEngine>::Message, <E as ConsistencyEngine>::Record>;

impl<E: ConsistencyEngine> Server<E> {
    pub(crate) fn new(node: NodeId, config: &SimConfig) -> Self {
        Self {
            node,
            starts: 0,
            driver: None,
            sessions: Vec::new(),
            begun_snapshots: Vec::new(),
            halted: None,
            paused: false,
            wake_at: None,
            work_scheduled: false,
            is_stopping: false,
            effects_to_live: None,
            storage: Storage::new(node, config),
            disk_damaged: false,
            own_config: None,
            disk_config: None,
            clock: Clock::new(),
            inbox: VecDeque::new(),
        }
    }

    /// The engine while the process runs.
    pub(crate) fn engine(&self) -> Option<&E> {
        self.driver.as_ref().map(|driver| &driver.engine().engine)
    }

    /// The same, to read views of it.
    pub(crate) fn engine_mut(&mut self) -> Option<&mut E> {
        self.driver.as_mut().map(|driver| &mut driver.engine_mut().engine)
    }

    /// Starts the process on what the disk holds; the records on which it started, if they are
    /// wanted.
    ///
    /// # Errors
    /// [`Breach`] if the engine cannot go on from its own disk.
    pub(crate) fn start(
        &mut self,
        at: Duration,
        config: &SimConfig,
    ) -> Result<Vec<(PersistSeq, E::Record)>, Breach> {
        self.starts += 1;
        let (checkpoint, records) = self.storage.recover(self.disk_damaged)?;
        let kept = if config.keep_tapes { records.clone() } else { Vec::new() };
        let persisted = records.last().map(|(seq, _)| *seq);
        let covers = self.storage.checkpoint.covers();
        let engine = E::recover(self.engine_config(config), checkpoint, records);
        let engine = Watched::new(engine.map_err(Breach::NotRecovered)?, config.keep_tapes);
        self.clock.start(at);
        self.disk_config = Some(self.cluster(config).clone());
        self.halted = None;
        let disk = DriverDisk {
            persisted: persisted.unwrap_or(covers),
            covers,
            journal_bytes: 0,
            // The journal is measured in records here.
            checkpoints: CheckpointPolicy {
                bytes_max: config.disk.checkpoint_every.unwrap_or(u64::MAX),
                interval_min: CHECKPOINT_INTERVAL_MIN,
                chunks_max: 2,
            },
        };
        let peers: Vec<NodeId> = self.cluster(config).peers_of(self.node).collect();
        let driver_config = DriverConfig {
            part_bytes_max: config.part_bytes_max,
            broken: config.driver_broken,
            ..DriverConfig::durable(disk)
        };
        let mut driver = DriverCore::new(engine, peers, driver_config);
        let open = |_| Session::new(driver.open_session(config.in_flight_max));
        self.sessions = (0..SESSIONS).map(open).collect();
        self.driver = Some(driver);
        self.look_when_to_wake();
        Ok(kept)
    }

    /// The configuration of the engine in the present process.
    pub(crate) fn engine_config(&self, config: &SimConfig) -> EngineConfig {
        // Two incarnations must not share a seed: an engine may name itself by it.
        let mut stream = SeedStream::new(config.seed ^ (u64::from(self.node.number()) << 48));
        let seed = stream.next_u64() ^ SeedStream::new(self.starts).next_u64();
        EngineConfig {
            timing: config.timing,
            limits: config.limits,
            hand_back: config.hand_back,
            may_found: true,
            ..EngineConfig::seeded(self.node, self.cluster(config).clone(), seed)
        }
    }

    /// The configuration of the cluster as this server is told.
    pub(crate) fn cluster<'a>(&'a self, config: &'a SimConfig) -> &'a ClusterConfig {
        self.own_config.as_ref().unwrap_or(&config.cluster)
    }

    /// Ends the process; what is on its disk is another matter.
    pub(crate) fn end(&mut self) {
        self.driver = None;
        self.sessions.clear();
        self.begun_snapshots.clear();
        self.paused = false;
        self.wake_at = None;
        self.work_scheduled = false;
        self.is_stopping = false;
        self.effects_to_live = None;
        self.inbox.clear();
    }

    /// Ends the process and loses its disk.
    pub(crate) fn wipe(&mut self) {
        self.end();
        self.storage.wipe();
        self.disk_damaged = false;
        self.disk_config = None;
    }

    /// Ends the process and puts the older copy of its disk in place; false if there is none.
    pub(crate) fn set_back(&mut self) -> bool {
        self.end();
        let is_set_back = self.storage.set_back();
        self.disk_damaged &= !is_set_back;
        is_set_back
    }

    /// Changes how the clocks run.
    pub(crate) fn set_clock(&mut self, change: impl FnOnce(&mut Clock)) {
        change(&mut self.clock);
        self.look_when_to_wake();
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.driver.is_some()
    }

    /// Puts something into the inbox; false if the process is down or the inbox is full, and then
    /// it is lost.
    pub(crate) fn receive(&mut self, arrival: Arrival<E::Message>) -> bool {
        let taken = self.is_running() && self.inbox.len() < INBOX_MAX;
        if taken {
            self.inbox.push_back(arrival);
        }
        taken
    }

    /// Which session a request is put in.
    pub(crate) const fn session_of(id: RequestId) -> usize {
        // Fewer than would not fit.
        #[expect(clippy::as_conversions, reason = "usize::try_from is not const")]
        let place = (id.0 % SESSIONS) as usize;
        place
    }

    /// The requests of a session that were not answered and not cancelled.
    pub(crate) fn is_session(&self, place: usize, session: SessionId) -> bool {
        self.sessions.get(place).is_some_and(|known| known.id == session)
    }

    /// Gives the driver all that waits, and has it take a turn. What there is to do waits to be
    /// taken by [`Server::next_output`].
    ///
    /// # Errors
    /// [`Breach`] if the engine breaks its contract by it.
    pub(crate) fn turn(
        &mut self,
        at: Duration,
        config: &SimConfig,
    ) -> Result<Turn<E::Message, E::Record>, Breach> {
        let now = self.clock.now(at);
        let Some(driver) = &mut self.driver else {
            return Ok(Turn { batch: None, steps: 0 });
        };
        let (inbox, sessions) = (&mut self.inbox, &mut self.sessions);
        for arrival in inbox.drain(..) {
            self.begun_snapshots.extend(take(driver, sessions, now, arrival, config));
        }
        read_sockets(driver, sessions, now);
        driver.note_journal_bytes(driver.persisted().0);
        driver.turn(now);
        let watched = driver.engine_mut();
        let turn = Turn { batch: watched.take_batch(), steps: watched.take_steps() };
        let breach = watched.take_breach();
        self.look_when_to_wake();
        breach.map_or(Ok(turn), Err)
    }

    /// The next thing that the driver has to do.
    pub(crate) fn next_output(&mut self) -> Option<OutputOf<E>> {
        let output = self.driver.as_mut()?.next_output();
        if matches!(output, Some(Output::Reply(_)))
            && self.sessions.iter().any(|session| !session.socket.is_empty())
        {
            // There may be room for a request that waits.
            self.wake_at = Some(Duration::ZERO);
        }
        output
    }

    /// Tells the driver whether the connection to a peer takes no more.
    pub(crate) fn set_congested(&mut self, peer: NodeId, is_congested: bool) {
        if let Some(driver) = &mut self.driver {
            driver.set_congested(peer, is_congested);
            if driver.next_deadline() == Some(Duration::ZERO) {
                self.wake_at = Some(Duration::ZERO);
            }
        }
    }

    /// Whether the process was told to stop, and has.
    pub(crate) fn is_stopped(&self, at: Duration) -> bool {
        let now = self.clock.now(at);
        self.driver.as_ref().is_some_and(|driver| driver.is_stopped(now))
    }

    fn look_when_to_wake(&mut self) {
        let deadline = self.driver.as_ref().and_then(DriverCore::next_deadline);
        self.wake_at = deadline.map(|deadline| self.clock.time_of(deadline));
    }
}

/// Gives a driver what came; how a snapshot begins that a client asked for.
fn take<E: ConsistencyEngine>(
    driver: &mut DriverCore<Watched<E>>,
    sessions: &mut [Session],
    now: Now,
    arrival: Arrival<E::Message>,
    config: &SimConfig,
) -> Option<SnapshotBegin> {
    match arrival {
        Arrival::Request { id, op, options } => {
            if let Some(session) = sessions.get_mut(Server::<E>::session_of(id)) {
                session.socket.push_back((id, op, options));
                read_sockets(driver, sessions, now);
            }
        }
        Arrival::Cancel { id } => {
            if let Some(session) = sessions.get_mut(Server::<E>::session_of(id)) {
                session.socket.retain(|(waiting, ..)| *waiting != id);
                driver.cancel(now, session.id, id.0);
            }
        }
        Arrival::Disconnect { session } => {
            if let Some(session) = sessions.get_mut(session) {
                driver.close_session(now, session.id);
                *session = Session::new(driver.open_session(config.in_flight_max));
            }
        }
        Arrival::Snapshot { session, tag } => {
            let session = sessions.get_mut(session)?;
            return Some(session.begin_snapshot(driver, tag));
        }
        Arrival::Frame { from, frame } => driver.on_frame(now, from, frame),
        Arrival::PeerUp { peer, incarnation } => driver.on_peer_up(now, peer, incarnation),
        Arrival::PeerDown { peer } => driver.on_peer_down(now, peer),
        Arrival::Persisted { up_to } => driver.on_persisted(now, up_to),
        Arrival::Room { shortage } => driver.on_room(now, shortage),
        Arrival::ChangesTaken => driver.on_changes_taken(),
        Arrival::CheckpointWritten => driver.on_checkpoint_written(now),
        Arrival::CheckpointFailed => driver.on_checkpoint_failed(now),
        Arrival::Stop => driver.stop(now),
    }
    None
}

/// What comes in beyond this many arrivals is lost.
const INBOX_MAX: usize = 100_000;

/// Clients that are connected to a server at a time.
const SESSIONS: u64 = 3;

/// The least time between two checkpoints.
const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_millis(10);
