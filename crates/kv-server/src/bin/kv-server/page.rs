//! Holds `docs/configuration.md` against the command line and the names in files.

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};

use crate::cli::CommandLine;
use crate::settings::KEYS;

const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md"));

#[test]
fn the_page_has_each_setting_of_a_server_and_no_other() {
    let command = CommandLine::command();
    let settings = command.get_arguments().filter(|arg| !is_built_in(arg));
    let expected = settings.map(|arg| {
        let key = KEYS.iter().find(|key| key.field == arg.get_id().as_str());
        let name = key.map(|key| match key.table {
            "" => key.name.to_owned(),
            table => format!("{table}.{}", key.name),
        });
        format!("| {} | {}", name.map_or_else(|| "-".to_owned(), code), of_argument(arg))
    });
    compare(expected.collect(), rows("## kv-server"));
}

#[test]
fn the_page_has_each_option_of_dev_and_no_other() {
    let command = CommandLine::command();
    let dev = command.find_subcommand("dev").unwrap();
    let options = dev.get_arguments().filter(|arg| !is_built_in(arg));
    let expected = options.map(|arg| format!("| {}", of_argument(arg)));
    compare(expected.collect(), rows("## kv-server dev"));
}

#[test]
fn the_page_has_each_subcommand() {
    for command in CommandLine::command().get_subcommands().map(Command::get_name) {
        let alone = PAGE.contains(&format!("`kv-server {command}`"));
        let with_words = PAGE.contains(&format!("`kv-server {command} "));
        assert!(alone || with_words, "{command} is not in the page");
    }
}

/// An option with its variable and its default, as the page has them: `` `--x` | `KV_X` | `1` |``.
fn of_argument(arg: &Arg) -> String {
    let option = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => format!("[{}]", arg.get_id().as_str().to_uppercase()),
    };
    let variable = arg.get_env().map(|name| code(name.to_string_lossy().into_owned()));
    let default = arg.get_default_values().first();
    let default = default.map(|value| code(value.to_string_lossy().into_owned()));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!("{} | {} | {} |", code(option), or_none(variable), or_none(default))
}

fn code(text: String) -> String {
    format!("`{text}`")
}

fn is_built_in(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

/// The rows of the tables under a heading, without the meaning at their end.
fn rows(heading: &str) -> BTreeSet<String> {
    let under = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let under = under.take_while(|line| !line.starts_with("## "));
    let rows = under.filter(|line| line.starts_with("| `") || line.starts_with("| - | `"));
    let without_meaning = |row: &str| {
        let (facts, _meaning) = row.trim_end_matches([' ', '|']).rsplit_once('|').unwrap();
        format!("{facts}|")
    };
    rows.map(without_meaning).collect()
}

fn compare(code: BTreeSet<String>, page: BTreeSet<String>) {
    let list = |set: Vec<&String>| set.into_iter().cloned().collect::<Vec<_>>().join("\n");
    let missing = list(code.difference(&page).collect());
    let wrong = list(page.difference(&code).collect());
    assert!(missing.is_empty() && wrong.is_empty(), "to add:\n{missing}\nto remove:\n{wrong}");
}
