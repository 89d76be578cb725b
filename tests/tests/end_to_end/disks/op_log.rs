//! `output_log<ID>.txt`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use kv_check::{Budget, History, OpLogError, Verdict, linearizability};
use kv_tests::{OpLogEvent, OpLogLine, Process, Site};

const MODELS: [&str; 2] = ["eventual", "linearizability"];

fn gists(lines: &[OpLogLine]) -> Vec<String> {
    lines.iter().map(OpLogLine::gist).collect()
}

fn stop(servers: &mut [Process]) {
    for server in servers {
        server.terminate();
        assert_eq!(server.exit_code(), Some(0), "{}", server.report());
    }
}

#[test]
fn each_operation_has_a_line_when_it_begins_and_one_when_it_ends() {
    for model in MODELS {
        let site = Site::of(2);
        let words = [1, 2].map(|id| format!("{id} {model} 2 2"));
        let mut servers = site.ready_servers(words.each_ref().map(String::as_str));
        let [mut one, mut other] = [site.client("1"), site.client("2")];
        for line in ["put x 1", r#"put y """#, "delete x"] {
            one.type_line(line);
            one.wait_for("ok");
        }
        other.type_line("get x");
        other.wait_for("(not found)");
        other.type_line("get y");
        other.wait_for("");
        other.type_line(r#"put "a,b\n" "\"c\"""#);
        other.wait_for("ok");
        stop(&mut servers);

        let [one, other] = [1, 2].map(|id| site.op_log(id));
        assert_eq!(
            gists(&one),
            [
                "0,put,x,req,1",
                "0,put,x,resp,1",
                r#"0,put,y,req,"""#,
                r#"0,put,y,resp,"""#,
                "0,delete,x,req,",
                "0,delete,x,resp,",
            ]
        );
        assert_eq!(
            gists(&other),
            [
                "0,get,x,req,",
                "0,get,x,resp,",
                "0,get,y,req,",
                r#"0,get,y,resp,"""#,
                r"0,put,a\x2cb\x0a,req,\x22c\x22",
                r"0,put,a\x2cb\x0a,resp,\x22c\x22",
            ]
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        for (id, log) in [(1, one), (2, other)] {
            assert!(log.iter().all(|line| line.server == id));
            assert!(log.is_sorted_by_key(|line| line.wall_ms), "{log:?}");
            assert!(log.iter().all(|line| (now - 60_000..=now).contains(&line.wall_ms.into())));
        }
    }
}

#[test]
fn what_was_not_done_or_is_not_known_does_not_end_with_resp() {
    let site = Site::of(3);
    let [mut first, second] = site.ready_servers(["1 eventual 2 2", "2 eventual 2 2"]);
    assert_eq!(site.run("1 put x 1"), "ok");
    second.freeze();
    let mut client = site.client("1 put x 2 --timeout 200ms");
    client.wait_for_error("unknown: 1 of 2 servers acknowledged");
    drop(second);
    first.wait_for("waiting for 1 more server");
    let mut client = site.client("1 put x 3 --timeout 400ms");
    client.wait_for_error("unavailable: 1 of 2");
    stop(&mut [first]);
    let log = gists(&site.op_log(1));
    let (once, again) = log.split_at(6);
    assert_eq!(
        once,
        [
            "0,put,x,req,1",
            "0,put,x,resp,1",
            "1,put,x,req,2",
            "1,put,x,info,2",
            "2,put,x,req,3",
            "2,put,x,fail,3",
        ]
    );
    // The client tries again within its time, and each attempt is a call of its own.
    assert!(again.chunks(2).all(|call| call == ["2,put,x,req,3", "2,put,x,fail,3"]), "{again:?}");
}

#[test]
fn a_restart_appends_whether_the_server_was_stopped_or_killed() {
    let site = Site::of(1);
    let mut expected = Vec::new();
    for (n, killed) in [true, false, true].into_iter().enumerate() {
        let mut server = site.ready_server("1");
        assert_eq!(site.run(&format!("put x {n}")), "ok");
        // The numbers of clients go on.
        let ends = [format!("{n},put,x,req,{n}"), format!("{n},put,x,resp,{n}")];
        expected.extend(ends);
        if killed {
            // The log is buffered; a kill may take the last lines with it, so wait for them.
            kv_tests::wait_until("the log is written", || site.op_log(1).len() == expected.len());
            server.kill();
        } else {
            stop(&mut [server]);
        }
    }
    assert_eq!(gists(&site.op_log(1)), expected);
}

#[test]
fn each_client_has_one_number_however_they_take_turns() {
    let site = Site::of(1);
    let server = site.ready_server("1");
    let mut clients = ["by0", "by1", "by2"].map(|key| {
        let mut client = site.client("1");
        client.type_line(&format!("put {key} first"));
        client.wait_for("ok");
        client
    });
    for turn in 0..4 {
        for (who, client) in clients.iter_mut().enumerate() {
            client.type_line(&format!("put by{who} {turn}"));
            client.wait_for("ok");
        }
    }
    stop(&mut [server]);
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let log = site.op_log(1);
    for line in log.iter().filter(|line| line.event == OpLogEvent::Resp) {
        numbers.entry(line.key.clone()).or_default().push(line.client);
    }
    let expected: Vec<Vec<u64>> = (0..3).map(|client| vec![client; 5]).collect();
    assert_eq!(numbers.into_values().collect::<Vec<_>>(), expected);
}

#[test]
fn servers_of_two_clusters_in_one_folder_keep_their_logs_apart() {
    let site = Site::of(1);
    let run = |data: &str, value: &str| {
        let mut server = site.ready_server(&format!("1 linearizability 1 1 --data-dir {data}"));
        assert_eq!(site.run(&format!("1 put x {value}")), "ok");
        server.terminate();
        assert_eq!(server.exit_code(), Some(0), "{}", server.report());
        server
    };
    let read = |name: &str| std::fs::read_to_string(site.folder().join(name)).unwrap();
    run("first", "a");
    let first = read("output_log1.txt");
    let mut told = run("second", "b");
    let second = read("output_log1.txt");
    assert!(first.starts_with("# data: linearizable, store "), "{first}");
    assert_eq!(first.matches("\n# cluster: ").count(), 1, "{first}");
    assert!(second.starts_with("# data: linearizable, store "), "{second}");
    assert!(!second.contains(",req,a"), "{second}");
    let store = first.split(['\n', ' ']).nth(4).unwrap();
    let aside = format!("output_log1-linearizable-{store}.txt");
    assert_eq!(read(&aside), first);
    told.wait_for_error(&format!("{aside} now"));
    assert_eq!(judged(&[&first, &second]), Err(OpLogError::OtherCluster { log: 1, line: 2 }));
    run("first", "c");
    let whole = read("output_log1.txt");
    assert!(whole.starts_with(&first) && whole.contains(",req,c"), "{whole}");
    assert_eq!(judged(&[&whole]), Ok(Verdict::Linearizable));
    assert_eq!(site.op_log(1).len(), 4);
}

fn judged(logs: &[&str]) -> Result<Verdict, OpLogError> {
    let read = History::from_op_logs(logs.iter().copied(), 0)?;
    Ok(linearizability(&read.history, Budget::default()).unwrap())
}
