//! The command line of `kv-server`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kv_core::{NodeId, Quorum};
use kv_proto::{ServerList, parse_server_id};
use kv_server::{Consistency, DEFAULT_CLUSTER, DumpHook, OpLogConfig, ServerConfig};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::screen;

/// Starts one server of a replicated key-value store.
///
/// Example, three servers of a cluster, each in its own terminal:
///
///   kv-server 1 linearizability 2 2 --servers 1-3
///   kv-server 2 linearizability 2 2 --servers 1-3
///   kv-server 3 linearizability 2 2 --servers 1-3
///
/// Then, in another terminal: kv-client 2
#[derive(Debug, Parser)]
#[command(name = "kv-server", version, verbatim_doc_comment, max_term_width = 100)]
struct Args {
    /// This server's id, 1 to 10. The lowest id in the list of servers is the sequencer of the
    /// linearizable engine
    #[arg(default_value = "1", value_parser = parse_server_id)]
    id: NodeId,

    /// The consistency model: `eventual` or `linearizability`
    #[arg(default_value = "eventual")]
    consistency: Consistency,

    /// W: how many servers must hold a write before it is done: a number, `majority` or `all`
    #[arg(value_name = "W", default_value = "1")]
    write_quorum: Quorum,

    /// R: how many servers must answer a read: a number, `majority` or `all`
    #[arg(value_name = "R", default_value = "1")]
    read_quorum: Quorum,

    /// All servers of the cluster, this one included: ids (`1-3`), or ids with addresses
    /// (`1=host1:4961,2=host2:4961`). Without an address: 127.0.0.1, port 4960 + id
    #[arg(long, env = "KV_SERVERS", value_name = "LIST", default_value = "1-10")]
    servers: ServerList,

    /// Listen here instead of on this server's address in the list, for example 0.0.0.0:4961
    #[arg(long, env = "KV_LISTEN", value_name = "HOST:PORT")]
    listen: Option<String>,

    /// The cluster's name; servers and clients of another name are refused
    #[arg(long, env = "KV_CLUSTER", value_name = "NAME", default_value = DEFAULT_CLUSTER)]
    cluster: String,

    /// The folder of the log of operations, `output_log<ID>.txt`; `off` for none
    #[arg(long, env = "KV_OP_LOG", value_name = "FOLDER", default_value = ".")]
    op_log: String,

    /// At this size the log of operations is renamed to `output_log<ID>.txt.1` and begun anew
    #[arg(long, env = "KV_OP_LOG_MIB", value_name = "MIB", default_value_t = 256)]
    op_log_mib: u32,

    /// How many clients may be connected at once
    #[arg(long, env = "KV_CLIENTS_MAX", value_name = "N", default_value_t = 1024)]
    clients_max: u16,

    /// How many requests of one client are worked on at once; further ones wait
    #[arg(long, env = "KV_IN_FLIGHT_MAX", value_name = "N", default_value_t = 1024)]
    in_flight_max: u16,

    /// How many threads serve; one is fastest for small clusters on small machines
    #[arg(long, env = "KV_THREADS", value_name = "N", default_value_t = 1)]
    threads: u8,

    /// What is logged on stderr: `error`, `warn`, `info`, `debug` or `trace`, also by module
    /// (`info,kv_linear=debug`)
    #[arg(long, env = "KV_LOG", value_name = "LEVEL", default_value = "warn")]
    log: Targets,
}

/// What the command line asks for.
pub(crate) struct Invocation {
    pub(crate) config: ServerConfig,
    pub(crate) listen: Option<String>,
    pub(crate) threads: usize,
    pub(crate) log: Targets,
}

impl Invocation {
    /// Reads the command line and the environment.
    pub(crate) fn parse() -> Result<Self, Answer> {
        let args = Args::try_parse().map_err(Answer)?;
        let mut config =
            ServerConfig::new(args.id, args.consistency, args.write_quorum, args.read_quorum);
        config.servers = args.servers;
        config.cluster_name = args.cluster;
        config.op_log = (args.op_log != "off").then(|| OpLogConfig {
            folder: PathBuf::from(args.op_log),
            rotate_bytes: u64::from(args.op_log_mib) << 20,
        });
        config.clients_max = usize::from(args.clients_max.max(1));
        config.in_flight_max = u32::from(args.in_flight_max.max(1));
        config.on_dump = Some(DumpHook(std::sync::Arc::new(screen::show_dump_page)));
        let threads = usize::from(args.threads.max(1));
        Ok(Self { config, listen: args.listen, threads, log: args.log })
    }
}

/// What is printed instead of starting: help, the version, or what is wrong, in one line.
pub(crate) struct Answer(clap::Error);

impl Answer {
    pub(crate) fn give(self) -> ExitCode {
        if !self.0.use_stderr() {
            // Nobody reads the help that was asked for; that is no failure of the server.
            let _ = self.0.print();
            return ExitCode::SUCCESS;
        }
        let text = self.0.to_string();
        let line = text.lines().next().unwrap_or_default();
        let line = line.strip_prefix("error: ").unwrap_or(line);
        screen::complain(format_args!("{line} (see kv-server --help)"));
        ExitCode::from(USAGE)
    }
}

/// Sends what the server logs to stderr.
pub(crate) fn start_logging(filter: &Targets) {
    let coloured = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(coloured).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter.clone()).init();
}

/// The exit code for a command line that makes no sense.
pub(crate) const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn problem(line: &str) -> String {
        let error = Args::try_parse_from(line.split(' ')).unwrap_err().to_string();
        error.lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_four_words_have_defaults() {
        let args = Args::try_parse_from(["kv-server"]).unwrap();
        assert_eq!(args.id, NodeId::FIRST);
        assert_eq!(args.consistency, Consistency::Eventual);
        assert_eq!((args.write_quorum, args.read_quorum), (Quorum::Count(1), Quorum::Count(1)));
        let args =
            Args::try_parse_from(["kv-server", "2", "linearizability", "majority", "all"]).unwrap();
        assert_eq!(args.id.number(), 2);
        assert_eq!(args.consistency, Consistency::Linearizable);
        assert_eq!((args.write_quorum, args.read_quorum), (Quorum::Majority, Quorum::All));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        assert!(problem("kv-server 0").contains("ids start at 1"));
        assert!(problem("kv-server 11").contains("server 11 does not exist: ids go from 1 to 10"));
        assert!(problem("kv-server 1 strong").contains("`eventual` or `linearizability`"));
        assert!(problem("kv-server 1 eventual 0").contains("use 1 or more"));
        assert!(problem("kv-server 1 eventual x").contains("a whole number"));
        assert!(problem("kv-server 1 --servers 3-1").contains("write the lower id first"));
    }
}
