//! An outage of the network: servers in namespaces of their own, between which packets are dropped.
//!
//! Only root may make namespaces, and not everywhere; without them the test is left out, and that is
//! said, unless `KV_TEST_NETWORK` is set: then they must be there. `KV_TEST_OUTAGE_SECONDS` sets how
//! long the longest outage is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "whoever runs the tests is told")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kv_tests::{Process, Program, Site};

/// Three namespaces at a bridge, which is in a fourth. All are gone when this is dropped.
struct Network {
    name: String,
}

impl Network {
    /// `None` where there are no namespaces and none are asked for.
    fn new() -> Option<Self> {
        let network = Self { name: format!("kvt{}", std::process::id()) };
        if let Err(why) = ip(&["netns", "add", &network.hub()]) {
            let is_wanted = std::env::var_os("KV_TEST_NETWORK").is_some();
            assert!(!is_wanted, "KV_TEST_NETWORK is set, and there are no namespaces: {why}");
            eprintln!("LEFT OUT: there are no network namespaces: {why}");
            return None;
        }
        let hub = network.hub();
        run(&["-n", &hub, "link", "add", "name", "bridge", "type", "bridge"]);
        run(&["-n", &hub, "link", "set", "bridge", "up"]);
        for id in 1..=3 {
            let (space, port) = (network.space(id), Self::port(id));
            let address = format!("{}/24", Self::address(id));
            run(&["netns", "add", &space]);
            run(&["-n", &space, "link", "set", "lo", "up"]);
            let pair = ["type", "veth", "peer", "name", &port, "netns", &hub];
            run(&[&["-n", &space, "link", "add", "eth0"], &pair[..]].concat());
            run(&["-n", &space, "address", "add", &address, "dev", "eth0"]);
            run(&["-n", &space, "link", "set", "eth0", "up"]);
            run(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"]);
        }
        Some(network)
    }

    /// Drops all packets between the servers, or passes them again.
    fn pass(&self, passes: bool) {
        for id in 1..=3 {
            let verb = if passes { "del" } else { "add" };
            let words = ["-n", &self.hub(), "qdisc", verb, "dev", &Self::port(id), "root"];
            let words = [&words[..], if passes { &[] } else { &["blackhole"] }].concat();
            tool("tc", &words).unwrap_or_else(|error| panic!("tc {}: {error}", words.join(" ")));
        }
    }

    /// A program in the namespace of a server.
    fn start(&self, site: &Site, id: u16, program: Program, words: &str) -> Process {
        let words = words.split_whitespace();
        let inner = site.command_elsewhere(program, words);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(id)]).arg(inner.get_program());
        command.args(inner.get_args()).current_dir(site.folder());
        Process::start(format!("{} at {id}", program.name()), command, Stdio::null())
    }

    fn address(id: u16) -> String {
        format!("10.77.0.{id}")
    }

    fn port(id: u16) -> String {
        format!("port{id}")
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn space(&self, id: u16) -> String {
        format!("{}-{id}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in (1..=3).map(|id| self.space(id)).chain([self.hub()]) {
            // One that was not made need not go.
            let _ = ip(&["netns", "del", &space]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    tool("ip", words)
}

fn tool(name: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(name).args(words).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn run(words: &[&str]) {
    ip(words).unwrap_or_else(|error| panic!("ip {}: {error}", words.join(" ")));
}

#[test]
fn all_servers_serve_within_two_seconds_of_the_end_of_an_outage() {
    let Some(network) = Network::new() else {
        return;
    };
    let longest = std::env::var("KV_TEST_OUTAGE_SECONDS").ok();
    let longest = longest.map_or(7, |seconds| seconds.parse().unwrap());
    let entry = |id| format!("{id}={}:4961", Network::address(id));
    let list = [1, 2, 3].map(entry).join(",");
    for model in ["linearizability", "eventual"] {
        let site = Site::of(1);
        let mut servers = [1, 2, 3].map(|id| {
            let listen = format!("{id} {model} 2 2 --servers {list}");
            network.start(&site, id, Program::Server, &listen)
        });
        servers.iter_mut().for_each(|server| drop(server.wait_for("ready")));
        // From this server, and no other.
        let serves = |id| {
            let put = format!("--servers {} {id} put x {id} --timeout 200ms", entry(id));
            network.start(&site, id, Program::Client, &put).exit_code() == Some(0)
        };
        for seconds in [1, longest] {
            network.pass(false);
            // The outage is what is tried, not a wait for luck.
            std::thread::sleep(Duration::from_secs(seconds));
            assert!(!serves(1), "packets are not dropped");
            network.pass(true);
            let ended = Instant::now();
            let mut left = vec![1, 2, 3];
            while !left.is_empty() {
                assert!(ended.elapsed() < Duration::from_secs(30), "{left:?} do not serve");
                left.retain(|&id| !serves(id));
            }
            let elapsed = ended.elapsed();
            eprintln!("{model}, {seconds} s: all serve after {elapsed:?}");
            assert!(elapsed < Duration::from_secs(2), "{model}, {seconds} s: {elapsed:?}");
        }
    }
}
