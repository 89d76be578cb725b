//! An engine of one's own on real servers: three of them, with sockets between them and data on disk.
//! `cargo run -p kv-abd --example three_servers`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::path::Path;

use kv_abd::AbdEngine;
use kv_client::{Client, ClientConfig};
use kv_server::{
    Consistency, DataConfig, Key, NodeId, Quorum, Server, ServerConfig, ServerList, Value,
};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    println!("{}", run(folder.path()).await?);
    Ok(())
}

/// Writes with one server down, starts all of them anew, and reads; what was read.
pub(crate) async fn run(folder: &Path) -> Result<String, Box<dyn Error>> {
    let colour = Key::new("colour")?;
    let (list, servers) = start_all(folder).await?;
    let [first, second, third] = servers;
    third.kill().await?;
    let client = client(&list).await?;
    client.put(colour.clone(), Value::new("green")?).await?;
    drop(client);
    first.stop().await?;
    second.stop().await?;

    // What was acknowledged is on two disks, and any two servers meet one of them.
    let (list, [first, second, third]) = start_all(folder).await?;
    first.kill().await?;
    let read = self::client(&list).await?.get(colour).await?;
    let found = read.found.ok_or("the key is missing")?;
    second.stop().await?;
    third.stop().await?;
    Ok(format!("{:?} of version {}", found.value, found.version))
}

/// Three servers on ports that the system chooses, and where they are.
async fn start_all(folder: &Path) -> Result<(ServerList, [Server; 3]), Box<dyn Error>> {
    let sockets = [bind().await?, bind().await?, bind().await?];
    let mut addresses = Vec::new();
    for (number, socket) in (1..).zip(&sockets) {
        addresses.push((NodeId::new(number)?, socket.local_addr()?.to_string()));
    }
    let list = ServerList::new(addresses)?;
    let [first, second, third] = sockets;
    let servers = [
        start(1, first, &list, folder).await?,
        start(2, second, &list, folder).await?,
        start(3, third, &list, folder).await?,
    ];
    for server in &servers {
        server.ready().await;
    }
    Ok((list, servers))
}

async fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await
}

async fn start(
    number: u16,
    socket: TcpListener,
    list: &ServerList,
    folder: &Path,
) -> Result<Server, Box<dyn Error>> {
    let (node, majority) = (NodeId::new(number)?, Quorum::Majority);
    // The consistency is that of the engine, whatever stands here.
    let mut config = ServerConfig::new(node, Consistency::Linearizable, majority, majority);
    config.servers = list.clone();
    config.data = Some(DataConfig::new(folder));
    Ok(Server::start_engine::<AbdEngine>(socket, config).await?)
}

async fn client(list: &ServerList) -> Result<Client, Box<dyn Error>> {
    let config = ClientConfig::new(list.clone());
    Ok(Client::connect(config).await?)
}
