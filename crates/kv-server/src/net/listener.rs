//! The one port, for clients and servers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::driver::PeerFrame;
use kv_core::{ConsistencyEngine, NodeId, Now, Wire};
use kv_proto::{FrameError, Hello, Liveness, PeerToPeer, Refusal, RefusalCode, Role, ServerState};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, SemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::client_number::ClientNumber;
use crate::driver::Loop;
use crate::driver::event::Ending;
use crate::driver::hub::Hub;
use crate::driver::peers::Inbound;
use crate::net::accepting::{accept, spawn};
use crate::net::bounds::admission::{Admitted, Identity};
use crate::net::bounds::connection_bounds::ConnectionSlots;
use crate::net::bounds::strangers::Stranger;
use crate::net::complaints::Complaints;
use crate::net::connection::Connection;
use crate::net::pulse::Pulse;
use crate::net::reading::{FrameBytes, Reading};
use crate::net::{framed, session};

/// Accepts connections and serves each in a task of its own.
pub(crate) struct Listener<E: ConsistencyEngine> {
    pub(crate) door: Rc<Door<E>>,
    pub(crate) socket: TcpListener,
    pub(crate) ending: watch::Receiver<Ending>,
}

/// What every accepted connection is given.
pub(crate) struct Door<E: ConsistencyEngine> {
    pub(crate) shared: Rc<Loop<E>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) client_numbers: Arc<AtomicU64>,
    pub(crate) slots: ConnectionSlots,
    pub(crate) frame_bytes: FrameBytes,
    pub(crate) complaints: RefCell<Complaints>,
    /// The peers that refuse this server, as the links see it.
    pub(crate) refused_by: watch::Receiver<BTreeMap<NodeId, Refusal>>,
    pub(crate) doorbells: BTreeMap<NodeId, Rc<Notify>>,
}

impl<E> Listener<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Runs until the server is told to stop.
    pub(crate) async fn run(self) {
        accept(self.socket, self.ending, async |stream, from| {
            let door = Rc::clone(&self.door);
            let (stranger, displaces) = door.slots.strangers.admit();
            spawn(from, async move { door.serve(stream, stranger).await });
            if displaces {
                // The one whose place was taken closes its connection first.
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A connection whose handshake is done.
struct Guest<'a> {
    reading: Reading,
    writer: OwnedWriteHalf,
    admitted: Admitted,
    /// What it was told of the server.
    told: ServerState,
    _slot: SemaphorePermit<'a>,
}

/// How a handshake ended that gave no connection.
enum Unwelcome {
    /// There was no hello.
    Mute,
    Refused {
        who: Option<NodeId>,
        refusal: Refusal,
    },
}

impl<E> Door<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Serves a connection until it ends. `stranger` is its place until it is known whose it is.
    async fn serve(&self, stream: TcpStream, stranger: Stranger) -> Result<(), FrameError> {
        framed::tune(&stream, CLIENT_PATIENCE)?;
        let greeted = tokio::select! {
            biased;
            greeted = self.greet(stream) => greeted?,
            () = stranger.displaced() => return Ok(()),
            () = self.shared.ended() => return Ok(()),
        };
        drop(stranger);
        match greeted {
            Err(Unwelcome::Mute) => {}
            Err(Unwelcome::Refused { who, refusal }) => self.complain(who, &refusal).await,
            Ok(Guest { reading, writer, admitted, told, _slot }) => match admitted {
                Admitted::Client => self.serve_client(reading, writer, &told).await,
                Admitted::Server(peer) => self.listen_to(peer, reading, writer).await?,
            },
        }
        Ok(())
    }

    /// Waits for a hello and answers it.
    async fn greet(&self, stream: TcpStream) -> Result<Result<Guest<'_>, Unwelcome>, FrameError> {
        let (reader, mut writer) = stream.into_split();
        let mut reading = Reading::new(reader);
        let Ok(first) = timeout(HELLO_MAX, reading.first()).await else {
            return Ok(Err(Unwelcome::Mute));
        };
        let hello = first.and_then(|frame| frame.map(Hello::from_frame).transpose());
        let (who, admitted) = match hello {
            Ok(None) => return Ok(Err(Unwelcome::Mute)),
            Ok(Some(hello)) => (server_of(&hello), self.identity.admit(&hello)),
            Err(error) => (None, Err(framed::refusal_of(&error))),
        };
        let admitted = match admitted {
            Ok(admitted) => self.find_place(admitted).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Err(refusal) => {
                framed::send(&mut writer, &refusal).await?;
                drop(writer);
                framed::drain(reading.into_socket()).await;
                Ok(Err(Unwelcome::Refused { who, refusal }))
            }
            Ok((admitted, slot)) => {
                let state = self.shared.act(|hub, _| hub.state);
                let welcome = self.identity.welcome(state.cluster_id, state.sequencer);
                framed::send(&mut writer, &welcome).await?;
                reading.lift_limit();
                let told = ServerState { waiting: None, ..state };
                Ok(Ok(Guest { reading, writer, admitted, told, _slot: slot }))
            }
        }
    }

    async fn find_place(
        &self,
        admitted: Admitted,
    ) -> Result<(Admitted, SemaphorePermit<'_>), Refusal> {
        let slots = match admitted {
            Admitted::Client => &self.slots.clients,
            Admitted::Server(_) => &self.slots.servers,
        };
        let slot = slots.try_acquire().map_err(|_| full(admitted, self.slots.are_lowered))?;
        if let Admitted::Server(peer) = admitted
            && self.still_hears(peer).await
        {
            return Err(self.identity.twice(peer));
        }
        Ok((admitted, slot))
    }

    /// Whether a peer that has connected once more goes on sending on the connection that it had:
    /// then they are two. One that has lost its old connection is silent there.
    async fn still_hears(&self, peer: NodeId) -> bool {
        let Some(inbound) = self.shared.act(|hub, _| hub.peers.inbound(peer)) else {
            return false;
        };
        // What it had sent before is read by then.
        let since = Instant::now() + Liveness::PEERS.interval / 2;
        let gone = inbound.gone.notified();
        let heard = async {
            while inbound.heard.get() <= since {
                sleep(Liveness::PEERS.interval / 2).await;
            }
        };
        tokio::select! {
            biased;
            () = gone => false,
            () = heard => true,
            // By then a silent one has been closed.
            () = sleep(Liveness::PEERS.silence_max * 2) => false,
        }
    }

    /// Says that somebody was refused, unless that has been said lately: a server that is refused
    /// tries again all the time. A server that refuses this one as well is in
    /// `Server::refused_by` with the same words, and is not warned of again.
    async fn complain(&self, who: Option<NodeId>, refusal: &Refusal) {
        let told = {
            let mut complaints = self.complaints.borrow_mut();
            complaints.tell(who, refusal.code, Instant::now())
        };
        let Some(more) = told else {
            tracing::debug!("refused a connection: {refusal}");
            return;
        };
        if let Some(peer) = who
            && self.is_refused_by(peer).await
        {
            tracing::info!("refused a connection: {refusal}");
            return;
        }
        match more {
            0 => tracing::warn!("refused a connection: {refusal}"),
            _ => tracing::warn!("refused a connection, and {more} before it: {refusal}"),
        }
    }

    /// Whether a server refuses this one; it is given the time to be asked.
    async fn is_refused_by(&self, peer: NodeId) -> bool {
        let mut refused_by = self.refused_by.clone();
        let mutual = refused_by.wait_for(|refused_by| refused_by.contains_key(&peer));
        tokio::select! {
            mutual = timeout(MUTUAL_MAX, mutual) => matches!(mutual, Ok(Ok(_))),
            () = self.shared.ended() => false,
        }
    }

    async fn serve_client(&self, reading: Reading, writer: OwnedWriteHalf, told: &ServerState) {
        let number = ClientNumber(self.client_numbers.fetch_add(1, Ordering::Relaxed));
        let in_flight_max = usize::try_from(self.identity.in_flight_max).unwrap_or(usize::MAX);
        let connection = Connection::new(writer, CLIENT_PATIENCE);
        let session = self.shared.act(|hub, _| {
            let session = hub.connected(number, Rc::clone(&connection), in_flight_max);
            hub.tell_session(session, told);
            session
        });
        session::serve(&self.shared, session, reading, &connection, &self.frame_bytes).await;
    }

    /// Hands on what a peer sends, until it goes.
    async fn listen_to(
        &self,
        peer: NodeId,
        mut reading: Reading,
        writer: OwnedWriteHalf,
    ) -> Result<(), FrameError> {
        let inbound = Inbound::new(Connection::new(writer, CLIENT_PATIENCE));
        self.shared.act(|hub, now| hub.on_dialled(now, peer, Rc::clone(&inbound)));
        if let Some(doorbell) = self.doorbells.get(&peer) {
            doorbell.notify_one();
        }
        let ended = self.hand_on(peer, &mut reading, &inbound).await;
        self.shared.act(|hub, now| hub.on_hung_up(now, peer, &inbound));
        ended
    }

    async fn hand_on(
        &self,
        peer: NodeId,
        reading: &mut Reading,
        inbound: &Inbound,
    ) -> Result<(), FrameError> {
        let mut pulse = Pulse::new(Liveness::PEERS);
        loop {
            let taken = self.shared.act(|hub, now| take_frames(hub, now, peer, reading));
            taken.inspect_err(|error| {
                tracing::warn!(%peer, %error, "closing a server's connection");
            })?;
            inbound.heard.set(reading.last_read());
            pulse.beat(Instant::now(), &inbound.connection);
            let goes_on = tokio::select! {
                biased;
                read = reading.read() => read?,
                () = pulse.due() => {
                    let overdue = pulse.overdue(reading);
                    if overdue.is_some() {
                        tracing::info!(%peer, "closing a connection on which nothing comes");
                    }
                    overdue.is_none()
                }
                () = inbound.connection.closed() => false,
                () = self.shared.ended() => false,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Takes all that was read of what a peer sent.
fn take_frames<E>(
    hub: &mut Hub<E>,
    now: Now,
    peer: NodeId,
    reading: &mut Reading,
) -> Result<(), FrameError>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    while let Some(frame) = reading.next()? {
        match PeerToPeer::from_frame(frame)? {
            PeerToPeer::Message(bytes) => match E::Message::from_bytes(bytes) {
                Ok(message) => hub.on_frame(now, peer, PeerFrame::Message(message)),
                Err(error) => {
                    tracing::warn!(%peer, %error, "dropped a message that is not well formed");
                }
            },
            PeerToPeer::Snapshot(frame) => hub.on_frame(now, peer, PeerFrame::Snapshot(frame)),
        }
    }
    Ok(())
}

/// The server that says hello, if it is one.
fn server_of(hello: &Hello) -> Option<NodeId> {
    match hello.role {
        Role::Server { node, .. } => Some(node),
        Role::Client => None,
    }
}

fn full(admitted: Admitted, are_lowered: bool) -> Refusal {
    let why = match admitted {
        Admitted::Client if are_lowered => {
            "this server has as many clients as its limit of open files allows: connect to another \
             one, or raise `ulimit -n` there"
        }
        Admitted::Client => {
            "this server has as many clients as it may: connect to another one, or raise \
             --clients-max"
        }
        Admitted::Server(_) => {
            "this server has too many connections of servers: look for servers that run twice"
        }
    };
    Refusal::new(RefusalCode::Full, why)
}

/// So soon a server that runs has been asked by its link, which tries every two seconds.
const MUTUAL_MAX: Duration = Duration::from_secs(5);

/// A client that takes nothing for this long counts as gone.
pub(crate) const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a new connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);
