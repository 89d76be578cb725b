//! The screen with which a server, or a whole cluster, starts.

use std::net::{Ipv4Addr, SocketAddr};

use kv_core::{ClusterConfig, NodeId};
use kv_linear::Quorums;
use kv_server::{Consistency, FoundData, ServerConfig, StartError, SyncPolicy, promises};

use super::found::{IN_MEMORY, cluster_data_text, counted, data_text, set_aside_text};
use crate::screen::hints;

pub(super) fn start_text(
    config: &ServerConfig,
    cluster: &ClusterConfig,
    address: SocketAddr,
    resp: Option<SocketAddr>,
    found: Option<&FoundData>,
) -> String {
    let node = config.node;
    let peers = peers_text(config, cluster);
    let mut rows = vec![("listens on", address.to_string()), ("peers", peers)];
    rows.extend(resp.map(|resp| ("redis", resp_text(resp))));
    let data = found.map_or_else(|| IN_MEMORY.to_owned(), data_text);
    rows.extend(common_rows(config, cluster, data));
    rows.extend(found.and_then(set_aside_text).map(|text| ("set aside", text)));
    rows.push(("operations", op_log_path(config)));
    rows.push(("try", format!("{}, then: put x 1", hints::client_command(config))));
    let title = format!(
        "kv-server {} | server {node} of {} | {} | W={} R={}",
        env!("CARGO_PKG_VERSION"),
        cluster.nodes(),
        config.consistency,
        cluster.write_quorum(),
        cluster.read_quorum(),
    );
    with_rows(title, rows)
}

/// Where Redis clients are taken.
fn resp_text(address: SocketAddr) -> String {
    format!("at {address}: {}", redis_cli(address))
}

/// How to start Redis's own client of a server.
fn redis_cli(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if ip == Ipv4Addr::LOCALHOST || ip.is_unspecified() => String::new(),
        ip => format!("-h {ip} "),
    };
    format!("redis-cli {host}-p {}", address.port())
}

/// The other servers: many at their usual addresses in short, otherwise each with its own.
fn peers_text(config: &ServerConfig, cluster: &ClusterConfig) -> String {
    let peers: Vec<NodeId> = cluster.peers_of(config.node).collect();
    let are_usual = hints::servers_option(config).is_none_or(|list| !list.contains('='));
    if peers.len() > PEERS_IN_FULL && are_usual {
        let ids = kv_proto::id_ranges(&peers).replace(',', ", ");
        return format!("{ids} at 127.0.0.1, ports 4960 + id; start as many of them as you like");
    }
    let address = |peer| config.servers.address(peer).unwrap_or("?");
    let peers: Vec<String> =
        peers.into_iter().map(|peer| format!("{peer} at {}", address(peer))).collect();
    if peers.is_empty() { "none".to_owned() } else { peers.join(", ") }
}

/// From one more on, peers at their usual addresses are not listed one by one.
const PEERS_IN_FULL: usize = 3;

pub(super) fn cluster_start_text(
    first: &ServerConfig,
    servers: &[&ServerConfig],
    resp: &[SocketAddr],
    found: &[&FoundData],
) -> Result<String, StartError> {
    let cluster = first.cluster()?;
    let mut rows: Vec<(&str, String)> = Vec::new();
    for config in servers {
        let address = config.servers.address(config.node).unwrap_or("?");
        rows.push(("", format!("server {} at {address}", config.node)));
    }
    if let Some(row) = rows.first_mut() {
        row.0 = "runs here";
    }
    let resp_texts: Vec<String> = resp.iter().map(ToString::to_string).collect();
    match resp {
        [] => {}
        [only] => rows.push(("redis", resp_text(*only))),
        [first, ..] => {
            rows.push(("redis", format!("at {}:", resp_texts.join(", "))));
            rows.push(("", redis_cli(*first)));
        }
    }
    rows.extend(common_rows(first, &cluster, cluster_data_text(first, found)));
    let set_aside = found.iter().filter_map(|found| set_aside_text(found));
    rows.extend(set_aside.map(|text| ("set aside", text)));
    let logs: Vec<String> = servers.iter().map(|config| op_log_path(config)).collect();
    let logs = if first.op_log.is_some() { logs.join(", ") } else { "off".to_owned() };
    rows.push(("operations", logs));
    rows.push(("try", "in another terminal:".to_owned()));
    rows.push(("", format!("  {}", hints::client_command(first))));
    rows.push(("", "and then: put x 1, get x, status, help".to_owned()));
    rows.push(("stop", "Ctrl-C".to_owned()));
    let title = format!(
        "kv-server {} | {} in this process | {} | W={} R={}",
        env!("CARGO_PKG_VERSION"),
        counted(u64::try_from(servers.len()).unwrap_or(u64::MAX), "server"),
        first.consistency,
        cluster.write_quorum(),
        cluster.read_quorum(),
    );
    Ok(with_rows(title, rows))
}

fn common_rows(
    config: &ServerConfig,
    cluster: &ClusterConfig,
    data: String,
) -> impl Iterator<Item = (&'static str, String)> {
    let means = promises(config.consistency, cluster, config.data.is_some()).join(NEXT_ROW);
    let delay = format!("{} ms on each message to another server", config.delay);
    let delay = (!config.delay.is_off()).then_some(("delay", delay));
    let fsync = config
        .data
        .as_ref()
        .map(|data| ("fsync", fsync_text(data.sync, config.consistency, cluster)));
    [("means", means), ("data", data)].into_iter().chain(fsync).chain(delay)
}

fn fsync_text(sync: SyncPolicy, consistency: Consistency, cluster: &ClusterConfig) -> String {
    let when = match sync {
        SyncPolicy::Always => {
            return "always: what was acknowledged outlives a loss of power".to_owned();
        }
        SyncPolicy::Interval(interval) => format!("interval {} ms", interval.as_millis()),
        SyncPolicy::Never => "never".to_owned(),
    };
    let quorums = Quorums::of(cluster);
    let then = match consistency {
        Consistency::Eventual => String::new(),
        Consistency::Linearizable if quorums.survive_the_sequencer() => format!(
            ".{NEXT_ROW}It gets its data back from the others if {} of them did not lose theirs",
            quorums.recovery
        ),
        Consistency::Linearizable => {
            format!(".{NEXT_ROW}A sequencer that starts empty serves nothing: see docs/backup.md")
        }
    };
    format!(
        "{when}: after a loss of power this server starts empty, without all its data.{NEXT_ROW}W-1 \
         other servers have what was acknowledged; if they lose power with it, it is{NEXT_ROW}gone \
         from all of them, but for the files, which are set aside{then}"
    )
}

fn op_log_path(config: &ServerConfig) -> String {
    config.op_log.as_ref().map_or_else(
        || "off".to_owned(),
        |op_log| op_log.folder.join(format!("output_log{}.txt", config.node)).display().to_string(),
    )
}

fn with_rows(mut text: String, rows: Vec<(&str, String)>) -> String {
    for (name, value) in rows {
        text.push_str(&format!("\n  {name:<12} {value}"));
    }
    text
}

/// Continues a row of the start screen.
pub(super) const NEXT_ROW: &str = "\n               ";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::Quorum;
    use kv_server::{DataConfig, SetAside};

    use super::*;

    #[test]
    fn the_start_screen_names_what_a_person_needs() {
        let two = Quorum::Count(2);
        let mut config = ServerConfig::new(NodeId::FIRST, Consistency::Eventual, two, two);
        config.servers = "1-2".parse().unwrap();
        let cluster = config.cluster().unwrap();
        let address = "127.0.0.1:4961".parse().unwrap();
        let text = start_text(&config, &cluster, address, None, None);
        assert!(text.contains("server 1 of 2 | eventual | W=2 R=2"), "{text}");
        assert!(text.contains("listens on   127.0.0.1:4961"), "{text}");
        assert!(text.contains("peers        2 at 127.0.0.1:4962"), "{text}");
        assert!(text.contains("a write is done when 2 servers hold it"), "{text}");
        assert!(text.contains("operations   off"), "{text}");
        assert!(!text.contains("delay"), "{text}");
        assert!(text.contains("data         in memory"), "{text}");
        assert!(!text.contains("fsync"), "{text}");
        config.data = Some(DataConfig::new("kv-data"));
        let mut found = FoundData {
            directory: config.data_directory().unwrap(),
            is_new: true,
            keys: 0,
            unconfirmed: 0,
            records: 0,
            took: Duration::from_millis(20),
            set_aside: Vec::new(),
        };
        let text = start_text(&config, &cluster, address, None, Some(&found));
        assert!(text.contains("data         kv-data/1-eventual (new)"), "{text}");
        found = FoundData { is_new: false, keys: 1_234_567, records: 1, ..found };
        let text = start_text(&config, &cluster, address, None, Some(&found));
        let expected = "data         kv-data/1-eventual: found 1,234,567 keys; 1 record since the \
                        last checkpoint; read in 0.02 s";
        assert!(text.contains(expected), "{text}");
        found.unconfirmed = 1;
        let text = start_text(&config, &cluster, address, None, Some(&found));
        assert!(text.contains("1,234,567 keys and 1 log entry to be confirmed; 1 rec"), "{text}");
        assert!(text.contains("fsync        always: what was acknowledged outlives"), "{text}");
        assert!(!text.contains("set aside"), "{text}");
        found.set_aside = vec![SetAside { folder: "d/lost-1".into(), bytes: 22_020_096 }];
        config.data.as_mut().unwrap().sync = SyncPolicy::Interval(Duration::from_millis(50));
        let text = start_text(&config, &cluster, address, None, Some(&found));
        assert!(text.contains("set aside    d/lost-1 (21.0 MiB):"), "{text}");
        assert!(text.contains("`rm -r d/lost-1` once nobody needs it"), "{text}");
        let more = (2..=6).map(|number| SetAside {
            folder: format!("d/lost-{number}").into(),
            bytes: number << 17,
        });
        found.set_aside.extend(more);
        let text = start_text(&config, &cluster, address, None, Some(&found));
        let expected = "set aside    d/lost-6 (0.7 MiB), lost-5 (0.6 MiB), lost-4 (0.5 MiB), lost-3 \
                        (0.3 MiB) and 2 older, 23.5 MiB in all:";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("`rm -r d/lost-6` once nobody needs it"), "{text}");
        assert!(
            text.contains("interval 50 ms: after a loss of power this server starts"),
            "{text}"
        );
        config.servers = "1-10".parse().unwrap();
        let text = start_text(&config, &config.cluster().unwrap(), address, None, Some(&found));
        assert!(text.contains("peers        2-10 at 127.0.0.1, ports 4960 + id"), "{text}");
    }

    #[test]
    fn the_screen_of_a_cluster_names_each_server_and_the_clients_command() {
        let two = Quorum::Count(2);
        let configs = [1, 2, 3].map(|number| {
            let node = NodeId::new(number).unwrap();
            let mut config = ServerConfig::new(node, Consistency::Linearizable, two, two);
            config.servers = "1-3".parse().unwrap();
            config.delay = "1-5".parse().unwrap();
            config
        });
        let text = cluster_start_text(&configs[0], &configs.each_ref(), &[], &[]).unwrap();
        assert!(text.contains("3 servers in this process | linearizable | W=2 R=2"), "{text}");
        assert!(text.contains("server 3 at 127.0.0.1:4963"), "{text}");
        assert!(text.contains("kv-client 1 --servers 1-3"), "{text}");
        assert!(text.contains("delay        1-5 ms on each message"), "{text}");
    }
}
