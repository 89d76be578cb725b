//! The program in a real terminal, which tmux plays.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kv_core::NodeId;
use kv_proto::ServerList;

use super::SOON;

/// Whether tmux is there for the tests in a real terminal. Where it is not they are left out, which
/// is said, unless `KV_TEST_TERMINAL` is set: then tmux must be there.
#[allow(clippy::print_stderr, reason = "whoever runs the tests is told")]
pub fn is_there() -> bool {
    let Err(error) = Command::new("tmux").arg("-V").output() else {
        return true;
    };
    assert!(
        std::env::var_os("KV_TEST_TERMINAL").is_none(),
        "tmux is needed for this test: install it (apt-get install tmux): {error}"
    );
    eprintln!("LEFT OUT: this test needs tmux, which is not installed (apt-get install tmux)");
    false
}

/// A terminal of 100 columns and 30 rows; gone when it is dropped.
pub struct Tmux {
    socket: String,
}

impl Tmux {
    /// Runs the program with these servers, in an environment that has nothing else than this.
    pub fn start(
        servers: impl IntoIterator<Item = (NodeId, String)>,
        environment: &str,
        args: &str,
    ) -> Self {
        Self::run(&format!("env -i TERM=screen {}", program(servers, environment, args)))
    }

    /// Runs a line of a shell; what it shows stays when it has ended.
    pub fn run(line: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: format!("kv-test-{}-{number}", std::process::id()) };
        // A busy tmux now and then does not notice that a program has ended.
        let line = format!("{line}; echo \"ended with $?\"; exec sleep 600");
        let begin = ["new-session", "-d", "-x", "100", "-y", "30", &line];
        let config = ["-f", "/dev/null"];
        terminal.tmux(&[&config[..], &begin].concat());
        terminal
    }

    /// Types keys by tmux's names, such as `Enter` and `C-c`.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text as it is.
    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Types all of this at once, faster than anybody could: `\r` is Enter, `\x03` Ctrl-C.
    pub fn type_ahead(&self, keys: &str) {
        self.press_hex(keys.bytes());
    }

    /// Pastes text as a terminal does that tells the program where it begins and ends.
    pub fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", text]);
        self.tmux(&["paste-buffer", "-p"]);
    }

    fn press_hex(&self, bytes: impl Iterator<Item = u8>) {
        let codes: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
        self.tmux(&[&["send-keys", "-H"], &codes[..]].concat());
    }

    pub fn type_line(&self, text: &str) {
        self.type_text(text);
        self.press(&["Enter"]);
    }

    /// What is shown, without colours.
    pub fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// What is shown, with the escapes of colours.
    pub fn coloured_screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p", "-e"]).stdout).unwrap()
    }

    /// Waits until this is shown.
    pub fn expect(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    /// Waits until the last line that is not empty begins so.
    pub fn expect_last(&self, text: &str) {
        self.wait(text, is_last(text));
    }

    /// Waits until the program has ended with 0.
    pub fn expect_end(&self) {
        self.expect("\nended with 0\n");
    }

    /// Presses Tab until the last line begins so: on a busy machine the server does not always
    /// answer as soon as a person wants.
    pub fn complete(&self, text: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            self.press(&["Tab"]);
            match self.shows_within(Duration::from_secs(1), is_last(text)) {
                Ok(()) => return,
                Err(screen) => {
                    assert!(Instant::now() < deadline, "{text:?} is not shown, but:\n{screen}");
                }
            }
        }
    }

    fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
        if let Err(screen) = self.shows_within(SOON, holds) {
            panic!("{what:?} is not shown, but:\n{screen}");
        }
    }

    /// # Errors
    /// What is shown instead.
    fn shows_within(&self, time: Duration, holds: impl Fn(&str) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + time;
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(screen);
            }
            // Tmux tells nobody when the screen changes.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let output = Command::new("tmux").args(["-L", &self.socket]).args(args).output();
        let output = output.unwrap_or_else(|error| panic!("tmux does not start: {error}"));
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        output
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may never have begun.
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

/// Whether the last line that is not empty begins so.
fn is_last(text: &str) -> impl Fn(&str) -> bool {
    move |screen| {
        let last = screen.lines().rfind(|line| !line.is_empty());
        last.is_some_and(|line| line.starts_with(text))
    }
}

/// The program's line for a shell, to be run by `env`.
pub fn program(
    servers: impl IntoIterator<Item = (NodeId, String)>,
    environment: &str,
    args: &str,
) -> String {
    let servers = ServerList::new(servers).unwrap();
    let path = std::env::var("PATH").unwrap();
    let program = env!("CARGO_BIN_EXE_kv-client");
    format!("PATH={path} {environment} {program} --servers {servers} {args}")
}
