//! Commands that make up sequences.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::wire::Words;

/// Any command whose reply is the same wherever it is carried out.
pub(crate) fn command() -> impl Strategy<Value = Words> {
    prop_oneof![
        12 => set(),
        10 => of(&["get", "strlen", "getdel", "incr", "decr", "type", "persist", "ttl", "expiretime"],
            vec![key().boxed()]),
        6 => of(&["append", "getset", "setnx"], vec![key().boxed(), value().boxed()]),
        5 => of(&["incrby", "decrby"], vec![key().boxed(), integer().boxed()]),
        4 => of(&["incrbyfloat"], vec![key().boxed(), float().boxed()]),
        4 => of(&["getrange", "substr"], vec![key().boxed(), place().boxed(), place().boxed()]),
        3 => of(&["setrange"], vec![key().boxed(), place().boxed(), value().boxed()]),
        4 => of(&["setex", "psetex"], vec![key().boxed(), seconds().boxed(), value().boxed()]),
        6 => expire(),
        4 => getex(),
        3 => of(&["rename", "renamenx"], vec![key().boxed(), key().boxed()]),
        3 => copy(),
        3 => bits(),
        5 => many(),
        4 => pairs(),
        3 => lcs(),
        2 => of(&["object"], vec![select(vec!["encoding2", "help1"])
            .prop_map(bytes).boxed(), key().boxed()]),
        3 => transaction(),
        1 => of(&["ping", "get", "nosuch", "set", "mset", "unwatch"], vec![]),
        1 => of(&["echo", "ping", "select"], vec![value().boxed()]),
        1 => of(&["nosuch", "ping", "exec", "multi", "discard"], vec![key().boxed(), value().boxed()]),
    ]
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn of(names: &[&'static str], arguments: Vec<BoxedStrategy<Vec<u8>>>) -> BoxedStrategy<Words> {
    (select(names.to_vec()), arguments)
        .prop_map(|(name, arguments)| {
            std::iter::once(bytes(name)).chain(arguments).collect::<Words>()
        })
        .boxed()
}

/// One of few keys, so that commands meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    select(vec!["a", "b", "c", "key:4"]).prop_map(bytes)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => integer(),
        2 => float(),
        2 => vec(select(b"abc \r\n\"".to_vec()), 0..12),
        1 => vec(any::<u8>(), 0..60),
    ]
}

fn integer() -> impl Strategy<Value = Vec<u8>> {
    let edges = select(vec![
        "0",
        "1",
        "-1",
        "10",
        "12345",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1 ",
        " 1",
        "x",
        "",
        "3.0",
    ]);
    prop_oneof![3 => edges.prop_map(bytes), 1 => any::<i64>().prop_map(|n| n.to_string().into())]
}

fn float() -> impl Strategy<Value = Vec<u8>> {
    let edges = select(vec![
        "0.1",
        "-0.2",
        "1.5",
        "3e2",
        "1e-5",
        "+2.5",
        ".5",
        "5.",
        "1e17",
        "abc",
        "1.0e400x",
        "17.00",
        "inf",
        "-inf",
        "nan",
        "1.23456789012345678",
    ]);
    prop_oneof![
        3 => edges.prop_map(bytes),
        1 => (-1000i32..1000, 1u32..100_000).prop_map(|(one, other)| {
            format!("{one}.{other}").into_bytes()
        }),
    ]
}

/// A place in a string, also before its front and behind its end.
fn place() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-15i64..15).prop_map(|place| place.to_string().into_bytes()),
        1 => select(vec!["x", "9223372036854775807", "-9223372036854775808", "600000000"])
            .prop_map(bytes),
    ]
}

/// A time to live that does not end meanwhile, has ended, or is none.
fn seconds() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        "100000",
        "200000",
        "300000",
        "0",
        "-1",
        "x",
        "9223372036854775807",
        "-9223372036854775808",
    ])
    .prop_map(bytes)
}

/// A moment far off, or long ago.
fn moment() -> impl Strategy<Value = Vec<u8>> {
    select(vec!["4000000000", "5000000000", "1", "0", "-5", "y", "-9223372036854775808"])
        .prop_map(bytes)
}

fn set() -> impl Strategy<Value = Words> {
    let option = prop_oneof![
        select(vec!["nx", "XX", "GET", "keepttl", "nosuch", "persist"])
            .prop_map(|o| vec![bytes(o)]),
        (select(vec!["ex", "PX"]), seconds()).prop_map(|(unit, time)| vec![bytes(unit), time]),
        (select(vec!["EXAT", "pxat"]), moment()).prop_map(|(unit, time)| vec![bytes(unit), time]),
    ];
    (key(), value(), vec(option, 0..3)).prop_map(|(key, value, options)| {
        let options = options.into_iter().flatten();
        [bytes("set"), key, value].into_iter().chain(options).collect()
    })
}

fn getex() -> impl Strategy<Value = Words> {
    let option = prop_oneof![
        Just(vec![bytes("persist")]),
        (select(vec!["ex", "px"]), seconds()).prop_map(|(unit, time)| vec![bytes(unit), time]),
        (select(vec!["exat", "pxat"]), moment()).prop_map(|(unit, time)| vec![bytes(unit), time]),
    ];
    (key(), vec(option, 0..2)).prop_map(|(key, options)| {
        [bytes("getex"), key].into_iter().chain(options.into_iter().flatten()).collect()
    })
}

fn expire() -> impl Strategy<Value = Words> {
    let of = |words: Vec<&'static str>| vec(select(words).prop_map(bytes), 0..3);
    let relative =
        (select(vec!["expire", "pexpire"]), key(), seconds(), of(vec!["nx", "XX", "no"]));
    let conditions = || of(vec!["nx", "xx", "GT", "lt"]);
    let absolute = (select(vec!["expireat", "pexpireat"]), key(), moment(), conditions());
    let compared = (
        select(vec!["expireat", "pexpireat"]),
        key(),
        (4_000_000_000u64..5_000_000_000).prop_map(|moment| moment.to_string().into_bytes()),
        conditions(),
    );
    let joined = |(name, key, time, options): (&str, Vec<u8>, Vec<u8>, Words)| -> Words {
        [bytes(name), key, time].into_iter().chain(options).collect()
    };
    prop_oneof![relative.prop_map(joined), absolute.prop_map(joined), compared.prop_map(joined)]
}

fn copy() -> impl Strategy<Value = Words> {
    let options = vec(select(vec!["replace", "db", "0", "x"]).prop_map(bytes), 0..3);
    (key(), key(), options).prop_map(|(from, to, options)| {
        [bytes("copy"), from, to].into_iter().chain(options).collect()
    })
}

fn bits() -> impl Strategy<Value = Words> {
    let offset =
        || select(vec!["0", "1", "7", "8", "100", "-1", "x", "4294967296"]).prop_map(bytes);
    let bit = select(vec!["0", "1", "2", "-1", "y"]).prop_map(bytes);
    prop_oneof![
        (key(), offset()).prop_map(|(key, offset)| vec![bytes("getbit"), key, offset]),
        (key(), offset(), bit)
            .prop_map(|(key, offset, bit)| { vec![bytes("setbit"), key, offset, bit] }),
    ]
}

fn many() -> impl Strategy<Value = Words> {
    let name = select(vec!["mget", "del", "unlink", "exists", "touch"]).prop_map(bytes);
    (name, vec(key(), 0..5)).prop_map(|(name, keys)| std::iter::once(name).chain(keys).collect())
}

fn pairs() -> impl Strategy<Value = Words> {
    let name = select(vec!["mset", "msetnx"]).prop_map(bytes);
    // Keys of the store are not empty.
    let other = value().prop_map(|value| if value.is_empty() { bytes("v") } else { value });
    let words = vec(prop_oneof![4 => key(), 1 => other], 0..7);
    (name, words).prop_map(|(name, words)| std::iter::once(name).chain(words).collect())
}

fn lcs() -> impl Strategy<Value = Words> {
    let option = prop_oneof![
        select(vec!["len", "IDX", "withmatchlen"]).prop_map(|option| vec![bytes(option)]),
        (0u32..4).prop_map(|len| vec![bytes("minmatchlen"), len.to_string().into_bytes()]),
    ];
    (key(), key(), vec(option, 0..3)).prop_map(|(one, other, options)| {
        [bytes("lcs"), one, other].into_iter().chain(options.into_iter().flatten()).collect()
    })
}

/// Without `WATCH`, for which a key that was set and deleted again is unchanged.
fn transaction() -> impl Strategy<Value = Words> {
    let words = prop_oneof![
        4 => Just(vec![bytes("multi")]),
        5 => Just(vec![bytes("exec")]),
        1 => Just(vec![bytes("discard")]),
    ];
    words.boxed()
}
