//! A server in memory, and whether Redis's programs are there.

use std::net::SocketAddr;
use std::process::Command;

use kv_tests::{Process, Site};

/// A cluster of one process and where its first server takes Redis clients.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    /// The same of all its servers.
    pub(crate) addresses: Vec<SocketAddr>,
    _servers: Process,
    _site: Site,
}

impl Cluster {
    /// One linearizable server in memory.
    pub(crate) fn linearizable() -> Self {
        Self::start(1, "--memory --op-log off")
    }

    /// One server of the eventual engine in memory.
    pub(crate) fn eventual() -> Self {
        Self::start(1, "--memory --op-log off --engine eventual")
    }

    /// Three linearizable servers, on disk.
    pub(crate) fn of_three() -> Self {
        Self::start(3, "--op-log off")
    }

    /// Three linearizable servers in memory, far enough from each other that an answer takes its time.
    pub(crate) fn far_apart() -> Self {
        Self::start(3, "--memory --op-log off --delay 15-25")
    }

    fn start(count: u16, words: &str) -> Self {
        let site = Site::of(count);
        let mut servers = site.dev(words);
        let line = servers.wait_for("redis  ");
        servers.wait_for("ready");
        let (_, after) = line.split_once(" at ").unwrap();
        let list = after.split(": ").next().unwrap().trim_end_matches(':');
        let addresses: Vec<_> = list.split(", ").map(|one| one.parse().unwrap()).collect();
        let address = addresses[0];
        Self { address, addresses, _servers: servers, _site: site }
    }
}

/// Whether a program is there that a test needs; where it is not, that is said, and the test left out.
///
/// # Panics
/// If it is not there although `KV_TEST_REDIS` is set, or `KV_TEST_NODE` for `node`.
pub(crate) fn is_there(program: &str, words: &[&str]) -> bool {
    let variable = if program == "node" { "KV_TEST_NODE" } else { "KV_TEST_REDIS" };
    let is_there = Command::new(program).args(words).output().is_ok_and(|out| out.status.success());
    if !is_there {
        assert!(std::env::var_os(variable).is_none(), "{program} {words:?} is not there");
        eprintln!("LEFT OUT: `{program} {}` is not there", words.join(" "));
    }
    is_there
}
