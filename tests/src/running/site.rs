//! A place where a test types the commands that a person would type.

use std::io::{Seek, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Command, Stdio};

use kv_client::{Client, ClientConfig};
use kv_core::NodeId;
use kv_proto::ServerList;
use tempfile::TempDir;

use crate::op_log::{OpLogLine, read_op_log};
use crate::running::binaries::{Program, program};
use crate::running::loopback::Loopback;
use crate::running::process::Process;

/// A working folder and a list of servers of one test; both are gone when it is dropped.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    loopback: Loopback,
    /// `None` where the servers are those that a person gets who names none.
    servers: Option<ServerList>,
}

impl Site {
    /// A site of servers 1 to `count`, at an address of its own.
    ///
    /// # Panics
    /// If there is no folder or no address to be had.
    #[must_use]
    pub fn of(count: u16) -> Self {
        let loopback = Loopback::claim();
        let ids = (1..=count).map(|id| NodeId::new(id).expect("ids start at 1"));
        let servers = ids.map(|id| (id, loopback.address(id.number()).to_string()));
        let servers = ServerList::new(servers).expect("there is at least one server");
        Self { folder: folder(), loopback, servers: Some(servers) }
    }

    /// The site of a person who names no servers: ten of them at 127.0.0.1. One test at a time has
    /// it; the others wait.
    ///
    /// # Panics
    /// If its turn does not come, or other servers run on this machine.
    #[must_use]
    pub fn with_defaults() -> Self {
        Self { folder: folder(), loopback: Loopback::claim_default(), servers: None }
    }

    /// Starts `kv-server` with these words, as in `1 eventual 2 2`; does not wait until it serves.
    #[must_use]
    pub fn server(&self, words: &str) -> Process {
        let command = self.command(Program::Server, words.split_whitespace());
        Process::start(format!("kv-server {words}"), command, Stdio::null())
    }

    /// The same, with another build of `kv-server`.
    #[must_use]
    pub fn server_of(&self, build: &Path, words: &str) -> Process {
        let mut command = self.command(Program::Server, words.split_whitespace());
        let mut other = Command::new(build);
        other.args(command.get_args());
        other.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        command = other;
        Process::start(format!("kv-server {words}"), command, Stdio::null())
    }

    /// Like [`Site::server`], with another list of servers: it may name addresses at which something
    /// stands between them.
    #[must_use]
    pub fn server_among(&self, servers: &ServerList, words: &str) -> Process {
        let mut command = self.command_elsewhere(Program::Server, words.split_whitespace());
        command.arg("--servers").arg(servers.to_string());
        Process::start(format!("kv-server {words}"), command, Stdio::null())
    }

    /// Starts `kv-server dev` with these words; does not wait until it serves.
    #[must_use]
    pub fn dev(&self, words: &str) -> Process {
        let mut command = self.command_elsewhere(Program::Server, ["dev"].into_iter());
        if let Some(servers) = &self.servers {
            command.arg("--servers").arg(servers.to_string());
        }
        command.args(words.split_whitespace());
        Process::start(format!("kv-server dev {words}"), command, Stdio::null())
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// If it does not come to that.
    #[must_use]
    pub fn ready_server(&self, words: &str) -> Process {
        let [server] = self.ready_servers([words]);
        server
    }

    /// Starts servers in this order, at once, and waits until all of them are ready.
    ///
    /// # Panics
    /// If it does not come to that.
    #[must_use]
    pub fn ready_servers<const N: usize>(&self, words: [&str; N]) -> [Process; N] {
        let mut servers = words.map(|words| self.server(words));
        for server in &mut servers {
            server.wait_for("ready");
        }
        servers
    }

    /// Starts `kv-client` with these words, as in `2` or `2 get x`.
    #[must_use]
    pub fn client(&self, words: &str) -> Process {
        let command = self.command(Program::Client, words.split_whitespace());
        Process::start(format!("kv-client {words}"), command, Stdio::piped())
    }

    /// Starts `kv-client` with these words, and with commands from a file.
    ///
    /// # Panics
    /// If the file cannot be written and read.
    #[must_use]
    pub fn client_reading(&self, words: &str, commands: &[u8]) -> Process {
        let mut file = tempfile::tempfile().expect("a temporary file can be made");
        file.write_all(commands).expect("a temporary file can be written");
        file.rewind().expect("a temporary file can be read");
        let command = self.command(Program::Client, words.split_whitespace());
        Process::start(format!("kv-client {words} < file"), command, file.into())
    }

    /// Runs one command of `kv-client`, as in `2 get x`, to its end; returns what it printed,
    /// without the line's end.
    ///
    /// # Panics
    /// If it does not exit with 0.
    #[must_use]
    pub fn run(&self, words: &str) -> String {
        let mut client = self.client(words);
        let code = client.exit_code();
        assert_eq!(code, Some(0), "{}", client.report());
        client.lines(crate::Stream::Out).join("\n")
    }

    /// A command of a program in this folder, with this site's servers, before it is started.
    pub fn command<'a>(&self, which: Program, words: impl Iterator<Item = &'a str>) -> Command {
        let mut command = self.command_elsewhere(which, std::iter::empty());
        if let Some(servers) = &self.servers {
            command.arg("--servers").arg(servers.to_string());
        }
        command.args(words);
        command
    }

    /// A command of a program in this folder, with no words but these. The `KV_*` variables of
    /// whoever runs the tests do not reach it.
    pub fn command_elsewhere<'a>(
        &self,
        which: Program,
        words: impl Iterator<Item = &'a str>,
    ) -> Command {
        let mut command = Command::new(program(which));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KV_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder.path()).args(words);
        command
    }

    /// A client of the library that stays with the server with this id. To be called in a runtime.
    ///
    /// # Panics
    /// If it does not connect.
    pub async fn connect(&self, id: u16) -> Client {
        let config = ClientConfig::new(self.servers())
            .with_first(NodeId::new(id).expect("ids start at 1"))
            .with_timeout(crate::PATIENCE)
            // On a busy machine a server may be slow to answer, and the next one is not this one.
            .with_dial_timeout(crate::PATIENCE)
            .with_follow_sequencer(false);
        let client = Client::connect(config).await.expect("the server is there");
        assert_eq!(client.server().map(NodeId::number), Some(id), "connected elsewhere");
        client
    }

    /// Where the server with this id listens.
    #[must_use]
    pub fn address(&self, id: u16) -> SocketAddrV4 {
        self.loopback.address(id)
    }

    /// The servers with their addresses.
    #[must_use]
    pub fn servers(&self) -> ServerList {
        self.servers.clone().unwrap_or_default()
    }

    /// The working folder of the processes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The lines of `output_log<ID>.txt`.
    ///
    /// # Panics
    /// If the file is missing, or a line is not as it should be.
    #[must_use]
    pub fn op_log(&self, id: u16) -> Vec<OpLogLine> {
        read_op_log(&self.folder().join(format!("output_log{id}.txt")))
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("kv-test-").tempdir().expect("a temporary folder can be made")
}
