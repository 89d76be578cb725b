//! Clusters on port 0 of this machine, in the test's own process.

use std::net::SocketAddr;
use std::time::Duration;

use kv_core::{
    Answer, CommandResult, Key, NodeId, Operation, Outcome, Quorum, RequestOptions, Value,
};
use kv_proto::ServerList;
use kv_server::{Consistency, LocalError, Server, ServerConfig};
use tokio::net::TcpListener;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

/// Sockets for servers 1 to `count`, and the list that names them.
pub async fn sockets(count: u16) -> (Vec<TcpListener>, ServerList) {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string());
    let servers = ServerList::new((1..=count).map(node).zip(addresses)).unwrap();
    (sockets, servers)
}

pub fn config(
    number: u16,
    consistency: Consistency,
    quorum: u16,
    servers: &ServerList,
) -> ServerConfig {
    let quorum = Quorum::Count(quorum);
    let mut config = ServerConfig::new(node(number), consistency, quorum, quorum);
    config.servers = servers.clone();
    config
}

/// Starts servers 1 to `count` with W = R = `quorum` and waits until all of them serve.
pub async fn start(count: u16, consistency: Consistency, quorum: u16) -> Vec<Server> {
    let (sockets, list) = sockets(count).await;
    let mut servers = Vec::new();
    for (number, socket) in (1..=count).zip(sockets) {
        let config = config(number, consistency, quorum, &list);
        servers.push(Server::start_on(socket, config).await.unwrap());
    }
    for server in &servers {
        ready(server).await;
    }
    servers
}

pub async fn ready(server: &Server) {
    tokio::time::timeout(WAIT_MAX, server.ready()).await.expect("the server becomes ready");
}

/// The address of a server, as a client would dial it.
pub fn address(server: &Server) -> SocketAddr {
    server.local_address()
}

pub fn put(key: &str, value: &str) -> Operation {
    let value = Value::new(value.to_owned()).unwrap();
    Operation::put(Key::new(key.to_owned()).unwrap(), value)
}

pub fn get(key: &str) -> Operation {
    Operation::get(Key::new(key.to_owned()).unwrap())
}

pub async fn execute(server: &Server, op: Operation) -> Outcome {
    match server.client().execute(op, RequestOptions::default()).await {
        Ok(done) => Outcome::Done(done),
        Err(LocalError::NotDone(reason)) => Outcome::NotDone(reason),
        Err(LocalError::Unknown(unknown)) => Outcome::Unknown(unknown),
        Err(error) => panic!("{error}"),
    }
}

/// The value that a get brought, or `None` for a missing key.
pub fn value(outcome: Outcome) -> Option<String> {
    let Outcome::Done(done) = outcome else { panic!("not done: {outcome:?}") };
    let Answer::Results(results) = done.answer else { panic!("no results: {:?}", done.answer) };
    let [CommandResult::Value(found)] = results.as_slice() else { panic!("no value: {results:?}") };
    let found = found.as_ref()?;
    Some(String::from_utf8(found.value.as_bytes().to_vec()).unwrap())
}

/// How long anything may take that should take no time at all.
pub const WAIT_MAX: Duration = Duration::from_secs(20);
