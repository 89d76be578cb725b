//! `output_log<ID>.txt` of all servers, judged as one history.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kv_check::{Budget, History, Verdict, linearizability};
use kv_client::Client;
use kv_core::{Key, Operation, RequestOptions, Value};
use kv_tests::{Site, wait_until};
use tokio::runtime::Runtime;

/// Puts and gets by turns on a few keys until it is told to stop.
async fn work(client: Client, number: u64, done: Arc<AtomicU64>, stopped: Arc<AtomicBool>) {
    for turn in 0_u64.. {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let key = Key::new(format!("k{}", turn / 2 % 3)).unwrap();
        let op = if (turn + number).is_multiple_of(2) {
            Operation::put(key, Value::new(format!("{number}.{turn}")).unwrap())
        } else {
            Operation::get(key)
        };
        let options = RequestOptions::default().with_timeout(Duration::from_millis(500));
        match client.execute(op, options).await {
            Ok(_) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

fn logs(site: &Site) -> Vec<String> {
    let read = |id| std::fs::read_to_string(site.folder().join(format!("output_log{id}.txt")));
    [1, 2, 3].into_iter().map(|id| read(id).unwrap()).collect()
}

fn verdict(logs: &[String]) -> Verdict {
    let read = History::from_op_logs(logs.iter().map(String::as_str), CLOCKS_APART_MS).unwrap();
    assert_eq!(read.cut_keys, [], "not all is judged");
    linearizability(&read.history, Budget::default()).unwrap()
}

/// The highest and the least number of a client in some lines.
fn clients(lines: &str) -> (u64, u64) {
    let client = |line: &str| line.split(',').nth(1).and_then(|number| number.parse().ok());
    let numbers: Vec<u64> = lines.lines().filter_map(client).collect();
    (*numbers.iter().max().unwrap(), *numbers.iter().min().unwrap())
}

#[test]
fn the_logs_of_servers_of_which_one_was_killed_are_one_linearizable_history() {
    let site = Site::of(3);
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 2 2 --data-dir data"));
    let words = words.each_ref().map(String::as_str);
    let [first, mut second, third] = site.ready_servers(words);
    let runtime = Runtime::new().unwrap();
    let (done, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (1..=2_u16)
        .map(|number| {
            let client = runtime.block_on(site.connect(number));
            let (done, stopped) = (Arc::clone(&done), Arc::clone(&stopped));
            runtime.spawn(work(client, number.into(), done, stopped))
        })
        .collect();
    let more = || {
        let before = done.load(Ordering::Relaxed);
        wait_until("operations are done", || done.load(Ordering::Relaxed) >= before + 60);
    };
    // So far apart that the clocks cannot hide their order.
    let last = Key::new("last").unwrap();
    let put = |client: &Client, value: &'static str| {
        let value = Value::new(value).unwrap();
        runtime.block_on(client.put(last.clone(), value)).unwrap();
        more();
    };
    put(&runtime.block_on(site.connect(1)), "old");
    second.kill();
    more();
    let second = site.ready_server(words[1]);
    let later = runtime.block_on(site.connect(2));
    put(&later, "new");
    stopped.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| runtime.block_on(worker).unwrap());
    let read = runtime.block_on(later.get(last.clone())).unwrap();
    assert_eq!(read.found.unwrap().value, Value::new("new").unwrap());
    for mut server in [first, second, third] {
        server.terminate();
        assert_eq!(server.exit_code(), Some(0), "{}", server.report());
    }

    let mut logs = logs(&site);
    assert_eq!(verdict(&logs), Verdict::Linearizable);
    let (before, after) = logs[1].split_once("# started").unwrap();
    assert!(clients(after).1 > clients(before).0, "a client has the number of an earlier one");
    let honest = logs[1].clone();
    logs[1] = honest.lines().map(doctored).collect();
    assert_ne!(logs[1], honest);
    assert!(matches!(verdict(&logs), Verdict::NotLinearizable(_)));
}

/// The same line, but that the last read shows what had been overwritten.
fn doctored(line: &str) -> String {
    let is_last = line.contains(",get,last,");
    let line = if is_last { line.replace(",resp,new", ",resp,old") } else { line.to_owned() };
    line + "\n"
}

/// All servers have one clock, of which the logs show whole milliseconds.
const CLOCKS_APART_MS: u64 = 1;
