//! How servers are, in words.

use std::fmt::Write;

use kv_core::{NodeId, PeerLag, Role, Status};
use kv_proto::id_ranges;

use super::exit::ExitStatus;
use crate::commands::words::as_line;

/// The engine in which peers lag by writes and not by entries of a log.
const EVENTUAL: &str = "eventual";

/// What a server does for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    All,
    ReadsOnly,
    None,
}

/// How each of several servers is.
pub(crate) struct Health {
    pub(crate) servers: Vec<ServerHealth>,
    /// Whether a server that serves reads alone counts as serving.
    pub(crate) reads: bool,
}

/// How one of them is.
pub(crate) struct ServerHealth {
    pub(crate) server: NodeId,
    pub(crate) address: String,
    /// Its own words, or why there are none.
    pub(crate) answer: Result<Box<Status>, String>,
}

impl Service {
    pub(crate) fn of(status: &Status) -> Self {
        match &status.waiting {
            None => Self::All,
            Some(waiting) if waiting.serves_reads() => Self::ReadsOnly,
            Some(_) => Self::None,
        }
    }

    pub(crate) const fn has_reads(self) -> bool {
        matches!(self, Self::All | Self::ReadsOnly)
    }

    pub(crate) const fn has_writes(self) -> bool {
        matches!(self, Self::All)
    }

    pub(crate) const fn exit_status(self) -> ExitStatus {
        match self {
            Self::All => ExitStatus::Done,
            Self::ReadsOnly => ExitStatus::NotDone,
            Self::None => ExitStatus::Unclear,
        }
    }
}

impl Health {
    /// How many serve.
    pub(crate) fn serving(&self) -> usize {
        let serves = |one: &&ServerHealth| match self.reads {
            true => one.service().has_reads(),
            false => one.service().has_writes(),
        };
        self.servers.iter().filter(serves).count()
    }

    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self.serving() {
            0 => ExitStatus::Unclear,
            count if count == self.servers.len() => ExitStatus::Done,
            _ => ExitStatus::NotDone,
        }
    }

    /// All in one sentence.
    pub(crate) fn verdict(&self) -> String {
        let what = if self.reads { "reads" } else { "reads and writes" };
        match self.servers.as_slice() {
            [one] if self.serving() == 1 => format!("server {} serves {what}", one.server),
            [one] => format!("server {} does not serve {what}", one.server),
            all => format!("{} of {} servers serve {what}", self.serving(), all.len()),
        }
    }

    /// The verdict and a line for each server.
    pub(crate) fn text(&self) -> String {
        let mut rows = vec![["server", "address", "serves", ""].map(ToOwned::to_owned)];
        rows.extend(self.servers.iter().map(|one| {
            let serves = match one.service() {
                Service::All => "reads and writes",
                Service::ReadsOnly => "reads",
                Service::None => "nothing",
            };
            [one.server.to_string(), one.address.clone(), serves.to_owned(), one.remark()]
        }));
        format!("{}\n{}", self.verdict(), table(&rows))
    }
}

impl ServerHealth {
    pub(crate) fn service(&self) -> Service {
        self.answer.as_ref().map_or(Service::None, |status| Service::of(status))
    }

    /// Why it does not serve; its role if it does.
    pub(crate) fn remark(&self) -> String {
        match &self.answer {
            Ok(status) => {
                let waiting = status.waiting.map(|waiting| waiting.to_string());
                waiting.unwrap_or_else(|| status.role.to_string())
            }
            Err(why) => why.clone(),
        }
    }
}

/// The verdict, and what is known of each server of the cluster; with all counters if asked for.
pub(crate) fn status_text(status: &Status, all: bool) -> String {
    let cluster = &status.cluster;
    let id = status.cluster_id.map_or_else(String::new, |id| format!(", cluster {:016x}", id.0));
    let mut text = format!(
        "{}\n  {} engine, W={} R={}, configuration {}{id}",
        verdict(status),
        as_line(status.engine.as_bytes()),
        cluster.write_quorum(),
        cluster.read_quorum(),
        cluster.version(),
    );
    if let Some(keys) = status.positions.keys {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {}", super::text::keys(keys));
    }
    if let Some(outlook) = status.outlook() {
        let held = status.cluster.write_quorum();
        let held = if held == 1 { "1 server".to_owned() } else { format!("{held} servers") };
        let _ = write!(text, "\n  acknowledged writes are on {held} or more; {outlook}");
    }
    let rows =
        cluster.voters().iter().map(|server| [server.to_string(), of_server(status, *server)]);
    let heading = ["server", "state"].map(ToOwned::to_owned);
    let rows: Vec<[String; 2]> = std::iter::once(heading).chain(rows).collect();
    let _ = write!(text, "\n{}", table(&rows));
    if !all {
        text.push_str("\n`status --all` shows the counters");
        return text;
    }
    for (name, value) in status.figures() {
        let _ = write!(text, "\n{name}: {value}");
    }
    text
}

fn verdict(status: &Status) -> String {
    let node = status.node;
    match (Service::of(status), &status.waiting) {
        (Service::None, Some(waiting)) => format!("server {node} does not serve: {waiting}"),
        (Service::ReadsOnly, Some(waiting)) => {
            format!("server {node} serves reads and takes no writes: {waiting}")
        }
        (Service::All | Service::ReadsOnly | Service::None, _) => {
            let peers = status.cluster.peers_of(node);
            let missing: Vec<NodeId> =
                peers.filter(|peer| !status.connected.contains(peer)).collect();
            let missing = match missing.as_slice() {
                [] => String::new(),
                [one] => format!("; server {one} is not connected to it"),
                several => format!("; servers {} are not connected to it", id_ranges(several)),
            };
            format!("server {node} serves reads and writes{missing}")
        }
    }
}

/// What a server says of itself, or of another one.
fn of_server(status: &Status, server: NodeId) -> String {
    let round = status.positions.epoch_round;
    let epoch = round.map_or_else(String::new, |round| format!(" in epoch {round}"));
    if server == status.node {
        let (role, incarnation) = (status.role, status.incarnation);
        let epoch = if role == Role::Sequencer { epoch } else { String::new() };
        return format!("this server: {role}{epoch}, incarnation {incarnation}");
    }
    let lag = |lag: &&PeerLag| lag.peer == server;
    let is_eventual = status.engine == EVENTUAL;
    let behind = match status.lags.iter().find(lag).map(|lag| lag.entries) {
        None => String::new(),
        Some(0) if is_eventual => ", lacks nothing".to_owned(),
        Some(1) if is_eventual => ", lacks 1 write".to_owned(),
        Some(writes) if is_eventual => format!(", lacks {writes} writes"),
        Some(0) => ", has the whole log".to_owned(),
        Some(1) => ", 1 log entry behind".to_owned(),
        Some(entries) => format!(", {entries} log entries behind"),
    };
    if !status.connected.contains(&server) {
        return format!("not connected{behind}");
    }
    let leads = status.role == Role::Follower && status.last_sequencer() == Some(server);
    let role = if leads { format!(", the sequencer{epoch}") } else { String::new() };
    format!("connected{role}{behind}")
}

/// Rows of cells in columns, without spaces at the ends of lines.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, cell)| format!("  {cell:<0$}", width(column)));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
