//! A running server.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_core::{ConsistencyEngine, Effects, EngineConfig, NodeId};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_proto::Refusal;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Consistency, ServerConfig};
use crate::data::{FoundData, recover};
use crate::driver::{ClientEvent, Clock, Driver, Outbox, PeerEvent, Pending, Readiness};
use crate::failure::{ServerError, StartError};
use crate::local::LocalClient;
use crate::net::{Complaints, ConnectionSlots, Door, HeldBack, Identity, Link, Listener};
use crate::op_log::OpLog;

/// A server under way, in this process. Dropping it stops it at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    found: Option<FoundData>,
    clients: mpsc::Sender<ClientEvent>,
    client_numbers: Arc<AtomicU64>,
    readiness: watch::Receiver<Readiness>,
    refused_by: RefusedBy,
    stop: watch::Sender<bool>,
    driver: JoinHandle<Result<(), ServerError>>,
    /// The listener and the links; they end when this is dropped.
    connections: JoinSet<()>,
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
        let mut engine_config = EngineConfig::new(config.node, cluster.clone(), random_seed());
        engine_config.timing = config.timing;
        engine_config.limits = config.limits;
        let (data, on_recovery) = (config.data.clone(), config.on_recovery.clone());
        let recovered = recover::<E>(engine_config, data, on_recovery, random_seed()).await?;
        let op_log = OpLog::open(config.node, config.op_log.as_ref())?;
        let identity = Arc::new(Identity {
            node: config.node,
            cluster_name: config.cluster_name.clone(),
            engine: E::NAME,
            config: cluster,
            shared_quorums: E::SHARED_QUORUMS,
            in_flight_max: config.in_flight_max,
            life: Arc::default(),
        });
        let (peer_events, peers) = mpsc::channel(PEER_INBOX_LEN);
        let (clients, client_events) = mpsc::channel(CLIENT_INBOX_LEN);
        let (stop, stopped) = watch::channel(false);
        let (readiness_sender, readiness) = watch::channel(Readiness::Starting);
        let client_numbers = Arc::new(AtomicU64::new(op_log.next_client()));
        let mut connections = JoinSet::new();
        let (outbox, doorbells, refused_by) =
            spawn_links::<E::Message>(&config, &identity, &peer_events, &mut connections);
        let driver = Driver::<E> {
            engine: recovered.engine,
            clock: Clock::start(),
            peers,
            clients: client_events,
            persistence: recovered.persistence,
            outbox,
            op_log,
            readiness: readiness_sender,
            stop: stopped,
            pending: Pending::new(),
            effects: Effects::new(),
            halted: None,
            looked_at: Duration::ZERO,
            life: Arc::clone(&identity.life),
        };
        let slots = ConnectionSlots::new(&config, &identity.config);
        let door = Door {
            identity,
            peers: peer_events,
            clients: clients.clone(),
            client_numbers: Arc::clone(&client_numbers),
            slots,
            complaints: Mutex::new(Complaints::default()),
            refused_by: refused_by.subscribe(),
            doorbells,
            on_dump: config.on_dump,
            dropped: AtomicU64::new(0),
        };
        let listener = Listener { door: Arc::new(door), socket, stop: stop.subscribe() };
        connections.spawn(listener.run());
        let driver = tokio::spawn(driver.run());
        Ok(Self {
            address,
            found: recovered.found,
            clients,
            client_numbers,
            readiness,
            refused_by,
            stop,
            driver,
            connections,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What it found in its data directory; `None` for a server in memory.
    #[must_use]
    pub const fn found_data(&self) -> Option<&FoundData> {
        self.found.as_ref()
    }

    /// A client in this process.
    #[must_use]
    pub fn client(&self) -> LocalClient {
        LocalClient::new(self.clients.clone(), Arc::clone(&self.client_numbers))
    }

    /// Follows whether it serves.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// Follows which other servers refuse this one, and why: most often they were told another
    /// W, R or list of servers. They are asked again every two seconds.
    #[must_use]
    pub fn refused_by(&self) -> watch::Receiver<BTreeMap<NodeId, Refusal>> {
        self.refused_by.subscribe()
    }

    /// Waits until it serves; returns at once if it has stopped.
    pub async fn ready(&self) {
        let mut readiness = self.readiness.clone();
        // An error means that the driver has gone, and will never serve.
        let _ = readiness.wait_for(|readiness| *readiness == Readiness::Ready).await;
    }

    /// Runs until `shutdown` completes, then stops: requests in hand are answered, as far as that
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
            ended = &mut self.driver => Some(ended),
        };
        // The driver may have gone; then there is nobody to tell.
        let _ = self.stop.send(true);
        let ended = match ended {
            Some(ended) => ended,
            None => (&mut self.driver).await,
        };
        self.close().await;
        ended.unwrap_or(Err(ServerError::Driver))
    }

    /// Stops it, as at the end of [`Server::run_until`].
    ///
    /// # Errors
    /// [`ServerError`] if the server had stopped by itself.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.run_until(std::future::ready(())).await
    }

    /// Lets the last answers out, then ends whatever is left.
    async fn close(mut self) {
        let ended = async { while self.connections.join_next().await.is_some() {} };
        // A client that does not read its answers is not waited for.
        let _ = tokio::time::timeout(CLOSE_MAX, ended).await;
        self.connections.shutdown().await;
    }
}

type Doorbells = BTreeMap<NodeId, Arc<Notify>>;
type RefusedBy = watch::Sender<BTreeMap<NodeId, Refusal>>;

fn spawn_links<M>(
    config: &ServerConfig,
    identity: &Arc<Identity>,
    events: &mpsc::Sender<PeerEvent<M>>,
    tasks: &mut JoinSet<()>,
) -> (Outbox<M>, Doorbells, RefusedBy)
where
    M: kv_core::Wire + Send + 'static,
{
    let refused_by = watch::Sender::new(BTreeMap::new());
    let mut links = BTreeMap::new();
    let mut doorbells = BTreeMap::new();
    for peer in identity.config.peers_of(config.node) {
        let (link, outgoing) = mpsc::channel(LINK_LEN);
        let doorbell = Arc::new(Notify::new());
        links.insert(peer, link);
        doorbells.insert(peer, Arc::clone(&doorbell));
        let link = Link {
            peer,
            address: config.servers.address(peer).unwrap_or_default().to_owned(),
            identity: Arc::clone(identity),
            outgoing,
            events: events.clone(),
            doorbell,
            refused_by: refused_by.clone(),
            checkpoints_sent: 0,
            held_back: HeldBack::new(config.delay, random_seed()),
        };
        tasks.spawn(link.run());
    }
    (Outbox::new(links), doorbells, refused_by)
}

/// A number that no other start has. The standard library's hasher draws its keys from the
/// operating system.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// How long connections may take to end once the driver has stopped.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How many messages of peers may wait for the driver; one more is dropped and counted.
const PEER_INBOX_LEN: usize = 16_384;

/// How many requests may wait for the driver; a client that has one more waits in its socket.
const CLIENT_INBOX_LEN: usize = 4_096;

/// How many batches may wait for a peer; one more is dropped and counted.
const LINK_LEN: usize = 64;
