//! The figures of a measurement.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use kv_client::Client;
use kv_core::NodeId;
use serde_json::{Value as Json, json};

use super::args::BenchArgs;
use super::progress::per_second;
use super::tally::Tally;
use crate::output::text::{counted, keys};

/// The figures of a measurement.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    args: &'a BenchArgs,
    /// How many connections each server has at the end.
    servers: BTreeMap<Option<NodeId>, usize>,
    tally: Tally,
    all: Histogram<u64>,
    time: Duration,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        args: &'a BenchArgs,
        clients: &[Client],
        tally: Tally,
        time: Duration,
    ) -> Self {
        let mut servers = BTreeMap::new();
        for client in clients {
            *servers.entry(client.server()).or_default() += 1;
        }
        let mut all = tally.reads.clone();
        // Histograms that grow by themselves take all that others hold.
        let _ = all.add(&tally.puts);
        Self { args, servers, tally, all, time }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let args = self.args;
        let rate = per_second(self.all.len(), self.time);
        let mut text = format!(
            "{} requests in {:.1} s: {rate:.0} requests/s\n{} ({}), {} in flight each, \
             {}% reads, {}, values of {}\n",
            self.all.len(),
            self.time.as_secs_f64(),
            counted(u64::from(args.connections), "connection"),
            self.servers_text(),
            args.in_flight,
            args.read_percent,
            keys(args.keys),
            counted(u64::from(args.value_size), "byte"),
        );
        // Writing to a string does not fail.
        let _ = write!(text, "\n{:6}{:>10}", "ms", "count");
        for (name, _) in QUANTILES {
            let _ = write!(text, "{name:>9}");
        }
        let _ = write!(text, "{:>9}", "max");
        for (name, times) in self.histograms() {
            let _ = write!(text, "\n{name:6}{:>10}", times.len());
            for (_, quantile) in QUANTILES {
                let _ = write!(text, "{:>9.2}", millis(times.value_at_quantile(*quantile)));
            }
            let _ = write!(text, "{:>9.2}", millis(times.max()));
        }
        let (reads, found) = (self.tally.reads.len(), self.tally.found);
        if found < reads {
            let _ = write!(text, "\n{found} of {reads} reads found a value");
        }
        if let Some(error) = &self.tally.first_error {
            let (not_done, unknown) = (self.tally.not_done, self.tally.unknown);
            let _ = write!(text, "\nnot done: {not_done}, unknown: {unknown}; first: {error}");
        }
        text
    }

    /// For programs; times in microseconds.
    pub(crate) fn json(&self) -> String {
        let args = self.args;
        let servers = self.servers.iter().map(|(server, count)| {
            (server.map_or_else(|| "none".to_owned(), |server| server.to_string()), json!(count))
        });
        let micros = self.histograms().map(|(name, times)| (name.to_owned(), micros(times)));
        json!({
            "command": "bench",
            "connections": args.connections,
            "servers": servers.collect::<serde_json::Map<_, _>>(),
            "in_flight": args.in_flight,
            "read_percent": args.read_percent,
            "keys": args.keys,
            "value_size": args.value_size,
            "seconds": self.time.as_secs_f64(),
            "requests_per_second": per_second(self.all.len(), self.time),
            "found": self.tally.found,
            "not_done": self.tally.not_done,
            "unknown": self.tally.unknown,
            "first_error": self.tally.first_error.as_ref().map(ToString::to_string),
            "micros": micros.into_iter().collect::<serde_json::Map<_, _>>(),
        })
        .to_string()
    }

    fn histograms(&self) -> [(&'static str, &Histogram<u64>); 3] {
        [("reads", &self.tally.reads), ("puts", &self.tally.puts), ("all", &self.all)]
    }

    fn servers_text(&self) -> String {
        let parts = self.servers.iter().map(|(server, count)| match server {
            Some(server) => format!("{count} to server {server}"),
            None => format!("{count} to none"),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

fn micros(times: &Histogram<u64>) -> Json {
    let mut object = serde_json::Map::new();
    object.insert("count".to_owned(), json!(times.len()));
    for (name, quantile) in QUANTILES {
        object.insert((*name).to_owned(), json!(times.value_at_quantile(*quantile)));
    }
    object.insert("max".to_owned(), json!(times.max()));
    Json::Object(object)
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

const QUANTILES: &[(&str, f64)] = &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
