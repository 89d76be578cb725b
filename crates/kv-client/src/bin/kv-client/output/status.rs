//! How servers are, in words.

use std::collections::BTreeSet;
use std::fmt::Write;

use kv_core::{NodeId, PeerLag, Role, Status};
use kv_proto::id_ranges;

use super::exit::ExitStatus;
use crate::commands::words::as_line;

/// The engine in which peers lag by writes and not by entries of a log.
const EVENTUAL: &str = "eventual";

/// Clocks that are off by less than a second are as they should be.
const CLOCK_OFF_MS_MIN: u64 = 1_000;

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
    for line in [refused(status), deletes(status), clock(status)].into_iter().flatten() {
        let _ = write!(text, "\n  {line}");
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

/// That servers which are connected are no members all the same.
fn refused(status: &Status) -> Option<String> {
    let what = match status.peers_refused() {
        0 => return None,
        1 => "1 connected server holds data of another cluster, or has another server list, W or R, and \
              counts"
            .to_owned(),
        count => format!(
            "{count} connected servers hold data of another cluster, or have another server list, W \
             or R, and count"
        ),
    };
    Some(format!("{what} for nothing here: see `health`"))
}

/// How many deletes are remembered, and which servers are in the way of forgetting them.
fn deletes(status: &Status) -> Option<String> {
    let deletes = status.positions.tombstones.filter(|deletes| *deletes > 0)?;
    let lacking = status.lags.iter().filter(|lag| lag.entries > 0).map(|lag| lag.peer);
    let away = status.lags.iter().map(|lag| lag.peer);
    let away = away.filter(|peer| !status.connected.contains(peer));
    let in_the_way: BTreeSet<NodeId> = lacking.chain(away).collect();
    let in_the_way: Vec<NodeId> = in_the_way.into_iter().collect();
    let deletes = match deletes {
        1 => "1 delete is".to_owned(),
        deletes => format!("{deletes} deletes are"),
    };
    Some(match in_the_way.as_slice() {
        [] => format!("{deletes} remembered until all servers have had that for a while"),
        [one] => format!("{deletes} remembered until server {one} is known to have that, too"),
        several => {
            let several = id_ranges(several);
            format!("{deletes} remembered until servers {several} are known to have that, too")
        }
    })
}

/// By how much its clock is off, if that is worth a line.
fn clock(status: &Status) -> Option<String> {
    let at = &status.positions;
    let off = |ms: Option<u64>, how| Some((ms.filter(|ms| *ms >= CLOCK_OFF_MS_MIN)?, how));
    let (ms, how) =
        off(at.clock_ahead_ms, "ahead of").or_else(|| off(at.clock_behind_ms, "behind"))?;
    let (seconds, tenths) = (ms / 1_000, ms % 1_000 / 100);
    Some(format!("its clock is {seconds}.{tenths} s {how} those of the other servers"))
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

#[cfg(test)]
mod tests {
    use kv_core::{ClusterConfig, Incarnation, Positions, Quorum};

    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn status(positions: Positions, connected: &[u16], lags: &[(u16, u64)]) -> Status {
        let quorum = Quorum::Count(2);
        Status {
            engine: EVENTUAL.to_owned(),
            node: node(1),
            incarnation: Incarnation::following(Incarnation::UNKNOWN, 7),
            cluster_id: None,
            cluster: ClusterConfig::new((1..=3).map(node), quorum, quorum).unwrap(),
            role: Role::Coordinator,
            connected: connected.iter().copied().map(node).collect(),
            waiting: None,
            positions,
            lags: lags
                .iter()
                .map(|&(peer, entries)| PeerLag { peer: node(peer), entries })
                .collect(),
            counters: Vec::new(),
        }
    }

    #[test]
    fn an_eventual_server_says_what_each_lacks_and_who_keeps_deletes_from_being_forgotten() {
        let positions = Positions {
            keys: Some(5),
            tombstones: Some(2),
            clock_behind_ms: Some(3_250),
            ..Positions::default()
        };
        let text = status_text(&status(positions, &[2], &[(2, 0), (3, 12)]), false);
        for line in [
            "acknowledged writes are on 2 servers or more; the loss of one more server stops the \
             cluster until 2 servers are up again",
            "2 deletes are remembered until server 3 is known to have that, too",
            "its clock is 3.2 s behind those of the other servers",
            "connected, lacks nothing",
            "not connected, lacks 12 writes",
        ] {
            assert!(text.contains(line), "no `{line}` in:\n{text}");
        }
    }

    #[test]
    fn a_server_of_another_cluster_that_is_connected_is_not_counted_on() {
        let mut status = status(Positions::default(), &[2, 3], &[]);
        status.counters.push((kv_core::Counter::PeersRefused, 1));
        let text = status_text(&status, false);
        for line in [
            "the loss of one more server stops the cluster until 2 servers are up again",
            "1 connected server holds data of another cluster, or has another server list, W or R, \
             and counts for nothing here: see `health`",
        ] {
            assert!(text.contains(line), "no `{line}` in:\n{text}");
        }
        status.counters = vec![(kv_core::Counter::PeersRefused, 2)];
        let line = refused(&status).unwrap();
        assert!(line.starts_with("2 connected servers hold data of another cluster"), "{line}");
    }

    #[test]
    fn what_needs_no_attention_has_no_line() {
        let positions = Positions { clock_ahead_ms: Some(999), ..Positions::default() };
        let all_well = status(positions, &[2, 3], &[(2, 0), (3, 0)]);
        assert_eq!((deletes(&all_well), clock(&all_well), refused(&all_well)), (None, None, None));
        let some = Positions { tombstones: Some(1), ..Positions::default() };
        let some = status(some, &[2, 3], &[(2, 0), (3, 0)]);
        assert_eq!(
            deletes(&some).unwrap(),
            "1 delete is remembered until all servers have had that for a while"
        );
        let away = Positions { tombstones: Some(1), ..Positions::default() };
        let away = status(away, &[], &[(2, 0), (3, 4)]);
        assert_eq!(
            deletes(&away).unwrap(),
            "1 delete is remembered until servers 2-3 are known to have that, too"
        );
    }
}
