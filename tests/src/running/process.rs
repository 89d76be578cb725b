//! One running program.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::running::transcript::{Stream, Transcript};

/// How long a test waits for what must come. Only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program. All that it says is kept, and shown when the test fails; it is killed when
/// this is dropped.
///
/// Each of the waiting methods goes on where the last one for the same output has found its line.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    transcript: Transcript,
    seen_out: usize,
    seen_err: usize,
}

impl Process {
    /// Starts a program; `name` stands for it in what a failing test shows. With a pipe as `stdin`
    /// lines can be typed.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: String, mut command: Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let transcript = Transcript::default();
        transcript.take_down(Stream::Out, child.stdout.take().expect("stdout is a pipe"));
        transcript.take_down(Stream::Err, child.stderr.take().expect("stderr is a pipe"));
        let stdin = child.stdin.take();
        Self { name, child, stdin, transcript, seen_out: 0, seen_err: 0 }
    }

    /// Waits for a line on standard output that contains `text`, and returns the line.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_within(text, PATIENCE)
    }

    /// Like [`Process::wait_for`], with a bound of the caller's.
    ///
    /// # Panics
    /// If the line does not come.
    pub fn wait_for_within(&mut self, text: &str, within: Duration) -> String {
        let (place, line) = self.find(Stream::Out, self.seen_out, text, within);
        self.seen_out = place + 1;
        line
    }

    /// Waits for a line on standard error that contains `text`, and returns the line.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_error(&mut self, text: &str) -> String {
        let (place, line) = self.find(Stream::Err, self.seen_err, text, PATIENCE);
        self.seen_err = place + 1;
        line
    }

    /// The process' id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All lines of one output so far.
    #[must_use]
    pub fn lines(&self, stream: Stream) -> Vec<String> {
        self.transcript.lines(stream)
    }

    /// Types a line.
    ///
    /// # Panics
    /// If nobody reads it.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the standard input is open");
        let written = stdin.write_all(format!("{line}\n").as_bytes());
        written.unwrap_or_else(|error| panic!("{error}; {}", self.report()));
    }

    /// Ends what is typed, as Ctrl-D does.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Kills it as `kill -9` does, and waits until it is dead.
    ///
    /// # Panics
    /// If it is dead already: it was to be killed alive.
    pub fn kill(&mut self) {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "it ended by itself: {}", self.report());
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends it SIGTERM, as `kill` does.
    ///
    /// # Panics
    /// If it is dead already.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it SIGINT, as Ctrl-C does.
    ///
    /// # Panics
    /// If it is dead already.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends it SIGHUP, as a terminal that closes does.
    ///
    /// # Panics
    /// If it is dead already.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops it where it is, and waits until it stands still: its connections stand, but it does
    /// nothing any more. It can still be killed.
    ///
    /// # Panics
    /// If it is dead already.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // Its end stays to be waited for, should it end instead.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&self.child)), stopped)
            .unwrap_or_else(|error| panic!("{error}; {}", self.report()));
    }

    /// Lets it go on after [`Process::freeze`].
    ///
    /// # Panics
    /// If it is dead already.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended and all that it said has been taken down.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.transcript.wait_for(0, PATIENCE, |_, _| false);
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end: {}", self.report());
            pause();
        }
    }

    /// Waits until it has ended; returns its exit code, `None` if a signal ended it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.wait_for_exit().code()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Its name and all that it has said, for a failing test.
    #[must_use]
    pub fn report(&self) -> String {
        format!("`{}` said:\n{}", self.name, self.transcript)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("{error}; {}", self.report()));
    }

    fn find(&self, stream: Stream, from: usize, text: &str, within: Duration) -> (usize, String) {
        let fits = |said_on: Stream, line: &str| said_on == stream && line.contains(text);
        self.transcript.wait_for(from, within, fits).unwrap_or_else(|| {
            panic!("no line with `{text}` came within {within:?}; {}", self.report())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

/// Waits for a condition that tells nobody when it comes true.
///
/// # Panics
/// If it does not come true.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "it does not come true: {what}");
        pause();
    }
}

/// Between two looks at something that tells nobody when it changes.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
