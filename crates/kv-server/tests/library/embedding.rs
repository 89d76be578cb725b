//! Servers inside another program.

use std::time::{Duration, Instant};

use crate::in_process::{config, execute, get, put, ready, sockets, start, value};
use kv_core::{NotDone, Outcome, RequestOptions, Waiting};
use kv_server::{Consistency, DataConfig, LocalError, Readiness, Server, StartError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::test]
async fn what_one_server_takes_another_gives() {
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        let servers = start(3, consistency, 2).await;
        let outcome = execute(&servers[0], put("x", "1")).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{consistency}: {outcome:?}");
        for server in &servers {
            assert_eq!(value(execute(server, get("x")).await).as_deref(), Some("1"));
            assert_eq!(value(execute(server, get("y")).await), None);
        }
        for server in servers {
            server.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_order_in_which_servers_start_does_not_matter() {
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        let (mut sockets, list) = sockets(2).await;
        let second = sockets.pop().unwrap();
        let second = Server::start_on(second, config(2, consistency, 2, &list)).await.unwrap();
        let first = sockets.pop().unwrap();
        let first = Server::start_on(first, config(1, consistency, 2, &list)).await.unwrap();
        ready(&first).await;
        ready(&second).await;
        execute(&second, put("x", "1")).await;
        assert_eq!(value(execute(&first, get("x")).await).as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_server_without_its_quorum_says_so_and_does_nothing() {
    let (mut sockets, list) = sockets(2).await;
    let socket = sockets.remove(0);
    // The other server's socket is closed, so that nobody answers there.
    drop(sockets);
    let config = config(1, Consistency::Eventual, 2, &list);
    let server = Server::start_on(socket, config).await.unwrap();
    let options = RequestOptions::default().with_timeout(Duration::from_millis(50));
    let reason = NotDone::Unavailable { reachable: 1, needed: 2 };
    let refused = server.client().execute(put("x", "1"), options).await;
    assert_eq!(refused, Err(LocalError::NotDone(reason)));
    let mut readiness = server.readiness();
    let waiting = kv_server::Readiness::Waiting(Waiting::Servers { more: 1 });
    readiness.wait_for(|readiness| *readiness == waiting).await.unwrap();
}

#[tokio::test]
async fn a_request_that_comes_before_the_other_server_waits_for_it() {
    for consistency in [Consistency::Eventual, Consistency::Linearizable] {
        let (mut sockets, list) = sockets(2).await;
        let second = sockets.pop().unwrap();
        let first = sockets.pop().unwrap();
        let first = Server::start_on(first, config(1, consistency, 2, &list)).await.unwrap();
        let early = execute(&first, put("x", "1"));
        let late = async {
            let mut readiness = first.readiness();
            let is_waiting = |readiness: &Readiness| matches!(readiness, Readiness::Waiting(_));
            readiness.wait_for(is_waiting).await.unwrap();
            Server::start_on(second, config(2, consistency, 2, &list)).await.unwrap()
        };
        let (early, _second) = tokio::join!(early, late);
        assert!(matches!(early, Outcome::Done(_)), "{consistency}: {early:?}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let servers = start(1, Consistency::Eventual, 1).await;
    let address = servers[0].local_address().to_string();
    let list = format!("1={address}").parse().unwrap();
    let error = Server::start(config(1, Consistency::Eventual, 1, &list)).await.unwrap_err();
    assert!(matches!(&error, StartError::AddressInUse { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{address} is in use")), "{error}");
}

#[tokio::test]
async fn a_stopped_server_frees_its_address_and_its_clients_are_told() {
    let (mut sockets, list) = sockets(1).await;
    let config = config(1, Consistency::Eventual, 1, &list);
    let server = Server::start_on(sockets.remove(0), config.clone()).await.unwrap();
    ready(&server).await;
    let client = server.client();
    server.stop().await.unwrap();
    assert!(client.execute(get("x"), Default::default()).await.is_err());
    let again = Server::start(config).await.unwrap();
    ready(&again).await;
    assert_eq!(value(execute(&again, get("x")).await), None);
}

#[tokio::test]
async fn a_killed_server_is_free_at_once_under_load_too() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listening, list) = sockets(1).await;
    let mut config = config(1, Consistency::Linearizable, 1, &list);
    config.data = Some(DataConfig::new(folder.path()));
    let mut socket = listening.pop().unwrap();
    let address = socket.local_addr().unwrap();
    for _ in 0..5 {
        let server = Server::start_on(socket, config.clone()).await.unwrap();
        ready(&server).await;
        let mut load = JoinSet::new();
        for caller in 0..200 {
            let client = server.client();
            load.spawn(async move {
                let options = RequestOptions::default();
                while client.execute(put(&format!("k{caller}"), "v"), options.clone()).await.is_ok()
                {
                }
            });
        }
        // The load is there once one of its writes is.
        while value(execute(&server, get("k7")).await).is_none() {}
        let began = Instant::now();
        server.kill().await.unwrap();
        let elapsed = began.elapsed();
        // It starts anew on the same address and the same data, without a second attempt.
        socket = TcpListener::bind(address).await.unwrap();
        assert!(elapsed < Duration::from_millis(500), "{elapsed:?}");
        load.shutdown().await;
    }
}
