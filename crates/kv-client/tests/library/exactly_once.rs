//! Writes in sessions: what is sent again when a server is lost, and under which name.

use std::time::Duration;

#[cfg(feature = "cli")]
use crate::fake::program::{finish, program};
use crate::fake::{FakeConnection, FakeServer, config};
use kv_client::{Certainty, Client, ClientError};
use kv_core::{
    Answer, ClusterId, CommandResult, Done, Key, NodeId, NotDone, Operation, Outcome,
    RequestIdentity, RequestOptions, Served, SessionId, Unknown, Value, Version,
};
use kv_proto::{Request, RequestBody, ResponseBody, ServerState, Welcome};

fn done(number: u64, results: Vec<CommandResult>) -> ResponseBody {
    ResponseBody::Outcome(Outcome::Done(Done {
        answer: Answer::Results(results),
        version: Some(Version::Log(number)),
        served: Served::Linearizable,
    }))
}

/// Accepts a client as a server that keeps sessions.
async fn accept(server: &FakeServer) -> FakeConnection {
    let (mut connection, _) = server.accept_hello().await;
    let cluster_id = Some(ClusterId(0xc1));
    connection.send(Welcome { sessions: true, cluster_id, ..server.welcome() }).await;
    connection
}

async fn next(connection: &mut FakeConnection) -> Request {
    connection.request().await
}

fn op(request: &Request) -> &Operation {
    match &request.body {
        RequestBody::Execute { op, .. } => op,
        other => panic!("{other:?}"),
    }
}

fn identity(request: &Request) -> Option<RequestIdentity> {
    match &request.body {
        RequestBody::Execute { options, .. } => options.identity,
        other => panic!("{other:?}"),
    }
}

fn is_repeated(request: &Request) -> bool {
    matches!(&request.body, RequestBody::Execute { options, .. } if options.sent_before.is_some())
}

fn name(session: u64, number: u64, acknowledged_below: u64) -> Option<RequestIdentity> {
    Some(RequestIdentity { session: SessionId(session), number, acknowledged_below })
}

/// Opens the session that the client asks for.
async fn open(connection: &mut FakeConnection, session: u64) {
    let opening = next(connection).await;
    assert_eq!(op(&opening), &Operation::OpenSession);
    connection.respond(opening.id, done(session, Vec::new())).await;
}

fn put(text: &'static str) -> (Key, Value) {
    (Key::new("k").unwrap(), Value::new(text).unwrap())
}

async fn pair() -> (FakeServer, FakeServer, Client) {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    (one, two, client)
}

async fn written(client: &Client, text: &'static str) -> Result<Option<Version>, ClientError> {
    let (key, value) = put(text);
    client.put(key, value).await.map(|written| written.version)
}

#[tokio::test]
async fn a_write_is_sent_again_under_its_name_when_its_server_is_lost() {
    let (one, two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    let sent = next(&mut first).await;
    assert_eq!((identity(&sent), is_repeated(&sent)), (name(7, 1, 1), false));
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    assert_eq!((identity(&again), is_repeated(&again)), (name(7, 1, 1), true));
    second.respond(again.id, done(9, vec![CommandResult::Written])).await;
    assert_eq!(writing.await.unwrap().unwrap(), Some(Version::Log(9)));
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn a_single_command_whose_server_is_lost_ends_with_what_the_next_one_says() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let servers = [one.entry(), two.entry()];
    let command = program(servers, &["1", "put", "k", "v"]).spawn().unwrap();
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    next(&mut first).await;
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    assert_eq!(identity(&again), name(7, 1, 1));
    second.respond(again.id, done(9, vec![CommandResult::Written])).await;
    let ended = finish(command).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "ok\n"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_a_later_server_cannot_do_says_nothing_of_what_the_lost_one_did() {
    let (one, two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    next(&mut first).await;
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    let overloaded = Outcome::NotDone(NotDone::Overloaded { limit: 1 });
    second.respond(again.id, ResponseBody::Outcome(overloaded)).await;
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Lost { server: NodeId::FIRST, .. }), "{error:?}");
    assert_eq!(error.certainty(), Certainty::Unknown);
}

#[tokio::test]
async fn an_expired_session_is_replaced_for_what_was_not_sent_before() {
    let (one, _two, client) = pair().await;
    let writing =
        tokio::spawn(async move { (written(&client, "a").await, written(&client, "b").await) });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    let sent = next(&mut first).await;
    let expired = || ResponseBody::Outcome(Outcome::NotDone(NotDone::SessionExpired));
    first.respond(sent.id, expired()).await;
    open(&mut first, 8).await;
    let again = next(&mut first).await;
    assert_eq!((identity(&again), is_repeated(&again)), (name(8, 1, 1), false));
    first.respond(again.id, done(9, vec![CommandResult::Written])).await;
    let other = next(&mut first).await;
    assert_eq!(identity(&other), name(8, 2, 2));
    first.respond(other.id, done(10, vec![CommandResult::Written])).await;
    let (a, b) = writing.await.unwrap();
    assert_eq!((a.unwrap(), b.unwrap()), (Some(Version::Log(9)), Some(Version::Log(10))));
}

#[tokio::test]
async fn sessions_that_expire_at_once_are_not_opened_without_a_pause() {
    let one = FakeServer::start(1).await;
    let client = Client::start(config([one.entry()], 1)).0;
    let timeout = Duration::from_millis(300);
    let options = RequestOptions::default().with_timeout(timeout);
    let (key, value) = put("v");
    let operation = Operation::put(key, value);
    let writing = tokio::spawn(async move { client.execute(operation, options).await });
    let mut connection = accept(&one).await;
    let mut openings = 0;
    while let Some(request) = connection.next_request().await {
        let body = match &request.body {
            RequestBody::Execute { op: Operation::OpenSession, .. } => {
                openings += 1;
                done(openings, Vec::new())
            }
            _ => ResponseBody::Outcome(Outcome::NotDone(NotDone::SessionExpired)),
        };
        connection.respond(request.id, body).await;
    }
    let expired = ClientError::NotDone(NotDone::SessionExpired);
    assert_eq!(writing.await.unwrap(), Err(expired));
    assert!((1..10).contains(&openings), "{openings}");
}

#[tokio::test]
async fn a_write_that_was_sent_in_a_session_is_not_sent_in_another_one() {
    let (one, two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    next(&mut first).await;
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    let expired = Outcome::NotDone(NotDone::SessionExpired);
    second.respond(again.id, ResponseBody::Outcome(expired)).await;
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.certainty(), Certainty::Unknown, "{error:?}");
}

#[tokio::test]
async fn reads_open_no_session() {
    let (one, _two, client) = pair().await;
    let reading = tokio::spawn(async move { client.get(put("v").0).await });
    let mut first = accept(&one).await;
    let read = next(&mut first).await;
    assert_eq!((op(&read), identity(&read)), (&Operation::get(put("v").0), None));
    first.respond(read.id, done(1, vec![CommandResult::Value(None)])).await;
    assert_eq!(reading.await.unwrap().unwrap().found, None);
}

#[tokio::test]
async fn what_keeps_a_session_from_being_opened_is_told_of_the_write() {
    let (one, _two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    let opening = next(&mut first).await;
    let reason = NotDone::Overloaded { limit: 3 };
    first.respond(opening.id, ResponseBody::Outcome(Outcome::NotDone(reason.clone()))).await;
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(&error, ClientError::NotDone(told) if *told == reason), "{error:?}");
}

/// The number of a session says nothing of its cluster: kept over the loss of a whole cluster, it
/// would be that of somebody else in the next one.
#[tokio::test]
async fn no_session_is_opened_before_it_is_known_in_which_cluster() {
    let (one, _two, client) = pair().await;
    let writing =
        tokio::spawn(async move { (written(&client, "a").await, written(&client, "b").await) });
    let (mut first, _) = one.accept_hello().await;
    first.send(Welcome { sessions: true, ..one.welcome() }).await;
    let sent = next(&mut first).await;
    assert_eq!(identity(&sent), None);
    let cluster_id = Some(ClusterId(0xc1));
    first.send(ServerState { sequencer: None, waiting: None, cluster_id }).await;
    first.respond(sent.id, done(1, vec![CommandResult::Written])).await;
    open(&mut first, 7).await;
    let named = next(&mut first).await;
    assert_eq!(identity(&named), name(7, 1, 1));
    first.respond(named.id, done(9, vec![CommandResult::Written])).await;
    let (a, b) = writing.await.unwrap();
    assert_eq!((a.unwrap(), b.unwrap()), (Some(Version::Log(1)), Some(Version::Log(9))));
}

#[tokio::test]
async fn a_later_server_that_cannot_read_a_write_says_nothing_of_what_the_lost_one_did() {
    let (one, two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    next(&mut first).await;
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    second.respond(again.id, ResponseBody::Malformed("of another release".to_owned())).await;
    let error = writing.await.unwrap().unwrap_err();
    assert_eq!(error.certainty(), Certainty::Unknown, "{error:?}");
}

#[tokio::test]
async fn a_write_that_took_effect_and_whose_answer_is_gone_is_not_sent_again() {
    let (one, two, client) = pair().await;
    let writing = tokio::spawn(async move { written(&client, "v").await });
    let mut first = accept(&one).await;
    open(&mut first, 7).await;
    next(&mut first).await;
    drop(first);
    let mut second = accept(&two).await;
    let again = next(&mut second).await;
    let gone = Unknown { version: Some(Version::Log(9)), acks: 0, needed: 0 };
    second.respond(again.id, ResponseBody::Outcome(Outcome::Unknown(gone))).await;
    let error = writing.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Unknown(unknown) if unknown == gone), "{error:?}");
}
