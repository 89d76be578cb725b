//! The programs and libraries that people use, with their defaults.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::cluster::{Cluster, is_there};

/// Runs a program with a script on its standard input; gives what it prints.
fn run(cluster: &Cluster, program: &str, words: &[&str], script: &str) -> String {
    let mut command = Command::new(program);
    command.args(words);
    command.env("KV_HOST", cluster.address.ip().to_string());
    command.env("KV_PORT", cluster.address.port().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{program} {words:?}: {text}");
    text
}

fn redis_words(cluster: &Cluster) -> [String; 4] {
    let (host, port) = (cluster.address.ip().to_string(), cluster.address.port().to_string());
    ["-h".to_owned(), host, "-p".to_owned(), port]
}

#[test]
fn redis_cli_reads_its_commands_from_a_pipe() {
    if !is_there("redis-cli", &["--version"]) {
        return;
    }
    let cluster = Cluster::linearizable();
    let words = redis_words(&cluster);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let script = "set \"a b\" 1\nincr \"a b\"\nexpire \"a b\" 100\nttl \"a b\"\nmulti\nset c 5\n\
                  incr c\nexec\nmget \"a b\" c d\nkeys *\nnosuch\n";
    let expected = "OK\n2\n1\n100\nOK\nQUEUED\nQUEUED\nOK\n6\n2\n6\n\na b\nc\nERR unknown command \
                    'nosuch', with args beginning with: \n\n";
    assert_eq!(run(&cluster, "redis-cli", &words, script), expected);
    words.push("-3");
    assert_eq!(run(&cluster, "redis-cli", &words, "get c\nget d\n"), "6\n\n");
}

#[test]
fn redis_benchmark_runs_through() {
    if !is_there("redis-benchmark", &["--version"]) {
        return;
    }
    let cluster = Cluster::linearizable();
    let words = redis_words(&cluster);
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend("-t set,get,incr,mset -P 16 -n 3000 --csv".split(' '));
    let text = run(&cluster, "redis-benchmark", &words, "");
    for test in ["\"SET\"", "\"GET\"", "\"INCR\"", "\"MSET (10 keys)\""] {
        assert!(text.lines().any(|line| line.starts_with(test)), "{text}");
    }
}

#[test]
fn redis_py_runs_a_script_with_both_versions_of_the_protocol() {
    if !is_there("python3", &["-c", "import redis"]) {
        return;
    }
    let cluster = Cluster::linearizable();
    assert_eq!(run(&cluster, "python3", &["-"], REDIS_PY), "ok\nok\n");
}

const REDIS_PY: &str = r#"
import os, redis

for protocol in (2, 3):
    host, port = os.environ["KV_HOST"], int(os.environ["KV_PORT"])
    r = redis.Redis(host=host, port=port, protocol=protocol, decode_responses=True)
    assert r.ping()
    r.flushall()
    assert r.set("a", "1") and r.get("a") == "1" and r.get("no") is None
    assert r.set("a", "2", nx=True) is None
    assert r.incr("a") == 2 and r.incrbyfloat("a", 0.5) == 2.5
    assert r.expire("a", 100) and 98 <= r.ttl("a") <= 100
    assert r.set("a", "3", keepttl=True) and r.ttl("a") > 0
    assert r.persist("a") and r.ttl("a") == -1
    assert r.mset({"b": "x", "c": "y"}) and r.mget("a", "b", "c", "d") == ["3", "x", "y", None]
    assert sorted(r.scan_iter(count=1)) == ["a", "b", "c"]
    assert r.delete("b", "c", "d") == 2 and r.exists("a", "b") == 1
    with r.pipeline() as pipe:
        pipe.watch("a")
        before = int(pipe.get("a"))
        pipe.multi()
        pipe.set("a", before + 1)
        pipe.get("a")
        assert pipe.execute() == [True, "4"]
    with r.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"k{number}", number)
        assert all(pipe.execute())
    assert r.dbsize() == 1001
    try:
        r.lpush("list", 1)
        raise SystemExit("lpush did not fail")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error
    print("ok")
"#;

#[test]
fn ioredis_and_node_redis_run_a_script() {
    if !is_there("node", &["-e", "require('ioredis'); require('redis')"]) {
        return;
    }
    let cluster = Cluster::linearizable();
    assert_eq!(run(&cluster, "node", &["-"], NODE), "ioredis\nredis 2\nredis 3\n");
}

const NODE: &str = r#"
const assert = require("node:assert");
const Redis = require("ioredis");
const { createClient } = require("redis");
const host = process.env.KV_HOST, port = Number(process.env.KV_PORT);

async function ioredis() {
    const r = new Redis({ host, port });
    await r.flushall();
    assert.equal(await r.set("a", "1"), "OK");
    assert.equal(await r.incr("a"), 2);
    assert.equal(await r.set("a", "x", "EX", 100, "NX"), null);
    assert.equal(await r.expire("a", 100), 1);
    assert((await r.ttl("a")) > 90);
    assert.deepEqual(await r.multi().set("b", "5").incr("b").exec(), [[null, "OK"], [null, 6]]);
    assert.deepEqual(await r.mget("a", "b", "c"), ["2", "6", null]);
    const pipeline = r.pipeline();
    for (let number = 0; number < 500; number++) pipeline.set(`k${number}`, number);
    await pipeline.exec();
    let found = 0;
    for await (const keys of r.scanStream({ match: "k*", count: 50 })) found += keys.length;
    assert.equal(found, 500);
    await assert.rejects(r.lpush("list", 1), /unknown command/);
    r.disconnect();
    console.log("ioredis");
}

async function nodeRedis(RESP) {
    const r = await createClient({ RESP, socket: { host, port } }).connect();
    await r.flushAll();
    assert.equal(await r.set("a", "1"), "OK");
    assert.equal(await r.incrBy("a", 4), 5);
    assert.equal(await r.set("a", "2", { NX: true, GET: true }), "5");
    await r.watch("a");
    assert.deepEqual(await r.multi().get("a").set("b", "x").exec(), ["5", "OK"]);
    assert.deepEqual(await r.mGet(["a", "b", "c"]), ["5", "x", null]);
    assert.equal(await r.del(["a", "b"]), 2);
    await r.close();
    console.log("redis", RESP);
}

ioredis().then(() => nodeRedis(2)).then(() => nodeRedis(3));
"#;
