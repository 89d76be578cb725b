//! The one loop: sockets, engine and encoding in one thread.
//!
//! A socket's task decodes what came and calls the [`Hub`] at once. Then, after all tasks that were
//! ready, [`Loop::run`] has the hub take its turn: the engine's effects are carried out for all that
//! came in together, messages and replies are encoded straight into the connections' buffers, and
//! each is written once. That batching is where the speed comes from. The journal's threads are the
//! only others on the way of a put.

pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod dump;
pub(crate) mod event;
pub(crate) mod hub;
pub(crate) mod hub_redis;
pub(crate) mod peers;
pub(crate) mod redis;
pub(crate) mod usage;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, Now, Waiting};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::data::DataEvent;
use crate::driver::event::{Ending, LocalEvent};
use crate::driver::hub::Hub;
use crate::failure::ServerError;

/// Whether a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has not looked yet.
    Starting,
    /// It waits for something; some requests may be served all the same.
    Waiting(Waiting),
    /// It serves.
    Ready,
}

/// What is told to whoever follows how the server is.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) connected: watch::Sender<BTreeSet<NodeId>>,
}

/// What all tasks of a server have in common.
pub(crate) struct Loop<E: ConsistencyEngine> {
    hub: RefCell<Hub<E>>,
    /// Something has come in.
    wake: Notify,
    /// Turns true when the server has ended.
    ended: watch::Sender<bool>,
}

impl<E> Loop<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    pub(crate) fn new(hub: Hub<E>) -> Rc<Self> {
        let hub = RefCell::new(hub);
        Rc::new(Self { hub, wake: Notify::new(), ended: watch::Sender::new(false) })
    }

    /// Does something with the hub at this moment. A turn follows once nothing more waits.
    pub(crate) fn act<T>(&self, what: impl FnOnce(&mut Hub<E>, Now) -> T) -> T {
        let mut hub = self.hub.borrow_mut();
        let now = hub.clock.now();
        let done = what(&mut hub, now);
        self.wake.notify_one();
        done
    }

    /// Completes once the server has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // It is held by this very loop.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Takes turns until the server ends: since it was told to, its engine halts or its disk fails.
    pub(crate) async fn run(
        self: Rc<Self>,
        mut ending: watch::Receiver<Ending>,
    ) -> Result<(), ServerError> {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        // What an engine has recovered may be all that it needs.
        self.act(|hub, now| hub.show_readiness(now));
        loop {
            // While there is always more to do, what is waited for below never gets its turn.
            if ending.has_changed().unwrap_or(true) && self.obey(&mut ending).is_break() {
                break;
            }
            let (due, clock) = {
                let mut hub = self.hub.borrow_mut();
                let due =
                    if hub.has_work() { Some(Duration::ZERO) } else { hub.core.next_deadline() };
                (due, hub.clock)
            };
            let is_due = due.is_some_and(|due| due <= clock.now().mono);
            if is_due {
                // Whatever else is ready goes first.
                tokio::task::yield_now().await;
            } else {
                let due = due.map_or_else(|| Instant::now() + IDLE_MAX, |due| clock.instant(due));
                // A timer that rings too early does no harm; setting it anew each time costs more.
                if due < sleep.deadline() || sleep.is_elapsed() {
                    sleep.as_mut().reset(due);
                }
                tokio::select! {
                    biased;
                    () = self.wake.notified() => {}
                    () = &mut sleep => {}
                    changed = ending.changed() => {
                        if changed.is_err() || self.obey(&mut ending).is_break() {
                            break;
                        }
                    }
                }
            }
            let woken = Rc::clone(&self);
            let mut hub = self.hub.borrow_mut();
            let on_drained = Rc::new(move || woken.wake.notify_one());
            hub.turn(move || on_drained());
            if hub.ended.is_some() {
                break;
            }
        }
        self.ended.send_replace(true);
        let ended = self.hub.borrow_mut().ended.take();
        ended.unwrap_or(Ok(()))
    }

    /// Does as the server's owner has told it; breaks if that is to end at once.
    fn obey(&self, ending: &mut watch::Receiver<Ending>) -> ControlFlow<()> {
        let is_owned = ending.has_changed().is_ok();
        let told = *ending.borrow_and_update();
        match told {
            Ending::Not if is_owned => ControlFlow::Continue(()),
            Ending::Drained if is_owned => {
                self.act(|hub, now| hub.core.stop(now));
                ControlFlow::Continue(())
            }
            // Whoever could say more has gone.
            Ending::Not | Ending::Drained | Ending::AtOnce => ControlFlow::Break(()),
        }
    }

    /// Lets the last answers out, for a short time, and closes all connections.
    pub(crate) async fn close_connections(&self) {
        let connections: Vec<_> = {
            let hub = self.hub.borrow();
            let of_peers = hub.peers.connections();
            let of_clients = hub.clients.connections().chain(hub.redis.connections());
            of_clients.chain(of_peers).cloned().collect()
        };
        let mut written = JoinSet::new();
        for connection in &connections {
            let connection = Rc::clone(connection);
            written.spawn_local(async move { connection.write_out().await });
        }
        // A client that does not read its answers is not waited for.
        let all = async { while written.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_MAX, all).await;
        connections.iter().for_each(|connection| connection.close());
    }

    /// Persists all that was taken, and lets go of the data directory.
    pub(crate) fn close_disk(&self) -> Result<(), ServerError> {
        let mut hub = self.hub.borrow_mut();
        std::mem::take(&mut hub.persistence).close()
    }
}

/// Takes what clients in this process ask, until the server has gone.
pub(crate) async fn serve_local<E>(shared: Rc<Loop<E>>, mut events: mpsc::Receiver<LocalEvent>)
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH_MAX).await > 0 {
        shared.act(|hub, now| batch.drain(..).for_each(|event| hub.on_local(now, event)));
    }
}

/// Takes what the disk's threads tell, until they have gone.
pub(crate) async fn watch_disk<E>(shared: Rc<Loop<E>>, mut events: mpsc::Receiver<DataEvent>)
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH_MAX).await > 0 {
        shared.act(|hub, now| batch.drain(..).for_each(|event| hub.on_data_event(now, event)));
    }
    shared.act(|hub, _| hub.end(Err(ServerError::Driver)));
}

/// How many events are taken at once, so that nothing else waits for long.
const BATCH_MAX: usize = 1024;

/// How long to sleep without a deadline; only bounds a wait that any event ends.
const IDLE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long the last answers may take to go out once the server has ended.
const CLOSE_MAX: Duration = Duration::from_secs(1);
