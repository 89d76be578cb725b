//! A server in memory, and whether Redis's programs are there.

use std::net::SocketAddr;
use std::process::Command;

use kv_tests::{Process, Site};

/// A cluster of one process and where its first server takes Redis clients.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    _servers: Process,
    _site: Site,
}

impl Cluster {
    /// One linearizable server in memory.
    pub(crate) fn linearizable() -> Self {
        Self::start("--memory --op-log off")
    }

    /// One server of the eventual engine in memory.
    pub(crate) fn eventual() -> Self {
        Self::start("--memory --op-log off --engine eventual")
    }

    fn start(words: &str) -> Self {
        let site = Site::of(1);
        let mut servers = site.dev(words);
        let line = servers.wait_for("redis  ");
        servers.wait_for("ready");
        let (_, after) = line.split_once(" at ").unwrap();
        let address = after.split(": ").next().unwrap().parse().unwrap();
        Self { address, _servers: servers, _site: site }
    }
}

/// Whether a program is there that a test needs; where it is not, that is said, and the test left out.
///
/// # Panics
/// If it is not there although `KV_TEST_REDIS` is set.
pub(crate) fn is_there(program: &str, words: &[&str]) -> bool {
    let is_there = Command::new(program).args(words).output().is_ok_and(|out| out.status.success());
    if !is_there {
        assert!(std::env::var_os("KV_TEST_REDIS").is_none(), "{program} {words:?} is not there");
        eprintln!("LEFT OUT: `{program} {}` is not there", words.join(" "));
    }
    is_there
}
