//! A server that does what a test says.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of several tests, each of which uses some"
)]

#[cfg(feature = "cli")]
pub mod program;
pub mod store;
#[cfg(feature = "cli")]
pub mod tmux;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use kv_client::{ClientConfig, Event};
use kv_core::{
    Answer, ClusterConfig, Command, CommandResult, Done, GroupId, Incarnation, Key, NodeId,
    Operation, Outcome, Quorum, Served, Status, Value, Version, Versioned,
};
use kv_proto::{
    Frame, FrameCodec, FrameMessage, Hello, Refusal, Request, RequestBody, Response, ResponseBody,
    ServerList, Welcome, put_alive,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

/// Long enough for whatever should happen, on a busy machine as well.
pub const SOON: Duration = Duration::from_secs(20);

/// A listening server.
pub struct FakeServer {
    pub node: NodeId,
    listener: TcpListener,
    in_flight_max: u32,
}

impl FakeServer {
    pub async fn start(id: u16) -> Self {
        Self::start_at(id, "127.0.0.1:0").await
    }

    pub async fn start_at(id: u16, address: &str) -> Self {
        Self {
            node: node(id),
            listener: TcpListener::bind(address).await.unwrap(),
            in_flight_max: 100,
        }
    }

    pub fn with_in_flight_max(self, in_flight_max: u32) -> Self {
        Self { in_flight_max, ..self }
    }

    pub fn entry(&self) -> (NodeId, String) {
        (self.node, self.listener.local_addr().unwrap().to_string())
    }

    /// Accepts a connection and says nothing.
    pub async fn accept_silently(&self) -> TcpStream {
        let accepted = tokio::time::timeout(SOON, self.listener.accept()).await;
        accepted.expect("no client came").unwrap().0
    }

    /// Accepts a connection and reads its hello. A program that has nothing to do may end before it
    /// says hello; the next connection counts then.
    pub async fn accept_hello(&self) -> (FakeConnection, Hello) {
        loop {
            let stream = self.accept_silently().await;
            let framed = Framed::new(stream, FrameCodec::new(GroupId(0)));
            let mut connection = FakeConnection { framed, alive: None };
            if let Some(frame) = connection.next().await {
                connection.framed.codec_mut().lift_limit();
                return (connection, Hello::from_frame(frame).unwrap());
            }
        }
    }

    /// Accepts a client.
    pub async fn accept(&self) -> FakeConnection {
        let (mut connection, _) = self.accept_hello().await;
        connection.send(self.welcome()).await;
        connection
    }

    /// Answers questions for its status, one after the other as a list has them, then with the last
    /// one for ever.
    pub fn serve_statuses(self, statuses: Vec<Status>) {
        let statuses = Arc::new(Mutex::new(VecDeque::from(statuses)));
        tokio::spawn(async move {
            loop {
                let mut connection = self.accept().await;
                let statuses = Arc::clone(&statuses);
                tokio::spawn(async move {
                    while let Some(request) = connection.next_request().await {
                        assert_eq!(request.body, RequestBody::Status);
                        let status = next_or_last(&mut statuses.lock().unwrap());
                        let body = ResponseBody::Status(Box::new(status));
                        connection.respond(request.id, body).await;
                    }
                });
            }
        });
    }

    /// Refuses a client.
    pub async fn refuse(&self, refusal: Refusal) {
        let (mut connection, _) = self.accept_hello().await;
        connection.send(refusal).await;
    }

    pub fn welcome(&self) -> Welcome {
        Welcome {
            node: self.node,
            incarnation: Incarnation::UNKNOWN,
            engine: "fake".to_owned(),
            config: cluster(),
            cluster_id: None,
            in_flight_max: self.in_flight_max,
            sessions: false,
            sequencer: None,
        }
    }
}

fn next_or_last(statuses: &mut VecDeque<Status>) -> Status {
    match statuses.len() {
        1 => statuses.front().unwrap().clone(),
        _ => statuses.pop_front().unwrap(),
    }
}

/// A connection from a client.
pub struct FakeConnection {
    pub framed: Framed<TcpStream, FrameCodec>,
    alive: Option<Alive>,
}

/// The task that shows life.
struct Alive(JoinHandle<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeConnection {
    /// Shows the client that the server lives, however long the test takes.
    pub fn stay_alive(&mut self) {
        let socket = self.framed.get_ref().as_fd().try_clone_to_owned().unwrap();
        let socket = TcpStream::from_std(socket.into()).unwrap();
        self.alive = Some(Alive(tokio::spawn(async move {
            let mut beat = BytesMut::new();
            put_alive(GroupId(0), &mut beat);
            let mut due = tokio::time::interval(Duration::from_millis(400));
            // The client may be gone.
            while socket.try_write(&beat).is_ok() {
                due.tick().await;
            }
        })));
    }

    /// The next frame; `None` if the client closed the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = tokio::time::timeout(SOON, self.framed.next()).await;
        next.expect("the client sends nothing").map(Result::unwrap)
    }

    /// The next request; `None` if the client closed the connection.
    pub async fn next_request(&mut self) -> Option<Request> {
        self.next().await.map(|frame| Request::from_frame(frame).unwrap().unwrap())
    }

    pub async fn request(&mut self) -> Request {
        self.next_request().await.expect("no request but the end")
    }

    /// The next request, which must be for this operation; its id.
    pub async fn expect(&mut self, expected: &Operation) -> u64 {
        let request = self.request().await;
        match request.body {
            RequestBody::Execute { op, .. } if op == *expected => request.id,
            other => panic!("not {expected:?} but {other:?}"),
        }
    }

    pub async fn answer(&mut self, id: u64, outcome: Outcome) {
        let body = ResponseBody::Outcome(outcome);
        self.respond(id, body).await;
    }

    pub async fn respond(&mut self, id: u64, body: ResponseBody) {
        self.send(Response { id, body }).await;
    }

    pub async fn send(&mut self, message: impl FrameMessage) {
        self.framed.send(message).await.unwrap();
    }
}

/// A port where nobody listens, and nobody else can.
pub struct DeadServer {
    node: NodeId,
    socket: tokio::net::TcpSocket,
}

impl DeadServer {
    pub fn new(id: u16) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { node: node(id), socket }
    }

    pub fn entry(&self) -> (NodeId, String) {
        (self.node, self.socket.local_addr().unwrap().to_string())
    }
}

pub fn config(servers: impl IntoIterator<Item = (NodeId, String)>, first: u16) -> ClientConfig {
    ClientConfig::new(ServerList::new(servers).unwrap()).with_first(node(first)).with_timeout(SOON)
}

/// Waits for an event that fits.
pub async fn event<T>(
    events: &mut tokio::sync::broadcast::Receiver<Event>,
    mut fits: impl FnMut(Event) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            if let Some(found) = fits(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("no such event")
}

pub fn node(id: u16) -> NodeId {
    NodeId::new(id).unwrap()
}

pub fn cluster() -> ClusterConfig {
    ClusterConfig::new([1, 2, 3].map(node), Quorum::Majority, Quorum::Majority).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

pub fn get(text: &str) -> Operation {
    Operation::get(key(text))
}

pub fn put(text: &str, to: &str) -> Operation {
    Operation::put(key(text), value(to))
}

pub fn incr(text: &str) -> Operation {
    let key = key(text);
    Operation::of(Command::Increment { key, by: 1 })
}

pub fn found(text: &str) -> Outcome {
    let version = Version::Log(7);
    let value = value(text);
    done(CommandResult::Value(Some(Versioned { value, version })))
}

pub fn missing() -> Outcome {
    done(CommandResult::Value(None))
}

pub fn written() -> Outcome {
    done(CommandResult::Written)
}

pub fn done(result: CommandResult) -> Outcome {
    answered(Answer::Results(vec![result]))
}

pub fn answered(answer: Answer) -> Outcome {
    Outcome::Done(Done { answer, version: Some(Version::Log(7)), served: Served::Linearizable })
}
