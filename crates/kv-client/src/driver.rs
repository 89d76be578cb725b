//! The background task that owns the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kv_core::NodeId;
use kv_proto::{ResponseBody, ServerState};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ClientConfig;
use crate::connection::dial::Target;
use crate::connection::error::{DialError, DialFailure, LostReason};
use crate::connection::following::Following;
use crate::connection::route::Route;
use crate::connection::{Connection, FromServer};
use crate::error::ClientError;
use crate::event::Event;
use crate::requests::{Submission, Table, reason_for_now};
use crate::service::{Search, Service, asks_more};
use crate::store_identity::StoreIdentity;

/// Owns the connection and the requests in hand; ends when the last client is dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    config: ClientConfig,
    inbox: mpsc::Receiver<Submission>,
    abandoned: Arc<Notify>,
    link: watch::Sender<Link>,
    events: broadcast::Sender<Event>,
    table: Table,
    route: Route,
    told_none_answers: bool,
    /// The store that the session is with, as its first server told.
    store: Option<StoreIdentity>,
    search: Search,
    following: Following,
    /// Whether the server keeps sessions.
    offers_sessions: bool,
    /// How many callers need the client to stay with its server.
    stays: Arc<AtomicUsize>,
}

/// How the service of one connection has ended.
enum Served {
    Lost,
    /// The client goes on with the sequencer.
    Moved(Box<Connection>),
    /// The last client was dropped.
    Abandoned,
}

/// How the connection is, for callers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// The server that the client is connected to.
    pub(crate) server: Option<NodeId>,
    /// Why there is none.
    pub(crate) error: Option<ClientError>,
    /// Whether waiting for one is no use.
    pub(crate) hopeless: bool,
}

impl Driver {
    pub(crate) fn new(
        config: ClientConfig,
        inbox: mpsc::Receiver<Submission>,
        abandoned: Arc<Notify>,
        stays: Arc<AtomicUsize>,
        link: watch::Sender<Link>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        Self {
            table: Table::new(config.grace),
            route: Route::new(config.servers.clone(), config.first),
            told_none_answers: false,
            store: None,
            search: Search::default(),
            following: Following::default(),
            offers_sessions: false,
            stays,
            config,
            inbox,
            abandoned,
            link,
            events,
        }
    }

    pub(crate) async fn run(mut self) {
        while let Some(mut connection) = self.find_server().await {
            loop {
                match self.serve(connection).await {
                    Served::Moved(next) => connection = *next,
                    Served::Lost => break,
                    Served::Abandoned => return,
                }
            }
        }
    }

    /// Tries one server after the other until one accepts; `None` if nobody waits for it.
    async fn find_server(&mut self) -> Option<Connection> {
        loop {
            let (server, address, pause) = self.route.next();
            let target = self.target(server, address);
            let dial = async move {
                sleep(pause).await;
                target.dial().await
            };
            tokio::pin!(dial);
            let result = loop {
                tokio::select! {
                    result = &mut dial => break result,
                    arrived = self.inbox.recv() => self.table.add(arrived?),
                    () = self.abandoned.notified() => self.table.drop_abandoned(None),
                    () = until(self.table.next_deadline()) => {
                        self.table.expire_unsent(Instant::now(), || self.route.error());
                    }
                }
            };
            let result = result.and_then(|(connection, welcome)| {
                StoreIdentity::recognise(&mut self.store, &welcome)
                    .map_err(|error| DialFailure { server, error })?;
                Ok((connection, welcome))
            });
            match result {
                Ok((connection, welcome)) => {
                    let skipped = self.route.on_connected();
                    self.told_none_answers = false;
                    self.link.send_replace(Link { server: Some(server), ..Link::default() });
                    // A server that knows of none may know of one soon.
                    if welcome.sequencer.is_some() {
                        self.following.on_told(welcome.sequencer);
                    }
                    self.offers_sessions = welcome.sessions;
                    self.offer_sessions();
                    let welcome = Box::new(welcome);
                    let connected = Event::Connected { server, welcome, skipped };
                    if let Some(connected) = self.search.on_connected(connected) {
                        self.tell(connected);
                    }
                    return Some(connection);
                }
                Err(failure) => self.on_dial_failure(failure),
            }
        }
    }

    fn target(&self, server: NodeId, address: String) -> Target {
        let (cluster, timeout) = (self.config.cluster.clone(), self.config.dial_timeout);
        Target { server, address, cluster, timeout }
    }

    fn on_dial_failure(&mut self, failure: DialFailure) {
        let server = failure.server;
        let refusal = match &failure.error {
            DialError::Refused(refusal) => Some(refusal.clone()),
            DialError::Unreachable { .. }
            | DialError::Silent { .. }
            | DialError::Lost(_)
            | DialError::ClusterNameTooLong
            | DialError::Failed { .. }
            | DialError::NameNotFound { .. }
            | DialError::OtherServer { .. }
            | DialError::OtherEngine { .. }
            | DialError::OtherCluster { .. } => None,
        };
        let is_news = self.route.on_failure(failure);
        if let Some(refusal) = refusal.filter(|_| is_news) {
            self.tell(Event::Refused { server, refusal });
        }
        if self.route.all_failed() && !self.told_none_answers {
            self.told_none_answers = true;
            let failures = self.route.failures().to_vec();
            self.tell(Event::NoneAnswers { failures });
        }
        let hopeless = self.route.is_hopeless();
        if hopeless {
            self.table.fail_unsent(|| self.route.error());
        }
        self.link.send_replace(Link { server: None, error: Some(self.route.error()), hopeless });
    }

    /// Carries requests and answers until the connection is lost or left.
    async fn serve(&mut self, mut connection: Connection) -> Served {
        let mut answered = false;
        let mut service = Service::default();
        let server = connection.server();
        let why = loop {
            match self.take_messages(&mut connection, &mut service) {
                Ok(some) => answered |= some,
                Err(why) => break why,
            }
            if let Some(next) = self.move_on(server) {
                return Served::Moved(Box::new(next));
            }
            match service.reason_to_leave(Instant::now()).filter(|_| self.route.has_choice()) {
                // Nobody is kept waiting.
                Some(_) if self.table.is_empty() => {}
                // Those that it has may still be answered.
                Some(_) if self.table.in_flight() > 0 && !service.serves_nobody() => {}
                Some(reason) => break LostReason::NotServing { reason: reason.clone() },
                None if self.following.has_arrived() && !self.is_held() => {}
                None => self.table.send_waiting(&mut connection),
            }
            self.follow(server);
            let watch_at = connection.watch_at();
            if self.table.is_empty() {
                service.on_idle(Instant::now());
            }
            let leave_at = service.leave_at().filter(|at| *at > Instant::now());
            // What has come counts before any time that is up: this program may have been suspended.
            tokio::select! {
                biased;
                progress = connection.progress() => {
                    if let Err(why) = progress {
                        break why;
                    }
                }
                arrived = self.inbox.recv() => {
                    let Some(arrived) = arrived else {
                        return Served::Abandoned;
                    };
                    service.on_asked(Instant::now());
                    self.table.add(arrived);
                    while let Ok(more) = self.inbox.try_recv() {
                        self.table.add(more);
                    }
                }
                () = self.abandoned.notified() => {
                    self.table.drop_abandoned(Some(&mut connection));
                }
                () = until(self.table.next_deadline()) => {
                    if let Err(why) = self.table.expire(Instant::now(), &mut connection) {
                        break why;
                    }
                }
                () = until(self.table.next_release()) => self.table.release(Instant::now()),
                () = until(leave_at) => {}
                () = self.following.progress(server) => {}
                () = sleep_until(watch_at) => {
                    if let Err(why) = connection.watch(Instant::now()) {
                        break why;
                    }
                }
            }
        };
        self.on_lost(&connection, why, answered);
        Served::Lost
    }

    /// Dials the sequencer, if that is due and the client is to follow it.
    fn follow(&mut self, present: NodeId) {
        if !self.config.follow_sequencer || self.is_held() {
            return;
        }
        let Some(sequencer) = self.following.wanted(present, Instant::now()) else {
            return;
        };
        match self.config.servers.address(sequencer) {
            Some(address) => {
                let target = self.target(sequencer, address.to_owned());
                self.following.dial(target);
            }
            // Its server list lacks it, and has the last word on where a client may go.
            None => self.following.on_told(None),
        }
    }

    /// The connection to go on with, once the sequencer has accepted the client and the present
    /// server has answered all.
    fn move_on(&mut self, from: NodeId) -> Option<Connection> {
        if !self.following.has_arrived() || self.table.in_flight() > 0 || self.is_held() {
            return None;
        }
        let (connection, welcome) = self.following.take()?;
        let server = connection.server();
        if let Err(error) = StoreIdentity::recognise(&mut self.store, &welcome) {
            tracing::warn!(%server, %error, "the sequencer serves another store");
            self.following.put_off();
            return None;
        }
        self.route.on_moved(server);
        self.search.on_lost();
        self.link.send_replace(Link { server: Some(server), ..Link::default() });
        let welcome = Box::new(welcome);
        self.tell(Event::Moved { from, server, welcome });
        self.table.release_all();
        Some(connection)
    }

    /// Lets writes have a session, once it is known in which cluster that is: the number of a session
    /// says nothing of its cluster.
    fn offer_sessions(&mut self) {
        let is_known = self.store.as_ref().is_some_and(StoreIdentity::is_known);
        self.table.on_connected(self.offers_sessions && is_known);
    }

    fn is_held(&self) -> bool {
        self.stays.load(Ordering::Relaxed) > 0
    }

    fn on_lost(&mut self, connection: &Connection, why: LostReason, answered: bool) {
        let server = connection.server();
        let event = Event::Lost { server, why: why.clone() };
        self.following.on_lost(server);
        let is_told = if matches!(why, LostReason::NotServing { .. }) {
            self.route.on_not_serving();
            self.search.on_left(server, &event)
        } else {
            self.route.on_lost(answered);
            self.search.on_lost();
            true
        };
        self.link.send_replace(Link {
            server: None,
            error: Some(self.route.error()),
            hopeless: false,
        });
        // Told before the requests end, so that whoever reads of one can have read of the other.
        if is_told {
            self.tell(event);
        }
        self.table.on_lost(connection, &why);
    }

    fn take_messages(
        &mut self,
        connection: &mut Connection,
        service: &mut Service,
    ) -> Result<bool, LostReason> {
        let mut some = false;
        while let Some(message) = connection.next_message()? {
            let response = match message {
                FromServer::Response(response) => response,
                FromServer::State(ServerState { sequencer, waiting, cluster_id }) => {
                    if let Some(store) = &mut self.store {
                        store.learn(cluster_id);
                    }
                    self.offer_sessions();
                    // Whoever loses its sequencer may soon have it again.
                    if sequencer.is_some() {
                        self.following.on_told(sequencer);
                    }
                    service.on_told(Instant::now(), waiting);
                    continue;
                }
            };
            let reason = reason_for_now(&response.body);
            if let Some(reason) =
                reason.filter(|reason| !asks_more(reason, connection.quorum_max()))
            {
                service.on_refused(Instant::now(), reason);
            } else if !matches!(response.body, ResponseBody::Status(_)) {
                service.on_served();
                self.following.on_served(connection.server());
                self.search.on_served().into_iter().flatten().for_each(|event| self.tell(event));
            }
            self.table.on_response(connection.server(), response)?;
            some = true;
        }
        Ok(some)
    }

    fn tell(&self, event: Event) {
        tracing::debug!(?event, "connection");
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The longest time that a request may have: a year.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
