//! A running server.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kv_core::driver::{DriverConfig, DriverCore};
use kv_core::{ConsistencyEngine, EngineConfig, NodeId};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_proto::{Refusal, ServerState};
use kv_resp::{Facts, Front};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::config::{Consistency, RespConfig, ServerConfig};
use crate::data::FoundData;
use crate::data::Persistence;
use crate::data::recovery::{Recovered, recover};
use crate::driver::clients::{Clients, LocalRequests};
use crate::driver::clock::Clock;
use crate::driver::dump::DumpThread;
use crate::driver::event::{Ending, LocalEvent};
use crate::driver::hub::Hub;
use crate::driver::peers::{Delayed, Peers};
use crate::driver::redis::RedisClients;
use crate::driver::usage::usage;
use crate::driver::{Loop, Readiness, Telling, serve_local, watch_disk};
use crate::failure::{ServerError, StartError};
use crate::local::LocalClient;
use crate::net::bounds::admission::Identity;
use crate::net::bounds::connection_bounds::ConnectionSlots;
use crate::net::bounds::held_back::HeldBack;
use crate::net::complaints::Complaints;
use crate::net::link::Link;
use crate::net::listener::{Door, Listener};
use crate::net::reading::FrameBytes;
use crate::net::redis::RedisListener;
use crate::op_log::OpLog;

/// A server under way, in this process, on a thread of its own.
///
/// Dropping it stops it at once, but its thread may hold the address and the data directory for a
/// moment longer; [`Server::kill`] waits for that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    resp_address: Option<SocketAddr>,
    found: Option<FoundData>,
    local: mpsc::Sender<LocalEvent>,
    client_numbers: Arc<AtomicU64>,
    readiness: watch::Receiver<Readiness>,
    connected: watch::Receiver<BTreeSet<NodeId>>,
    refused_by: watch::Receiver<BTreeMap<NodeId, Refusal>>,
    ending: watch::Sender<Ending>,
    ended: oneshot::Receiver<Result<(), ServerError>>,
}

impl Server {
    /// Starts a server on its address in the list of servers.
    ///
    /// # Errors
    /// [`StartError`] in one line that says what to do.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        // Said before the port is tried: it is the greater mistake.
        config.cluster()?;
        let address = config.servers.address(config.node).unwrap_or_default().to_owned();
        Self::start_at(&address, config).await
    }

    /// Starts a server that listens on `address` (`host:port`), whatever the list of servers says;
    /// for example on all interfaces.
    ///
    /// # Errors
    /// [`StartError`] in one line that says what to do.
    pub async fn start_at(address: &str, config: ServerConfig) -> Result<Self, StartError> {
        config.cluster()?;
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|source| StartError::bind(address.to_owned(), source))?;
        Self::start_on(socket, config).await
    }

    /// Starts a server on a socket that listens already, for example on port 0; the list of
    /// servers then need not name this server's true address.
    ///
    /// # Errors
    /// [`StartError`] in one line that says what to do.
    pub async fn start_on(socket: TcpListener, config: ServerConfig) -> Result<Self, StartError> {
        match config.consistency {
            Consistency::Eventual => Self::start_engine::<EventualEngine>(socket, config).await,
            Consistency::Linearizable => Self::start_engine::<LinearEngine>(socket, config).await,
        }
    }

    /// Starts a server with any engine; [`ServerConfig::consistency`] is not looked at.
    ///
    /// # Errors
    /// [`StartError`] in one line that says what to do.
    pub async fn start_engine<E>(
        socket: TcpListener,
        config: ServerConfig,
    ) -> Result<Self, StartError>
    where
        E: ConsistencyEngine + Send + 'static,
        E::Message: Send + 'static,
        E::Record: Send + 'static,
    {
        let cluster = config.cluster()?;
        let address = socket.local_addr().map_err(StartError::Socket)?;
        let socket = socket.into_std().map_err(StartError::Socket)?;
        let resp = match &config.resp {
            Some(resp) => listen_for_redis(resp).await?,
            None => None,
        };
        let resp_address = resp.as_ref().and_then(|socket| socket.local_addr().ok());
        let mut engine_config = EngineConfig::new(config.node, cluster.clone());
        engine_config.timing = config.timing;
        engine_config.limits = config.limits;
        engine_config.hand_back = config.hand_back;
        engine_config.may_found = config.may_found;
        let (data, on_recovery) = (config.data.clone(), config.on_recovery.clone());
        let recovered = recover::<E>(engine_config, data, on_recovery, random_seed()).await?;
        let op_log = OpLog::open(config.node, recovered.log_owner(), config.op_log.as_ref())?;
        let identity = Arc::new(Identity {
            node: config.node,
            cluster_name: config.cluster_name.clone(),
            engine: E::NAME,
            config: cluster,
            shared_quorums: E::SHARED_QUORUMS,
            in_flight_max: config.in_flight_max,
            sessions: E::SESSIONS,
            incarnation: Arc::default(),
        });
        let (local, local_events) = mpsc::channel(LOCAL_INBOX_LEN);
        let (ending, told_to_end) = watch::channel(Ending::Not);
        let (readiness_sender, readiness) = watch::channel(Readiness::Starting);
        let (connected_sender, connected) = watch::channel(BTreeSet::new());
        let refused_by = watch::Sender::new(BTreeMap::new());
        let client_numbers = Arc::new(AtomicU64::new(op_log.next_client()));
        let (end, ended) = oneshot::channel();
        let server = Self {
            address,
            resp_address,
            found: recovered.found.clone(),
            local,
            client_numbers: Arc::clone(&client_numbers),
            readiness,
            connected,
            refused_by: refused_by.subscribe(),
            ending,
            ended,
        };
        let parts = Parts {
            config,
            recovered,
            op_log,
            identity,
            socket,
            resp,
            local_events,
            ending: told_to_end,
            telling: Telling { readiness: readiness_sender, connected: connected_sender },
            refused_by,
            client_numbers,
        };
        let thread = std::thread::Builder::new().name(format!("kv-server-{}", parts.config.node));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Threads)?;
        let run = move || {
            let outcome = LocalSet::new().block_on(&runtime, parts.run());
            runtime.shutdown_background();
            // Whoever could hear of it may have gone.
            let _ = end.send(outcome);
        };
        thread.spawn(run).map_err(StartError::Threads)?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for clients of Redis's protocol, if it does.
    #[must_use]
    pub const fn resp_address(&self) -> Option<SocketAddr> {
        self.resp_address
    }

    /// What it found in its data directory; `None` for a server in memory.
    #[must_use]
    pub const fn found_data(&self) -> Option<&FoundData> {
        self.found.as_ref()
    }

    /// A client in this process.
    #[must_use]
    pub fn client(&self) -> LocalClient {
        LocalClient::new(self.local.clone(), Arc::clone(&self.client_numbers))
    }

    /// Follows whether it serves.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// Follows which other servers it is connected to.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.connected.clone()
    }

    /// Follows which other servers refuse this one, and why: most often they were told another
    /// W, R or list of servers. They are asked again every two seconds.
    #[must_use]
    pub fn refused_by(&self) -> watch::Receiver<BTreeMap<NodeId, Refusal>> {
        self.refused_by.clone()
    }

    /// Waits until it serves; returns at once if it has stopped.
    pub async fn ready(&self) {
        let mut readiness = self.readiness.clone();
        // An error means that the driver has gone, and will never serve.
        let _ = readiness.wait_for(|readiness| *readiness == Readiness::Ready).await;
    }

    /// Runs until `shutdown` completes, then stops: requests in flight are answered, as far as that
    /// takes no longer than a second, the log of operations is written out, and the address is
    /// free again.
    ///
    /// # Errors
    /// [`ServerError`] if the server stopped by itself.
    pub async fn run_until(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let ended = tokio::select! {
            () = shutdown => None,
            ended = &mut self.ended => Some(ended),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                // It may have ended meanwhile; then there is nobody to tell.
                let _ = self.ending.send(Ending::Drained);
                (&mut self.ended).await
            }
        };
        ended.unwrap_or(Err(ServerError::Driver))
    }

    /// Stops it, as at the end of [`Server::run_until`].
    ///
    /// # Errors
    /// [`ServerError`] if the server had stopped by itself.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.run_until(std::future::ready(())).await
    }

    /// Stops it at once: nothing that is in flight is answered. When this completes, the address and
    /// the data directory are free. What it had taken is on its disk, as far as the disk takes it.
    ///
    /// # Errors
    /// [`ServerError`] if the server had stopped by itself, or its disk failed at the end.
    pub async fn kill(mut self) -> Result<(), ServerError> {
        // It may have ended meanwhile; then there is nobody to tell.
        let _ = self.ending.send(Ending::AtOnce);
        (&mut self.ended).await.unwrap_or(Err(ServerError::Driver))
    }
}

/// All that a server's thread begins with.
struct Parts<E: ConsistencyEngine> {
    config: ServerConfig,
    recovered: Recovered<E>,
    op_log: OpLog,
    identity: Arc<Identity>,
    socket: std::net::TcpListener,
    resp: Option<std::net::TcpListener>,
    local_events: mpsc::Receiver<LocalEvent>,
    ending: watch::Receiver<Ending>,
    telling: Telling,
    refused_by: watch::Sender<BTreeMap<NodeId, Refusal>>,
    client_numbers: Arc<AtomicU64>,
}

impl<E> Parts<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Serves until the end.
    async fn run(self) -> Result<(), ServerError> {
        let Self { config, recovered, op_log, identity, .. } = self;
        let socket = TcpListener::from_std(self.socket).map_err(ServerError::Socket)?;
        let resp = self.resp.map(TcpListener::from_std).transpose();
        let resp = resp.map_err(ServerError::Socket)?;
        let front = front_of::<E>(&config, resp.as_ref());
        let (persistence, disk, events) = Persistence::of(recovered.files);
        let driver = DriverConfig { disk, ..DriverConfig::MEMORY };
        let peers: Vec<NodeId> = identity.config.peers_of(config.node).collect();
        let mut core = DriverCore::new(recovered.engine, peers.iter().copied(), driver);
        let local = LocalRequests::new(core.open_session(usize::MAX));
        let (delays, all_peers) = delayed_peers(&peers, &config);
        let shared = Loop::new(Hub {
            core,
            clock: Clock::start(),
            persistence,
            op_log,
            clients: Clients::default(),
            redis: RedisClients::new(front),
            local,
            peers: all_peers,
            telling: self.telling,
            dumps: config.on_dump.clone().and_then(DumpThread::start),
            incarnation: Arc::clone(&identity.incarnation),
            looked_at: Duration::ZERO,
            cluster_id: None,
            state: ServerState { sequencer: None, waiting: None, cluster_id: None },
            dirty: Vec::new(),
            snapshots: Vec::new(),
            ended: None,
        });
        let link = |(peer, delayed): (NodeId, Rc<Delayed>)| {
            let doorbell = Rc::new(Notify::new());
            let link = Link {
                shared: Rc::clone(&shared),
                peer,
                address: config.servers.address(peer).unwrap_or_default().to_owned(),
                identity: Arc::clone(&identity),
                doorbell: Rc::clone(&doorbell),
                refused_by: self.refused_by.clone(),
                delayed,
            };
            tokio::task::spawn_local(link.run());
            (peer, doorbell)
        };
        let doorbells: BTreeMap<NodeId, Rc<Notify>> = delays.into_iter().map(link).collect();
        let door = Door {
            shared: Rc::clone(&shared),
            slots: ConnectionSlots::new(&config, &identity.config),
            frame_bytes: FrameBytes::new(),
            identity,
            client_numbers: self.client_numbers,
            complaints: RefCell::new(Complaints::default()),
            refused_by: self.refused_by.subscribe(),
            doorbells,
        };
        let ending = self.ending.clone();
        listen(Rc::new(door), socket, resp, &ending);
        tokio::task::spawn_local(serve_local(Rc::clone(&shared), self.local_events));
        if let Some(events) = events {
            tokio::task::spawn_local(watch_disk(Rc::clone(&shared), events));
        }
        let outcome = Rc::clone(&shared).run(self.ending.clone()).await;
        if *self.ending.borrow() == Ending::Drained {
            shared.close_connections().await;
        }
        let closed = shared.close_disk();
        outcome.and(closed)
    }
}

/// The peers, and what holds back the messages to each.
fn delayed_peers(peers: &[NodeId], config: &ServerConfig) -> (Vec<(NodeId, Rc<Delayed>)>, Peers) {
    let delayed = |peer: &NodeId| {
        let held_back = HeldBack::new(config.delay, random_seed());
        (*peer, Delayed::new(held_back))
    };
    let delays: Vec<_> = peers.iter().map(delayed).collect();
    let mut all = Peers::default();
    delays.iter().for_each(|(peer, delayed)| all.add(*peer, Rc::clone(delayed)));
    (delays, all)
}

/// Takes connections, also of clients of Redis's protocol if there is a socket for them.
fn listen<E>(
    door: Rc<Door<E>>,
    socket: TcpListener,
    resp: Option<TcpListener>,
    ending: &watch::Receiver<Ending>,
) where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    if let Some(socket) = resp {
        let (door, ending) = (Rc::clone(&door), ending.clone());
        tokio::task::spawn_local(RedisListener { door, socket, ending }.run());
    }
    tokio::task::spawn_local(Listener { door, socket, ending: ending.clone() }.run());
}

/// Listens for clients of Redis's protocol.
async fn listen_for_redis(
    config: &RespConfig,
) -> Result<Option<std::net::TcpListener>, StartError> {
    match TcpListener::bind(&config.address).await {
        Ok(socket) => socket.into_std().map(Some).map_err(StartError::Socket),
        Err(_) if config.is_optional => Ok(None),
        Err(source) => Err(StartError::BindResp { address: config.address.clone(), source }),
    }
}

/// What the clients of Redis's protocol are told of the server.
fn front_of<E: ConsistencyEngine>(config: &ServerConfig, socket: Option<&TcpListener>) -> Front {
    let address = socket.and_then(|socket| socket.local_addr().ok());
    Front::new(Facts {
        version: env!("CARGO_PKG_VERSION"),
        port: address.map_or(0, |address| address.port()),
        clients_max: config.clients_max,
        started: Duration::ZERO,
        is_linearizable: E::NAME == LinearEngine::NAME,
        is_durable: config.data.is_some(),
        usage,
        seed: random_seed(),
    })
}

/// A number that no other start has. The standard library's hasher draws its keys from the
/// operating system.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// How many requests of clients in this process may wait; one that has another waits for its turn.
const LOCAL_INBOX_LEN: usize = 4_096;
