//! The words that the program was called with: which are its own and which are a command's.

use std::ffi::OsString;

use clap::CommandFactory;

use crate::bench::{BENCH, BenchArgs};
use crate::commands::help::{COMMON_OPTIONS, OptionHelp, named};

/// The program's words in an order in which its parser can tell them apart: its own options with the
/// server's id, two dashes, the command with the command's options.
///
/// The parser alone takes the first word for the server's id whatever it is, and an option behind
/// it for the program's. Options of the program may stand behind the command as well, but for those
/// that the command has itself.
pub(crate) fn in_order(
    words: impl IntoIterator<Item = OsString>,
    program: &clap::Command,
) -> Vec<OsString> {
    let short = Options::short_of(program);
    let program = Options::of(program);
    let mut words = words.into_iter();
    let mut own: Vec<OsString> = words.next().into_iter().collect();
    let mut has_id = false;
    let mut name = None;
    while let Some(word) = words.next() {
        if word == SEPARATOR {
            own.push(word);
            own.extend(words);
            return own;
        }
        let text = word.to_string_lossy();
        let is_id = !has_id && is_number(&text);
        if text.starts_with('-') && text != "-" {
            let takes_next = program.takes_next(&text) || short.takes_next(&text);
            own.push(word);
            own.extend(takes_next.then(|| words.next()).flatten());
        } else if is_id {
            has_id = true;
            own.push(word);
        } else {
            name = Some(word);
            break;
        }
    }
    let Some(name) = name else {
        return own;
    };
    let known = program.without(&Options::of_command(&name.to_string_lossy()));
    let mut command = vec![name];
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if word == SEPARATOR {
            command.push(word);
            command.extend(words.by_ref());
        } else if known.contains(&text) {
            let takes_next = known.takes_next(&text);
            own.push(word);
            own.extend(takes_next.then(|| words.next()).flatten());
        } else {
            command.push(word);
        }
    }
    own.push(SEPARATOR.into());
    own.extend(with_help_in_full(command));
    own
}

/// Whether a word is meant for a server's id.
pub(crate) fn is_number(text: &str) -> bool {
    text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit())
}

/// Some options, each with its dashes and whether it takes a value.
struct Options(Vec<(String, bool)>);

impl Options {
    fn of(command: &clap::Command) -> Self {
        let arguments = command.get_arguments();
        let options = arguments.filter_map(|argument| {
            let name = format!("--{}", argument.get_long()?);
            Some((name, argument.get_action().takes_values()))
        });
        Self(options.collect())
    }

    /// Those with one dash. They stand before a command only: behind it `-r` is a word like others.
    fn short_of(command: &clap::Command) -> Self {
        let arguments = command.get_arguments();
        let options = arguments.filter_map(|argument| {
            let name = format!("-{}", argument.get_short()?);
            Some((name, argument.get_action().takes_values()))
        });
        Self(options.collect())
    }

    fn of_command(name: &str) -> Self {
        if name == BENCH {
            return Self::of(&BenchArgs::command());
        }
        let own: &[OptionHelp] = named(&name.to_lowercase()).map_or(&[], |help| help.options);
        let names = COMMON_OPTIONS.iter().chain(own);
        Self(names.map(|option| (option.name.to_owned(), option.value.is_some())).collect())
    }

    fn without(self, others: &Self) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| !others.contains(name)).collect())
    }

    fn contains(&self, word: &str) -> bool {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether the word behind this one is its value.
    fn takes_next(&self, word: &str) -> bool {
        self.0.iter().any(|(name, takes_value)| name == word && *takes_value)
    }
}

/// A lone `-h` behind a command's name asks for help, although `-h` may be a key or a value.
fn with_help_in_full(mut command: Vec<OsString>) -> Vec<OsString> {
    if let [_, word] = &mut *command
        && word == "-h"
    {
        *word = "--help".into();
    }
    command
}

/// Behind it no word is an option of the program.
const SEPARATOR: &str = "--";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;

    #[test]
    fn the_programs_words_go_first() {
        for (words, expected) in [
            ("", ""),
            ("2", "2"),
            ("get x", "-- get x"),
            ("2 get x", "2 -- get x"),
            ("2 3", "2 -- 3"),
            ("--json 2 --timeout 1s get x", "--json 2 --timeout 1s -- get x"),
            ("--timeout=1s get x", "--timeout=1s -- get x"),
            ("bench --help", "-- bench --help"),
            ("--help bench", "--help -- bench"),
            ("bench -h", "-- bench --help"),
            ("get x -h", "-- get x -h"),
            ("--servers 1-3 bench --connections 4", "--servers 1-3 -- bench --connections 4"),
            ("bench --servers 1-3 --keys 4", "--servers 1-3 -- bench --keys 4"),
            ("bench --json", "-- bench --json"),
            ("get x --servers=1-3 --r 1", "--servers=1-3 -- get x --r 1"),
            ("get x --timeout 1s --json --raw", "-- get x --timeout 1s --json --raw"),
            ("gte x --pager less", "--pager less -- gte x"),
            ("get --servers", "--servers -- get"),
            ("put x -- --servers", "-- put x -- --servers"),
            ("-- 2 get x", "-- 2 get x"),
            ("2 -- get x", "2 -- get x"),
            ("put x -", "-- put x -"),
            ("-r 3 -i 1s incr n", "-r 3 -i 1s -- incr n"),
            ("2 -r3 incr n", "2 -r3 -- incr n"),
            ("put x -r", "-- put x -r"),
            ("--frobnicate get", "--frobnicate -- get"),
        ] {
            let split = |text: &str| text.split_whitespace().map(OsString::from).collect();
            let words: Vec<OsString> = split(&format!("kv-client {words}"));
            let expected: Vec<OsString> = split(&format!("kv-client {expected}"));
            assert_eq!(in_order(words.clone(), &Args::command()), expected, "{words:?}");
        }
    }
}
