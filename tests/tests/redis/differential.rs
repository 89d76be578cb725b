//! The same commands to a real redis-server and to ours: the replies are the same, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};

use kv_tests::RedisServer;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::cluster::{Cluster, is_there};
use crate::commands::command;
use crate::wire::{Wire, Words};

#[test]
fn replies_to_any_sequence_are_those_of_redis() {
    if !is_there("redis-server", &["--version"]) {
        return;
    }
    let redis = RedisServer::start(&["--save", "", "--databases", "1"]).unwrap();
    let ours = Cluster::linearizable();
    let theirs = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
    let mut runner = TestRunner::new(Config { cases: CASES, ..Config::default() });
    let cases = (vec(command(), 1..40), any::<bool>(), any::<bool>());
    let outcome = runner.run(&cases, |(commands, is_resp3, is_pipelined)| {
        let [expected, found] =
            [theirs, ours.address].map(|address| run(address, &commands, is_resp3, is_pipelined));
        for ((command, expected), found) in commands.iter().zip(expected).zip(found) {
            let is_same = is_same(command, &expected, &found);
            prop_assert!(
                is_same,
                "{}\n  redis {}\n  ours  {}",
                shown(&command.join(&b' ')),
                shown(&expected),
                shown(&found)
            );
        }
        Ok(())
    });
    if let Err(TestError::Fail(why, (commands, ..))) = outcome {
        let commands: Vec<String> =
            commands.iter().map(|words| shown(&words.join(&b' '))).collect();
        panic!("{why}\nafter\n{}", commands.join("\n"));
    }
    outcome.unwrap();
}

/// What random sequences once found to be answered otherwise.
#[test]
fn sequences_that_once_differed_do_no_more() {
    if !is_there("redis-server", &["--version"]) {
        return;
    }
    let redis = RedisServer::start(&["--save", "", "--databases", "1"]).unwrap();
    let ours = Cluster::linearizable();
    let theirs = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
    for lines in [
        // Numbers with leading zeros.
        &["setex c 100000 0", "append c 0", "incrby c 0", "get c"][..],
        &["incrbyfloat a 1e17", "setbit a 7 0", "incr a", "get a"],
        &["set b 007", "multi", "incr b", "decr b", "exec", "get b"],
    ] {
        let words = |line: &&str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let commands: Vec<Words> = lines.iter().map(words).collect();
        let [expected, found] =
            [theirs, ours.address].map(|address| run(address, &commands, false, false));
        assert_eq!(
            found.iter().map(|reply| shown(reply)).collect::<Vec<_>>(),
            expected.iter().map(|reply| shown(reply)).collect::<Vec<_>>(),
            "{lines:?}"
        );
    }
}

/// The replies to the commands, on an empty server.
fn run(
    address: SocketAddr,
    commands: &[Words],
    is_resp3: bool,
    is_pipelined: bool,
) -> Vec<Vec<u8>> {
    let mut wire = Wire::connect(address);
    if is_resp3 {
        wire.switch_to_resp3();
    }
    assert_eq!(wire.command("flushall"), "+OK\r\n");
    if is_pipelined {
        wire.send(commands);
        return commands.iter().map(|_| wire.reply()).collect();
    }
    let reply = |command: &Words| {
        wire.send(std::slice::from_ref(command));
        wire.reply()
    };
    commands.iter().map(reply).collect()
}

/// Whether two replies are the same, or tell times that lie as near as the moments at which they
/// were asked for.
fn is_same(command: &Words, expected: &[u8], found: &[u8]) -> bool {
    if expected == found {
        return true;
    }
    let number = |reply: &[u8]| -> Option<i64> {
        std::str::from_utf8(reply).ok()?.strip_prefix(':')?.trim_end().parse().ok()
    };
    let tells_time = matches!(command[0].as_slice(), b"ttl" | b"expiretime");
    let times = number(expected).zip(number(found));
    tells_time && times.is_some_and(|(one, other)| one.abs_diff(other) <= 1)
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Some 20 commands each.
const CASES: u32 = 400;
