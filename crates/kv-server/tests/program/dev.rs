//! `kv-server dev`.

use crate::run::{Running, free_servers, kv_server, output};
use std::net::{TcpListener, TcpStream};

#[test]
fn one_command_starts_a_cluster_and_ctrl_c_stops_all_of_it() {
    let servers = free_servers(3);
    let mut dev = Running::start(kv_server(&format!("dev --op-log off --servers {servers}")));
    let screen = dev.read_until("ready in");
    assert!(screen.contains("3 servers in this process | linearizable | W=2 R=2"), "{screen}");
    assert!(screen.contains(&format!("--servers {servers}")), "{screen}");
    let addresses: Vec<&str> =
        servers.split(',').map(|server| server.split_once('=').unwrap().1).collect();
    for address in &addresses {
        assert!(screen.contains(address), "{screen}");
        TcpStream::connect(address).unwrap();
    }
    assert_eq!(dev.interrupt(), Some(0));
    assert_eq!(dev.read_until("stopped"), "stopped\n", "nothing was said twice");
    for address in &addresses {
        TcpListener::bind(address).unwrap();
    }
}

#[test]
fn the_engine_the_quorums_and_a_delay_can_be_chosen() {
    let words = "dev --op-log off --engine eventual --w 1 --r all --delay 1-2 --servers";
    let mut dev = Running::start(kv_server(&format!("{words} {}", free_servers(2))));
    let screen = dev.read_until("ready in");
    assert!(screen.contains("2 servers in this process | eventual | W=1 R=2"), "{screen}");
    assert!(screen.contains("1-2 ms on each message to another server"), "{screen}");
}

#[test]
fn an_address_in_use_stops_the_whole_start_with_one_line() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap();
    let words = format!("dev --op-log off --servers {},2={held}", free_servers(1));
    let (code, out, error) = output(kv_server(&words));
    assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
    assert!(error.starts_with(&format!("kv-server: {held} is in use")), "{error}");
    let advice = "choose other addresses: --servers 1=127.0.0.1:7001,2=127.0.0.1:7002";
    assert!(error.trim_end().ends_with(advice), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_to_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let words = format!("dev --op-log {} --servers {}", missing.display(), free_servers(1));
    let (code, _, error) = output(kv_server(&words));
    assert_eq!(code, Some(1));
    assert!(
        error.contains("make the folder or keep no log of operations (--op-log off)"),
        "{error}"
    );
}

/// Servers that run by themselves write `output_log1.txt` where they are started.
#[test]
fn the_clusters_of_both_engines_and_single_servers_have_logs_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for (engine, listed) in [("linearizable", "linearizability"), ("eventual", "eventual")] {
        let words = format!("dev --engine {listed} --w 1 --r 1 --servers {}", free_servers(1));
        let mut command = kv_server(&words);
        command.current_dir(folder.path()).env_remove("KV_MEMORY");
        let mut dev = Running::start(command);
        let screen = dev.read_until("ready");
        assert!(screen.contains("1 server in this process"), "{screen}");
        assert_eq!(dev.interrupt(), Some(0));
        let log = format!("kv-data/dev/op-log-{engine}/output_log1.txt");
        assert!(folder.path().join(&log).is_file(), "{log} is missing: {screen}");
        assert!(screen.contains(&log), "{screen}");
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["kv-data"]);
}

#[test]
fn what_a_client_dumps_is_shown_with_its_servers_name() {
    let servers = free_servers(2);
    let mut dev = Running::start(kv_server(&format!("dev --op-log off --servers {servers}")));
    dev.read_until("ready in");
    let dump = |node: u16| {
        let config = kv_client::ClientConfig::new(servers.parse().unwrap())
            .with_first(kv_core::NodeId::new(node).unwrap())
            .with_follow_sequencer(false);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            kv_client::Client::connect(config).await.unwrap().dump().await.unwrap();
        });
    };
    for node in [2, 1] {
        dump(node);
        let shown = dev.read_until("(end of dump: nothing)");
        assert_eq!(shown, format!("server {node} holds:\n(end of dump: nothing)\n"));
    }
}
