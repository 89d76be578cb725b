//! A dump follows the pages of one server.

use crate::fake::{FakeConnection, FakeServer, answered, config, key, store, value};
use kv_client::{Client, ClientError};
use kv_core::{Answer, Dump, Key, Operation, Page, Version, Versioned};
use kv_proto::{RequestBody, ResponseBody};

async fn answer_page(
    connection: &mut FakeConnection,
    after: Option<&str>,
    keys: &[&str],
    next: Option<&str>,
) {
    let request = connection.request().await;
    let RequestBody::Execute { op: Operation::Dump(Dump { after: asked, .. }), .. } = request.body
    else {
        panic!("not a dump: {:?}", request.body);
    };
    assert_eq!(asked, after.map(key));
    let entries = keys.iter().map(|name| {
        let version = Version::Log(1);
        let value = value(name);
        (key(name), Versioned { value, version })
    });
    let page = Page { entries: entries.collect(), next: next.map(key) };
    connection.answer(request.id, answered(Answer::Page(page))).await;
}

fn names(keys: &[&str]) -> Vec<Key> {
    keys.iter().map(|name| key(name)).collect()
}

#[tokio::test]
async fn all_pages_are_read() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        answer_page(&mut connection, None, &["a", "b"], Some("b")).await;
        answer_page(&mut connection, Some("b"), &[], Some("c")).await;
        answer_page(&mut connection, Some("c"), &["d"], None).await;
        connection
    };
    let (dump, _connection) = tokio::join!(client.dump(), script);
    let dump = dump.unwrap();
    let keys: Vec<Key> = dump.entries.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, names(&["a", "b", "d"]));
    assert_eq!(dump.server, server.node);
}

#[tokio::test]
async fn pages_of_two_servers_are_never_mixed() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let script = async {
        let mut connection = one.accept().await;
        answer_page(&mut connection, None, &["a"], Some("a")).await;
        connection.request().await;
        drop(connection);
        let mut connection = two.accept().await;
        answer_page(&mut connection, Some("a"), &["z"], None).await;
        answer_page(&mut connection, None, &["y"], Some("y")).await;
        answer_page(&mut connection, Some("y"), &["z"], None).await;
        connection
    };
    let (dump, _connection) = tokio::join!(client.dump(), script);
    let dump = dump.unwrap();
    let keys: Vec<Key> = dump.entries.into_iter().map(|(key, _)| key).collect();
    assert_eq!((dump.server, keys), (two.node, names(&["y", "z"])));
}

#[tokio::test]
async fn a_cursor_that_stands_still_ends_the_dump() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        answer_page(&mut connection, None, &["a"], Some("a")).await;
        answer_page(&mut connection, Some("a"), &[], Some("a")).await;
        connection
    };
    let (dump, _connection) = tokio::join!(client.dump(), script);
    let server = server.node;
    assert_eq!(dump, Err(ClientError::Unexpected { server }));
}

#[tokio::test]
async fn a_status_is_the_servers() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        let request = connection.request().await;
        assert_eq!(request.body, RequestBody::Status);
        let body = ResponseBody::Status(Box::new(store::status()));
        connection.respond(request.id, body).await;
        connection
    };
    let (status, _connection) = tokio::join!(client.status(), script);
    assert_eq!(status.unwrap(), store::status());
}
