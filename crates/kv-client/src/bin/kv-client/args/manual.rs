//! Completions for shells, and the page of the manual.

use std::io;

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, CompletionsArgs, EXAMPLES, ManualArgs};
use crate::bench::BenchArgs;
use crate::commands::help::{COMMANDS, CommandHelp, WORDS};

/// The script that teaches a shell the words of the program.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program(), NAME, &mut script);
    if shell == Shell::Bash {
        // A hyphen in the program's name makes the generator write the names of its states in two
        // ways, so that nothing after a command would be completed.
        let text = String::from_utf8_lossy(&script);
        script = text.replace("kv__subcmd__client", "kv__client").into_bytes();
    }
    script
}

/// The page of the manual, in roff.
///
/// # Errors
/// None in practice: it is written to memory.
pub(crate) fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let manual = Man::new(Args::command());
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    commands_section().to_writer(&mut page)?;
    let bench = Man::new(BenchArgs::command());
    heading("BENCH").to_writer(&mut page)?;
    bench.render_description_section(&mut page)?;
    bench.render_options_section(&mut page)?;
    let mut examples = heading("EXAMPLES");
    examples.control("nf", []).text([roman(EXAMPLES)]).control("fi", []);
    examples.to_writer(&mut page)?;
    manual.render_version_section(&mut page)?;
    Ok(page)
}

fn commands_section() -> Roff {
    let mut section = heading("COMMANDS");
    for help in COMMANDS {
        let details = format!("{}. {}", help.summary, help.description());
        section.control("TP", []).text([bold(help.usage)]).text([roman(details)]);
        for option in help.options {
            let meaning = format!(": {}", option.meaning);
            section.control("br", []).text([bold(option.usage()), roman(meaning)]);
        }
    }
    section.control("PP", []).text([roman(WORDS)]);
    section
}

fn heading(name: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [name]);
    section
}

/// The program with its commands as a parser knows them, which it does not use itself: a command's
/// words are split here in the same way as those of a session.
fn program() -> Command {
    let own = [BenchArgs::command(), CompletionsArgs::command(), ManualArgs::command()];
    let program = Args::command().disable_help_subcommand(true);
    let program = program.mut_arg("command", |argument| argument.hide(true));
    program.subcommands(COMMANDS.iter().map(command)).subcommands(own)
}

fn command(help: &'static CommandHelp) -> Command {
    let about = format!("{}: {}\n\n{}", help.usage, help.summary, help.description());
    let mut command = Command::new(help.name).about(help.summary).long_about(about);
    command = command.disable_help_flag(true).aliases(help.aliases.iter().copied());
    for option in help.all_options() {
        let Some(name) = option.name.strip_prefix("--") else {
            continue;
        };
        let argument = Arg::new(name).long(name).help(option.meaning);
        command = command.arg(match option.value {
            Some(value) => argument.value_name(value),
            None => argument.action(ArgAction::SetTrue),
        });
    }
    if help.name == "help" {
        let names = COMMANDS.iter().map(|help| help.name);
        let topics = clap::builder::PossibleValuesParser::new(names);
        command = command.arg(Arg::new("topic").value_name("COMMAND").value_parser(topics));
    }
    command
}

const NAME: &str = "kv-client";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Options with their environment variables.
    type Options = BTreeSet<(String, String)>;

    fn options_of(command: &Command) -> Options {
        let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let pairs = options.filter_map(|argument| {
            let variable = argument.get_env()?.to_string_lossy().into_owned();
            Some((format!("--{}", argument.get_long()?), variable))
        });
        pairs.collect()
    }

    fn options_in(text: &str) -> Options {
        let rows = text.lines().filter(|line| line.starts_with("| `--"));
        let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")));
        cells.map(|mut cells| (cells.nth(1).unwrap(), cells.next().unwrap())).collect()
    }

    #[test]
    fn the_page_of_the_configuration_names_every_option_and_no_other() {
        let page = include_str!("../../../../../../docs/configuration.md");
        let (_, section) = page.split_once("\n## kv-client\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let (program, bench) = section.split_once("bench [BENCH_OPTIONS]").unwrap();
        let own = options_of(&Args::command());
        assert!(own.contains(&("--servers".to_owned(), "KV_SERVERS".to_owned())));
        assert_eq!(options_in(program), own);
        assert_eq!(options_in(bench), options_of(&BenchArgs::command()));
        for command in ["completions", "man"] {
            assert!(section.contains(&format!("kv-client {command}")), "{command} is missing");
        }
    }

    #[test]
    fn every_variable_is_among_those_that_are_known() {
        for command in [Args::command(), BenchArgs::command()] {
            for (_, variable) in options_of(&command) {
                assert!(kv_cli::environment::NAMES.contains(&&*variable), "{variable} is not");
            }
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        Args::command().debug_assert();
        program().debug_assert();
    }
}
