//! What the server says on its standard output and standard error.

mod found;
pub(crate) mod hints;
pub(crate) mod options;
mod printer;
mod start;
mod wrapping;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_core::{NodeId, Page, PeerLag, Status};
use kv_proto::{as_word, in_quotes};
use kv_server::{FoundData, RecoveryProgress, ServerConfig, StartError};

pub(crate) use found::counted;
use printer::Printer;
use start::{cluster_start_text, start_text};
use wrapping::wrapped;

/// Shows what has been started.
pub(crate) fn show_start(
    config: &ServerConfig,
    address: SocketAddr,
    resp: Option<SocketAddr>,
    found: Option<&FoundData>,
) -> Result<(), StartError> {
    let cluster = config.cluster()?;
    let text = start_text(config, &cluster, address, resp, found);
    say(format_args!("{}", for_terminal(text)));
    Ok(())
}

/// Shows what `kv-server dev` has started.
pub(crate) fn show_cluster_start(
    servers: &[&ServerConfig],
    resp: &[SocketAddr],
    found: &[&FoundData],
) -> Result<(), StartError> {
    let Some(first) = servers.first() else {
        return Ok(());
    };
    say(format_args!("{}", for_terminal(cluster_start_text(first, servers, resp, found)?)));
    Ok(())
}

/// A start screen as wide as the terminal at most; as it is, if there is no terminal.
fn for_terminal(text: String) -> String {
    let stdout = io::stdout();
    let columns = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col);
    let columns = stdout.is_terminal().then(columns).flatten().filter(|columns| *columns > 0);
    columns.map_or_else(|| text.clone(), |columns| wrapped(&text, usize::from(columns)))
}

/// Shows how far a server has come that reads its data directory for long.
pub(crate) fn show_recovery(progress: &RecoveryProgress) {
    let RecoveryProgress { directory, items, records } = progress;
    let (items, records) = (counted(*items, "key"), counted(*records, "record"));
    say(format_args!("reading {}: {items} and {records} so far", directory.display()));
}

/// Prints a page of what the server holds, as the client shows it.
///
/// It waits until it can be printed.
pub(crate) fn show_dump_page(page: &Page) {
    OUT.put(dump_page_text(page).into_bytes());
}

/// The same for one of several servers of this process.
pub(crate) fn show_dump_page_of(node: NodeId, page: &Page) {
    OUT.put(format!("server {node} holds:\n{}", dump_page_text(page)).into_bytes());
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
        (Some(_), _) => "...\n",
        (None, true) => "(end of dump: nothing)\n",
        (None, false) => "(end of dump)\n",
    });
    text
}

/// Prints how the server is.
pub(crate) fn show_status(status: &Status) {
    let connected: Vec<String> = status.connected.iter().map(ToString::to_string).collect();
    let waiting = status.waiting.map_or_else(|| "ready".to_owned(), |what| what.to_string());
    let mut text = format!(
        "server {} ({}, {}), {}\n  {waiting}\n  connected to: {}",
        status.node,
        status.engine,
        status.role,
        status.cluster,
        if connected.is_empty() { "no other server".to_owned() } else { connected.join(" ") },
    );
    if let Some(outlook) = status.outlook() {
        text.push_str(&format!("\n  {outlook}"));
    }
    if let Some(cluster) = status.cluster_id {
        text.push_str(&format!("\n  cluster: {:016x}", cluster.0));
    }
    let lag = |PeerLag { peer, entries }: &PeerLag| format!("server {peer} by {entries}");
    let lags: Vec<String> = status.lags.iter().map(lag).collect();
    if !lags.is_empty() {
        text.push_str(&format!("\n  behind in the log: {}", lags.join(", ")));
    }
    for (name, value) in status.figures() {
        text.push_str(&format!("\n  {name}: {value}"));
    }
    say(format_args!("{text}"));
}

/// Prints a line on standard output, or on standard error where that is for data. A server whose
/// output cannot be written goes on.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    if STDOUT_IS_FOR_DATA.load(Ordering::Relaxed) {
        complain(text);
    } else {
        print(format!("{text}\n").as_bytes());
    }
}

/// From here on nothing is said on the standard output.
pub(crate) fn keep_stdout_for_data() {
    STDOUT_IS_FOR_DATA.store(true, Ordering::Relaxed);
}

static STDOUT_IS_FOR_DATA: AtomicBool = AtomicBool::new(false);

/// Prints bytes as they are on standard output.
pub(crate) fn print(bytes: &[u8]) {
    OUT.offer(bytes);
}

/// Prints what went wrong on standard error.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    LOG.offer(format!("kv-server: {text}\n").as_bytes());
}

/// From here on a server prints without waiting for whoever is to read it.
pub(crate) fn start_printing() {
    if let Err(error) = OUT.start().and_then(|()| LOG.start()) {
        complain(format_args!("it will wait for whoever reads what it prints: {error}"));
    }
}

/// Gives what was printed last some time to be read.
pub(crate) fn finish_printing() {
    OUT.finish(LAST_WORDS_MAX);
    LOG.finish(LAST_WORDS_MAX);
}

/// Takes the lines that a server logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.offer(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_out(bytes: &[u8]) {
    // A failure has been reported, and shows in the exit code of a tool.
    let _ = kv_cli::output::write(bytes);
}

fn write_log(bytes: &[u8]) {
    // There is nowhere to report it.
    let _ = io::stderr().write_all(bytes);
}

static OUT: Printer = Printer::new(write_out);
static LOG: Printer = Printer::new(write_log);

/// How long a server waits at its end for whoever is to read its last words.
const LAST_WORDS_MAX: Duration = Duration::from_millis(500);
