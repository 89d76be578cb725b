//! The port for Redis clients.

use std::time::Duration;

use crate::in_process::{config, ready, sockets};
use kv_server::{Consistency, RespConfig, Server, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn start(resp: RespConfig, clients_max: usize) -> Result<Server, StartError> {
    let (mut sockets, list) = sockets(1).await;
    let mut config = config(1, Consistency::Linearizable, 1, &list);
    config.resp = Some(resp);
    config.clients_max = clients_max;
    Server::start_on(sockets.pop().unwrap(), config).await
}

async fn ping(stream: &mut TcpStream) -> String {
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).await.unwrap();
    String::from_utf8(reply.to_vec()).unwrap()
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_its_connection_closed() {
    let server = start(RespConfig::required("127.0.0.1:0".to_owned()), 1).await.unwrap();
    ready(&server).await;
    let address = server.resp_address().unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_eq!(ping(&mut first).await, "+PONG\r\n");
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut told = String::new();
    second.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "-ERR max number of clients reached\r\n");
    assert_eq!(ping(&mut first).await, "+PONG\r\n");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_keeps_a_server_from_starting_unless_it_is_optional() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    match start(RespConfig::required(address.clone()), 1).await {
        Err(error @ StartError::BindResp { .. }) => {
            assert!(error.to_string().contains(&address), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let server = start(RespConfig::optional(address), 1).await.unwrap();
    assert_eq!(server.resp_address(), None);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_large_request_that_is_not_finished_keeps_others_from_theirs_for_a_moment_only() {
    let server = start(RespConfig::required("127.0.0.1:0".to_owned()), 10).await.unwrap();
    ready(&server).await;
    let address = server.resp_address().unwrap();
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PING\r\n*1\r\n$16777216\r\nx").await.unwrap();
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).await.unwrap();
        stalled.push(stream);
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let value = "x".repeat(200_000);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n{value}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"+OK\r\n");
    for mut stream in stalled {
        let mut said = Vec::new();
        let closed = timeout(Duration::from_secs(60), stream.read_to_end(&mut said));
        assert_eq!(closed.await.expect("it is closed").unwrap(), 0);
    }
    server.stop().await.unwrap();
}
