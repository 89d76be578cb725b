//! What clients leave behind: sessions when they go, and memory.

use kv_tests::wait_until;

use crate::cluster::Cluster;
use crate::wire::{Wire, words};

#[test]
fn a_client_that_stops_sending_before_the_answer_gets_it_and_then_the_end() {
    let cluster = Cluster::far_apart();
    for address in &cluster.addresses {
        let mut wire = Wire::connect(*address);
        wire.send_raw(b"SET a 1\r\nINCR a\r\n");
        wire.finish();
        assert_eq!(wire.rest(), "+OK\r\n:2\r\n");
    }
}

#[test]
fn a_client_that_goes_before_the_answer_leaves_no_session_behind() {
    let cluster = Cluster::far_apart();
    for _ in 0..5 {
        let mut wire = Wire::connect(cluster.address);
        wire.send_raw(b"SET a 1\r\n");
    }
    let mut wire = Wire::connect(cluster.address);
    let clients = |wire: &mut Wire| wire.command("client list").matches("id=").count();
    wait_until("the other clients are gone", || clients(&mut wire) == 1);
}

#[test]
fn a_client_that_is_killed_in_a_transaction_goes_with_it() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    wire.command("ping");
    let mut victim = Wire::connect(cluster.address);
    let id = victim.command("client id");
    let kill = format!("client kill id {}", id.trim().trim_start_matches(':'));
    wire.send(&["multi", "set a 1", &kill, "exec"].map(words));
    let replies: Vec<u8> = (0..4).flat_map(|_| wire.reply()).collect();
    assert!(replies.ends_with(b"*2\r\n+OK\r\n:1\r\n"), "{replies:?}");
    assert_eq!(victim.rest(), "");
}

#[test]
fn the_memory_of_a_large_request_is_given_back() {
    let cluster = Cluster::linearizable();
    let text = vec![b'x'; 16 << 20];
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(cluster.address)).collect();
    for wire in &mut wires {
        wire.send(&[vec![b"echo".to_vec(), text.clone()]]);
        assert_eq!(wire.reply().len(), text.len() + b"$16777216\r\n\r\n".len());
    }
    let info = wires[0].command("info memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_rss:")).unwrap();
    let bytes: usize = line.parse().unwrap();
    assert!(bytes < 10 * text.len(), "{bytes} bytes for {} connections", wires.len());
}

/// Without a log of operations the store counts its clients from 0, which names none here.
#[test]
fn the_first_client_of_all_is_killed_by_its_id() {
    let cluster = Cluster::linearizable();
    let mut first = Wire::connect(cluster.address);
    let id = first.command("client id");
    let id = id.trim_end().strip_prefix(':').unwrap().to_owned();
    let mut second = Wire::connect(cluster.address);
    assert_eq!(second.command(&format!("client kill id {id}")), ":1\r\n");
    assert_eq!(first.rest(), "");
}
