//! The arguments of `kv-client bench`.

use std::time::Duration;

use clap::Parser;
use clap::builder::BoolishValueParser;
use clap::value_parser;
use kv_core::Value;
use kv_proto::parse_duration;

use crate::commands::timeout::parse_timeout;

/// Measures how fast a cluster answers: each connection keeps a number of requests under way, and
/// begins the next one when one is answered. It writes keys of its own into the cluster.
#[derive(Clone, Debug, Parser)]
#[command(
    name = BENCH,
    bin_name = BENCH_COMMAND,
    override_usage = "kv-client [OPTIONS] [SERVER_ID] bench [BENCH_OPTIONS]",
    max_term_width = 100,
    after_help = "Without SERVER_ID the connections are spread over all of --servers."
)]
pub(crate) struct BenchArgs {
    /// How many connections
    #[arg(long, env = "KV_BENCH_CONNECTIONS", value_name = "N", default_value_t = 4,
        value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) connections: u16,

    /// How many requests each connection keeps under way
    #[arg(long, env = "KV_BENCH_IN_FLIGHT", value_name = "N", default_value_t = 16,
        value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) in_flight: u16,

    /// How many keys, chosen at random with equal chances
    #[arg(long, env = "KV_BENCH_KEYS", value_name = "N", default_value_t = 10_000,
        value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) keys: u64,

    /// What the keys begin with
    #[arg(long, env = "KV_BENCH_KEY_PREFIX", value_name = "TEXT", default_value = "bench:",
        value_parser = parse_prefix)]
    pub(crate) key_prefix: String,

    /// How many bytes each value has
    #[arg(long, env = "KV_BENCH_VALUE_SIZE", value_name = "BYTES", default_value_t = 100,
        value_parser = value_parser!(u32).range(..=VALUE_BYTES_MAX))]
    pub(crate) value_size: u32,

    /// How many in 100 requests are reads; the others are puts
    #[arg(long, env = "KV_BENCH_READ_PERCENT", value_name = "PERCENT", default_value_t = 50,
        value_parser = value_parser!(u8).range(..=100))]
    pub(crate) read_percent: u8,

    /// How long to measure
    #[arg(long, env = "KV_BENCH_DURATION", value_name = "TIME", default_value = "10s",
        value_parser = parse_timeout)]
    pub(crate) duration: Duration,

    /// How long to load the cluster before that
    #[arg(long, env = "KV_BENCH_WARM_UP", value_name = "TIME", default_value = "1s",
        value_parser = parse_duration)]
    pub(crate) warm_up: Duration,

    /// Write every key once before, so that every read finds one
    #[arg(long, env = "KV_BENCH_FILL", value_parser = BoolishValueParser::new())]
    pub(crate) fill: bool,

    /// Print the figures as one JSON object
    #[arg(long, env = "KV_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
}

fn parse_prefix(text: &str) -> Result<String, PrefixError> {
    match text.len() {
        ..=PREFIX_BYTES_MAX => Ok(text.to_owned()),
        size => Err(PrefixError { size }),
    }
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{size} bytes are too long: at most {PREFIX_BYTES_MAX} are allowed")]
struct PrefixError {
    size: usize,
}

/// The name of the command.
pub(crate) const BENCH: &str = "bench";

/// How it is called.
pub(crate) const BENCH_COMMAND: &str = "kv-client bench";

const PREFIX_BYTES_MAX: usize = 1024;

/// [`Value::LEN_MAX`] as the parser wants it.
const VALUE_BYTES_MAX: i64 = 16 << 20;

const _: () = assert!(Value::LEN_MAX == 16 << 20);
