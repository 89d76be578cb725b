//! What to type next.

use std::path::{Path, PathBuf};

use kv_core::{NodeId, Role, Status, Waiting};
use kv_linear::Quorums;
use kv_proto::{ServerList, as_word, id_ranges};
use kv_server::{Consistency, DataConfig, ServerConfig};
use kv_storage::DataDirectoryError;

/// How to start a client of a server, from where this program was started.
pub(crate) fn client_command(config: &ServerConfig) -> String {
    let mut command = format!("{} {}", client_program(), config.node);
    if let Some(list) = servers_option(config) {
        command.push_str(&format!(" --servers {list}"));
    }
    if config.cluster_name != kv_server::DEFAULT_CLUSTER {
        command.push_str(&format!(" --cluster {}", config.cluster_name));
    }
    command
}

/// Who is not connected, and how to start one of them, for a server that waits; nothing where
/// that would not help.
pub(crate) fn who_is_missing(config: &ServerConfig, waiting: Waiting, status: &Status) -> String {
    let needed = match waiting {
        Waiting::Sequencer { node } => Some(node),
        // Those that would be started now would have nothing to fill this one with.
        Waiting::Servers { .. } if config.data.is_none() && is_recovering(status) => {
            return "; servers that were stopped have lost their memory: if those that ran on cannot be \
                    reached, stop all servers and start them again"
                .to_owned();
        }
        Waiting::Servers { .. } => None,
        Waiting::LostMemory { node } => return where_data_is(config, node),
        Waiting::TooManyOpenFiles { .. } => return " (`ulimit -n`)".to_owned(),
        Waiting::Joining
        | Waiting::Cluster
        | Waiting::Election
        | Waiting::OtherCluster { .. }
        | Waiting::OtherConfiguration { .. }
        | Waiting::DiskFull { .. }
        | Waiting::OwnDisk
        | Waiting::Stopping
        | _ => return String::new(),
    };
    let missing = not_connected(config, &status.connected);
    // A sequencer that is connected has other reasons not to serve.
    let Some(first) = needed.or(missing.first().copied()).filter(|id| missing.contains(id)) else {
        return String::new();
    };
    let command = server_command(config, first);
    if needed.is_some() {
        return format!("; start it with: {command}");
    }
    format!(" (not connected: {}); start for example: {command}", id_ranges(&missing))
}

/// What to do about those that are not connected any more, for a server that has served before and
/// waits now; nothing where that would not help.
pub(crate) fn who_was_lost(config: &ServerConfig, waiting: Waiting, status: &Status) -> String {
    let sequencer = last_sequencer(config, status);
    let is_lost = |node: &NodeId| *node != config.node && !status.connected.contains(node);
    match (waiting, sequencer.filter(is_lost)) {
        (Waiting::Sequencer { .. } | Waiting::Servers { .. }, lost)
            if config.data.is_none() && !can_fill(status, lost) =>
        {
            let who = lost.map_or_else(
                || "those that were stopped have lost their memory, and too few are left to fill them".to_owned(),
                |node| format!("server {node}, if it was stopped, has lost its memory"),
            );
            format!("; {who}: stop all servers and start them again")
        }
        (Waiting::Servers { .. }, Some(sequencer)) if config.data.is_some() => {
            let command = server_command(config, sequencer);
            format!(
                " (not connected: {}), or for server {sequencer}, the sequencer, on its data; start \
                 it with: {command}",
                id_ranges(&not_connected(config, &status.connected))
            )
        }
        _ => who_is_missing(config, waiting, status),
    }
}

/// The last sequencer that a server of the linearizable engine knows of.
fn last_sequencer(config: &ServerConfig, status: &Status) -> Option<NodeId> {
    let owner = status.positions.epoch_owner.filter(|_| is_linearizable(config))?;
    NodeId::new(u16::try_from(owner).ok()?).ok()
}

const fn is_linearizable(config: &ServerConfig) -> bool {
    matches!(config.consistency, Consistency::Linearizable)
}

/// Whether this server and those that are connected to it can give servers their data again that
/// have lost it; `lost` is the sequencer, if it is among them.
fn can_fill(status: &Status, lost: Option<NodeId>) -> bool {
    let quorums = Quorums::of(&status.cluster);
    let sound = status.connected.len() + 1;
    let can_choose = quorums.survive_the_sequencer() && sound >= usize::from(quorums.promises);
    sound >= usize::from(quorums.recovery) && (lost.is_none() || can_choose)
}

fn not_connected(config: &ServerConfig, connected: &[NodeId]) -> Vec<NodeId> {
    config.servers.ids().filter(|id| *id != config.node && !connected.contains(id)).collect()
}

/// Whether a server has to be filled by others before it counts.
fn is_recovering(status: &Status) -> bool {
    status.role == Role::Joining && status.cluster_id.is_some()
}

/// Where the sequencer looked for its data in vain; elsewhere, how to save what is left.
fn where_data_is(config: &ServerConfig, sequencer: NodeId) -> String {
    match (&config.data, config.node == sequencer) {
        (Some(data), true) => {
            let folder = data.folder.display();
            format!("; this server looked for it in {folder}, which --data-dir names")
        }
        (None, true) => "; this server keeps its data in memory alone (--memory)".to_owned(),
        (_, false) => String::new(),
    }
}

/// The command that starts another server of the same cluster.
fn server_command(config: &ServerConfig, node: NodeId) -> String {
    let model = match config.consistency {
        Consistency::Eventual => "eventual",
        Consistency::Linearizable => "linearizability",
    };
    let (w, r) = (config.write_quorum, config.read_quorum);
    let mut command = format!("{} {node} {model} {w} {r}", own_program());
    if let Some(list) = servers_option(config) {
        command.push_str(&format!(" --servers {list}"));
    }
    if config.cluster_name != kv_server::DEFAULT_CLUSTER {
        command.push_str(&format!(" --cluster {}", config.cluster_name));
    }
    match &config.data {
        Some(data) if data.folder == absolute(Path::new(DataConfig::FOLDER)) => {}
        Some(data) => command.push_str(&format!(
            " --data-dir {}",
            as_word(data.folder.as_os_str().as_encoded_bytes())
        )),
        None => command.push_str(" --memory"),
    }
    command
}

/// The list of servers as short as it can be typed; `None` if it is the usual one.
pub(crate) fn servers_option(config: &ServerConfig) -> Option<String> {
    if config.servers == ServerList::default() {
        return None;
    }
    let ids: Vec<NodeId> = config.servers.ids().collect();
    let short = id_ranges(&ids);
    let is_usual = short.parse().is_ok_and(|usual: ServerList| usual == config.servers);
    Some(if is_usual { short } else { config.servers.to_string() })
}

/// The client that was built or installed beside this program.
fn client_program() -> String {
    let own = std::env::args_os().next().unwrap_or_default();
    client_beside(Path::new(&own), |path| path.exists())
}

/// This program, as it can be typed where it was started.
fn own_program() -> String {
    own_word(Path::new(&std::env::args_os().next().unwrap_or_default()))
}

fn own_word(own: &Path) -> String {
    match own.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => typed(own),
        Some(_) | None => "kv-server".to_owned(),
    }
}

/// A path to a program as a shell takes it.
fn typed(path: &Path) -> String {
    let is_rooted = path.is_absolute() || path.starts_with(".") || path.starts_with("..");
    let word = as_word(path.as_os_str().as_encoded_bytes());
    if is_rooted { word } else { as_word(format!("./{}", path.display()).as_bytes()) }
}

fn client_beside(own: &Path, exists: impl Fn(&Path) -> bool) -> String {
    let folder = own.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder else {
        return "kv-client".to_owned();
    };
    let beside = folder.join("kv-client");
    if exists(&beside) {
        return typed(&beside);
    }
    // Cargo has built the server alone.
    match folder.components().next_back().map(|name| name.as_os_str().to_os_string()) {
        Some(profile) if profile == "release" => {
            "cargo run --release --bin kv-client --".to_owned()
        }
        Some(profile) if profile == "debug" => "cargo run --bin kv-client --".to_owned(),
        Some(_) | None => "kv-client".to_owned(),
    }
}

/// Says that another program listens where a server of `kv-server dev` should, and which words
/// choose other addresses.
pub(crate) fn address_in_use(address: &str, servers: &[ServerConfig]) -> String {
    let other = |config: &ServerConfig| {
        format!("{}=127.0.0.1:{}", config.node, OTHER_PORTS + config.node.number())
    };
    let list: Vec<String> = servers.iter().map(other).collect();
    let list = list.join(",");
    format!(
        "{address} is in use: does a server run there already? Stop it, or choose other addresses: \
         --servers {list}"
    )
}

/// A path from the root, as nobody can mistake it.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// How to begin anew, for data of an engine that is in `folder`: what else is there stays.
pub(crate) fn to_begin_anew(folder: &Path, consistency: Consistency) -> String {
    let folder = as_word(folder.as_os_str().as_encoded_bytes());
    format!("to begin anew: rm -r {folder}/*-{consistency}")
}

/// Says that the data is of another cluster than the one that was asked for, and what to do.
pub(crate) fn other_cluster(error: &DataDirectoryError, config: &ServerConfig) -> String {
    let folder = config.data.as_ref().map_or(Path::new(""), |data| &data.folder);
    format!("{error}; {}", to_begin_anew(&absolute(folder), config.consistency))
}

/// Ports from here on, by id, are proposed where the usual ones are taken.
const OTHER_PORTS: u16 = 7000;

#[cfg(test)]
mod tests {
    use kv_core::{ClusterId, Incarnation, Positions, Quorum};

    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn config(consistency: Consistency, servers: &str) -> ServerConfig {
        let two = Quorum::Count(2);
        let mut config = ServerConfig::new(node(1), consistency, two, Quorum::Majority);
        config.servers = servers.parse().unwrap();
        config.data = Some(DataConfig::new(absolute(Path::new(DataConfig::FOLDER))));
        config
    }

    /// What a server says that is connected to these.
    fn status(config: &ServerConfig, connected: &[NodeId]) -> Status {
        Status {
            engine: config.consistency.to_string(),
            node: config.node,
            incarnation: Incarnation::UNKNOWN,
            cluster_id: None,
            cluster: config.cluster().unwrap(),
            role: Role::Follower,
            connected: connected.to_vec(),
            waiting: None,
            positions: Positions { epoch_owner: Some(1), ..Positions::default() },
            lags: Vec::new(),
            counters: Vec::new(),
        }
    }

    #[test]
    fn the_client_is_found_where_the_server_is() {
        let there = |_: &Path| true;
        let nowhere = |_: &Path| false;
        assert_eq!(client_beside(Path::new("kv-server"), there), "kv-client");
        let built = Path::new("target/release/kv-server");
        assert_eq!(client_beside(built, there), "./target/release/kv-client");
        assert_eq!(client_beside(built, nowhere), "cargo run --release --bin kv-client --");
        assert_eq!(client_beside(Path::new("/opt/bin/kv-server"), there), "/opt/bin/kv-client");
        assert_eq!(client_beside(Path::new("/opt/bin/kv-server"), nowhere), "kv-client");
    }

    #[test]
    fn the_server_is_named_as_it_was_started() {
        let word = |own: &str| own_word(Path::new(own));
        assert_eq!(word("kv-server"), "kv-server");
        assert_eq!(word(""), "kv-server");
        assert_eq!(word("target/release/kv-server"), "./target/release/kv-server");
        assert_eq!(word("./kv-server"), "./kv-server");
        assert_eq!(word("../bin/kv-server"), "../bin/kv-server");
        assert_eq!(word("/opt/my kv/kv-server"), "\"/opt/my kv/kv-server\"");
    }

    #[test]
    fn lists_are_as_short_as_can_be() {
        let option = |servers| servers_option(&config(Consistency::Eventual, servers));
        assert_eq!(option("1-10"), None);
        assert_eq!(option("1,2,3,5"), Some("1-3,5".to_owned()));
        assert_eq!(option("1=a:1,2"), Some("1=a:1,2=127.0.0.1:4962".to_owned()));
    }

    #[test]
    fn those_that_are_missing_are_named_with_the_command_that_starts_one() {
        let mut config = config(Consistency::Eventual, "1-10");
        let who_is_missing = |config: &ServerConfig, waiting, connected: &[NodeId]| {
            who_is_missing(config, waiting, &status(config, connected))
        };
        let more = Waiting::Servers { more: 1 };
        assert_eq!(
            who_is_missing(&config, more, &[node(4)]),
            format!(
                " (not connected: 2-3,5-10); start for example: {} 2 eventual 2 majority",
                own_program()
            )
        );
        config.servers = "1-3".parse().unwrap();
        config.consistency = Consistency::Linearizable;
        config.node = node(2);
        config.cluster_name = "blue".to_owned();
        assert_eq!(
            who_is_missing(&config, Waiting::Sequencer { node: node(1) }, &[node(3)]),
            format!(
                "; start it with: {} 1 linearizability 2 majority --servers 1-3 --cluster blue",
                own_program()
            )
        );
        config.data = Some(DataConfig::new("d"));
        let command = who_is_missing(&config, Waiting::Sequencer { node: node(1) }, &[node(3)]);
        assert!(command.ends_with(" --data-dir d"), "{command}");
        config.data = None;
        let command = who_is_missing(&config, Waiting::Sequencer { node: node(1) }, &[node(3)]);
        assert!(command.ends_with(" --memory"), "{command}");
        let present = who_is_missing(&config, Waiting::Sequencer { node: node(1) }, &[node(1)]);
        assert_eq!(present, "");
        assert_eq!(who_is_missing(&config, Waiting::Joining, &[]), "");
    }

    #[test]
    fn a_sequencer_that_was_lost_is_named_where_its_start_is_enough() {
        let mut config = config(Consistency::Linearizable, "1-10");
        config.node = node(2);
        let more = Waiting::Servers { more: 8 };
        assert_eq!(
            who_was_lost(&config, more, &status(&config, &[])),
            format!(
                " (not connected: 1,3-10), or for server 1, the sequencer, on its data; start it \
                 with: {} 1 linearizability 2 majority",
                own_program()
            )
        );
        config.servers = "1-3".parse().unwrap();
        config.node = node(1);
        let more = Waiting::Servers { more: 1 };
        assert_eq!(
            who_was_lost(&config, more, &status(&config, &[])),
            format!(
                " (not connected: 2-3); start for example: {} 2 linearizability 2 majority \
                 --servers 1-3",
                own_program()
            )
        );
    }

    #[test]
    fn where_too_little_is_left_in_memory_all_must_be_started_again() {
        let mut config = config(Consistency::Linearizable, "1-3");
        config.data = None;
        let more = Waiting::Servers { more: 1 };
        let advice = |config: &ServerConfig, connected: &[NodeId]| {
            who_was_lost(config, more, &status(config, connected))
        };
        let all_again = " stop all servers and start them again";
        assert!(advice(&config, &[]).starts_with("; those that were stopped have lost their"));
        assert!(advice(&config, &[]).ends_with(all_again));
        config.node = node(2);
        assert!(advice(&config, &[]).starts_with("; server 1, if it was stopped, has lost its"));
        assert!(advice(&config, &[]).ends_with(all_again));
        assert!(
            advice(&config, &[node(3)]).contains("start for example"),
            "two can choose another"
        );
        // W = 1: nobody can take the sequencer's place.
        config.write_quorum = Quorum::Count(1);
        assert!(advice(&config, &[node(3)]).ends_with(all_again));

        let recovering = Status {
            role: Role::Joining,
            cluster_id: Some(ClusterId(7)),
            ..status(&config, &[node(3)])
        };
        assert!(who_is_missing(&config, more, &recovering).ends_with(all_again));
        config.data = Some(DataConfig::new("d"));
        assert!(who_is_missing(&config, more, &recovering).contains("start for example"));
    }

    #[test]
    fn a_sequencer_without_data_says_where_it_looked() {
        let mut config = config(Consistency::Linearizable, "1-3");
        let who_is_missing = |config: &ServerConfig, waiting, connected: &[NodeId]| {
            who_is_missing(config, waiting, &status(config, connected))
        };
        config.data = Some(DataConfig::new("/srv/kv"));
        let lost = Waiting::LostMemory { node: node(1) };
        let at_sequencer = who_is_missing(&config, lost, &[]);
        assert_eq!(at_sequencer, "; this server looked for it in /srv/kv, which --data-dir names");
        config.node = node(2);
        assert_eq!(who_is_missing(&config, lost, &[]), "", "it says nothing of another's folder");
        assert_eq!(
            to_begin_anew(Path::new("/srv/my kv"), Consistency::Linearizable),
            "to begin anew: rm -r \"/srv/my kv\"/*-linearizable"
        );
    }
}
