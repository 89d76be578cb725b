//! The session at a terminal that can move its cursor.

use std::path::PathBuf;

use crate::fake::program::run_lines;
use crate::fake::tmux::{Tmux, program};
use crate::fake::{
    self, DeadServer, FakeConnection, FakeServer, found, get, incr, key, put, store,
};
use kv_core::Operation;
use kv_proto::{Request, RequestBody};

const PROMPT: &str = "kv 2 fake W=2 R=2>";

/// A folder that no other test has.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A session at its prompt, and all that its server is asked, which keeps keys; `None` where there
/// is no terminal.
async fn session_with_store() -> Option<(Tmux, store::Log)> {
    if !fake::tmux::is_there() {
        return None;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let terminal = Tmux::start([at], "KV_HISTORY=off", "2");
    terminal.expect_last(PROMPT);
    Some((terminal, log))
}

/// A session at its prompt, and its connection, at whose other end the test is; `None` where there
/// is no terminal.
async fn session_with_test() -> Option<(Tmux, FakeConnection)> {
    if !fake::tmux::is_there() {
        return None;
    }
    let server = FakeServer::start(2).await;
    let terminal = Tmux::start([server.entry()], "KV_HISTORY=off", "2");
    let mut connection = server.accept().await;
    connection.stay_alive();
    terminal.expect_last(PROMPT);
    Some((terminal, connection))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_keys_are_completed_and_hints_shown() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    run_lines(&at, &[], b"put banana yellow\n").await;
    let terminal = Tmux::start([at], "KV_HISTORY=off", "2");
    terminal.expect("connected to server 2 (fake, servers 1-3, W=2 R=2)");
    terminal.expect_last(PROMPT);
    terminal.type_text("pu");
    terminal.press(&["Tab"]);
    terminal.expect_last(&format!("{PROMPT} put KEY VALUE [--w N|majority|all]"));
    terminal.type_line("apple red");
    terminal.expect("ok  (version 2, 2 servers, ");
    terminal.expect_last(PROMPT);
    terminal.type_text("get ap");
    terminal.complete(&format!("{PROMPT} get apple"));
    terminal.press(&["Enter"]);
    terminal.expect("\"red\"  (version 2, 2 servers, ");
    terminal.expect_last(PROMPT);
    // This session has not met the key: the server is asked.
    terminal.type_text("get b");
    terminal.complete(&format!("{PROMPT} get banana"));
    terminal.press(&["Enter"]);
    terminal.expect("\"yellow\"  (version 1, 2 servers, ");
    terminal.expect_last(PROMPT);
    terminal.press(&["C-d"]);
    terminal.expect_end();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_outlives_the_session_and_can_be_searched() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let home = folder("shell-history");
    let environment = format!("HOME={}", home.display());
    let terminal = Tmux::start([at.clone()], &environment, "2");
    terminal.expect_last(PROMPT);
    for line in ["put first 1", " put unseen 2", "get second"] {
        terminal.type_line(line);
        terminal.expect_last(PROMPT);
    }
    terminal.press(&["Up"]);
    terminal.expect_last(&format!("{PROMPT} get second"));
    terminal.press(&["C-c"]);
    terminal.expect_last(PROMPT);
    terminal.type_line("exit");
    terminal.expect_end();
    let path = home.join(".local/state/kv/client_history");
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(kept, "#V2\nput first 1\nget second\nexit\n");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");

    let terminal = Tmux::start([at], &environment, "2");
    terminal.expect_last(PROMPT);
    terminal.press(&["C-r"]);
    terminal.type_text("fir");
    terminal.expect_last("(reverse-i-search)`fir': put first 1");
    terminal.press(&["Enter"]);
    terminal.expect("ok  (version 3, 2 servers, ");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_request_or_the_line_and_never_the_session() {
    let Some((terminal, mut connection)) = session_with_test().await else {
        return;
    };
    terminal.type_line("get x");
    let id = connection.expect(&get("x")).await;
    terminal.press(&["C-c"]);
    let cancel = connection.request().await;
    assert_eq!((cancel.id, cancel.body), (id, RequestBody::Cancel));
    terminal.expect("interrupted");
    terminal.expect_last(PROMPT);
    terminal.type_text("get half");
    terminal.expect_last(&format!("{PROMPT} get half"));
    terminal.press(&["C-c"]);
    terminal.expect_last(PROMPT);
    terminal.press(&["C-c"]);
    terminal.expect("Ctrl-D or `exit` leaves");
    terminal.expect_last(PROMPT);
    terminal.type_line("get y");
    connection.expect(&get("y")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_told_above_the_line_that_is_typed() {
    if !fake::tmux::is_there() {
        return;
    }
    let (two, three) = (FakeServer::start(2).await, FakeServer::start(3).await);
    let terminal = Tmux::start([two.entry(), three.entry()], "KV_HISTORY=off", "3");
    let connection = three.accept().await;
    terminal.expect_last("kv 3 fake W=2 R=2>");
    terminal.type_text("get half");
    terminal.expect_last("kv 3 fake W=2 R=2> get half");
    drop(connection);
    let mut connection = two.accept().await;
    terminal.expect_last("kv 2 fake W=2 R=2> get half");
    let screen = terminal.screen();
    let mut last = screen.lines().rev().filter(|line| !line.is_empty());
    last.next();
    let told = "server 3 is lost (connection closed); connected to server 2 (fake, ";
    assert!(last.next().is_some_and(|line| line.starts_with(told)), "{screen}");
    terminal.press(&["Enter"]);
    connection.expect(&get("half")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_typed_during_a_delay_run_afterwards_above_the_line_that_is_typed() {
    let Some((terminal, _log)) = session_with_store().await else {
        return;
    };
    terminal.type_line("delay 4000");
    terminal.expect("pausing for 4s");
    terminal.type_line("incr n");
    terminal.expect("1 line waits");
    terminal.type_line("incr n 5");
    terminal.expect("2 lines wait");
    terminal.type_text("incr");
    terminal.expect("6  (version 2, 2 servers, ");
    terminal.expect_last(&format!("{PROMPT} incr"));
    terminal.type_line(" n 10");
    terminal.expect("16  (version 3, 2 servers, ");
    terminal.expect_last(PROMPT);
}

/// Every line was run once, in order, and is shown once with what it brought.
fn assert_transcript(screen: &str, expected: &[&str]) {
    let lines: Vec<&str> = screen.lines().filter(|line| !line.is_empty()).collect();
    // What is in brackets after a result is not always the same.
    let lines: Vec<&str> = lines.iter().map(|line| line.split("  (").next().unwrap()).collect();
    assert_eq!(lines, expected, "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_typed_ahead_run_once_each_in_order() {
    let Some((terminal, log)) = session_with_store().await else {
        return;
    };
    terminal.type_ahead("put x 1\rget x\rincr x\rget nothing\rfrobnicate\rdelete x\rexit\rget y\r");
    terminal.expect_end();
    let screen = terminal.screen();
    let mut rest = screen.as_str();
    for result in ["ok  (", "\"1\"  (", "2  (", "(not found)  (", "unknown command", "ok  ("] {
        let (_, after) =
            rest.split_once(&format!("\n{result}")).unwrap_or_else(|| panic!("{screen}"));
        rest = after;
    }
    let asked: Vec<Operation> = log.lock().unwrap().iter().map(|(op, _)| op.clone()).collect();
    let delete = Operation::delete(key("x"));
    assert_eq!(asked, [put("x", "1"), get("x"), incr("x"), get("nothing"), delete]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_typed_while_a_request_takes_long_run_once_each_in_order() {
    let Some((terminal, mut connection)) = session_with_test().await else {
        return;
    };
    terminal.type_line("get first");
    let first = connection.expect(&get("first")).await;
    terminal.type_text("get second");
    terminal.expect_last(&format!("{PROMPT} get second"));
    terminal.type_ahead("\rget third\rget half");
    terminal.expect_last(&format!("{PROMPT} get half"));
    connection.answer(first, found("1")).await;
    let second = connection.expect(&get("second")).await;
    connection.answer(second, found("2")).await;
    let third = connection.expect(&get("third")).await;
    connection.answer(third, found("3")).await;
    terminal.expect("\"3\"  (");
    terminal.expect_last(&format!("{PROMPT} get half"));
    assert_transcript(
        &terminal.screen(),
        &[
            "connected to server 2 (fake, servers 1-3, W=2 R=2)",
            &format!("{PROMPT} get first"),
            &format!("{PROMPT} get second"),
            &format!("{PROMPT} get third"),
            "\"1\"",
            &format!("{PROMPT} get second"),
            "\"2\"",
            &format!("{PROMPT} get third"),
            "\"3\"",
            &format!("{PROMPT} get half"),
        ],
    );
    terminal.type_ahead("\x03get whole\r");
    connection.expect(&get("whole")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_while_nobody_reads_is_kept_whole_and_shown_once() {
    let Some((terminal, mut connection)) = session_with_test().await else {
        return;
    };
    terminal.type_line("dump");
    let dump = connection.request().await;
    // More than a terminal keeps of a line by itself.
    let long = "v".repeat(6000);
    terminal.type_line("get before");
    terminal.type_line(&format!("put long {long}"));
    let page = kv_core::Page { entries: Vec::new(), next: None };
    connection.answer(dump.id, fake::answered(kv_core::Answer::Page(page))).await;
    let get = connection.expect(&get("before")).await;
    terminal.expect("0 keys at server 2");
    assert_transcript(
        &terminal.screen(),
        &[
            "connected to server 2 (fake, servers 1-3, W=2 R=2)",
            &format!("{PROMPT} dump"),
            "0 keys at server 2",
            &format!("{PROMPT} get before"),
        ],
    );
    connection.answer(get, found("1")).await;
    connection.expect(&put("long", &long)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_typed_ahead_cancels_the_request_and_what_was_typed_before_it() {
    let Some((terminal, mut connection)) = session_with_test().await else {
        return;
    };
    terminal.type_ahead("get x\rput x 1\r\x03get y\r");
    let id = connection.expect(&get("x")).await;
    // A request may overtake what cancels another one.
    let both = [connection.request().await, connection.request().await];
    let cancel = both.iter().find(|request| request.body == RequestBody::Cancel).unwrap();
    assert_eq!(cancel.id, id);
    let is_y = |request: &Request| match &request.body {
        RequestBody::Execute { op, .. } => *op == get("y"),
        RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot => false,
    };
    assert_eq!(both.iter().filter(|request| is_y(request)).count(), 1, "{both:?}");
    terminal.expect("\ninterrupted; 1 waiting line dropped\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_lines_run_in_order_after_enter() {
    let Some((terminal, log)) = session_with_store().await else {
        return;
    };
    terminal.paste("put x 'a\tb'\nincr n\n\nincr n 5\n");
    terminal.expect("incr n 5");
    assert_eq!(log.lock().unwrap().len(), 0, "nothing runs before Enter");
    terminal.press(&["Enter"]);
    terminal.expect("ok  (");
    terminal.expect("\n1  (");
    terminal.expect("\n6  (");
    terminal.expect_last(PROMPT);
    assert_eq!(log.lock().unwrap().len(), 3);
    // Without marks around it a paste is typing.
    let lines: String = (0..300).map(|_| "incr n\r").collect();
    terminal.type_ahead(&lines);
    terminal.expect("\n306  (");
    terminal.expect_last(PROMPT);
    assert_eq!(log.lock().unwrap().len(), 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_ends_the_program_leaves_the_terminal_as_it_was() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let program = program([at.clone()], "KV_HISTORY=off TERM=screen", "2");
        let terminal = Tmux::run(&format!(
            "stty -echo; sh -c 'echo I am $$; exec env -i {program}'; echo code $?; \
             stty -a | tr ' ' '\\n' | grep -E '^-?(icanon|echo|isig|icrnl)$' | tr '\\n' ' '"
        ));
        terminal.expect_last(PROMPT);
        terminal.type_text("half");
        terminal.expect_last(&format!("{PROMPT} half"));
        let screen = terminal.screen();
        let id = screen.lines().find_map(|line| line.strip_prefix("I am ")).unwrap();
        let kill = format!("kill -{signal} {id}");
        let kill = std::process::Command::new("sh").arg("-c").arg(&kill).status();
        assert!(kill.unwrap().success());
        terminal.expect(&format!("half\ncode {code}\nicrnl isig icanon -echo"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_delay_and_drops_what_waits() {
    let Some((terminal, log)) = session_with_store().await else {
        return;
    };
    terminal.type_line("delay 1h");
    terminal.expect("pausing for 3600s");
    terminal.type_line("incr n");
    terminal.expect("1 line waits");
    terminal.press(&["C-c"]);
    terminal.expect("\ninterrupted; 1 waiting line dropped\n");
    terminal.expect_last(PROMPT);
    terminal.type_line("get n");
    terminal.expect("(not found)");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_that_a_request_was_not_sent() {
    if !fake::tmux::is_there() {
        return;
    }
    let dead = DeadServer::new(2);
    let terminal = Tmux::start([dead.entry()], "KV_HISTORY=off", "2");
    terminal.expect_last("kv (no server)>");
    terminal.type_ahead("put x 1 --timeout 1h\r\x03");
    terminal.expect("\ninterrupted; it was not sent, nothing was done\n");
    terminal.type_ahead("put x 1 --timeout 1h --json\r\x03");
    terminal.expect(r#"{"command":"put","effect":"none","elapsed_us":"#);
    terminal.expect(r#""outcome":"interrupted""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_as_before_when_the_session_ends_behind_a_typed_line() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let program = program([server.entry()], "KV_HISTORY=off TERM=screen", "2");
    let terminal = Tmux::run(&format!(
        "env -i {program}; stty -a | tr ' ' '\\n' | grep -E '^-?(icanon|echo|isig|icrnl)$'"
    ));
    let mut connection = server.accept().await;
    terminal.expect_last(PROMPT);
    terminal.type_line("get x");
    let id = connection.expect(&get("x")).await;
    terminal.type_ahead("exit\rhalf");
    terminal.expect_last(&format!("{PROMPT} half"));
    connection.answer(id, found("1")).await;
    terminal.expect_end();
    let screen = terminal.screen();
    assert!(screen.contains(&format!("\n{PROMPT} half\n")), "{screen}");
    assert!(screen.contains("\nicrnl\nisig\nicanon\necho\n"), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_can_be_switched_off() {
    if !fake::tmux::is_there() {
        return;
    }
    let at = DeadServer::new(2).entry();
    for (environment, expected) in [("KV_HISTORY=off", true), ("KV_HISTORY=off NO_COLOR=1", false)]
    {
        let terminal = Tmux::start([at.clone()], environment, "2");
        terminal.expect_last("kv (no server)>");
        terminal.type_line("frobnicate");
        terminal.expect("unknown command frobnicate");
        terminal.expect_last("kv (no server)>");
        let screen = terminal.coloured_screen();
        assert_eq!(screen.contains("\x1b[31munknown command"), expected, "{screen:?}");
        assert_eq!(screen.contains('\x1b'), expected, "{screen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_too_long_for_the_screen_goes_to_the_pager() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let pager = "KV_HISTORY=off KV_PAGER='tail -n 3'";
    let terminal = Tmux::start([at.clone()], pager, "2");
    terminal.expect_last(PROMPT);
    terminal.type_line("put k00 v");
    terminal.expect("ok  (version 1");
    terminal.type_line("dump");
    terminal.expect("1 key at server 2");
    let lines: String = (1..40).map(|number| format!("put k{number:02} v\n")).collect();
    run_lines(&at, &[], lines.as_bytes()).await;
    terminal.type_line("dump");
    terminal.expect("k38 = \"v\" (version 39)\nk39 = \"v\" (version 40)\n40 keys at server 2");
    terminal.expect_last(PROMPT);
    assert!(!terminal.screen().contains("k37"), "the pager does not show it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dumb_terminal_and_who_asks_for_it_get_the_plain_prompt() {
    if !fake::tmux::is_there() {
        return;
    }
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for (environment, args) in
        [("TERM=dumb", "2"), ("TERM=screen", "--plain 2"), ("KV_PLAIN=1", "2")]
    {
        let terminal = Tmux::start([at.clone()], environment, args);
        terminal.expect_last("kv 2>");
        terminal.type_line("incr n");
        terminal.expect("  (version ");
        let screen = terminal.coloured_screen();
        assert!(!screen.contains('\x1b'), "{environment}: {screen:?}");
    }
}
