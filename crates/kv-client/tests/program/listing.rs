//! What is printed page by page.

use std::process::Stdio;

use crate::fake::program::{finish, program};
use crate::fake::{FakeConnection, FakeServer, answered, key, value};
use kv_core::{Answer, Operation, Page, Version, Versioned};
use kv_proto::RequestBody;
use tokio::io::{AsyncBufReadExt, BufReader};

async fn answer_page(connection: &mut FakeConnection, keys: &[&str], next: Option<&str>) {
    let request = connection.request().await;
    let RequestBody::Execute { op: Operation::Dump(_) | Operation::Scan(_), .. } = request.body
    else {
        panic!("no listing: {:?}", request.body);
    };
    let entries = keys.iter().map(|name| {
        let version = Version::Log(1);
        (key(name), Versioned { value: value("v"), version })
    });
    let page = Page { entries: entries.collect(), next: next.map(key) };
    connection.answer(request.id, answered(Answer::Page(page))).await;
}

#[tokio::test]
async fn a_page_is_printed_before_the_next_one_comes() {
    for command in ["dump", "scan"] {
        let server = FakeServer::start(1).await;
        let mut child = program([server.entry()], &["1", command]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut connection = server.accept().await;
        answer_page(&mut connection, &["a", "b"], Some("b")).await;
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "a = v (version 1)");
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "b = v (version 1)");
        answer_page(&mut connection, &["c"], None).await;
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "c = v (version 1)");
        assert_eq!(lines.next_line().await.unwrap(), None);
        assert_eq!(finish(child).await.code, Some(0));
    }
}

#[tokio::test]
async fn a_dump_of_which_the_rest_is_lost_says_so() {
    for json in [false, true] {
        let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
        let args = if json { &["--json", "1", "dump"][..] } else { &["1", "dump"] };
        let mut child = program([one.entry(), two.entry()], args);
        let child = child.stdin(Stdio::null()).spawn().unwrap();
        let mut connection = one.accept().await;
        answer_page(&mut connection, &["a"], Some("a")).await;
        connection.request().await;
        drop(connection);
        let mut connection = two.accept().await;
        answer_page(&mut connection, &["z"], None).await;
        let ended = finish(child).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        if json {
            let object: serde_json::Value = serde_json::from_str(ended.stdout.trim()).unwrap();
            assert_eq!(object["entries"].as_array().unwrap().len(), 1);
            assert_eq!(object["entries"][0]["key"], "a");
            assert_eq!(
                (&object["outcome"], &object["command"]),
                (&"not_done".into(), &"dump".into())
            );
        } else {
            assert_eq!(ended.stdout, "a = v (version 1)\n");
            let expected = "only 1 key is shown: the server was lost during the dump, which is not \
                            whole; try again\n";
            assert!(ended.stderr.ends_with(expected), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_listing_is_an_empty_list() {
    let server = FakeServer::start(1).await;
    let child = program([server.entry()], &["--json", "1", "scan", "x"]).spawn().unwrap();
    let mut connection = server.accept().await;
    answer_page(&mut connection, &[], None).await;
    let object: serde_json::Value =
        serde_json::from_str(finish(child).await.stdout.trim()).unwrap();
    assert_eq!((&object["entries"], &object["outcome"]), (&serde_json::json!([]), &"done".into()));
}
