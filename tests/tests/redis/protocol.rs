//! What is on the wire: pipelines, large values, half-closed connections and what is no request.

use crate::cluster::Cluster;
use crate::wire::{Wire, words};

#[test]
fn commands_of_a_pipeline_take_effect_in_their_order() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    let mut commands = Vec::new();
    for round in 0..3_000 {
        commands.push(words("incr n"));
        commands.push(words(&format!("setrange s {} x", round % 10)));
        commands.push(words("get n"));
        commands.push(words("incrbyfloat f 0.5"));
    }
    wire.send(&commands);
    for round in 1..=3_000 {
        assert_eq!(wire.reply(), format!(":{round}\r\n").as_bytes());
        assert_eq!(wire.reply(), format!(":{}\r\n", round.min(10)).as_bytes());
        let text = round.to_string();
        assert_eq!(wire.reply(), format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        let half = format!("{}", f64::from(round) / 2.0);
        assert_eq!(wire.reply(), format!("${}\r\n{half}\r\n", half.len()).as_bytes());
    }
}

#[test]
fn a_client_is_listed_with_the_subcommand_that_it_asked_for() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    wire.send(&["client list", "client info"].map(words));
    let replies: Vec<String> = (0..2).map(|_| String::from_utf8(wire.reply()).unwrap()).collect();
    let [list, info] = replies.as_slice() else { panic!("{replies:?}") };
    assert!(list.contains(" cmd=client|list "), "{list}");
    assert!(info.contains(" cmd=client|info "), "{info}");
}

#[test]
fn one_command_that_fails_by_what_a_key_holds_leaves_the_others_as_they_are() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    wire.send(&["set a x", "incr a", "set b 1", "incr b", "get a"].map(words));
    let replies: Vec<String> = (0..5).map(|_| String::from_utf8(wire.reply()).unwrap()).collect();
    let not_an_integer = "-ERR value is not an integer or out of range\r\n";
    assert_eq!(replies, ["+OK\r\n", not_an_integer, "+OK\r\n", ":2\r\n", "$1\r\nx\r\n"]);
}

#[test]
fn the_largest_value_comes_back_and_a_larger_one_is_refused() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    let value = vec![b'v'; 16 << 20];
    wire.send(&[vec![b"set".to_vec(), b"k".to_vec(), value.clone()]]);
    assert_eq!(wire.reply(), b"+OK\r\n");
    assert_eq!(wire.command("strlen k"), format!(":{}\r\n", value.len()));
    wire.send(&[words("get k")]);
    let reply = wire.reply();
    assert_eq!(reply.len(), value.len() + b"$16777216\r\n\r\n".len());
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    assert_eq!(wire.command("append k x"), too_long);
    wire.send_raw(b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$16777217\r\n");
    assert_eq!(wire.rest(), "-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn many_large_replies_come_to_a_client_that_reads_late() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    let value = vec![b'v'; 1 << 20];
    wire.send(&[vec![b"set".to_vec(), b"k".to_vec(), value.clone()]]);
    assert_eq!(wire.reply(), b"+OK\r\n");
    let mut commands = vec![words("get k"); 100];
    commands.push(words("ping"));
    wire.send(&commands);
    for _ in 0..100 {
        assert_eq!(wire.reply().len(), value.len() + b"$1048576\r\n\r\n".len());
    }
    assert_eq!(wire.reply(), b"+PONG\r\n");
}

#[test]
fn a_client_that_stops_sending_gets_its_last_replies() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    wire.send_raw(b"SET a 1\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET");
    wire.finish();
    assert_eq!(wire.rest(), "+OK\r\n:2\r\n$1\r\n2\r\n");
}

#[test]
fn what_is_no_request_is_answered_after_what_came_before_it_and_ends_the_connection() {
    let cluster = Cluster::linearizable();
    for (bytes, error) in [
        (&b"*1\r\n$blabla\r\n"[..], "invalid bulk length"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "expected '$', got 'f'"),
        (b"*3000000000\r\n", "invalid multibulk length"),
        (b"get \"a\r\n", "unbalanced quotes in request"),
    ] {
        let mut wire = Wire::connect(cluster.address);
        wire.send_raw(b"SET a 1\r\nINCR a\r\n");
        wire.send_raw(bytes);
        wire.send_raw(b"PING\r\n");
        assert_eq!(wire.rest(), format!("+OK\r\n:2\r\n-ERR Protocol error: {error}\r\n"));
    }
}

#[test]
fn quit_answers_and_closes_although_more_was_sent() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    wire.send_raw(b"QUIT\r\nSET foo bar\r\n");
    assert_eq!(wire.rest(), "+OK\r\n");
    let mut other = Wire::connect(cluster.address);
    assert_eq!(other.command("get foo"), "$-1\r\n");
}

#[test]
fn a_transaction_is_void_once_a_watched_key_was_written() {
    let cluster = Cluster::linearizable();
    let mut wire = Wire::connect(cluster.address);
    let mut other = Wire::connect(cluster.address);
    for (meanwhile, expected) in [("get a", "*1\r\n:1\r\n"), ("set a 5", "*-1\r\n")] {
        assert_eq!(wire.command("del a"), if meanwhile == "get a" { ":0\r\n" } else { ":1\r\n" });
        assert_eq!(wire.command("watch a"), "+OK\r\n");
        other.command(meanwhile);
        assert_eq!(wire.command("multi"), "+OK\r\n");
        assert_eq!(wire.command("incr a"), "+QUEUED\r\n");
        assert_eq!(wire.command("exec"), expected);
    }
}

#[test]
fn writers_of_one_key_who_look_first_lose_no_update() {
    let cluster = Cluster::linearizable();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = Wire::connect(cluster.address);
                for _ in 0..100 {
                    assert!(wire.command("incrbyfloat f 1").starts_with('$'));
                }
            });
        }
    });
    assert_eq!(Wire::connect(cluster.address).command("get f"), "$3\r\n800\r\n");
}

/// Of many clients at once, of all servers, one alone sets the end of a key that has none.
#[test]
fn one_alone_gives_a_key_its_first_end() {
    let cluster = Cluster::of_three();
    let mut wire = Wire::connect(cluster.address);
    for round in 0..20 {
        assert_eq!(wire.command(&format!("set e{round} 1")), "+OK\r\n");
    }
    let moments: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let client = |number: u64| {
            let address = cluster.addresses[usize::try_from(number).unwrap() % 3];
            move || {
                let mut wire = Wire::connect(address);
                let mut set = |round: u64| {
                    let moment = 4_000_000_000_000 + 100 * round + number;
                    let reply = wire.command(&format!("pexpireat e{round} {moment} nx"));
                    (reply == ":1\r\n").then_some(moment)
                };
                (0..20).filter_map(&mut set).collect()
            }
        };
        let clients: Vec<_> = (0..9).map(|number| scope.spawn(client(number))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let moments: Vec<u64> = moments.into_iter().flatten().collect();
    assert_eq!(moments.len(), 20, "{moments:?}");
    for moment in moments {
        let round = (moment - 4_000_000_000_000) / 100;
        assert_eq!(wire.command(&format!("pexpiretime e{round}")), format!(":{moment}\r\n"));
    }
}

#[test]
fn all_servers_of_a_cluster_are_one() {
    let cluster = Cluster::of_three();
    let mut wires: Vec<Wire> = cluster.addresses.iter().map(|at| Wire::connect(*at)).collect();
    assert_eq!(wires.len(), 3);
    for round in 0..20 {
        let place = round % 3;
        assert_eq!(wires[place].command(&format!("set k {round}")), "+OK\r\n");
        for wire in &mut wires {
            let text = round.to_string();
            assert_eq!(wire.command("get k"), format!("${}\r\n{text}\r\n", text.len()));
        }
    }
    std::thread::scope(|scope| {
        for address in &cluster.addresses {
            scope.spawn(|| {
                let mut wire = Wire::connect(*address);
                for _ in 0..20 {
                    wire.send(&["incr n", "multi", "incr m", "get n", "exec"].map(words));
                    let replies: Vec<Vec<u8>> = (0..5).map(|_| wire.reply()).collect();
                    assert!(replies[4].starts_with(b"*2\r\n:"), "{replies:?}");
                }
            });
        }
    });
    assert_eq!(wires[0].command("mget n m"), "*2\r\n$2\r\n60\r\n$2\r\n60\r\n");
    assert_eq!(wires[1].command("wait 1 0"), ":1\r\n");
}

#[test]
fn the_eventual_engine_takes_single_reads_and_writes_and_refuses_the_rest() {
    let cluster = Cluster::eventual();
    let mut wire = Wire::connect(cluster.address);
    let null = "$-1\r\n";
    for (command, expected) in [
        ("set a 1", "+OK\r\n"),
        ("mset b 2 c 3", "+OK\r\n"),
        ("get a", "$1\r\n1\r\n"),
        ("mget a b x", &format!("*3\r\n$1\r\n1\r\n$1\r\n2\r\n{null}")),
        ("exists a b x a", ":3\r\n"),
        ("type x", "+none\r\n"),
        ("del a x", ":1\r\n"),
        ("get a", null),
        ("keys *", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("scan 0 match c*", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n"),
        ("incr b", "-ERR 'incr' needs the linearizable engine\r\n"),
        ("set b 1 nx", "-ERR 'set' needs the linearizable engine\r\n"),
        ("multi", "-ERR 'multi' needs the linearizable engine\r\n"),
        ("flushall", "-ERR 'flushall' needs the linearizable engine\r\n"),
        ("dbsize", ":2\r\n"),
    ] {
        assert_eq!(wire.command(command), expected, "{command}");
    }
    wire.send(&["set b 7", "get b", "get b", "set b 8", "del b", "get b", "incr b"].map(words));
    let replies: Vec<u8> = (0..7).flat_map(|_| wire.reply()).collect();
    assert_eq!(
        String::from_utf8(replies).unwrap(),
        "+OK\r\n$1\r\n7\r\n$1\r\n7\r\n+OK\r\n:1\r\n$-1\r\n-ERR 'incr' needs the linearizable \
         engine\r\n"
    );
}
