//! The crate `redis`, with its defaults and with the newer protocol. It is built with these tests, so
//! that this one is never left out.

use redis::{Client, Commands, Connection, ErrorKind, ExpireOption, RedisResult, SetExpiry};
use redis::{ExistenceCheck, SetOptions};

use crate::cluster::Cluster;

fn connect(cluster: &Cluster, parameters: &str) -> Connection {
    let client = Client::open(format!("redis://{}/{parameters}", cluster.address)).unwrap();
    client.get_connection().unwrap()
}

#[test]
fn it_writes_reads_and_deletes() {
    let cluster = Cluster::linearizable();
    for parameters in ["", "?protocol=resp3"] {
        let mut redis = connect(&cluster, parameters);
        redis.flushall::<()>().unwrap();
        redis.set::<_, _, ()>("a", "1").unwrap();
        assert_eq!(redis.get::<_, String>("a").unwrap(), "1");
        assert_eq!(redis.get::<_, Option<String>>("no").unwrap(), None);
        let absent = SetOptions::default().conditional_set(ExistenceCheck::NX);
        assert!(!redis.set_options::<_, _, bool>("a", "2", absent).unwrap());
        assert_eq!(redis.incr::<_, _, i64>("a", 4).unwrap(), 5);
        assert_eq!(redis.append::<_, _, usize>("a", "0").unwrap(), 2);
        redis.mset::<_, _, ()>(&[("b", "x"), ("c", "y")]).unwrap();
        let many: Vec<Option<String>> = redis.mget(&["a", "b", "no"]).unwrap();
        assert_eq!(many, [Some("50".to_owned()), Some("x".to_owned()), None]);
        let bytes: Vec<u8> = vec![0, 255, b'\r', b'\n'];
        redis.set::<_, _, ()>(&bytes, &bytes).unwrap();
        assert_eq!(redis.get::<_, Vec<u8>>(&bytes).unwrap(), bytes);
        assert_eq!(redis.del::<_, u64>(&["a", "b", "no"]).unwrap(), 2);
        assert!(!redis.exists::<_, bool>("a").unwrap());
    }
}

#[test]
fn its_keys_expire() {
    let cluster = Cluster::linearizable();
    for parameters in ["", "?protocol=resp3"] {
        let mut redis = connect(&cluster, parameters);
        redis.set_ex::<_, _, ()>("a", "1", 100).unwrap();
        assert!((90..=100).contains(&redis.ttl::<_, i64>("a").unwrap()));
        let kept = SetOptions::default().with_expiration(SetExpiry::KEEPTTL);
        redis.set_options::<_, _, ()>("a", "2", kept).unwrap();
        assert!(redis.ttl::<_, i64>("a").unwrap() > 0);
        let shorter = redis.expire::<_, bool>("a", 1000);
        assert!(shorter.unwrap());
        assert!(redis.persist::<_, bool>("a").unwrap());
        assert_eq!(redis.ttl::<_, i64>("a").unwrap(), -1);
        assert_eq!(redis.ttl::<_, i64>("no").unwrap(), -2);
        let only_if_one_is_there = ExpireOption::XX;
        let words = redis::cmd("EXPIRE").arg("a").arg(5).arg(only_if_one_is_there).clone();
        assert!(!words.query::<bool>(&mut redis).unwrap());
    }
}

#[test]
fn its_transactions_begin_again_until_nobody_came_between() {
    let cluster = Cluster::linearizable();
    for parameters in ["", "?protocol=resp3"] {
        let (mut redis, mut other) = (connect(&cluster, parameters), connect(&cluster, ""));
        redis.set::<_, _, ()>("n", 1).unwrap();
        let mut attempts = 0;
        let (doubled,): (i64,) = redis::transaction(&mut redis, &["n"], |redis, pipe| {
            attempts += 1;
            let before: i64 = redis.get("n")?;
            if attempts == 1 {
                other.incr::<_, _, ()>("n", 1)?;
            }
            pipe.set("n", before * 2).ignore().get("n").query(redis)
        })
        .unwrap();
        assert_eq!((doubled, attempts), (4, 2));
    }
}

#[test]
fn it_pipelines_and_scans() {
    let cluster = Cluster::linearizable();
    for parameters in ["", "?protocol=resp3"] {
        let mut redis = connect(&cluster, parameters);
        redis.flushall::<()>().unwrap();
        let mut pipe = redis::pipe();
        for number in 0..500 {
            pipe.set(format!("k{number:03}"), number).ignore();
        }
        pipe.query::<()>(&mut redis).unwrap();
        redis.set::<_, _, ()>("other", 1).unwrap();
        let found: RedisResult<Vec<String>> = redis.scan_match("k*").unwrap().collect();
        let mut found = found.unwrap();
        found.sort();
        let all: Vec<String> = (0..500).map(|number| format!("k{number:03}")).collect();
        assert_eq!(found, all);
    }
}

#[test]
fn it_names_what_is_refused() {
    let cluster = Cluster::linearizable();
    let mut redis = connect(&cluster, "");
    let error = redis.lpush::<_, _, ()>("list", 1).unwrap_err();
    assert!(error.to_string().contains("unknown command"), "{error}");
    redis.set::<_, _, ()>("a", "text").unwrap();
    let error = redis.incr::<_, _, i64>("a", 1).unwrap_err();
    assert!(error.to_string().contains("value is not an integer or out of range"), "{error}");
    assert!(!matches!(error.kind(), ErrorKind::Io), "the connection goes on: {error}");
    assert_eq!(redis.get::<_, String>("a").unwrap(), "text");
}
