//! What the server says on its standard output and standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;

use kv_core::{ClusterConfig, NodeId, Page, Status};
use kv_proto::{as_word, in_quotes};
use kv_server::{
    Consistency, FoundData, RecoveryProgress, ServerConfig, StartError, SyncPolicy, promises,
};

use crate::{dev, hints};

/// Shows what has been started.
pub(crate) fn show_start(
    config: &ServerConfig,
    address: SocketAddr,
    found: Option<&FoundData>,
) -> Result<(), StartError> {
    let cluster = config.cluster()?;
    say(format_args!("{}", start_text(config, &cluster, address, found)));
    Ok(())
}

fn start_text(
    config: &ServerConfig,
    cluster: &ClusterConfig,
    address: SocketAddr,
    found: Option<&FoundData>,
) -> String {
    let node = config.node;
    let peers = peers_text(config, cluster);
    let mut rows = vec![("listens on", address.to_string()), ("peers", peers)];
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

/// The other servers: many at their usual addresses in short, otherwise each with its own.
fn peers_text(config: &ServerConfig, cluster: &ClusterConfig) -> String {
    let peers: Vec<NodeId> = cluster.peers_of(config.node).collect();
    let are_usual = hints::servers_option(config).is_none_or(|list| !list.contains('='));
    if peers.len() > PEERS_IN_FULL && are_usual {
        let ids = hints::id_ranges(&peers).replace(' ', ", ");
        return format!("{ids} at 127.0.0.1, ports 4960 + id; start as many of them as you like");
    }
    let address = |peer| config.servers.address(peer).unwrap_or("?");
    let peers: Vec<String> =
        peers.into_iter().map(|peer| format!("{peer} at {}", address(peer))).collect();
    if peers.is_empty() { "none".to_owned() } else { peers.join(", ") }
}

/// From one more on, peers at their usual addresses are not listed one by one.
const PEERS_IN_FULL: usize = 3;

/// Shows what `kv-server dev` has started.
pub(crate) fn show_cluster_start(
    servers: &[&ServerConfig],
    found: &[&FoundData],
) -> Result<(), StartError> {
    let Some(first) = servers.first() else {
        return Ok(());
    };
    say(format_args!("{}", cluster_start_text(first, servers, found)?));
    Ok(())
}

fn cluster_start_text(
    first: &ServerConfig,
    servers: &[&ServerConfig],
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
        "kv-server {} | {} servers in this process | {} | W={} R={}",
        env!("CARGO_PKG_VERSION"),
        servers.len(),
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
    let fsync =
        config.data.as_ref().map(|data| ("fsync", fsync_text(data.sync, config.consistency)));
    [("means", means), ("data", data)].into_iter().chain(fsync).chain(delay)
}

fn data_text(found: &FoundData) -> String {
    let directory = found.directory.display();
    if found.is_new {
        return format!("{directory} (new)");
    }
    let (held, records) = (held_text(found), counted(found.records, "record"));
    let took = found.took.as_secs_f64();
    format!("{directory}: found {held}; {records} since the last checkpoint; read in {took:.2} s")
}

/// Where there is what a server does not go on with, how much, and what to do with it.
fn set_aside_text(found: &FoundData) -> Option<String> {
    let (last, older) = found.set_aside.split_last()?;
    let all_bytes: u64 = found.set_aside.iter().map(|one| one.bytes).sum();
    let named = older.iter().rev().take(OLDER_NAMED_MAX).map(|one| {
        let name = one.folder.file_name().unwrap_or_default().display();
        format!(", {name} ({})", mebibytes(one.bytes))
    });
    let named: String = named.collect();
    let unnamed = match older.len().saturating_sub(OLDER_NAMED_MAX) {
        0 => String::new(),
        count => format!(" and {count} older"),
    };
    let total = match older.len() {
        0 => String::new(),
        _ => format!(", {} in all", mebibytes(all_bytes)),
    };
    let (last, bytes) = (last.folder.display(), mebibytes(last.bytes));
    Some(format!(
        "{last} ({bytes}){named}{unnamed}{total}:{NEXT_ROW}what this server held before a loss of \
         power, which only you remove.{NEXT_ROW}`kv-server inspect {last}` shows it; `kv-server \
         backup {last} FILE` saves its keys;{NEXT_ROW}`rm -r {last}` once nobody needs it"
    ))
}

/// Of more folders than these the oldest are counted and not named.
const OLDER_NAMED_MAX: usize = 3;

/// `84.0 MiB`
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The data of all servers of a cluster.
fn cluster_data_text(first: &ServerConfig, found: &[&FoundData]) -> String {
    let Some(data) = &first.data else {
        return IN_MEMORY.to_owned();
    };
    let folder = data.folder.display();
    let anew = dev::to_begin_anew(&data.folder);
    if found.iter().all(|found| found.is_new) {
        return format!("{folder} (new); started again, the servers go on with it{NEXT_ROW}{anew}");
    }
    // A server that was behind when it stopped holds fewer.
    let most = found.iter().max_by_key(|found| found.keys);
    let held = most.map_or_else(String::new, |found| held_text(found));
    let took: f64 = found.iter().map(|found| found.took.as_secs_f64()).sum();
    format!("{folder}: found {held}; read in {took:.2} s{NEXT_ROW}{anew}")
}

fn held_text(found: &FoundData) -> String {
    let keys = counted(found.keys, "key");
    match found.unconfirmed {
        0 => keys,
        1 => format!("{keys} and 1 log entry to be confirmed"),
        count => format!("{keys} and {count} log entries to be confirmed"),
    }
}

/// `1 key`, `12,345 keys`
fn counted(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{text} {what}{plural}")
}

/// Shows how far a server has come that reads its data directory for long.
pub(crate) fn show_recovery(progress: &RecoveryProgress) {
    let RecoveryProgress { directory, items, records } = progress;
    let (items, records) = (counted(*items, "key"), counted(*records, "record"));
    say(format_args!("reading {}: {items} and {records} so far", directory.display()));
}

const IN_MEMORY: &str = "in memory: a server that stops forgets";

fn fsync_text(sync: SyncPolicy, consistency: Consistency) -> String {
    let when = match sync {
        SyncPolicy::Always => {
            return "always: what was acknowledged outlives a loss of power".to_owned();
        }
        SyncPolicy::Interval(interval) => format!("interval {} ms", interval.as_millis()),
        SyncPolicy::Never => "never".to_owned(),
    };
    let sequencer = match consistency {
        Consistency::Eventual => String::new(),
        Consistency::Linearizable => format!(
            ".{NEXT_ROW}A sequencer that starts empty serves nothing: all servers have to begin anew"
        ),
    };
    format!(
        "{when}: after a loss of power this server starts empty, without all its data.{NEXT_ROW}W-1 \
         other servers have what was acknowledged; if they lose power with it, it is{NEXT_ROW}gone \
         from all of them, but for the files, which are set aside{sequencer}"
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
const NEXT_ROW: &str = "\n               ";

/// Prints a page of what the server holds, as the client shows it.
pub(crate) fn show_dump_page(page: &Page) {
    say(format_args!("{}", dump_page_text(page)));
}

/// The same for one of several servers of this process.
pub(crate) fn show_dump_page_of(node: NodeId, page: &Page) {
    say(format_args!("server {node} holds:\n{}", dump_page_text(page)));
}

fn dump_page_text(page: &Page) -> String {
    let on_terminal = io::stdout().is_terminal();
    let mut text = String::new();
    for (key, held) in &page.entries {
        let (key, value) = (as_word(key.as_bytes()), held.value.as_bytes());
        let value = if on_terminal { in_quotes(value) } else { as_word(value) };
        text.push_str(&format!("{key} = {value} (version {})\n", held.version));
    }
    text.push_str(match (&page.next, page.entries.is_empty()) {
        (Some(_), _) => "...",
        (None, true) => "(end of dump: nothing)",
        (None, false) => "(end of dump)",
    });
    text
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

/// Prints bytes as they are on standard output.
pub(crate) fn print(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    // Nobody reads the rest any more; that is how pipes end.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints what went wrong on standard error.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "kv-server: {text}");
}

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
        let text = start_text(&config, &cluster, address, None);
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
        let text = start_text(&config, &cluster, address, Some(&found));
        assert!(text.contains("data         kv-data/1-eventual (new)"), "{text}");
        found = FoundData { is_new: false, keys: 1_234_567, records: 1, ..found };
        let text = start_text(&config, &cluster, address, Some(&found));
        let expected = "data         kv-data/1-eventual: found 1,234,567 keys; 1 record since the \
                        last checkpoint; read in 0.02 s";
        assert!(text.contains(expected), "{text}");
        found.unconfirmed = 1;
        let text = start_text(&config, &cluster, address, Some(&found));
        assert!(text.contains("1,234,567 keys and 1 log entry to be confirmed; 1 rec"), "{text}");
        assert!(text.contains("fsync        always: what was acknowledged outlives"), "{text}");
        assert!(!text.contains("set aside"), "{text}");
        found.set_aside = vec![SetAside { folder: "d/lost-1".into(), bytes: 22_020_096 }];
        config.data.as_mut().unwrap().sync = SyncPolicy::Interval(Duration::from_millis(50));
        let text = start_text(&config, &cluster, address, Some(&found));
        assert!(text.contains("set aside    d/lost-1 (21.0 MiB):"), "{text}");
        assert!(text.contains("`rm -r d/lost-1` once nobody needs it"), "{text}");
        let more = (2..=6).map(|number| SetAside {
            folder: format!("d/lost-{number}").into(),
            bytes: number << 17,
        });
        found.set_aside.extend(more);
        let text = start_text(&config, &cluster, address, Some(&found));
        let expected = "set aside    d/lost-6 (0.7 MiB), lost-5 (0.6 MiB), lost-4 (0.5 MiB), lost-3 \
                        (0.3 MiB) and 2 older, 23.5 MiB in all:";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("`rm -r d/lost-6` once nobody needs it"), "{text}");
        assert!(
            text.contains("interval 50 ms: after a loss of power this server starts"),
            "{text}"
        );
        config.servers = "1-10".parse().unwrap();
        let text = start_text(&config, &config.cluster().unwrap(), address, Some(&found));
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
        let text = cluster_start_text(&configs[0], &configs.each_ref(), &[]).unwrap();
        assert!(text.contains("3 servers in this process | linearizable | W=2 R=2"), "{text}");
        assert!(text.contains("server 3 at 127.0.0.1:4963"), "{text}");
        assert!(text.contains("kv-client 1 --servers 1-3"), "{text}");
        assert!(text.contains("delay        1-5 ms on each message"), "{text}");
    }
}
