//! The command line of `kv-server`.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use kv_cli::output::in_one_line;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::dev::DevSettings;
use crate::fleet::Plan;
use crate::settings::Settings;
use crate::settings::layers::{Layers, LayersError, settings_of};
use crate::tools::backup::BackupSettings;
use crate::tools::inspect::InspectSettings;
use crate::tools::recover::RecoverSettings;
use crate::tools::restore::RestoreSettings;
use crate::{manual, screen};

/// Starts one server of a replicated key-value store.
///
/// Example, a cluster of three servers in one process:
///
///   kv-server dev
///
/// The same, each in its own terminal:
///
///   kv-server 1 linearizability 2 2 --servers 1-3
///   kv-server 2 linearizability 2 2 --servers 1-3
///   kv-server 3 linearizability 2 2 --servers 1-3
///
/// Then, in another terminal: kv-client 2 --servers 1-3
#[derive(Debug, Parser)]
#[command(name = "kv-server", version, verbatim_doc_comment, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(mut_args(|arg| arg.hide_env_values(true)))]
pub(crate) struct CommandLine {
    #[command(flatten)]
    settings: Settings,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a cluster in one process, to try things: three servers, linearizable, W=2 R=2
    #[command(mut_args(|arg| arg.hide_env_values(true)))]
    Dev(DevSettings),
    /// Prints the settings that a start with the same words would have, as a TOML file, and where
    /// each is from
    #[command(mut_args(|arg| arg.hide(true)))]
    Config(Box<Settings>),
    /// Shows what the data directory of a server that does not run holds, and verifies it
    Inspect(InspectSettings),
    /// Writes all keys of a cluster into a file, while it runs
    #[command(mut_args(|arg| arg.hide_env_values(true)))]
    Backup(BackupSettings),
    /// Puts a backup into a new cluster, which runs and is empty
    #[command(mut_args(|arg| arg.hide_env_values(true)))]
    Restore(RestoreSettings),
    /// Founds another cluster on what one server has left, where too many disks are lost
    Recover(RecoverSettings),
    /// Prints completions for a shell
    #[command(mut_args(|arg| arg.hide_env_values(true)))]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Prints the page of the manual
    Man,
}

/// What the command line asks for.
pub(crate) enum Invocation {
    /// Run servers.
    Run(Plan),
    /// Print the settings of this server, and why they make none.
    ShowSettings(String, Option<Answer>),
    /// Look at a data directory.
    Inspect(InspectSettings),
    /// Back a cluster up.
    Backup(BackupSettings),
    /// Found a cluster on what is left.
    Recover(RecoverSettings),
    /// Restore a backup.
    Restore(RestoreSettings),
    /// Print completions or the manual.
    Print(Vec<u8>),
}

impl Invocation {
    /// Reads the command line, the environment, and the file that they name.
    pub(crate) fn parse() -> Result<Self, Answer> {
        let command = kv_cli::environment::without_empty(CommandLine::command());
        let words = subcommand_first(std::env::args_os().collect(), &command);
        let layers = Layers::read(command, words)?;
        let matches = &layers.matches;
        match matches.subcommand() {
            Some(("dev", of_dev)) => {
                let dev: DevSettings = read(of_dev)?;
                return Ok(Self::Run(dev.plan()));
            }
            Some(("inspect", words)) => return Ok(Self::Inspect(read(words)?)),
            Some(("backup", words)) => return Ok(Self::Backup(read(words)?)),
            Some(("recover", words)) => return Ok(Self::Recover(read(words)?)),
            Some(("restore", words)) => return Ok(Self::Restore(read(words)?)),
            Some(("completions", words)) => {
                // The parser has seen to it that there is one.
                let shell = words.get_one("shell").copied().unwrap_or(Shell::Bash);
                return Ok(Self::Print(manual::completions(CommandLine::command(), shell)));
            }
            Some(("man", _)) => return Ok(Self::Print(manual::page(&CommandLine::command()))),
            Some(_) | None => {}
        }
        let settings: Settings = read(settings_of(matches))?;
        let config = settings.server_config();
        let problem = config.cluster().err().map(|problem| layers.blame(problem));
        let problem = problem.or_else(|| layers.contradiction()).map(Answer);
        if matches.subcommand().is_some() {
            return Ok(Self::ShowSettings(layers.to_toml(), problem));
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        Ok(Self::Run(Plan {
            servers: vec![config],
            listen: settings.listen().map(ToOwned::to_owned),
            log: settings.log().clone(),
            is_dev: false,
        }))
    }
}

/// The words with the subcommand before the options that stand in front of it, because the parser
/// takes a subcommand behind an option for the server's id.
fn subcommand_first(mut words: Vec<OsString>, command: &clap::Command) -> Vec<OsString> {
    let takes_next = |word: &str| {
        command.get_arguments().any(|arg| {
            arg.get_action().takes_values()
                && word.strip_prefix("--").is_some_and(|name| arg.get_long() == Some(name))
        })
    };
    let mut place = 1;
    while let Some(word) = words.get(place).map(|word| word.to_string_lossy()) {
        if word == "--" {
            break;
        }
        if !word.starts_with('-') {
            if command.find_subcommand(&*word).is_some() {
                let name = words.remove(place);
                words.insert(1, name);
            }
            break;
        }
        place += if takes_next(&word) { 2 } else { 1 };
    }
    words
}

fn read<T: FromArgMatches>(matches: &ArgMatches) -> Result<T, Answer> {
    T::from_arg_matches(matches).map_err(|error| Answer(LayersError::CommandLine(error)))
}

/// What is printed instead of starting: help, the version, or what is wrong, in one line.
pub(crate) struct Answer(LayersError);

impl From<LayersError> for Answer {
    fn from(error: LayersError) -> Self {
        Self(error)
    }
}

impl Answer {
    pub(crate) fn give(self) -> ExitCode {
        match self.0 {
            LayersError::CommandLine(error) if !error.use_stderr() => {
                // A failure has been reported, and shows in the exit code.
                let _ = kv_cli::output::write_help(&error);
                ExitCode::SUCCESS
            }
            LayersError::CommandLine(error) => {
                let (what, subcommand) = (mistake(&error), named_subcommand(std::env::args()));
                refuse(format_args!("{what} (see kv-server {subcommand}--help)"))
            }
            error @ (LayersError::Environment(_)
            | LayersError::File(_)
            | LayersError::Together { .. }) => refuse(error),
        }
    }
}

/// The subcommand among the words of a command line, with a space behind it; nothing if there is
/// none.
fn named_subcommand(words: impl Iterator<Item = String>) -> String {
    let command = CommandLine::command();
    let is_one = |word: &String| command.get_subcommands().any(|known| known.get_name() == word);
    words.skip(1).find(is_one).map_or_else(String::new, |name| name + " ")
}

/// What is wrong with the words, in one line. The parser takes each word behind an id for a command.
fn mistake(error: &clap::Error) -> String {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::ArgumentConflict => {
            if CommandLine::command().find_subcommand(word).is_some() {
                format!("`{word}` stands first, before all that it takes: kv-server {word} ...")
            } else {
                format!(
                    "`{word}` is one word too much: ID, CONSISTENCY, W and R are all that is taken"
                )
            }
        }
        _ => in_one_line(error),
    }
}

/// Says what is wrong with what was asked for.
pub(crate) fn refuse(problem: impl Display) -> ExitCode {
    screen::complain(format_args!("{problem}"));
    ExitCode::from(USAGE)
}

/// Sends what the server logs to stderr.
pub(crate) fn start_logging(filter: &Targets) {
    let coloured = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(coloured).with_writer(|| screen::LogLines);
    tracing_subscriber::registry().with(lines).with(filter.clone()).init();
}

/// The exit code for a command line that makes no sense.
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use kv_core::{NodeId, Quorum};
    use kv_server::{Consistency, ServerConfig, SyncPolicy};
    use std::time::Duration;

    use super::*;

    fn problem(line: &str) -> String {
        mistake(&CommandLine::try_parse_from(line.split(' ')).unwrap_err())
    }

    fn config(line: &str) -> ServerConfig {
        CommandLine::try_parse_from(line.split(' ')).unwrap().settings.server_config()
    }

    #[test]
    fn a_mistake_is_told_with_all_that_belongs_to_it() {
        assert_eq!(
            problem("kv-server backup 1-3"),
            "the following required arguments were not provided: <SOURCE>..."
        );
        assert_eq!(
            problem("kv-server 2 linearizability majority 2 config"),
            "`config` stands first, before all that it takes: kv-server config ..."
        );
        assert_eq!(
            problem("kv-server 1 eventual 1 1 1"),
            "`1` is one word too much: ID, CONSISTENCY, W and R are all that is taken"
        );
    }

    #[test]
    fn the_help_of_a_subcommand_is_pointed_to_by_its_name() {
        let named = |line: &str| named_subcommand(line.split(' ').map(str::to_owned));
        assert_eq!(named("kv-server dev --nodes 11"), "dev ");
        assert_eq!(named("kv-server --fsync x"), "");
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_variable_is_among_those_that_are_known() {
        let command = CommandLine::command();
        let all = command.get_subcommands().flat_map(clap::Command::get_arguments);
        for name in command.get_arguments().chain(all).filter_map(clap::Arg::get_env) {
            let name = name.to_string_lossy();
            assert!(kv_cli::environment::NAMES.contains(&&*name), "{name} is not");
        }
    }

    #[test]
    fn options_may_stand_before_a_subcommand() {
        for (words, expected) in [
            ("--config kv.toml config", "config --config kv.toml"),
            ("--config=kv.toml --memory config 2", "config --config=kv.toml --memory 2"),
            ("--json inspect d", "inspect --json d"),
            ("config --config config", "config --config config"),
            ("--config config 2", "--config config 2"),
            ("2 eventual", "2 eventual"),
            ("-- config", "-- config"),
            ("--config", "--config"),
            ("", ""),
        ] {
            let split = |text: &str| -> Vec<OsString> {
                format!("kv-server {text}").split_whitespace().map(OsString::from).collect()
            };
            let ordered = subcommand_first(split(words), &CommandLine::command());
            assert_eq!(ordered, split(expected), "{words}");
        }
    }

    #[test]
    fn the_four_words_have_defaults() {
        let bare = config("kv-server");
        assert_eq!((bare.node, bare.consistency), (NodeId::FIRST, Consistency::Eventual));
        assert_eq!((bare.write_quorum, bare.read_quorum), (Quorum::Count(1), Quorum::Count(1)));
        let full = config("kv-server 2 linearizability majority all");
        assert_eq!((full.node.number(), full.consistency), (2, Consistency::Linearizable));
        assert_eq!((full.write_quorum, full.read_quorum), (Quorum::Majority, Quorum::All));
    }

    #[test]
    fn data_is_on_disk_unless_it_is_to_be_in_memory() {
        assert_eq!(config("kv-server --memory").data, None);
        assert_eq!(config("kv-server").data, Some(kv_server::DataConfig::new("kv-data")));
        let data = config("kv-server --data-dir d").data.unwrap();
        assert_eq!(data, kv_server::DataConfig::new("d"));
        let data = config("kv-server --data-dir d --fsync interval=20 --checkpoint-mib 1");
        let data = data.data.unwrap();
        assert_eq!(data.sync, SyncPolicy::Interval(Duration::from_millis(20)));
        assert_eq!(data.checkpoint_bytes, 1 << 20);
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let bare = config("kv-server");
        let library =
            ServerConfig::new(NodeId::FIRST, Consistency::Eventual, Quorum::All, Quorum::All);
        assert_eq!((bare.limits, bare.timing), (library.limits, library.timing));
        assert_eq!(bare.clients_max, library.clients_max);
        assert_eq!(bare.in_flight_max, library.in_flight_max);
        assert_eq!((bare.delay, bare.servers), (library.delay, library.servers));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        assert!(problem("kv-server 0").contains("ids start at 1"));
        assert!(problem("kv-server 11").contains("server 11 does not exist: ids go from 1 to 10"));
        assert!(problem("kv-server dve").contains("the commands are"));
        assert!(problem("kv-server 1 strong").contains("`eventual` or `linearizability`"));
        assert!(problem("kv-server 1 eventual 0").contains("use 1 or more"));
        assert!(problem("kv-server 1 eventual x").contains("a whole number"));
        assert!(problem("kv-server 1 --servers 3-1").contains("write the lower id first"));
        assert!(problem("kv-server --fsync often").contains("`interval <ms>`"));
        assert!(problem("kv-server --fsync interval=0").contains("1 to 60000 milliseconds"));
        assert!(problem("kv-server --clients-max 0").contains("0 is not in 1.."));
        assert!(problem("kv-server dev --nodes 11").contains("11 is not in 1..=10"));
    }
}
