//! The handle that programs use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kv_core::{
    Command, CommandResult, Done, Key, NodeId, Operation, Outcome, RequestOptions, Status,
    TimeToLive, Value, Versioned,
};
use kv_proto::{RequestBody, ResponseBody};
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::answer::{DumpEntries, Read, Written};
use crate::config::ClientConfig;
use crate::driver::{Driver, Link, TIMEOUT_MAX};
use crate::error::ClientError;
use crate::event::Event;
use crate::pages::Pages;
use crate::requests::{Answered, SendState, Submission};
use crate::seen::Seen;

/// A connection to a cluster: to one server at a time, and to the next one when that is lost.
///
/// Where one server orders the requests of all, the client goes to that one, and after it when
/// another takes its place, unless [`ClientConfig::follow_sequencer`] is false.
///
/// Clones share the connection, which closes when the last one is dropped. When a server is lost,
/// reads, and requests that had not been sent, go to the next server by themselves within their
/// time. So do writes that had been sent, where the servers keep sessions (the linearizable engine): the
/// first write opens one, and in it each write takes effect once however often it is sent. Without
/// sessions a write that had been sent is never repeated: it ends with [`ClientError::Lost`].
///
/// A read at the level [`Level::Sequential`](kv_core::Level::Sequential) is answered by one server from
/// what it has, and is no older than any answer that this client had before, from whichever server.
///
/// With the eventual engine a client reads what it has written of a key and what it has read of it, or
/// something newer, and its writes count after both, whatever W and R are and whichever server it has
/// come to: see [`ClientConfig::session_guarantees`].
///
/// A request that a server cannot serve yet ([`NotDone::is_transient`](kv_core::NotDone::is_transient))
/// has had no effect. It waits and is sent again within its time, there or at the next server, and
/// ends with what the server said if it is not served until then.
///
/// A method's future may be dropped at any time; the server is then told that nobody waits, but a
/// write may still take effect.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timeout: Duration,
    in_flight_max: u32,
    inbox: mpsc::Sender<Submission>,
    permits: Arc<Semaphore>,
    abandoned: Arc<Notify>,
    link: watch::Receiver<Link>,
    events: broadcast::Sender<Event>,
    last_id: AtomicU64,
    seen: Seen,
    stays: Arc<AtomicUsize>,
}

impl Client {
    /// Connects to the first server that accepts. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] if none does within [`ClientConfig::timeout`], and
    /// [`ClientError::Refused`] if one refused the client; that comes early if every other server
    /// fails as well.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let deadline = Instant::now() + config.timeout.min(TIMEOUT_MAX);
        let servers = config.servers.ids().collect();
        let (client, _) = Self::start(config);
        let mut link = client.shared.link.clone();
        let settled = link.wait_for(|link| link.server.is_some() || link.hopeless);
        if let Ok(Ok(link)) = timeout_at(deadline, settled).await
            && link.server.is_some()
        {
            drop(link);
            return Ok(client);
        }
        let error = link.borrow().error.clone();
        Err(error.unwrap_or(ClientError::Unavailable { servers, failures: Vec::new() }))
    }

    /// Begins to connect and does not wait for it: requests do, each within its time. Must be called
    /// within a tokio runtime.
    ///
    /// The receiver has all events from the first one on.
    #[must_use]
    pub fn start(config: ClientConfig) -> (Self, broadcast::Receiver<Event>) {
        let in_flight_max = config.in_flight_max.max(1);
        let permits = usize::try_from(in_flight_max).unwrap_or(Semaphore::MAX_PERMITS);
        let permits = permits.min(Semaphore::MAX_PERMITS);
        let timeout = config.timeout;
        let (inbox, submissions) = mpsc::channel(permits);
        let (link_sender, link) = watch::channel(Link::default());
        let (events, receiver) = broadcast::channel(EVENTS_MAX);
        let abandoned = Arc::new(Notify::new());
        let stays = Arc::new(AtomicUsize::new(0));
        let seen = Seen::new(config.session_guarantees);
        let driver = Driver::new(
            config,
            submissions,
            Arc::clone(&abandoned),
            Arc::clone(&stays),
            link_sender,
            events.clone(),
        );
        tokio::spawn(driver.run());
        let shared = Arc::new(Shared {
            timeout,
            in_flight_max,
            inbox,
            permits: Arc::new(Semaphore::new(permits)),
            abandoned,
            link,
            events,
            last_id: AtomicU64::new(0),
            seen,
            stays,
        });
        (Self { shared }, receiver)
    }

    /// Carries out an operation: `Ok` is that it was done, as with [`Client::put`].
    ///
    /// # Errors
    /// [`ClientError`]; what the server refuses is [`ClientError::NotDone`].
    pub async fn execute(
        &self,
        op: Operation,
        options: RequestOptions,
    ) -> Result<Done, ClientError> {
        self.execute_somewhere(op, options).await.map(|(_, done)| done)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`ClientError`]; a read has no effect, so it may be repeated.
    pub async fn get(&self, key: Key) -> Result<Read, ClientError> {
        self.get_with(key, self.options()).await
    }

    /// Reads a key with options of its own: a level, an R, a time.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_with(&self, key: Key, options: RequestOptions) -> Result<Read, ClientError> {
        let (server, done) = self.execute_somewhere(Operation::get(key), options).await?;
        Read::of(server, done)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// [`ClientError`], whose [`certainty`](ClientError::certainty) tells whether the write may have
    /// taken effect.
    pub async fn put(&self, key: Key, value: Value) -> Result<Written, ClientError> {
        self.put_with(key, value, self.options()).await
    }

    /// Writes a key with options of its own: a W, a time.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_with(
        &self,
        key: Key,
        value: Value,
        options: RequestOptions,
    ) -> Result<Written, ClientError> {
        self.write(Operation::put(key, value), options).await
    }

    /// Writes a key that lasts for a time. The eventual engine has no such keys.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn put_for(
        &self,
        key: Key,
        value: Value,
        time_to_live: Duration,
    ) -> Result<Written, ClientError> {
        let put = Command::Put { key, value, time_to_live: Some(time_to_live) };
        self.write(Operation::of(put), self.options()).await
    }

    /// Sets for how long a key lasts from now on, for ever if `None`; whether there was anything to
    /// change: the key, and if it is to last for ever also a time before. The eventual engine has
    /// no such keys.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn expire(
        &self,
        key: Key,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ClientError> {
        match self.single(Command::Expire { key, time_to_live }).await? {
            (_, Some(CommandResult::Changed(changed))) => Ok(changed),
            (server, _) => Err(ClientError::Unexpected { server }),
        }
    }

    /// Reads for how long a key lasts. The eventual engine has no keys that end.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn time_to_live(&self, key: Key) -> Result<TimeToLive, ClientError> {
        match self.single(Command::TimeToLive { key }).await? {
            (_, Some(CommandResult::TimeToLive(left))) => Ok(left),
            (server, _) => Err(ClientError::Unexpected { server }),
        }
    }

    /// Removes a key; that it is missing already is no error.
    ///
    /// # Errors
    /// [`ClientError`], whose [`certainty`](ClientError::certainty) tells whether the delete may
    /// have taken effect.
    pub async fn delete(&self, key: Key) -> Result<Written, ClientError> {
        self.delete_with(key, self.options()).await
    }

    /// Removes a key with options of its own.
    ///
    /// # Errors
    /// As [`Client::delete`].
    pub async fn delete_with(
        &self,
        key: Key,
        options: RequestOptions,
    ) -> Result<Written, ClientError> {
        self.write(Operation::delete(key), options).await
    }

    /// Asks the server that the client is connected to how it is.
    ///
    /// # Errors
    /// [`ClientError`]; it may be asked again.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.status_within(self.shared.timeout).await
    }

    /// Like [`Client::status`], with a time of its own.
    ///
    /// # Errors
    /// Like [`Client::status`].
    pub async fn status_within(&self, timeout: Duration) -> Result<Status, ClientError> {
        let answered = self.ask(RequestBody::Status, timeout, SendState::default()).await?;
        let server = answered.server;
        match answered.body {
            ResponseBody::Status(status) => Ok(*status),
            ResponseBody::Malformed(why) => Err(ClientError::Malformed { server, why }),
            ResponseBody::Outcome(_) | ResponseBody::Snapshot(_) => {
                Err(ClientError::Unexpected { server })
            }
        }
    }

    /// Makes a server the sequencer: the present one brings it up to date and hands over. The
    /// eventual engine has none.
    ///
    /// # Errors
    /// [`ClientError`]; [`NotDone::CannotLead`](kv_core::NotDone::CannotLead) says why the present
    /// sequencer stays. It may be asked again.
    pub async fn lead(&self, node: NodeId) -> Result<(), ClientError> {
        self.lead_within(node, self.shared.timeout).await
    }

    /// Like [`Client::lead`], with a time of its own.
    ///
    /// # Errors
    /// Like [`Client::lead`].
    pub async fn lead_within(&self, node: NodeId, timeout: Duration) -> Result<(), ClientError> {
        let options = RequestOptions::default().with_timeout(timeout);
        self.execute(Operation::Lead { node }, options).await.map(drop)
    }

    /// Reads all that one server holds into memory. [`ClientConfig::timeout`] is for each page. It
    /// begins anew when the server is lost on the way, a few times.
    ///
    /// # Errors
    /// [`ClientError`]; it may be repeated.
    pub async fn dump(&self) -> Result<DumpEntries, ClientError> {
        for _ in 0..DUMP_ATTEMPTS_MAX {
            match self.dump_once().await {
                Err(ClientError::DumpInterrupted) => {}
                dump => return dump,
            }
        }
        Err(ClientError::DumpInterrupted)
    }

    /// Reads all that one server holds page by page; not a consistent read. The options are for
    /// each page.
    #[must_use]
    pub fn dump_pages(&self, options: RequestOptions) -> Pages {
        Pages::of_dump(self.clone(), options)
    }

    /// Reads the keys that begin with `prefix` into memory, in ascending order and with what they
    /// hold. The options are for each page; a key may change between pages. An empty prefix means
    /// all keys. In the eventual engine each page is merged from R servers, key by key as a read of
    /// that key would; what this client has seen ([`ClientConfig::session_guarantees`]) does not count.
    ///
    /// # Errors
    /// [`ClientError`]; it may be repeated.
    pub async fn scan(
        &self,
        prefix: &[u8],
        options: &RequestOptions,
    ) -> Result<Vec<(Key, Versioned)>, ClientError> {
        let mut entries = Vec::new();
        let mut pages = self.scan_pages(prefix, options.clone());
        while let Some(page) = pages.next().await? {
            entries.extend(page);
        }
        Ok(entries)
    }

    /// Like [`Client::scan`], page by page.
    #[must_use]
    pub fn scan_pages(&self, prefix: &[u8], options: RequestOptions) -> Pages {
        Pages::of_scan(self.clone(), prefix, options)
    }

    /// The server that the client is connected to now.
    #[must_use]
    pub fn server(&self) -> Option<NodeId> {
        self.shared.link.borrow().server
    }

    /// What happens to the connection from now on. A receiver that falls 64 events behind misses
    /// the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    pub(crate) async fn execute_somewhere(
        &self,
        op: Operation,
        options: RequestOptions,
    ) -> Result<(NodeId, Done), ClientError> {
        self.execute_by(op, options, SendState::default()).await
    }

    /// Like [`Client::execute`]; `send_state` tells, once the future was dropped, whether the request
    /// was sent.
    ///
    /// # Errors
    /// Like [`Client::execute`].
    pub async fn execute_revocable(
        &self,
        op: Operation,
        options: RequestOptions,
        send_state: SendState,
    ) -> Result<Done, ClientError> {
        self.execute_by(op, options, send_state).await.map(|(_, done)| done)
    }

    async fn execute_by(
        &self,
        op: Operation,
        options: RequestOptions,
        send_state: SendState,
    ) -> Result<(NodeId, Done), ClientError> {
        let timeout = options.timeout;
        let seen = options.seen.max(self.shared.seen.of(&op, options.level));
        let key = self.shared.seen.key_of(&op);
        let body = RequestBody::Execute { op, options: options.with_seen(seen) };
        let answered = self.ask(body, timeout, send_state).await?;
        let server = answered.server;
        match answered.body {
            ResponseBody::Outcome(outcome) => {
                match &outcome {
                    Outcome::Done(done) => self.shared.seen.learn(key, done),
                    Outcome::Unknown(unknown) => self.shared.seen.learn_unknown(key, unknown),
                    Outcome::NotDone(_) => {}
                }
                Ok((server, outcome.into_result()?))
            }
            ResponseBody::Malformed(why) => Err(ClientError::Malformed { server, why }),
            ResponseBody::Status(_) | ResponseBody::Snapshot(_) => {
                Err(ClientError::Unexpected { server })
            }
        }
    }

    /// Forgets what this client has seen, as a new one would know nothing: for a cluster that was emptied
    /// meanwhile, where its reads would else wait for what is nowhere any more
    /// ([`ClientConfig::session_guarantees`]).
    pub fn forget_seen(&self) {
        self.shared.seen.forget();
    }

    async fn single(
        &self,
        command: Command,
    ) -> Result<(NodeId, Option<CommandResult>), ClientError> {
        let operation = Operation::of(command);
        let (server, done) = self.execute_somewhere(operation, self.options()).await?;
        Ok((server, done.answer.single()))
    }

    async fn write(
        &self,
        operation: Operation,
        options: RequestOptions,
    ) -> Result<Written, ClientError> {
        let (server, done) = self.execute_somewhere(operation, options).await?;
        Written::of(server, done)
    }

    async fn dump_once(&self) -> Result<DumpEntries, ClientError> {
        let mut pages = self.dump_pages(self.options());
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await? {
            entries.extend(page);
        }
        let server = pages.server().ok_or(ClientError::DumpInterrupted)?;
        Ok(DumpEntries { server, entries })
    }

    /// Keeps the client with the server that it is connected to, as long as that serves it.
    pub(crate) fn stay(&self) -> Stay {
        self.shared.stays.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::clone(&self.shared.abandoned);
        Stay { stays: Arc::clone(&self.shared.stays), wake }
    }

    fn options(&self) -> RequestOptions {
        RequestOptions::default().with_timeout(self.shared.timeout)
    }

    async fn ask(
        &self,
        body: RequestBody,
        timeout: Duration,
        send_state: SendState,
    ) -> Result<Answered, ClientError> {
        let since = Instant::now();
        let timeout = timeout.min(TIMEOUT_MAX);
        let limit = self.shared.in_flight_max;
        let permit = Arc::clone(&self.shared.permits).acquire_owned();
        let permit = timeout_at(since + timeout, permit)
            .await
            .map_err(|_| ClientError::Busy { limit })?
            .map_err(|_| ClientError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            id: self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            body,
            since,
            timeout,
            send_state,
            reply,
            permit,
        };
        let sent = self.shared.inbox.send(submission).await;
        sent.map_err(|_| ClientError::Stopped)?;
        let mut waiting = Waiting { answer: Some(answer), abandoned: &self.shared.abandoned };
        waiting.answer().await
    }
}

/// While it is there, the client stays with its server.
#[derive(Debug)]
pub(crate) struct Stay {
    stays: Arc<AtomicUsize>,
    wake: Arc<Notify>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.stays.fetch_sub(1, Ordering::Relaxed);
        self.wake.notify_one();
    }
}

/// Tells the driver when a caller stops waiting.
struct Waiting<'a> {
    answer: Option<oneshot::Receiver<Result<Answered, ClientError>>>,
    abandoned: &'a Notify,
}

impl Waiting<'_> {
    async fn answer(&mut self) -> Result<Answered, ClientError> {
        let Some(answer) = &mut self.answer else {
            return Err(ClientError::Stopped);
        };
        let result = answer.await.unwrap_or(Err(ClientError::Stopped));
        self.answer = None;
        result
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            drop(answer);
            self.abandoned.notify_one();
        }
    }
}

/// A receiver of events that falls further behind misses the oldest.
const EVENTS_MAX: usize = 64;

/// How often a dump begins anew because the server changed.
const DUMP_ATTEMPTS_MAX: usize = 3;
