//! What a server can be told, on the command line, by the environment or in a file.

mod config_file;
mod engine;
pub(crate) mod layers;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};
use kv_cli::cluster_name::parse_cluster_name;
use kv_cli::proposing::proposing;
use kv_core::{IdError, NodeId, Quorum};
use kv_proto::{AddressError, ServerList, ServerListError, check_address, parse_server_id};
use kv_server::{
    Consistency, DEFAULT_CLUSTER, DataConfig, Delay, DumpHook, OpLogConfig, RecoveryHook,
    RespConfig, ServerConfig, SyncPolicy,
};
use tracing_subscriber::filter::Targets;

use crate::screen;
use crate::settings::engine::{LimitSettings, TimingSettings};

/// The settings of one server. Each stands in [`KEYS`] as well.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// This server's id, 1 to 10. The lowest id in the list of servers founds a linearizable cluster
    /// and is its first sequencer
    #[arg(env = "KV_ID", default_value = "1", value_parser = parse_own_id)]
    id: NodeId,

    /// The consistency model: `eventual` or `linearizability`
    #[arg(env = "KV_CONSISTENCY", default_value = "eventual", hide_possible_values = true)]
    #[arg(value_parser = proposing(Consistency::from_str, MODELS))]
    consistency: Consistency,

    /// W: how many servers must hold a write before it is done: a number, `majority` or `all`
    #[arg(value_name = "W", env = "KV_W", default_value = "1", hide_possible_values = true)]
    #[arg(value_parser = proposing(Quorum::from_str, QUORUMS))]
    w: Quorum,

    /// R: how many servers must answer a read: a number, `majority` or `all`
    #[arg(value_name = "R", env = "KV_R", default_value = "1", hide_possible_values = true)]
    #[arg(value_parser = proposing(Quorum::from_str, QUORUMS))]
    r: Quorum,

    /// A TOML file with settings; the environment stands above it, options above both
    #[arg(long, env = "KV_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// All servers of the cluster, this one included: ids (`1-3`), or ids with addresses
    /// (`1=host1:4961,2=host2:4961`). Without an address: 127.0.0.1, port 4960 + id
    #[arg(long, env = "KV_SERVERS", value_name = "LIST", default_value = "1-10")]
    servers: ServerList,

    /// Listen here instead of on this server's address in the list, for example 0.0.0.0:4961
    #[arg(long, env = "KV_LISTEN", value_name = "HOST:PORT", value_parser = parse_listen)]
    listen: Option<String>,

    /// Take Redis clients there, for example `127.0.0.1:6379` (docs/redis.md)
    #[arg(long, env = "KV_RESP", value_name = "HOST:PORT", value_parser = parse_listen)]
    resp: Option<String>,

    /// The cluster's name; servers and clients of another name are refused
    #[arg(long, env = "KV_CLUSTER", value_name = "NAME", default_value = DEFAULT_CLUSTER)]
    #[arg(value_parser = parse_cluster_name)]
    cluster: String,

    /// The folder of the data: this server's is in `<FOLDER>/<ID>-<ENGINE>`
    #[arg(long, env = "KV_DATA_DIR", value_name = "FOLDER", default_value = DataConfig::FOLDER)]
    data_dir: PathBuf,

    /// Keep nothing on disk: data is lost when the server stops
    #[arg(long, env = "KV_MEMORY", value_parser = BoolishValueParser::new())]
    memory: bool,

    /// When to sync what was written to disk: `always`, before it is acknowledged; `interval <MS>`,
    /// so many milliseconds later; `never`
    #[arg(long, env = "KV_FSYNC", value_name = "WHEN", default_value = "always")]
    #[arg(value_parser = proposing(parse_sync_policy, &["always", "interval=100", "never"]))]
    #[arg(hide_possible_values = true)]
    fsync: SyncPolicy,

    /// Have the server with the lowest id become the sequencer again whenever it has caught up; it is
    /// enough to set this there (linearizable)
    #[arg(long, env = "KV_HAND_BACK", value_parser = BoolishValueParser::new())]
    hand_back: bool,

    /// Whether the server with the lowest id founds a cluster when it is empty and meets none: `auto`
    /// or `never` (linearizable)
    #[arg(long, env = "KV_BOOTSTRAP", value_name = "WHEN", default_value = "auto")]
    #[arg(value_parser = ["auto", "never"])]
    bootstrap: String,

    /// MiB of records after which a checkpoint is written, so that the records can go
    #[arg(long, env = "KV_CHECKPOINT_MIB", value_name = "MIB", default_value = "64")]
    #[arg(value_parser = value_parser!(u32).range(1..), hide_short_help = true)]
    checkpoint_mib: u32,

    /// The folder of the log of operations, `output_log<ID>.txt`; `off` for none
    #[arg(long, env = "KV_OP_LOG", value_name = "FOLDER", default_value = ".")]
    op_log: String,

    /// At this size the log of operations is renamed to `output_log<ID>.txt.1` and begun anew
    #[arg(long, env = "KV_OP_LOG_MIB", value_name = "MIB", default_value = "256")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    op_log_mib: u32,

    /// Hold each message to another server back for a random time, in milliseconds: `1-5`, `20`
    /// or `off`. Shows what consistency means; order is kept on each connection
    #[arg(long, env = "KV_DELAY", value_name = "MS", default_value = "off")]
    delay: Delay,

    /// How many clients may be connected at once
    #[arg(long, env = "KV_CLIENTS_MAX", value_name = "N", default_value = "1024")]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    clients_max: u16,

    /// How many requests of one client are worked on at once; further ones wait
    #[arg(long, env = "KV_IN_FLIGHT_MAX", value_name = "N", default_value = "1024")]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    in_flight_max: u16,

    /// What is logged on stderr: `error`, `warn`, `info`, `debug` or `trace`, also by module
    /// (`info,kv_linear=debug`)
    #[arg(long, env = "KV_LOG", value_name = "LEVEL", default_value = "warn")]
    #[arg(value_parser = proposing(Targets::from_str, LEVELS), hide_possible_values = true)]
    log: Targets,

    #[command(flatten)]
    limits: LimitSettings,

    #[command(flatten)]
    timing: TimingSettings,
}

/// A setting's name in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The name of its field in [`Settings`].
    pub(crate) field: &'static str,
    /// The table that it stands in, empty for none.
    pub(crate) table: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
    /// How its value is written.
    pub(crate) form: Form,
}

/// How a value is written in a file. A text is taken for each of them but a switch as well: what
/// the option would be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `"..."`
    Text,
    /// `3`, where the text is a number.
    Number,
    /// `[1, 5]`
    Range,
    /// A table of addresses by id.
    Addresses,
    /// `true` or `false`.
    Switch,
}

impl Settings {
    /// What is logged on stderr.
    pub(crate) fn log(&self) -> &Targets {
        &self.log
    }

    /// Where to listen instead of on the address in the list of servers.
    pub(crate) fn listen(&self) -> Option<&str> {
        self.listen.as_deref()
    }

    /// The server that these settings describe.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(self.id, self.consistency, self.w, self.r);
        config.servers = self.servers.clone();
        config.cluster_name.clone_from(&self.cluster);
        config.data = (!self.memory).then(|| {
            DataConfig::new(&self.data_dir)
                .with_sync(self.fsync)
                .with_checkpoint_bytes(u64::from(self.checkpoint_mib) << 20)
        });
        config.resp = self.resp.clone().map(RespConfig::required);
        config.on_recovery = Some(RecoveryHook(std::sync::Arc::new(screen::show_recovery)));
        config.op_log = op_log(&self.op_log, self.op_log_mib);
        config.delay = self.delay;
        config.clients_max = usize::from(self.clients_max);
        config.in_flight_max = u32::from(self.in_flight_max);
        config.on_dump = Some(DumpHook(std::sync::Arc::new(screen::show_dump_page)));
        config.hand_back = self.hand_back;
        config.may_found = self.bootstrap == "auto";
        self.limits.apply(&mut config.limits);
        self.timing.apply(&mut config.timing);
        config
    }
}

/// The words of a model, for a shell to propose.
pub(crate) const MODELS: &[&str] = &["eventual", "linearizability"];

/// The words of W and R.
pub(crate) const QUORUMS: &[&str] = &["majority", "all"];

/// The levels of the log.
pub(crate) const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// The log of operations in a folder, or none if that is `off`.
pub(crate) fn op_log(folder: &str, mib: u32) -> Option<OpLogConfig> {
    let on = folder != "off";
    on.then(|| OpLogConfig::new(folder, u64::from(mib) << 20))
}

/// Reads this server's id. Other words that stand in its place are most often meant as commands.
fn parse_own_id(text: &str) -> Result<NodeId, OwnIdError> {
    match parse_server_id(text) {
        Ok(node) => Ok(node),
        Err(ServerListError::Id(IdError::NotANumber)) => Err(OwnIdError::NotANumber),
        Err(ServerListError::Id(error)) => Err(OwnIdError::Id(error)),
        Err(error) => Err(OwnIdError::Other(error)),
    }
}

fn parse_listen(text: &str) -> Result<String, AddressError> {
    check_address(text).map(|()| text.to_owned())
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum OwnIdError {
    #[error(
        "an id is a whole number from 1 to 10; the commands are `dev`, `config`, `inspect`, \
         `backup`, `restore`, `recover`, `completions` and `man`"
    )]
    NotANumber,
    #[error("{0}")]
    Id(IdError),
    #[error("{0}")]
    Other(ServerListError),
}

/// Reads `always`, `never` or `interval <ms>`, as in `interval 100`.
fn parse_sync_policy(text: &str) -> Result<SyncPolicy, SyncPolicyError> {
    match text.split_once([' ', '=']) {
        None if text == "always" => Ok(SyncPolicy::Always),
        None if text == "never" => Ok(SyncPolicy::Never),
        Some(("interval", ms)) => {
            let ms = ms.trim().parse().ok().filter(|ms| INTERVAL_MS.contains(ms));
            let interval = ms.map(Duration::from_millis).ok_or(SyncPolicyError::OutOfRange)?;
            Ok(SyncPolicy::Interval(interval))
        }
        None | Some(_) => Err(SyncPolicyError::Unknown),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SyncPolicyError {
    #[error("write `always`, `never` or `interval <ms>`, for example `interval 100`")]
    Unknown,
    #[error("an interval is 1 to 60000 milliseconds, for example `interval 100`")]
    OutOfRange,
}

const INTERVAL_MS: RangeInclusive<u64> = 1..=60_000;

const fn key(field: &'static str, table: &'static str, name: &'static str, form: Form) -> Key {
    Key { field, table, name, form }
}

/// The names of all settings in a file, in the order in which they are printed.
pub(crate) const KEYS: [Key; 33] = [
    key("id", "", "id", Form::Number),
    key("consistency", "", "consistency", Form::Text),
    key("w", "", "w", Form::Number),
    key("r", "", "r", Form::Number),
    key("servers", "", "servers", Form::Addresses),
    key("listen", "", "listen", Form::Text),
    key("resp", "", "resp", Form::Text),
    key("cluster", "", "cluster", Form::Text),
    key("log", "", "log", Form::Text),
    key("hand_back", "", "hand_back", Form::Switch),
    key("bootstrap", "", "bootstrap", Form::Text),
    key("data_dir", "data", "folder", Form::Text),
    key("memory", "data", "memory", Form::Switch),
    key("fsync", "data", "fsync", Form::Text),
    key("checkpoint_mib", "data", "checkpoint_mib", Form::Number),
    key("op_log", "op_log", "folder", Form::Text),
    key("op_log_mib", "op_log", "rotate_mib", Form::Number),
    key("delay", "network", "delay_ms", Form::Range),
    key("clients_max", "limits", "clients_max", Form::Number),
    key("in_flight_max", "limits", "in_flight_max", Form::Number),
    key("requests_max", "limits", "requests_max", Form::Number),
    key("window_entries_max", "limits", "window_entries_max", Form::Number),
    key("window_mib", "limits", "window_mib", Form::Number),
    key("message_kib", "limits", "message_kib", Form::Number),
    key("hold_back_entries_max", "limits", "hold_back_entries_max", Form::Number),
    key("kept_log_mib", "limits", "kept_log_mib", Form::Number),
    key("kept_log_entries", "limits", "kept_log_entries", Form::Number),
    key("page_entries_max", "limits", "page_entries_max", Form::Number),
    key("resend_min", "timing", "resend_min", Form::Text),
    key("resend_max", "timing", "resend_max", Form::Text),
    key("heartbeat", "timing", "heartbeat", Form::Text),
    key("election", "timing", "election", Form::Text),
    key("join_wait", "timing", "join_wait", Form::Text),
];
