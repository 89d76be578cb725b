//! The table of commands: how many words each takes, where its keys are, and who carries it out.

use bytes::Bytes;

use crate::error::ReplyError;

/// A command of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// In lower case.
    pub(crate) name: &'static str,
    /// The number of words, its name included; below 0 at least so many.
    pub(crate) arity: i64,
    pub(crate) kind: Kind,
    /// The places of the first and the last key, and the steps between; all 0 for none. A last
    /// place below 0 counts from the end.
    pub(crate) keys: (i64, i64, i64),
    pub(crate) flags: &'static [&'static str],
    pub(crate) summary: &'static str,
}

/// Who carries a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The engine, with keys and values.
    Data,
    /// The session, at once.
    Immediate,
    /// The session, with pages of keys.
    Paged,
    /// The session, which holds a transaction.
    Transaction,
}

impl Spec {
    /// Whether its second word names a subcommand.
    pub(crate) fn has_subcommands(&self) -> bool {
        CONTAINERS.contains(&self.name)
    }

    /// Whether it takes so many words.
    pub(crate) fn takes(&self, words: usize) -> bool {
        takes(self.arity, words)
    }
}

/// The command that these words ask for.
///
/// # Errors
/// If there is none, or it takes another number of words.
pub(crate) fn find(words: &[Bytes]) -> Result<&'static Spec, ReplyError> {
    let unknown = || ReplyError::unknown_command(words);
    let spec = words.first().and_then(|name| by_name(name)).ok_or_else(unknown)?;
    if !spec.takes(words.len()) {
        return Err(ReplyError::Arity { command: spec.name });
    }
    if spec.has_subcommands()
        && let Some(subcommand) = words.get(1)
    {
        check_subcommand(spec.name, subcommand, words.len())?;
    }
    Ok(spec)
}

/// Whether there is such a subcommand and it takes so many words.
fn check_subcommand(command: &str, subcommand: &[u8], words: usize) -> Result<(), ReplyError> {
    let unknown = || ReplyError::unknown_subcommand(command, subcommand);
    let (full, arity) = find_subcommand(command, subcommand).ok_or_else(unknown)?;
    let takes = takes(*arity, words);
    if takes { Ok(()) } else { Err(ReplyError::Arity { command: full }) }
}

fn find_subcommand(command: &str, subcommand: &[u8]) -> Option<&'static (&'static str, i64)> {
    let is_meant = |full: &str| {
        full.split_once('|').is_some_and(|(of, name)| {
            of == command && subcommand.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    SUBCOMMANDS.iter().find(|(full, _)| is_meant(full))
}

/// What a command is called together with its subcommand, if these words have one: `client|list`.
pub(crate) fn full_name(spec: &Spec, words: &[Bytes]) -> &'static str {
    let subcommand = words.get(1).filter(|_| spec.has_subcommands());
    let found = subcommand.and_then(|name| find_subcommand(spec.name, name));
    found.map_or(spec.name, |(full, _)| full)
}

/// The names of all commands, each container's subcommands among them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().map(|spec| spec.name).chain(SUBCOMMANDS.iter().map(|(full, _)| *full))
}

/// Whether an arity is that of so many words.
fn takes(arity: i64, words: usize) -> bool {
    let words = i64::try_from(words).unwrap_or(i64::MAX);
    if arity < 0 { words >= -arity } else { words == arity }
}

/// The command of a name in any case.
pub(crate) fn by_name(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let place = SPECS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
    SPECS.get(place)
}

const NAME_BYTES_MAX: usize = 16;

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const DELETE: &[&str] = &["write", "fast"];
const SESSION: &[&str] = &["noscript", "loading", "stale", "fast"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const SLOW: &[&str] = &["readonly"];

const ONE: (i64, i64, i64) = (1, 1, 1);
const TWO: (i64, i64, i64) = (1, 2, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);
const NONE: (i64, i64, i64) = (0, 0, 0);

const fn data(
    name: &'static str,
    arity: i64,
    keys: (i64, i64, i64),
    flags: &'static [&'static str],
    summary: &'static str,
) -> Spec {
    Spec { name, arity, kind: Kind::Data, keys, flags, summary }
}

const fn other(
    name: &'static str,
    arity: i64,
    kind: Kind,
    flags: &'static [&'static str],
    summary: &'static str,
) -> Spec {
    Spec { name, arity, kind, keys: NONE, flags, summary }
}

use Kind::{Immediate, Paged, Transaction};

/// Commands whose second word names a subcommand.
const CONTAINERS: &[&str] = &["client", "command", "config", "function", "object"];

/// The subcommands, with the number of words that each takes.
const SUBCOMMANDS: &[(&str, i64)] = &[
    ("client|getname", 2),
    ("client|help", 2),
    ("client|id", 2),
    ("client|info", 2),
    ("client|kill", -3),
    ("client|list", -2),
    ("client|no-evict", 3),
    ("client|no-touch", 3),
    ("client|reply", 3),
    ("client|setinfo", 4),
    ("client|setname", 3),
    ("command|count", 2),
    ("command|docs", -2),
    ("command|getkeys", -3),
    ("command|help", 2),
    ("command|info", -2),
    ("command|list", -2),
    ("config|get", -3),
    ("config|help", 2),
    ("config|resetstat", 2),
    ("config|rewrite", 2),
    ("config|set", -4),
    ("function|flush", -2),
    ("function|list", -2),
    ("object|encoding", 3),
    ("object|freq", 3),
    ("object|help", 2),
    ("object|idletime", 3),
    ("object|refcount", 3),
];

/// All commands, in the order of their names.
pub(crate) static SPECS: &[Spec] = &[
    data("append", 3, ONE, WRITE, "Appends a string to the value of a key"),
    other("auth", -2, Immediate, SESSION, "Authenticates the connection"),
    other("client", -2, Immediate, ADMIN, "Looks at and names client connections"),
    other("command", -1, Immediate, SESSION, "Describes commands"),
    other("config", -2, Immediate, ADMIN, "Reads and sets settings"),
    data("copy", -3, TWO, WRITE, "Copies the value of a key to another key"),
    other("dbsize", 1, Paged, READ, "Returns the number of keys"),
    other("debug", -2, Immediate, ADMIN, "What Redis's test suite asks of a server"),
    data("decr", 2, ONE, WRITE, "Decrements the integer value of a key by one"),
    data("decrby", 3, ONE, WRITE, "Decrements the integer value of a key"),
    data("del", -2, ALL, DELETE, "Deletes keys"),
    other("discard", 1, Transaction, SESSION, "Discards a transaction"),
    other("echo", 2, Immediate, SESSION, "Returns the given string"),
    other("exec", 1, Transaction, SESSION, "Carries a transaction out"),
    data("exists", -2, ALL, READ, "Returns how many of the keys exist"),
    data("expire", -3, ONE, DELETE, "Sets the time to live of a key in seconds"),
    data("expireat", -3, ONE, DELETE, "Sets the end of a key as a Unix time"),
    data("expiretime", 2, ONE, READ, "Returns the end of a key as a Unix time"),
    other("flushall", -1, Paged, DELETE, "Removes all keys"),
    other("flushdb", -1, Paged, DELETE, "Removes all keys"),
    other("function", -2, Immediate, ADMIN, "There are no functions"),
    data("get", 2, ONE, READ, "Returns the value of a key"),
    data("getbit", 3, ONE, READ, "Returns a bit of the value of a key"),
    data("getdel", 2, ONE, DELETE, "Returns the value of a key and deletes it"),
    data("getex", -2, ONE, DELETE, "Returns the value of a key and sets its time to live"),
    data("getrange", 4, ONE, SLOW, "Returns a part of the value of a key"),
    data("getset", 3, ONE, WRITE, "Sets a key and returns what it held before"),
    other("hello", -1, Immediate, SESSION, "Begins a session in a version of the protocol"),
    data("incr", 2, ONE, WRITE, "Increments the integer value of a key by one"),
    data("incrby", 3, ONE, WRITE, "Increments the integer value of a key"),
    data("incrbyfloat", 3, ONE, WRITE, "Increments the floating point value of a key"),
    other("info", -1, Immediate, SESSION, "Describes the server"),
    other("keys", 2, Paged, SLOW, "Returns all keys that match a pattern"),
    other("lastsave", 1, Immediate, SESSION, "Returns when data was last saved: it always is"),
    data("lcs", -3, TWO, SLOW, "Finds the longest common subsequence of two values"),
    data("mget", -2, ALL, READ, "Returns the values of keys"),
    data("mset", -3, PAIRS, WRITE, "Sets keys"),
    data("msetnx", -3, PAIRS, WRITE, "Sets keys if none of them exists"),
    other("multi", 1, Transaction, SESSION, "Begins a transaction"),
    data("object", -2, (2, 2, 1), SLOW, "Tells how Redis would keep a value"),
    data("persist", 2, ONE, DELETE, "Removes the end of a key"),
    data("pexpire", -3, ONE, DELETE, "Sets the time to live of a key in milliseconds"),
    data("pexpireat", -3, ONE, DELETE, "Sets the end of a key as a Unix time in milliseconds"),
    data("pexpiretime", 2, ONE, READ, "Returns the end of a key as a Unix time in milliseconds"),
    other("ping", -1, Immediate, SESSION, "Returns PONG, or the given string"),
    data("psetex", 4, ONE, WRITE, "Sets a key and its time to live in milliseconds"),
    data("pttl", 2, ONE, READ, "Returns the time to live of a key in milliseconds"),
    other("quit", -1, Immediate, SESSION, "Closes the connection"),
    other("randomkey", 1, Paged, SLOW, "Returns some key"),
    other("readonly", 1, Immediate, SESSION, "Does nothing: all reads keep the engine's promise"),
    other("readwrite", 1, Immediate, SESSION, "Does nothing"),
    data("rename", 3, TWO, DELETE, "Renames a key"),
    data("renamenx", 3, TWO, DELETE, "Renames a key unless the new name exists"),
    other("reset", 1, Immediate, SESSION, "Resets the connection"),
    other("role", 1, Immediate, SESSION, "Returns the role of the server"),
    other("scan", -2, Paged, SLOW, "Returns a page of the keys"),
    other("select", 2, Immediate, SESSION, "Selects the database: there is one, 0"),
    data("set", -3, ONE, WRITE, "Sets a key"),
    data("setbit", 4, ONE, WRITE, "Sets a bit of the value of a key"),
    data("setex", 4, ONE, WRITE, "Sets a key and its time to live in seconds"),
    data("setnx", 3, ONE, WRITE, "Sets a key if it does not exist"),
    data("setrange", 4, ONE, WRITE, "Overwrites a part of the value of a key"),
    data("strlen", 2, ONE, READ, "Returns the length of the value of a key"),
    data("substr", 4, ONE, SLOW, "Returns a part of the value of a key"),
    other("time", 1, Immediate, SESSION, "Returns the server's time"),
    data("touch", -2, ALL, READ, "Returns how many of the keys exist"),
    data("ttl", 2, ONE, READ, "Returns the time to live of a key in seconds"),
    data("type", 2, ONE, READ, "Returns the type of a key: string, or none"),
    data("unlink", -2, ALL, DELETE, "Deletes keys"),
    other("unwatch", 1, Transaction, SESSION, "Forgets the watched keys"),
    other("wait", 3, Immediate, SESSION, "Returns how many other servers have acknowledged writes"),
    Spec {
        name: "watch",
        arity: -2,
        kind: Transaction,
        keys: ALL,
        flags: SESSION,
        summary: "Watches keys, on which the next transaction depends",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_names() {
        assert!(SPECS.is_sorted_by(|one, next| one.name < next.name));
        for spec in SPECS {
            assert_eq!(by_name(spec.name.to_ascii_uppercase().as_bytes()), Some(spec));
        }
    }

    #[test]
    fn a_command_takes_its_number_of_words() {
        let words = |text: &str| -> Vec<Bytes> {
            text.split(' ').map(|word| Bytes::from(word.to_owned())).collect()
        };
        assert_eq!(find(&words("gEt k")).map(|spec| spec.name), Ok("get"));
        assert_eq!(find(&words("get")), Err(ReplyError::Arity { command: "get" }));
        assert_eq!(
            find(&words("nosuch a b")),
            Err(ReplyError::unknown_command(&words("nosuch a b")))
        );
    }
}
