//! The program's arguments.

pub(crate) mod invocation;
pub(crate) mod manual;
pub(crate) mod start;

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{CommandFactory, FromArgMatches, Parser, value_parser};
use clap_complete::Shell;
use kv_cli::cluster_name::parse_cluster_name;
use kv_cli::environment::without_empty;
use kv_client::ClientConfig;
use kv_core::{IdError, NodeId};
use kv_proto::{ServerList, ServerListError, parse_server_id};

use crate::bench::{BENCH, BENCH_COMMAND, Bench, BenchArgs};
use crate::commands::command::Line;
use crate::commands::timeout::parse_timeout;
use crate::commands::usage::UsageError;
use crate::commands::words::Word;
use crate::output::pager::Pager;
use invocation::{in_order, is_number};
use start::{Defaults, Lines, Start, Task};

/// Talks to a cluster of kv-server.
#[derive(Debug, Parser)]
#[command(
    name = "kv-client",
    version,
    after_help = EXAMPLES,
    args_override_self = true,
    override_usage = "kv-client [OPTIONS] [SERVER_ID] [COMMAND...]",
    max_term_width = 100
)]
pub(crate) struct Args {
    /// The servers: ids, ranges, or ids with addresses, such as 1-3 or 1=db1:4961,2=db2:4961
    #[arg(long, env = "KV_SERVERS", default_value = "1-10")]
    servers: ServerList,

    /// How long a request may take
    #[arg(long, env = "KV_TIMEOUT", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,

    /// The cluster's name
    #[arg(long, env = "KV_CLUSTER", default_value = "kv", value_parser = parse_cluster_name)]
    cluster: String,

    /// Print one JSON object for each result, errors included
    #[arg(long, env = "KV_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,

    /// Print values as they are, without quotes, escapes and remarks; of a single command without
    /// an end of line
    #[arg(long, env = "KV_RAW", value_parser = BoolishValueParser::new())]
    raw: bool,

    /// How many commands from a pipe or a file may run at the same time; they do if each is about
    /// one key and the keys differ. With 1 each waits for the end of the one before
    #[arg(long, env = "KV_PIPELINE", value_name = "N", default_value_t = 256,
        value_parser = value_parser!(u16).range(1..=1024))]
    pipeline: u16,

    /// With commands from a pipe or a file, begin none behind one that failed. Those that run at the
    /// same time as that one end; with `--pipeline 1` there are none
    #[arg(long, env = "KV_STOP_ON_ERROR", value_parser = BoolishValueParser::new())]
    stop_on_error: bool,

    /// Take what a server has, though this session may have seen or written something newer of the
    /// key at another one. By default a read waits for that (eventual engine)
    #[arg(long, env = "KV_NO_SESSION_GUARANTEES", value_parser = BoolishValueParser::new())]
    no_session_guarantees: bool,

    /// Use the plain prompt on a terminal: no editing, completion, history and colours
    #[arg(long, env = "KV_PLAIN", value_parser = BoolishValueParser::new())]
    plain: bool,

    /// The file of the lines that were typed; `off` for none
    /// [default: $XDG_STATE_HOME/kv/client_history]
    #[arg(long, env = "KV_HISTORY", value_name = "FILE")]
    history: Option<String>,

    /// What shows long results on a terminal; `off` for nothing [default: $PAGER, or less]
    #[arg(long, env = "KV_PAGER", value_name = "COMMAND")]
    pager: Option<String>,

    /// Run the command N times; behind the command it is `--repeat N`
    #[arg(short = 'r', value_name = "N")]
    repeat: Option<u64>,

    /// Run the command again at this interval, for ever without -r; behind the command it is
    /// `--every TIME`
    #[arg(short = 'i', value_name = "TIME", value_parser = parse_timeout)]
    every: Option<Duration>,

    /// The server to begin with and to stay with; if it does not answer, the next one is tried.
    /// Without it the client begins with server 1 and goes to the sequencer, if there is one
    server_id: Option<OsString>,

    /// A command to run, such as `get x`; without one, commands are read from the standard input
    command: Vec<OsString>,
}

/// Why arguments make no start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("{0}")]
    Command(#[from] UsageError),
    #[error("{0}; write for example 2")]
    ServerId(IdError),
    /// What the parser of a command says, which may be the help that was asked for.
    #[error("{1}")]
    Parser(&'static str, clap::Error),
    #[error("{0}")]
    ServerIdLimit(ServerListError),
    #[error("-r and -i need a command behind them: write for example -r 3 incr n")]
    NothingToRepeat,
    #[error("server {server} is not among --servers {servers}")]
    NotListed { server: NodeId, servers: String },
}

impl Args {
    /// Reads the words that the program was called with, its own name first.
    ///
    /// # Errors
    /// What the parser says, which may be the help that was asked for.
    pub(crate) fn of(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let command = without_empty(Self::command());
        let words = in_order(words, &command);
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    /// Tells the server's id from the command's first word, and reads the command.
    pub(crate) fn start(self) -> Result<Start, ArgsError> {
        let mut words = self.command;
        let mut first = None;
        if let Some(word) = self.server_id {
            match word.to_str().filter(|text| is_number(text)) {
                Some(text) => first = Some(parse_server_id(text).map_err(id_error)?),
                None => words.insert(0, word),
            }
        }
        let config = ClientConfig::new(self.servers)
            .with_first(first.unwrap_or(NodeId::FIRST))
            .with_cluster(self.cluster)
            .with_timeout(self.timeout)
            .with_follow_sequencer(first.is_none())
            .with_session_guarantees(!self.no_session_guarantees);
        let name = words.first().and_then(|word| word.to_str());
        let task = match name {
            None if words.is_empty() => Task::Session,
            Some(BENCH) => Task::Bench(Box::new(bench_of(words, first, self.json, &config)?)),
            Some(COMPLETIONS) => {
                Task::Completions(parse::<CompletionsArgs>(COMPLETIONS_COMMAND, words)?.shell)
            }
            Some(MANUAL) => {
                parse::<ManualArgs>(MANUAL_COMMAND, words)?;
                Task::Manual
            }
            Some(_) | None => {
                let Line { command, options } = line_of(words)?;
                let options = options.or(self.repeat, self.every);
                Task::Line(Box::new(Line { command, options }))
            }
        };
        let is_repeated = self.repeat.is_some() || self.every.is_some();
        if is_repeated && !matches!(task, Task::Line(_)) {
            return Err(ArgsError::NothingToRepeat);
        }
        if let Some(server) = first.filter(|server| config.servers.address(*server).is_none()) {
            let ids: Vec<NodeId> = config.servers.ids().collect();
            let servers = kv_proto::id_ranges(&ids);
            return Err(ArgsError::NotListed { server, servers });
        }
        let defaults = Defaults { json: self.json, raw: self.raw, timeout: self.timeout };
        let (plain, history, pager) = (self.plain, self.history, Pager::of(self.pager));
        let lines = Lines { max: self.pipeline.into(), stop_on_error: self.stop_on_error };
        Ok(Start { config, named: first, defaults, task, plain, history, pager, lines })
    }
}

/// Prints what a shell needs to complete the words of kv-client.
#[derive(Debug, Parser)]
#[command(name = COMPLETIONS, bin_name = COMPLETIONS_COMMAND)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the page of the manual, for `man -l -` or a folder of pages.
#[derive(Debug, Parser)]
#[command(name = MANUAL, bin_name = MANUAL_COMMAND)]
pub(crate) struct ManualArgs {}

/// The measurement that words after the program's own options ask for.
fn bench_of(
    words: Vec<OsString>,
    server: Option<NodeId>,
    json: bool,
    config: &ClientConfig,
) -> Result<Bench, ArgsError> {
    let args = parse::<BenchArgs>(BENCH_COMMAND, words)?;
    let json = json || args.json;
    Ok(Bench { args, config: config.clone(), server, json })
}

fn line_of(words: Vec<OsString>) -> Result<Line, UsageError> {
    let words = words.into_iter();
    let words = words.map(|word| Word::bare(word.into_encoded_bytes()));
    Line::of_words(words.collect())
}

fn id_error(error: ServerListError) -> ArgsError {
    if let ServerListError::Id(error) = error {
        ArgsError::ServerId(error)
    } else {
        ArgsError::ServerIdLimit(error)
    }
}

fn parse<T: Parser>(command: &'static str, words: Vec<OsString>) -> Result<T, ArgsError> {
    let parser = without_empty(T::command());
    let read = parser.try_get_matches_from(words);
    let read = read.and_then(|matches| T::from_arg_matches(&matches));
    read.map_err(|error| ArgsError::Parser(command, error))
}

const COMPLETIONS: &str = "completions";
const MANUAL: &str = "man";
const COMPLETIONS_COMMAND: &str = "kv-client completions";
const MANUAL_COMMAND: &str = "kv-client man";

pub(crate) const EXAMPLES: &str = "\
Examples:
  kv-client                      a session with server 1
  kv-client 2                    a session with server 2
  kv-client 2 put x \"two words\"  one command
  kv-client 2 get x --r 1        one command, served by one server
  kv-client --servers 1-3 2 < commands.txt
                                 commands from a file, one on each line
  kv-client help                 the commands
  kv-client bench --help         how fast the cluster is
  kv-client completions bash     completions for a shell: bash, zsh, fish
  kv-client man                  the page of the manual

Exit codes: 0 done, 1 definitely not done, 2 wrong usage, 3 key not found, 4 unavailable or unknown.
With commands from a pipe or file, the first failure's code (a missing key is none there);
with --stop-on-error no command begins behind that failure.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::command::Command;

    fn start(args: &str) -> Result<Start, ArgsError> {
        let words = ["kv-client"].into_iter().chain(args.split_whitespace());
        Args::of(words.map(OsString::from)).unwrap().start()
    }

    fn line(task: Task) -> Option<Line> {
        match task {
            Task::Line(line) => Some(*line),
            Task::Session => None,
            Task::Bench(_) | Task::Completions(_) | Task::Manual => panic!("{task:?}"),
        }
    }

    fn command(args: &str) -> (u16, Option<Command>) {
        let start = start(args).unwrap();
        let command = line(start.task).map(|line| line.command);
        (start.config.first.number(), command)
    }

    fn parse(line: &str) -> Option<Command> {
        Line::parse(line.as_bytes()).unwrap().map(|line| line.command)
    }

    #[test]
    fn the_id_and_the_command_may_both_be_left_out() {
        assert_eq!(command(""), (1, None));
        assert_eq!(command("2"), (2, None));
        assert_eq!(command("2 get x"), (2, parse("get x")));
        assert_eq!(command("get x"), (1, parse("get x")));
        assert_eq!(command("status"), (1, parse("status")));
        assert_eq!(command("--json"), (1, None));
        assert_eq!(command("2 --json"), (2, None));
    }

    #[test]
    fn options_of_the_command_stay_with_it() {
        assert_eq!(command("2 get x --r 1"), (2, parse("get x --r 1")));
        assert_eq!(command("2 get --r 1 x"), (2, parse("get x --r 1")));
        assert_eq!(command("get --r 1 x"), (1, parse("get x --r 1")));
        assert_eq!(command("2 incr n -5"), (2, parse("incr n -5")));
        for args in ["2 put x -- --w", "2 -- put x -- --w", "-- 2 put x -- --w"] {
            assert_eq!(command(args), (2, parse("put x -- --w")), "{args}");
        }
        assert_eq!(command("put x -- --w"), (1, parse("put x -- --w")));
        assert_eq!(command("put x -- --servers"), (1, parse("put x -- --servers")));
        for args in ["get --help", "get -h", "2 get --help", "get x --help"] {
            assert_eq!(command(args).1, parse("get --help"), "{args}");
        }
        assert_eq!(command("get -- -h"), (1, parse("get -h")));
    }

    #[test]
    fn options_of_the_program_stand_anywhere_before_two_dashes() {
        for args in [
            "--servers 1-3 --timeout 250ms --cluster blue --json 2 get x",
            "--servers 1-3 2 --timeout 250ms --cluster blue get x --json",
            "2 --servers=1-3 get --timeout 250ms --cluster=blue --json x",
            "2 get x --json --cluster blue --timeout 250ms --servers 1-3",
            "--servers 1-9 --timeout 1s 2 get x --json --cluster blue --timeout 250ms --servers 1-3",
        ] {
            let start = start(args).unwrap();
            assert_eq!((start.config.servers.count(), start.config.first.number()), (3, 2));
            assert_eq!(start.config.cluster, "blue", "{args}");
            let line = line(start.task).unwrap();
            let defaults = start.defaults.with(line.options);
            assert_eq!((defaults.timeout, defaults.json), (Duration::from_millis(250), true));
            assert_eq!(Some(line.command), parse("get x"), "{args}");
        }
    }

    #[test]
    fn short_options_before_the_command_repeat_it() {
        let options = |args| line(start(args).unwrap().task).unwrap().options;
        let second = Some(Duration::from_secs(1));
        let none = options("incr n");
        assert_eq!((none.repeat, none.every, none.times()), (None, None, 1));
        for args in ["-r 3 -i 1s incr n", "2 -i1s -r3 incr n", "-r 3 incr n --every 1s"] {
            let both = options(args);
            assert_eq!((both.repeat, both.every, both.times()), (Some(3), second, 3), "{args}");
        }
        assert_eq!(options("-i 1s incr n").times(), u64::MAX);
        assert_eq!(options("-r 3 incr n --repeat 2").times(), 2, "what stands behind counts");
        // Behind the command they are its words.
        assert_eq!(command("put x -r").1, parse("put x -r"));
        assert_eq!(command("put -i -r").1, parse("put -i -r"));
        for args in ["-r 3", "-i 1s", "-r 3 bench"] {
            assert!(matches!(start(args), Err(ArgsError::NothingToRepeat)), "{args}");
        }
    }

    #[test]
    fn a_bench_takes_the_programs_options_before_and_after() {
        let bench = |args| {
            let Task::Bench(bench) = start(args).unwrap().task else {
                panic!("{args} is no bench");
            };
            *bench
        };
        let plain = bench("--servers 1-3 --json bench");
        assert_eq!((plain.config.servers.count(), plain.json, plain.server), (3, true, None));
        for args in [
            "2 bench --connections 7 --servers 1-3 --timeout 1s --cluster c",
            "--servers 1-3 --timeout 1s --cluster c 2 bench --connections 7",
            "--servers 1-4 2 --timeout 1s bench --servers 1-3 --connections 7 --cluster c",
        ] {
            let other = bench(args);
            assert_eq!((other.args.connections, other.config.servers.count()), (7, 3), "{args}");
            assert_eq!(
                (other.config.timeout, &*other.config.cluster),
                (Duration::from_secs(1), "c")
            );
            assert_eq!(other.server.map(NodeId::number), Some(2), "{args}");
        }
        let anywhere = bench("--servers 1-3 bench --connections 4");
        assert_eq!((anywhere.args.connections, anywhere.server), (4, None));
        assert!(matches!(start("4 bench --servers 1-3"), Err(ArgsError::NotListed { .. })));
        assert!(matches!(start("bench --connections 0"), Err(ArgsError::Parser(BENCH_COMMAND, _))));
    }

    #[test]
    fn mistakes_are_one_line() {
        let error = |args| start(args).unwrap_err().to_string();
        assert_eq!(error("0"), "server id 0 does not exist: ids start at 1; write for example 2");
        assert_eq!(error("11"), "server 11 does not exist: ids go from 1 to 10");
        assert_eq!(error("--servers 1-3 4"), "server 4 is not among --servers 1-3");
        assert_eq!(error("2 gte x"), "unknown command gte: did you mean `get`?; `help` lists all");
    }
}
