//! `kv-server dev`: a cluster in one process.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};
use kv_cli::cluster_name::parse_cluster_name;
use kv_cli::proposing::proposing;
use kv_core::{NodeId, Page, Quorum};
use kv_proto::{AddressError, ServerList, ServerListError, check_address};
use kv_server::{
    Consistency, DEFAULT_CLUSTER, DataConfig, Delay, DumpHook, RecoveryHook, RespConfig,
    ServerConfig,
};
use tracing_subscriber::filter::Targets;

use crate::fleet::Plan;
use crate::screen;
use crate::settings::{LEVELS, MODELS, QUORUMS, op_log};

/// The settings of `kv-server dev`. Those that say which cluster it is are not taken from the
/// environment, where they are meant for servers that run by themselves.
#[derive(Debug, Args)]
pub(crate) struct DevSettings {
    /// The consistency model: `linearizability` or `eventual`
    #[arg(long, value_name = "MODEL", default_value = "linearizability")]
    #[arg(value_parser = proposing(Consistency::from_str, MODELS), hide_possible_values = true)]
    engine: Consistency,

    /// How many servers, 1 to 10
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = value_parser!(u16).range(1..=10))]
    nodes: u16,

    /// W: how many servers must hold a write before it is done: a number, `majority` or `all`
    #[arg(long = "w", value_name = "W", default_value = "majority")]
    #[arg(value_parser = proposing(Quorum::from_str, QUORUMS), hide_possible_values = true)]
    w: Quorum,

    /// R: how many servers must answer a read: a number, `majority` or `all`
    #[arg(long = "r", value_name = "R", default_value = "majority")]
    #[arg(value_parser = proposing(Quorum::from_str, QUORUMS), hide_possible_values = true)]
    r: Quorum,

    /// The servers with their addresses, instead of --nodes
    #[arg(long, value_name = "LIST", conflicts_with = "nodes")]
    servers: Option<ServerList>,

    /// Take Redis clients: `auto`, at each server's own port + 20; the first server's address, for
    /// example `127.0.0.1:6379`, with the others at the ports behind it; or `off` (docs/redis.md)
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    resp: RespChoice,

    /// The cluster's name; clients of another name are refused
    #[arg(long, env = "KV_CLUSTER", value_name = "NAME", default_value = DEFAULT_CLUSTER)]
    #[arg(value_parser = parse_cluster_name)]
    cluster: String,

    /// The folder of the data of all servers: started again, the cluster goes on with it
    #[arg(long, value_name = "FOLDER", default_value = FOLDER, conflicts_with = "memory")]
    data_dir: PathBuf,

    /// Keep nothing on disk: a cluster that stops forgets
    #[arg(long, env = "KV_MEMORY", value_parser = BoolishValueParser::new())]
    memory: bool,

    /// The folder of the logs of operations, `output_log<ID>.txt`; `off` for none [default:
    /// `op-log-<MODEL>` in that of the data, or `off` with --memory]
    #[arg(long, env = "KV_OP_LOG", value_name = "FOLDER")]
    op_log: Option<String>,

    /// At this size a log of operations is renamed to `output_log<ID>.txt.1` and begun anew
    #[arg(long, env = "KV_OP_LOG_MIB", value_name = "MIB", default_value = "256")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    op_log_mib: u32,

    /// Hold each message between servers back for a random time, in milliseconds: `1-5`, `20` or
    /// `off`
    #[arg(long, env = "KV_DELAY", value_name = "MS", default_value = "off")]
    delay: Delay,

    /// What is logged on stderr: `error`, `warn`, `info`, `debug` or `trace`, also by module
    #[arg(long, env = "KV_LOG", value_name = "LEVEL", default_value = "warn")]
    #[arg(value_parser = proposing(Targets::from_str, LEVELS), hide_possible_values = true)]
    log: Targets,
}

impl DevSettings {
    /// All servers of the cluster, to run in this process.
    pub(crate) fn plan(self) -> Plan {
        let list = self.servers.clone().unwrap_or_else(|| first_servers(self.nodes));
        let servers = list.ids().map(|node| self.server_config(node, &list)).collect();
        Plan { servers, listen: None, log: self.log, is_dev: true }
    }

    fn server_config(&self, node: NodeId, list: &ServerList) -> ServerConfig {
        let mut config = ServerConfig::new(node, self.engine, self.w, self.r);
        config.servers = list.clone();
        config.cluster_name.clone_from(&self.cluster);
        config.data = (!self.memory).then(|| DataConfig::new(&self.data_dir));
        config.resp = self.resp.config(node, list);
        config.on_recovery = Some(RecoveryHook(Arc::new(screen::show_recovery)));
        config.op_log = match (&self.op_log, self.memory) {
            (Some(folder), _) => op_log(folder, self.op_log_mib),
            // One cluster after another would write to one log, which nobody could judge.
            (None, true) => None,
            (None, false) => op_log(&self.op_log_folder().to_string_lossy(), self.op_log_mib),
        };
        config.delay = self.delay;
        let show = move |page: &Page| screen::show_dump_page_of(node, page);
        config.on_dump = Some(DumpHook(Arc::new(show)));
        config
    }

    /// Where the logs of operations are: apart from those of servers that run by themselves and of
    /// the other engine, and removed with the data.
    fn op_log_folder(&self) -> PathBuf {
        self.data_dir.join(format!("op-log-{}", self.engine))
    }
}

/// Where Redis clients are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RespChoice {
    /// Beside each server's own port.
    Auto,
    Off,
    /// There by the first server, and at the ports behind it by the others.
    From {
        host: String,
        port: u16,
    },
}

impl FromStr for RespChoice {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            address => {
                check_address(address)?;
                let no_port = || AddressError::NoPort { address: address.to_owned() };
                let (host, port) = split_address(address).ok_or_else(no_port)?;
                Ok(Self::From { host, port })
            }
        }
    }
}

impl RespChoice {
    /// Where a server of the list takes them.
    fn config(&self, node: NodeId, list: &ServerList) -> Option<RespConfig> {
        let (host, port, is_optional) = match self {
            Self::Off => return None,
            Self::Auto => {
                let (host, port) = split_address(list.address(node)?)?;
                (host, port.checked_add(RESP_PORTS_APART)?, true)
            }
            Self::From { host, port } => {
                let place = list.ids().position(|other| other == node)?;
                let port = port.checked_add(u16::try_from(place).ok()?)?;
                (host.clone(), port, false)
            }
        };
        let address = format!("{host}:{port}");
        Some(if is_optional {
            RespConfig::optional(address)
        } else {
            RespConfig::required(address)
        })
    }
}

fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// From a server's own port to the one for Redis clients: there are ten servers at most, whose ports
/// stand together.
const RESP_PORTS_APART: u16 = 20;

/// The folder of the data unless another is named: that of servers of their own is beside it.
const FOLDER: &str = "kv-data/dev";

/// Servers 1 to `count` at their usual addresses.
fn first_servers(count: u16) -> ServerList {
    let all = ServerList::default();
    let some = all.ids().filter(|node| node.number() <= count);
    let some = some.filter_map(|node| Some((node, all.address(node)?.to_owned())));
    let list: Result<ServerList, ServerListError> = ServerList::new(some);
    // There is at least one, and none is there twice.
    list.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn plan(words: &str) -> Plan {
        let command = DevSettings::augment_args(clap::Command::new("dev").no_binary_name(true));
        let matches = command.try_get_matches_from(words.split_whitespace()).unwrap();
        DevSettings::from_arg_matches(&matches).unwrap().plan()
    }

    #[test]
    fn three_linearizable_servers_with_majorities_unless_told_otherwise() {
        let plan = plan("");
        let clusters: Vec<String> =
            plan.servers.iter().map(|server| server.cluster().unwrap().to_string()).collect();
        assert_eq!(clusters, ["N=3 W=2 R=2, servers 1 2 3"; 3]);
        for (server, number) in plan.servers.iter().zip(1..) {
            assert_eq!(server.node.number(), number);
            assert_eq!(server.consistency, Consistency::Linearizable);
        }
    }

    #[test]
    fn redis_clients_are_taken_beside_each_server_unless_told_otherwise() {
        let resp = |words: &str| -> Vec<Option<String>> {
            let servers = plan(words).servers.into_iter();
            servers.map(|server| server.resp.map(|resp| resp.address)).collect()
        };
        let ports = |ports: [u16; 3]| ports.map(|port| Some(format!("127.0.0.1:{port}")));
        assert_eq!(resp(""), ports([4981, 4982, 4983]));
        assert_eq!(resp("--resp 127.0.0.1:6379"), ports([6379, 6380, 6381]));
        assert_eq!(resp("--resp off"), [None, None, None]);
        assert!(plan("").servers.iter().all(|server| server.resp.as_ref().unwrap().is_optional));
    }

    #[test]
    fn all_of_it_can_be_chosen() {
        let server = plan("--engine eventual --nodes 5 --w 1 --r all").servers.pop().unwrap();
        assert_eq!((server.node.number(), server.consistency), (5, Consistency::Eventual));
        assert_eq!(server.cluster().unwrap().to_string(), "N=5 W=1 R=5, servers 1 2 3 4 5");
        let folder = |words| plan(words).servers.remove(0).data.map(|data| data.folder);
        assert_eq!(folder(""), Some(PathBuf::from("kv-data/dev")));
        assert_eq!(folder("--data-dir d"), Some(PathBuf::from("d")));
        assert_eq!(folder("--memory"), None);
        let log = |words| plan(words).servers.remove(0).op_log.map(|log| log.folder);
        assert_eq!(log(""), Some(PathBuf::from("kv-data/dev/op-log-linearizable")));
        assert_eq!(log("--engine eventual"), Some(PathBuf::from("kv-data/dev/op-log-eventual")));
        assert_eq!(log("--data-dir d"), Some(PathBuf::from("d/op-log-linearizable")));
        assert_eq!(log("--memory"), None);
        assert_eq!(log("--memory --op-log d"), Some(PathBuf::from("d")));
        assert_eq!(log("--op-log off"), None);
        let server = plan("--servers 2=127.0.0.1:9").servers.remove(0);
        assert_eq!(server.servers.to_string(), "2=127.0.0.1:9");
    }
}
