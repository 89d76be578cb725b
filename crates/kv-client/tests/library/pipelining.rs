//! Many requests at once on one connection, within bounds.

use std::time::Duration;

use crate::fake::{self, FakeServer, config, found, get, incr, key, put, value, written};
use futures_util::StreamExt;
use kv_client::{Client, ClientError};
use kv_core::{CommandResult, NotDone, Outcome, RequestOptions};
use kv_proto::{RequestBody, ResponseBody};

#[tokio::test]
async fn answers_in_any_order_find_their_requests() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let calls =
        async { tokio::join!(client.get(key("a")), client.get(key("b")), client.get(key("c"))) };
    let script = async {
        let mut connection = server.accept().await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push((connection.expect(&get(name)).await, name));
        }
        for (id, name) in ids.into_iter().rev() {
            connection.answer(id, found(&format!("value of {name}"))).await;
        }
        connection
    };
    let ((a, b, c), _connection) = tokio::join!(calls, script);
    for (read, name) in [(a, "a"), (b, "b"), (c, "c")] {
        let read = read.unwrap();
        assert_eq!(read.found.unwrap().value, value(&format!("value of {name}")));
        assert_eq!(read.server, server.node);
    }
}

#[tokio::test]
async fn typed_results_and_the_servers_own_words() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        let id = connection.expect(&put("a", "1")).await;
        connection.answer(id, written()).await;
        let reason = NotDone::Overloaded { limit: 3 };
        for _ in 0..2 {
            let id = connection.request().await.id;
            connection.answer(id, Outcome::NotDone(reason.clone())).await;
        }
        let id = connection.expect(&incr("n")).await;
        let why = "no such thing".to_owned();
        connection.respond(id, ResponseBody::Malformed(why)).await;
    };
    let calls = async {
        assert_eq!(client.put(key("a"), value("1")).await.unwrap().server, server.node);
        let reason = NotDone::Overloaded { limit: 3 };
        let refused = client.put(key("a"), value("1")).await;
        assert_eq!(refused, Err(ClientError::NotDone(reason.clone())));
        let options = RequestOptions::default();
        let outcome = client.execute(put("a", "1"), options.clone()).await;
        assert_eq!(outcome, Err(ClientError::NotDone(reason)));
        let malformed = client.execute(incr("n"), options).await.unwrap_err();
        assert_eq!(malformed.to_string(), "server 1 refuses the request: no such thing");
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn no_more_requests_are_sent_than_the_server_takes_at_once() {
    let server = FakeServer::start(1).await.with_in_flight_max(2);
    let client = Client::start(config([server.entry()], 1)).0;
    let calls = async {
        let results = tokio::join!(
            client.put(key("a"), value("")),
            client.put(key("b"), value("")),
            client.put(key("c"), value("")),
        );
        for result in [results.0, results.1, results.2] {
            result.unwrap();
        }
    };
    let script = async {
        let mut connection = server.accept().await;
        let a = connection.expect(&put("a", "")).await;
        let b = connection.expect(&put("b", "")).await;
        let third = tokio::time::timeout(Duration::from_millis(50), connection.framed.next());
        assert!(third.await.is_err(), "a third request came");
        connection.answer(b, written()).await;
        let c = connection.expect(&put("c", "")).await;
        connection.answer(a, written()).await;
        connection.answer(c, written()).await;
        connection
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn callers_wait_at_the_bound_and_their_time_goes_on() {
    let server = FakeServer::start(1).await;
    let bounded = config([server.entry()], 1).with_in_flight_max(1);
    let client = Client::start(bounded).0;
    let script = async {
        let mut connection = server.accept().await;
        let first = connection.expect(&put("a", "")).await;
        let options = RequestOptions::default().with_timeout(Duration::from_millis(20));
        let busy = client.execute(put("b", ""), options).await;
        assert_eq!(busy, Err(ClientError::Busy { limit: 1 }));
        connection.answer(first, written()).await;
        let third = connection.expect(&put("c", "")).await;
        connection.answer(third, written()).await;
        connection
    };
    let calls = async {
        let results =
            tokio::join!(client.put(key("a"), value("")), client.put(key("c"), value("")));
        results.0.unwrap();
        results.1.unwrap();
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn what_is_larger_than_the_sockets_buffers_goes_both_ways_at_once() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let large = "x".repeat(4 << 20);
    const COUNT: usize = 8;
    let calls = async {
        let calls = (0..COUNT).map(|_| client.put(key("a"), value(&large)));
        for result in futures_util::future::join_all(calls).await {
            result.unwrap();
        }
        let calls = (0..COUNT).map(|_| client.get(key("a")));
        for result in futures_util::future::join_all(calls).await {
            assert_eq!(result.unwrap().found.unwrap().value, value(&large));
        }
    };
    let script = async {
        let mut connection = server.accept().await;
        for _ in 0..COUNT {
            let id = connection.expect(&put("a", &large)).await;
            connection.answer(id, written()).await;
        }
        for _ in 0..COUNT {
            let id = connection.expect(&get("a")).await;
            connection.answer(id, found(&large)).await;
        }
        connection
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn an_answer_of_another_kind_ends_the_connection() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        let id = connection.expect(&get("a")).await;
        connection.answer(id, written()).await;
        let mut connection = server.accept().await;
        let id = connection.expect(&get("a")).await;
        connection.answer(id, done_number()).await;
        let mut connection = server.accept().await;
        let id = connection.expect(&get("a")).await;
        connection.answer(id, found("1")).await;
        connection
    };
    let (read, _connection) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().found.unwrap().value, value("1"));
}

fn done_number() -> Outcome {
    fake::done(CommandResult::Number(1))
}

#[tokio::test]
async fn a_caller_that_stops_waiting_frees_its_place_and_the_server_hears_of_it() {
    let server = FakeServer::start(1).await;
    let bounded = config([server.entry()], 1).with_in_flight_max(1);
    let client = Client::start(bounded).0;
    let script = async {
        let mut connection = server.accept().await;
        let abandoned = {
            let call = client.put(key("a"), value(""));
            tokio::pin!(call);
            let operation = put("a", "");
            tokio::select! {
                id = connection.expect(&operation) => id,
                result = &mut call => panic!("answered: {result:?}"),
            }
        };
        let cancel = connection.request().await;
        assert_eq!((cancel.id, cancel.body), (abandoned, RequestBody::Cancel));
        // The answer that nobody waits for changes nothing.
        connection.answer(abandoned, written()).await;
        let next = async {
            let id = connection.expect(&get("a")).await;
            connection.answer(id, found("1")).await;
        };
        let (read, ()) = tokio::join!(client.get(key("a")), next);
        assert_eq!(read.unwrap().found.unwrap().value, value("1"));
    };
    script.await;
}
