//! A server is killed under its clients.

use std::time::{Duration, Instant};

use kv_client::{Client, ClientConfig};
use kv_core::{Key, NodeId, Value};
use kv_tests::{Process, Site, wait_until};

/// Far below a request's time of 5 s: whoever waits for that has not noticed the loss.
const NOTICED: Duration = Duration::from_secs(3);

fn three(site: &Site, model: &str) -> [Process; 3] {
    let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

#[test]
fn an_eventual_client_goes_on_to_server_1_where_r_decides_what_it_can_read() {
    let site = Site::of(10);
    let [_first, mut second] = site.ready_servers(["1 eventual 2 2", "2 eventual 2 2"]);
    let mut client = site.client("2");
    client.type_line("put x 1");
    client.wait_for("ok");

    second.kill();
    let killed = Instant::now();
    client.type_line("get x --timeout 400ms");
    let news = client.wait_for_error("server 2 is lost");
    assert!(news.ends_with("connected to server 1"), "{news}");
    client.wait_for_error("unavailable: 1 of 2");
    client.type_line("get x --r 1");
    client.wait_for("1");
    client.type_line("put x 2 --timeout 400ms");
    client.wait_for_error("unavailable: 1 of 2");
    client.type_line("get x --r 1");
    client.wait_for("1");
    assert!(killed.elapsed() < NOTICED, "{:?}; {}", killed.elapsed(), client.report());
}

#[test]
fn a_client_that_is_idle_says_by_its_next_command_where_it_is() {
    let site = Site::of(3);
    let mut servers = three(&site, "eventual");
    let mut client = site.client("3");
    client.type_line("put x 1");
    client.wait_for("ok");
    let [_, _, third] = &mut servers;
    third.kill();
    client.type_line("get x");
    client.wait_for("1");
    client.wait_for_error("server 3 is lost (connection closed); connected to server 1");
}

#[test]
fn a_linearizable_cluster_goes_on_without_a_follower() {
    let site = Site::of(3);
    let mut servers = three(&site, "linearizability");
    let mut client = site.client("2");
    client.type_line("put x 1");
    client.wait_for("ok");
    let [_, second, _] = &mut servers;
    second.kill();
    client.type_line("get x");
    client.wait_for("1");
    client.wait_for_error("connected to server 3");
    client.type_line("put x 2");
    client.wait_for("ok");
    assert_eq!(site.run("1 get x"), "2");
    // The screens of the others tell of it.
    let [first, second, third] = &mut servers;
    first.wait_for("server 2 is lost");
    third.wait_for("server 2 is lost");
    *second = site.ready_server("2 linearizability 2 2");
    first.wait_for("server 2 is connected");
    third.wait_for("server 2 is connected");
}

#[test]
fn a_linearizable_cluster_goes_on_without_its_sequencer() {
    let site = Site::of(3);
    let [mut first, _second, _third] = three(&site, "linearizability");
    let mut clients = [site.client("2"), site.client("3")];
    for client in &mut clients {
        client.type_line("put x 1");
        client.wait_for("ok");
    }
    first.kill();
    let killed = Instant::now();
    for (client, count) in clients.iter_mut().zip(["1", "2"]) {
        client.type_line("get x");
        client.wait_for("1");
        client.type_line("incr n");
        client.wait_for(count);
    }
    assert!(killed.elapsed() < NOTICED, "{:?}", killed.elapsed());

    // The lost one comes back, and the next one may go.
    let first = site.ready_server("1 linearizability 2 2");
    assert_eq!(site.run("1 get n"), "2");
    for id in [2, 3] {
        let status = site.run(&format!("{id} status --all"));
        assert!(status.contains("epoch_owner"), "{status}");
    }
    drop(first);
}

#[test]
fn the_servers_of_a_cluster_are_lost_one_after_the_other_and_clients_go_on() {
    let site = Site::of(3);
    let mut servers = three(&site, "linearizability");
    for (turn, id) in [1, 2, 3, 1, 2].into_iter().enumerate() {
        let server = servers.get_mut(id - 1).expect("there are three");
        server.kill();
        let next = id % 3 + 1;
        assert_eq!(site.run(&format!("{next} incr n")), format!("{}", turn + 1));
        *server = site.ready_server(&format!("{id} linearizability 2 2"));
    }
    for id in [1, 2, 3] {
        assert_eq!(site.run(&format!("{id} get n")), "5");
    }
}

#[test]
fn a_client_of_the_lost_sequencer_goes_on_to_another_server() {
    let site = Site::of(3);
    let [mut first, _second, _third] = three(&site, "linearizability");
    let mut client = site.client("1");
    client.type_line("put x 1");
    client.wait_for("ok");
    first.kill();
    client.type_line("get x");
    client.wait_for("1");
    client.wait_for_error("server 1 is lost (connection closed); connected to server 2");
    client.type_line("put x 2");
    client.wait_for("ok");
}

#[test]
fn a_client_of_the_library_is_with_the_sequencer_whichever_server_that_is() {
    let site = Site::of(3);
    let mut servers = three(&site, "linearizability");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = NodeId::new(3).unwrap();
    let config = ClientConfig::new(site.servers()).with_first(first);
    let client = runtime.block_on(Client::connect(config)).unwrap();
    let is_with = |id| client.server().map(NodeId::number) == Some(id);
    wait_until("the client is with server 1", || is_with(1));
    let [first, _, _] = &mut servers;
    let put = |value: &'static str| {
        let (key, value) = (Key::new("x").unwrap(), Value::new(value).unwrap());
        runtime.block_on(client.put(key, value)).unwrap().server.number()
    };
    assert_eq!(put("1"), 1);
    let status = site.run("3 status");
    assert!(status.contains("1       connected, the sequencer in epoch 0"), "{status}");
    assert!(status.contains("any one server may be lost, the others go on"), "{status}");
    first.kill();
    wait_until("the client has noticed", || !is_with(1));
    put("2");
    let sequencer = |id: u16| {
        let status = site.run(&format!("{id} status"));
        status.contains("this server: sequencer").then_some(id)
    };
    let next = [2, 3].into_iter().find_map(sequencer).expect("one of them is the sequencer");
    wait_until("the client is with the next sequencer", || is_with(next));
    let status = site.run(&format!("{next} status"));
    assert!(status.contains("this server: sequencer in epoch 1"), "{status}");
    assert!(status.contains("the loss of one more server stops the cluster"), "{status}");
    assert_eq!(put("3"), next);

    // It does not go back to a server that has returned as a follower.
    let _first = site.ready_server("1 linearizability 2 2");
    assert_eq!(put("4"), next);
}

/// With W=1 or R=1 nobody can take the sequencer's place.
#[test]
fn without_a_sequencer_that_has_no_successor_clients_are_told_so_and_nothing_hangs() {
    for quorums in ["1 1", "2 1"] {
        let site = Site::of(3);
        let words = [1, 2, 3].map(|id| format!("{id} linearizability {quorums}"));
        let mut servers = site.ready_servers(words.each_ref().map(String::as_str));
        assert_eq!(site.run("2 put x 1"), "ok");
        let [first, second, third] = &mut servers;
        first.kill();
        for server in [second, third] {
            let line = server.wait_for("waiting for server 1, the sequencer");
            assert!(line.contains("start it with: "), "{line}");
            assert!(line.contains("/kv-server 1 linearizability"), "{line}");
        }
        let began = Instant::now();
        for command in ["2 get x", "3 put x 2", "2 incr n"] {
            let mut client = site.client(&format!("{command} --timeout 400ms"));
            client.wait_for_error("unavailable: waiting for server 1");
            assert_eq!(client.exit_code(), Some(4), "{}", client.report());
        }
        assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
        *first = site.ready_server(&words[0]);
        assert_eq!(site.run("3 get x"), "1", "it resumes with its disk");
    }
}

#[test]
fn a_read_under_way_is_repeated_elsewhere_and_a_write_is_not() {
    let site = Site::of(3);
    let mut servers = three(&site, "eventual");
    let [mut writer, mut reader] = [site.client("2"), site.client("2")];
    for client in [&mut writer, &mut reader] {
        client.type_line("put x 0");
        client.wait_for("ok");
    }
    let [first, second, third] = &mut servers;
    first.freeze();
    third.freeze();
    writer.type_line("put x 1");
    reader.type_line("get x");
    let under_way = || {
        let log = site.op_log(2);
        let begun = |gist: &str| log.iter().any(|line| line.gist().ends_with(gist));
        begun(",put,x,req,1") && begun(",get,x,req,")
    };
    wait_until("server 2 has both requests in hand", under_way);
    second.kill();
    first.thaw();
    third.thaw();

    // The unknown write may have reached the others before its coordinator died.
    let read = reader.wait_for("");
    assert!(["0", "1"].contains(&read.as_str()), "{}", reader.report());
    reader.wait_for_error("server 2 is lost (connection closed); connected to server 3");
    writer.wait_for_error("unknown: server 2 was lost (connection closed)");
    writer.end_input();
    assert_eq!(writer.exit_code(), Some(4), "{}", writer.report());
    for id in [1, 3] {
        assert!(site.op_log(id).iter().all(|line| line.operation != "put"), "it was repeated");
    }
}
