//! The examples do what they say.

#[expect(dead_code, unreachable_pub, reason = "its `main` is for a real cluster")]
#[path = "../../examples/retries.rs"]
mod retries;

use std::time::Duration;

use crate::fake::{FakeServer, SOON, answered, config};
use kv_client::Client;
use kv_core::{Answer, CommandResult, NotDone, Operation, Outcome};
use kv_proto::{Request, RequestBody};
use tokio::time::Instant;

/// The operation must count and leave a receipt, if there is none.
fn counts(request: &Request) -> bool {
    let RequestBody::Execute { op: Operation::Batch(batch), .. } = &request.body else {
        return false;
    };
    let receipt = batch.commands().get(1).map(|command| command.key());
    batch.commands().len() == 2 && batch.conditions().first().map(|c| &c.key) == receipt
}

#[tokio::test]
async fn a_visit_is_counted_although_a_server_is_busy_and_then_lost() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        let first = connection.request().await;
        assert!(counts(&first), "{first:?}");
        connection.answer(first.id, Outcome::NotDone(NotDone::Overloaded { limit: 1 })).await;
        let second = connection.request().await;
        assert_eq!(second.body_operation(), first.body_operation());
        drop(connection);
        let mut connection = server.accept().await;
        let third = connection.request().await;
        assert_eq!(third.body_operation(), first.body_operation());
        let done_before = NotDone::ConditionFailed { index: 0, found: None };
        connection.answer(third.id, Outcome::NotDone(done_before)).await;
        let fourth = connection.request().await;
        let results = vec![CommandResult::Number(2), CommandResult::Written];
        connection.answer(fourth.id, answered(Answer::Results(results))).await;
    };
    let until = Instant::now() + SOON;
    let visits = async {
        let attempts = retries::count_once(&client, "a", until).await.unwrap();
        (attempts, retries::count_once(&client, "b", until).await.unwrap())
    };
    let (attempts, ()) = tokio::join!(visits, script);
    assert_eq!(attempts, (3, 1));
}

#[tokio::test]
async fn it_gives_up_when_its_time_is_over() {
    let server = FakeServer::start(1).await;
    let client = Client::start(config([server.entry()], 1)).0;
    let script = async {
        let mut connection = server.accept().await;
        let first = connection.request().await;
        connection.answer(first.id, Outcome::NotDone(NotDone::Overloaded { limit: 1 })).await;
    };
    let until = Instant::now() + Duration::from_millis(1);
    let (result, ()) = tokio::join!(retries::count_once(&client, "a", until), script);
    assert!(result.unwrap_err().to_string().contains("overloaded"));
}

trait BodyOperation {
    fn body_operation(&self) -> Option<&Operation>;
}

impl BodyOperation for Request {
    fn body_operation(&self) -> Option<&Operation> {
        match &self.body {
            RequestBody::Execute { op, .. } => Some(op),
            RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot => None,
        }
    }
}
