//! The background task that owns the connection.

use std::sync::Arc;
use std::time::Duration;

use kv_core::{ClusterId, NodeId};
use kv_proto::{ResponseBody, Welcome};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::connection::dial::Target;
use crate::connection::error::{DialError, DialFailure, LostReason};
use crate::connection::route::Route;
use crate::error::ClientError;
use crate::event::Event;
use crate::service::{Search, Service};
use crate::table::{Submission, Table, reason_for_now};

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
}

/// What tells a store from others that are served at the same addresses.
#[derive(Debug)]
struct StoreIdentity {
    engine: String,
    /// `None` until a server has told it.
    cluster_id: Option<ClusterId>,
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
        link: watch::Sender<Link>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        Self {
            table: Table::new(config.grace),
            route: Route::new(config.servers.clone(), config.first),
            told_none_answers: false,
            store: None,
            search: Search::default(),
            config,
            inbox,
            abandoned,
            link,
            events,
        }
    }

    pub(crate) async fn run(mut self) {
        while let Some(connection) = self.find_server().await {
            if self.serve(connection).await.is_none() {
                return;
            }
        }
    }

    /// Tries one server after the other until one accepts; `None` if nobody waits for it.
    async fn find_server(&mut self) -> Option<Connection> {
        loop {
            let (server, address, pause) = self.route.next();
            let target = Target {
                server,
                address,
                cluster: self.config.cluster.clone(),
                timeout: self.config.dial_timeout,
            };
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
                self.recognise(&welcome).map_err(|error| DialFailure { server, error })?;
                Ok((connection, welcome))
            });
            match result {
                Ok((connection, welcome)) => {
                    let skipped = self.route.on_connected();
                    self.told_none_answers = false;
                    self.link.send_replace(Link { server: Some(server), ..Link::default() });
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

    /// Holds a server to the store that the session began with.
    fn recognise(&mut self, welcome: &Welcome) -> Result<(), DialError> {
        let store = self.store.get_or_insert_with(|| StoreIdentity {
            engine: welcome.engine.clone(),
            cluster_id: welcome.cluster_id,
        });
        if store.engine != welcome.engine {
            let (ours, theirs) = (store.engine.clone(), welcome.engine.clone());
            return Err(DialError::OtherEngine { ours, theirs });
        }
        match (store.cluster_id, welcome.cluster_id) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                Err(DialError::OtherCluster { ours, theirs })
            }
            (known, told) => {
                store.cluster_id = known.or(told);
                Ok(())
            }
        }
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

    /// Carries requests and answers until the connection is lost; `None` if the last client was
    /// dropped.
    async fn serve(&mut self, mut connection: Connection) -> Option<()> {
        let mut answered = false;
        let mut service = Service::default();
        let why = loop {
            match self.take_responses(&mut connection, &mut service) {
                Ok(some) => answered |= some,
                Err(why) => break why,
            }
            match service.reason_to_leave(Instant::now()).filter(|_| self.route.has_choice()) {
                // Those that it has may still be answered.
                Some(_) if self.table.in_flight() > 0 => {}
                Some(reason) => break LostReason::NotServing { reason: reason.clone() },
                None => self.table.send_waiting(&mut connection),
            }
            let watch_at = connection.watch_at();
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
                    self.table.add(arrived?);
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
                () = sleep_until(watch_at) => {
                    if let Err(why) = connection.watch(Instant::now()) {
                        break why;
                    }
                }
            }
        };
        self.on_lost(&connection, why, answered);
        Some(())
    }

    fn on_lost(&mut self, connection: &Connection, why: LostReason, answered: bool) {
        let server = connection.server();
        let event = Event::Lost { server, why: why.clone() };
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

    fn take_responses(
        &mut self,
        connection: &mut Connection,
        service: &mut Service,
    ) -> Result<bool, LostReason> {
        let mut some = false;
        while let Some(response) = connection.next_response()? {
            if let Some(reason) = reason_for_now(&response.body) {
                service.on_refused(Instant::now(), reason);
            } else if !matches!(response.body, ResponseBody::Status(_)) {
                service.on_served();
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
