//! What helps while a line is typed: completion, hints, and a prompt that keeps up.

use std::borrow::Cow;

use kv_core::Key;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::key_lookup::KeyLookup;
use super::known_keys::KnownKeys;
use super::prompt::Prompt;
use crate::commands::help::{COMMANDS, CommandHelp, KeyWords, named};
use crate::commands::words::{as_word, in_quotes, in_single_quotes};
use crate::output::console::Console;
use crate::output::paint::Paint;

/// Helps a person to type a command.
#[derive(Debug)]
pub(crate) struct Assistant {
    pub(crate) known: KnownKeys,
    pub(crate) lookup: KeyLookup,
    pub(crate) prompt: Prompt,
    pub(crate) paint: Paint,
    pub(crate) console: Console,
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = Typed::of(line.get(..position).unwrap_or_default());
        let words = match typed.what() {
            What::Command => COMMANDS.iter().map(|help| help.name.to_owned()).collect(),
            What::Option(help) => help.all_options().map(|option| option.name.to_owned()).collect(),
            What::Quorum => ["majority", "all"].map(str::to_owned).into(),
            What::Key => self.keys(typed.partial),
            What::Nothing => Vec::new(),
        };
        let fitting = words.into_iter().filter(|word| word.starts_with(typed.partial));
        let pairs = fitting.map(|word| Pair { replacement: format!("{word} "), display: word });
        Ok((typed.begin, pairs.collect()))
    }
}

impl Assistant {
    /// The keys that begin like the word that is typed, as they are typed.
    fn keys(&self, partial: &str) -> Vec<String> {
        let quote = partial.chars().next().filter(|first| matches!(first, '"' | '\''));
        let prefix = partial.trim_start_matches(['"', '\'']);
        if quote == Some('"') && prefix.contains('\\') {
            // An escape may be half typed: compare with what was met, as it is written.
            let known = self.known.with_prefix(b"", usize::MAX);
            return known.iter().map(|key| in_quotes(key.as_bytes())).take(KEYS_MAX).collect();
        }
        for key in self.lookup.keys(prefix.as_bytes()) {
            self.known.add(&key);
        }
        let known = self.known.with_prefix(prefix.as_bytes(), KEYS_MAX);
        let typed = |key: &Key| match quote {
            Some('\'') => in_single_quotes(key.as_bytes()),
            Some(_) => Some(in_quotes(key.as_bytes())),
            None => Some(as_word(key.as_bytes())),
        };
        known.iter().filter_map(typed).collect()
    }
}

impl Hinter for Assistant {
    type Hint = Remark;

    fn hint(&self, line: &str, position: usize, _context: &Context<'_>) -> Option<Remark> {
        if line.is_empty() || position < line.len() {
            return None;
        }
        let typed = Typed::of(line);
        if typed.words.is_empty() {
            let mut fitting =
                COMMANDS.iter().filter(|help| help.name.starts_with(&typed.partial.to_lowercase()));
            return match (fitting.next(), fitting.next()) {
                (Some(help), None) => Remark::rest_of_name(help, typed.partial),
                _ => None,
            };
        }
        let help = typed.help?;
        let arguments = help.usage.split_whitespace().skip(typed.words.len());
        let rest: Vec<&str> = arguments.collect();
        (typed.partial.is_empty() && !rest.is_empty())
            .then(|| Remark { shown: rest.join(" "), inserted: None })
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        let prompt = match default {
            true => self.paint.bold(self.prompt.in_place_of(prompt)),
            false => prompt.to_owned(),
        };
        // The editor stands where its prompt begins and has cleared the lines from there on.
        Cow::Owned(self.console.take_above() + &prompt)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.paint.dim(hint.to_owned()))
    }
}

/// What is shown after the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    shown: String,
    /// What the right arrow takes over.
    inserted: Option<String>,
}

impl Remark {
    fn rest_of_name(help: &CommandHelp, partial: &str) -> Option<Self> {
        let rest = help.name.get(partial.len()..).filter(|rest| !rest.is_empty())?;
        Some(Self { shown: rest.to_owned(), inserted: Some(rest.to_owned()) })
    }
}

impl Hint for Remark {
    fn display(&self) -> &str {
        &self.shown
    }

    fn completion(&self) -> Option<&str> {
        self.inserted.as_deref()
    }
}

/// A line up to the cursor: whole words, and one that is being typed.
struct Typed<'a> {
    words: Vec<&'a str>,
    /// The word that is being typed, with its opening quote; may be empty.
    partial: &'a str,
    /// Where it begins.
    begin: usize,
    help: Option<&'static CommandHelp>,
}

/// What may stand where a line is being typed.
enum What {
    Command,
    Option(&'static CommandHelp),
    Quorum,
    Key,
    Nothing,
}

impl<'a> Typed<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Vec::new();
        let mut begin = None;
        let (mut quote, mut is_escaped) = (None, false);
        for (at, character) in line.char_indices() {
            match begin {
                None if character.is_ascii_whitespace() => {}
                None => {
                    begin = Some(at);
                    quote = Some(character).filter(|first| matches!(first, '"' | '\''));
                }
                Some(from) if quote.is_none() && character.is_ascii_whitespace() => {
                    words.extend(line.get(from..at));
                    begin = None;
                }
                Some(_) if quote == Some(character) && !is_escaped => quote = None,
                Some(_) => is_escaped = quote == Some('"') && !is_escaped && character == '\\',
            }
        }
        let begin = begin.unwrap_or(line.len());
        let help = words.first().and_then(|name| named(&name.to_lowercase()));
        Self { words, partial: line.get(begin..).unwrap_or_default(), begin, help }
    }

    fn what(&self) -> What {
        if self.words.is_empty() {
            return What::Command;
        }
        let Some(help) = self.help else {
            return What::Nothing;
        };
        match self.words.last() {
            Some(&("--r" | "--w")) => What::Quorum,
            Some(option) if takes_value(help, option) => What::Nothing,
            _ if self.partial.starts_with("--") => What::Option(help),
            _ if help.name == "help" && self.words.len() == 1 => What::Command,
            _ if help.keys == KeyWords::All => What::Key,
            _ if help.keys == KeyWords::First && self.arguments(help) == 0 => What::Key,
            Some(_) | None => What::Nothing,
        }
    }

    /// How many whole words are neither the command nor options.
    fn arguments(&self, help: &CommandHelp) -> usize {
        let mut count = 0;
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            match *word {
                option if takes_value(help, option) => drop(words.next()),
                word if word.starts_with("--") => {}
                _ => count += 1,
            }
        }
        count
    }
}

/// Whether the word behind this one is the value of an option.
fn takes_value(help: &CommandHelp, word: &str) -> bool {
    help.option(word).is_some_and(|option| option.value.is_some())
}

/// How many keys are offered at once.
const KEYS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use rustyline::history::DefaultHistory;

    use super::*;

    fn assistant() -> Assistant {
        let assistant = Assistant {
            known: KnownKeys::default(),
            lookup: KeyLookup::nowhere(),
            prompt: Prompt::default(),
            paint: Paint::OFF,
            console: Console::default(),
        };
        for text in ["apple", "apricot", "two words", "bell\x07"] {
            assistant.known.add(&Key::new(text).unwrap());
        }
        assistant
    }

    fn completions(line: &str) -> Vec<String> {
        let history = DefaultHistory::new();
        let completed = assistant().complete(line, line.len(), &Context::new(&history));
        let (begin, pairs) = completed.unwrap();
        pairs.into_iter().map(|pair| format!("{}{}", &line[..begin], pair.replacement)).collect()
    }

    fn hint(line: &str) -> Option<String> {
        let history = DefaultHistory::new();
        let hint = assistant().hint(line, line.len(), &Context::new(&history));
        hint.map(|hint| hint.shown)
    }

    #[test]
    fn commands_and_topics_are_completed() {
        assert_eq!(completions("sta"), ["status "]);
        assert_eq!(completions("  de"), ["  delete ", "  delay "]);
        assert_eq!(completions("help du"), ["help dump "]);
        assert_eq!(completions("frobnicate "), [""; 0]);
    }

    #[test]
    fn keys_are_completed_where_a_key_stands() {
        assert_eq!(completions("get a"), ["get apple ", "get apricot "]);
        assert_eq!(completions("put app"), ["put apple "]);
        assert_eq!(completions("get --r 2 app"), ["get --r 2 apple "]);
        assert_eq!(completions("put apple a"), [""; 0]);
        assert_eq!(completions("status a"), [""; 0]);
    }

    #[test]
    fn keys_that_need_quotes_get_them() {
        assert_eq!(completions("get \"two"), ["get \"two words\" "]);
        assert_eq!(completions("get \"two w"), ["get \"two words\" "]);
        assert_eq!(completions(r#"get "bell\x"#), ["get \"bell\\x07\" "]);
        assert_eq!(completions("get 'two w"), ["get 'two words' "]);
        assert_eq!(completions("get 'bell"), [""; 0], "it cannot be written so");
        assert_eq!(completions("put 'a b' app"), [""; 0], "a value");
    }

    #[test]
    fn options_and_their_values_are_completed() {
        assert_eq!(completions("get x --ra"), ["get x --raw "]);
        assert_eq!(completions("get x --r m"), ["get x --r majority "]);
        assert_eq!(completions("delete x --t"), ["delete x --timeout "]);
        assert_eq!(completions("get apple ap"), ["get apple apple ", "get apple apricot "]);
        assert_eq!(
            completions("scan --limit 3 ap"),
            ["scan --limit 3 apple ", "scan --limit 3 apricot "]
        );
        assert_eq!(completions("status --w"), ["status --wait "]);
    }

    #[test]
    fn hints_say_what_comes_next() {
        assert_eq!(hint("sta").as_deref(), Some("tus"));
        assert_eq!(hint("d"), None, "delete, delay or dump");
        assert_eq!(hint("put ").as_deref(), Some("KEY VALUE [--w N|majority|all]"));
        assert_eq!(hint("put \"a b\" ").as_deref(), Some("VALUE [--w N|majority|all]"));
        assert_eq!(hint("put x"), None);
        assert_eq!(hint("status "), None);
    }
}
