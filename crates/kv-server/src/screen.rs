//! What the server says on its standard output and standard error.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use kv_core::{ClusterConfig, Page, Status};
use kv_server::{ServerConfig, StartError, promises};

/// Shows what has been started.
pub(crate) fn show_start(config: &ServerConfig, address: SocketAddr) -> Result<(), StartError> {
    let cluster = config.cluster()?;
    say(format_args!("{}", start_text(config, &cluster, address)));
    Ok(())
}

fn start_text(config: &ServerConfig, cluster: &ClusterConfig, address: SocketAddr) -> String {
    let node = config.node;
    let peers: Vec<String> = cluster
        .peers_of(node)
        .map(|peer| format!("{peer} at {}", config.servers.address(peer).unwrap_or("?")))
        .collect();
    let peers = if peers.is_empty() { "none".to_owned() } else { peers.join(", ") };
    let op_log = config.op_log.as_ref().map_or_else(
        || "off".to_owned(),
        |op_log| op_log.folder.join(format!("output_log{node}.txt")).display().to_string(),
    );
    let rows = [
        ("listens on", address.to_string()),
        ("peers", peers),
        ("means", promises(config.consistency, cluster).join("\n               ")),
        ("data", "in memory: a server that stops forgets".to_owned()),
        ("operations", op_log),
        ("try", format!("kv-client {node}, then: put x 1")),
    ];
    let mut text = format!(
        "kv-server {} | server {node} of {} | {} | W={} R={}",
        env!("CARGO_PKG_VERSION"),
        cluster.nodes(),
        config.consistency,
        cluster.write_quorum(),
        cluster.read_quorum(),
    );
    for (name, value) in rows {
        text.push_str(&format!("\n  {name:<12} {value}"));
    }
    text
}

/// Prints a page of what the server holds.
pub(crate) fn show_dump_page(page: &Page) {
    let mut text = String::new();
    for (key, held) in &page.entries {
        let (key, value) = (key.as_bytes().escape_ascii(), held.value.as_bytes().escape_ascii());
        text.push_str(&format!("{key} = {value}  (version {})\n", held.version));
    }
    text.push_str(match (&page.next, page.entries.is_empty()) {
        (Some(_), _) => "...",
        (None, true) => "(end of dump: nothing)",
        (None, false) => "(end of dump)",
    });
    say(format_args!("{text}"));
}

/// Prints how the server is.
pub(crate) fn show_status(status: &Status) {
    let connected: Vec<String> = status.connected.iter().map(ToString::to_string).collect();
    let waiting = status.waiting.map_or_else(|| "ready".to_owned(), |what| what.to_string());
    let mut text = format!(
        "server {} ({}), {}\n  {waiting}\n  connected to: {}",
        status.node,
        status.engine,
        status.cluster,
        if connected.is_empty() { "no other server".to_owned() } else { connected.join(" ") },
    );
    for (name, count) in &status.counters {
        text.push_str(&format!("\n  {name}: {count}"));
    }
    say(format_args!("{text}"));
}

/// Prints a line on standard output. A server whose output nobody reads goes on.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints what went wrong on standard error.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "kv-server: {text}");
}

#[cfg(test)]
mod tests {
    use kv_core::{NodeId, Quorum};
    use kv_server::Consistency;

    use super::*;

    #[test]
    fn the_start_screen_names_what_a_person_needs() {
        let two = Quorum::Count(2);
        let mut config = ServerConfig::new(NodeId::FIRST, Consistency::Eventual, two, two);
        config.servers = "1-2".parse().unwrap();
        let cluster = config.cluster().unwrap();
        let address = "127.0.0.1:4961".parse().unwrap();
        let text = start_text(&config, &cluster, address);
        assert!(text.contains("server 1 of 2 | eventual | W=2 R=2"), "{text}");
        assert!(text.contains("listens on   127.0.0.1:4961"), "{text}");
        assert!(text.contains("peers        2 at 127.0.0.1:4962"), "{text}");
        assert!(text.contains("a write is done when 2 servers hold it"), "{text}");
        assert!(text.contains("operations   off"), "{text}");
    }
}
