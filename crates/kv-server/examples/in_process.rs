//! A whole cluster inside another program: three servers with sockets between them, and clients
//! without any. `cargo run -p kv-server --example in_process`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use kv_server::{Consistency, Key, NodeId, Operation, Quorum, RequestOptions, Server};
use kv_server::{ServerConfig, ServerList, Value};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = start_cluster().await?;
    let [first, second, third] = &servers;

    let colour = Key::new("colour")?;
    let put = Operation::put(colour.clone(), Value::new("green")?);
    let done = first.client().execute(put, RequestOptions::default()).await?;
    println!("put at server 1: {done:?}");
    for (number, server) in [(2, second), (3, third)] {
        let get = Operation::get(colour.clone());
        let done = server.client().execute(get, RequestOptions::default()).await?;
        println!("get at server {number}: {done:?}");
    }

    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

/// Binds all sockets first, on ports that the system chooses, so that each server can be told
/// where the others are.
async fn start_cluster() -> Result<[Server; 3], Box<dyn Error>> {
    let sockets = [bind().await?, bind().await?, bind().await?];
    let mut addresses = Vec::new();
    for (number, socket) in (1..).zip(&sockets) {
        addresses.push((NodeId::new(number)?, socket.local_addr()?.to_string()));
    }
    let list = ServerList::new(addresses)?;
    let [first, second, third] = sockets;
    let servers = [
        start(1, first, &list).await?,
        start(2, second, &list).await?,
        start(3, third, &list).await?,
    ];
    for server in &servers {
        server.ready().await;
    }
    Ok(servers)
}

async fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await
}

async fn start(
    number: u16,
    socket: TcpListener,
    list: &ServerList,
) -> Result<Server, Box<dyn Error>> {
    let node = NodeId::new(number)?;
    let majority = Quorum::Majority;
    let mut config = ServerConfig::new(node, Consistency::Linearizable, majority, majority);
    config.servers = list.clone();
    Ok(Server::start_on(socket, config).await?)
}
