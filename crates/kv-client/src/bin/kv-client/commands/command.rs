//! Commands: what a line of words means.

use std::time::Duration;

use kv_core::{Batch, Check, Command as Step, Condition, Key, Operation, RequestOptions, Value};

use super::arguments::{Arguments, text};
use super::help::{COMMANDS, CommandHelp, named};
use super::suggestion::nearest;
use super::usage::UsageError;
use super::words::{Word, split};

/// One command with its options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) command: Command,
    pub(crate) options: LineOptions,
}

/// The options that every command takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineOptions {
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) timeout: Option<Duration>,
}

/// What can be typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Execute(Request),
    /// A put whose value is the standard input.
    PutInput(PutInput),
    /// The bytes that the keys begin with.
    Scan(Vec<u8>),
    Dump,
    Status,
    Delay(Duration),
    Help(Option<&'static CommandHelp>),
    Exit,
}

/// An operation on one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) name: &'static str,
    pub(crate) key: Key,
    pub(crate) operation: Operation,
    pub(crate) options: RequestOptions,
}

/// A put that has no value yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PutInput {
    key: Key,
    options: RequestOptions,
}

impl PutInput {
    /// The put of a value.
    pub(crate) fn with(self, value: Vec<u8>) -> Result<Request, UsageError> {
        let Self { key, options } = self;
        let operation = Operation::put(key.clone(), Value::new(value)?);
        Ok(Request { name: "put", key, operation, options })
    }
}

impl Line {
    /// Reads a line; `None` if it has no words or is a comment.
    pub(crate) fn parse(line: &[u8]) -> Result<Option<Self>, UsageError> {
        if line.trim_ascii_start().starts_with(COMMENT_MARK) {
            return Ok(None);
        }
        match split(line)? {
            words if words.is_empty() => Ok(None),
            words => Self::of_words(words).map(Some),
        }
    }

    /// Reads a command that has been split into words.
    pub(crate) fn of_words(words: Vec<Word>) -> Result<Self, UsageError> {
        let mut words = words.into_iter();
        let first = words.next().map(|word| word.bytes).unwrap_or_default();
        let name = String::from_utf8_lossy(&first).to_lowercase();
        let help = find_command(&name)?;
        let mut arguments = Arguments::of(words, help)?;
        let command = Command::of(&mut arguments);
        let command = command.and_then(|command| arguments.end().map(|()| command));
        let command = match arguments.help_asked {
            true => Command::Help(Some(help)),
            false => command?,
        };
        let (json, raw, timeout) = (arguments.json, arguments.raw, arguments.timeout);
        Ok(Self { command, options: LineOptions { json, raw, timeout } })
    }
}

impl Command {
    fn of(words: &mut Arguments) -> Result<Self, UsageError> {
        Ok(match words.help.name {
            "get" => {
                let key = words.key()?;
                Self::request(words, key.clone(), Operation::get(key))
            }
            "put" => Self::put(words)?,
            "delete" => {
                let key = words.key()?;
                Self::request(words, key.clone(), Operation::delete(key))
            }
            "cas" => Self::compare_and_set(words)?,
            "incr" => {
                let (key, by) = (words.key()?, words.number()?.unwrap_or(1));
                let step = Step::Increment { key: key.clone(), by };
                Self::request(words, key, Operation::of(step))
            }
            "delay" => Self::Delay(words.pause()?),
            "scan" => Self::Scan(words.words.next().map(|word| word.bytes).unwrap_or_default()),
            "dump" => Self::Dump,
            "status" => Self::Status,
            "help" => Self::Help(match words.words.next() {
                Some(topic) => Some(find_command(&text(&topic.bytes).to_lowercase())?),
                None => None,
            }),
            _ => Self::Exit,
        })
    }

    fn request(words: &Arguments, key: Key, operation: Operation) -> Self {
        let options = words.options();
        Self::Execute(Request { name: words.help.name, key, operation, options })
    }

    fn put(words: &mut Arguments) -> Result<Self, UsageError> {
        let (key, word) = (words.key()?, words.word("VALUE")?);
        if word == Word::bare(b"-".to_vec()) {
            return Ok(Self::PutInput(PutInput { key, options: words.options() }));
        }
        let value = Value::new(word.bytes)?;
        Ok(Self::request(words, key.clone(), Operation::put(key, value)))
    }

    fn compare_and_set(words: &mut Arguments) -> Result<Self, UsageError> {
        let (key, old, value) = (words.key()?, words.value("OLD")?, words.value("NEW")?);
        let condition = Condition { key: key.clone(), check: Check::ValueIs(old) };
        let put = Step::Put { key: key.clone(), value, time_to_live: None };
        let batch = Batch::new(vec![condition], vec![put])?;
        Ok(Self::request(words, key, Operation::Batch(batch)))
    }
}

fn find_command(name: &str) -> Result<&'static CommandHelp, UsageError> {
    named(name).ok_or_else(|| {
        let names: Vec<&str> = COMMANDS.iter().map(|help| help.name).collect();
        UsageError::UnknownCommand { word: name.to_owned(), nearest: nearest(name, &names) }
    })
}

/// What a line begins with that is a comment.
const COMMENT_MARK: &[u8] = b"#";

#[cfg(test)]
mod tests {
    use kv_core::Quorum;

    use super::*;

    fn parse(line: &str) -> Line {
        Line::parse(line.as_bytes()).unwrap().unwrap()
    }

    fn request(line: &str) -> Request {
        let Command::Execute(request) = parse(line).command else {
            panic!("{line} is no request");
        };
        request
    }

    fn error(line: &str) -> String {
        Line::parse(line.as_bytes()).unwrap_err().to_string()
    }

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    fn value(text: &'static str) -> Value {
        Value::new(text).unwrap()
    }

    #[test]
    fn commands_become_operations() {
        assert_eq!(request("get x").operation, Operation::get(key("x")));
        let put = Operation::put(key("x"), value("a b"));
        assert_eq!(request(r#"PUT x "a b""#).operation, put);
        assert_eq!(request("del x").operation, Operation::delete(key("x")));
        let step = |by| Operation::of(Step::Increment { key: key("n"), by });
        assert_eq!(request("incr n").operation, step(1));
        assert_eq!(request("incr n -5").operation, step(-5));
        let Operation::Batch(cas) = request("cas x 1 2").operation else {
            panic!("not a batch");
        };
        assert_eq!(cas.conditions()[0].check, Check::ValueIs(value("1")));
        assert!(matches!(&cas.commands()[0], Step::Put { value: v, .. } if *v == value("2")));
    }

    #[test]
    fn other_commands_and_aliases() {
        assert_eq!(parse("exit").command, Command::Exit);
        assert_eq!(parse("quit").command, Command::Exit);
        assert_eq!(parse("dump").command, Command::Dump);
        assert_eq!(parse("status").command, Command::Status);
        let seconds = |n| Command::Delay(Duration::from_secs(n));
        assert_eq!(parse("delay 10000").command, seconds(10));
        assert_eq!(parse("delay 2s").command, seconds(2));
        assert_eq!(parse("help").command, Command::Help(None));
        assert!(
            matches!(parse("help set").command, Command::Help(Some(help)) if help.name == "put")
        );
        assert_eq!(Line::parse(b" \t "), Ok(None));
    }

    #[test]
    fn a_bare_dash_is_the_standard_input() {
        assert!(matches!(parse("put x -").command, Command::PutInput(put) if put.key == key("x")));
        let dash = Operation::put(key("x"), value("-"));
        assert_eq!(request("put x \"-\"").operation, dash);
        assert_eq!(request("put x -- -").operation, dash);
    }

    #[test]
    fn help_goes_before_mistakes() {
        for line in ["put --help", "put x y z --help"] {
            let help = parse(line).command;
            assert!(matches!(help, Command::Help(Some(help)) if help.name == "put"), "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere_and_quotes_or_two_dashes_make_them_words() {
        let with_r = request("get x --r majority").options.read_quorum;
        assert_eq!(with_r, Some(Quorum::Majority));
        assert_eq!(request("get --r=all x").options.read_quorum, Some(Quorum::All));
        let with_w = request("put --w 2 x y").options.write_quorum;
        assert_eq!(with_w, Some(Quorum::Count(2)));
        let dashes = Operation::put(key("x"), value("--w"));
        assert_eq!(request(r#"put x "--w""#).operation, dashes);
        assert_eq!(request("put x -- --w").operation, dashes);
        let options = parse("status --json --timeout 1s").options;
        assert_eq!(
            options,
            LineOptions { json: true, raw: false, timeout: Some(Duration::from_secs(1)) }
        );
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let cases = [
            ("gte x", "unknown command gte: did you mean `get`?; `help` lists all"),
            ("frobnicate", "unknown command frobnicate; `help` lists all"),
            ("get", "KEY is missing; usage: get KEY [--r N|majority|all]"),
            (
                "put x hello world",
                "world is too much; put what holds spaces in quotes; usage: put KEY VALUE [--w \
                 N|majority|all]",
            ),
            ("get x --w 2", "unknown option --w; usage: get KEY [--r N|majority|all]"),
            ("get x --json=1", "unknown option --json=1; usage: get KEY [--r N|majority|all]"),
            ("get x --r", "--r needs a value; usage: get KEY [--r N|majority|all]"),
            ("get x --r most", "--r: a quorum is a whole number, `majority` or `all`"),
            ("incr x 1.5", "1.5 is no whole number of 64 bits; usage: incr KEY [N]"),
            ("get \"\"", "a key has at least 1 byte"),
            ("status --timeout 0s", "--timeout: a request needs some time: write for example 5s"),
            ("delay", "MS is missing; usage: delay MS"),
            ("exit now", "now is too much; put what holds spaces in quotes; usage: exit"),
        ];
        for (line, expected) in cases {
            assert_eq!(error(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_too_large_is_named_with_its_size() {
        let line = format!("get {}", "k".repeat(Key::LEN_MAX + 1));
        assert_eq!(error(&line), "key of 65537 bytes is too large: at most 65536 are allowed");
        let line = format!("put k {}", "v".repeat(Value::LEN_MAX + 1));
        assert_eq!(
            error(&line),
            "value of 16777217 bytes is too large: at most 16777216 are allowed"
        );
    }

    #[test]
    fn every_listed_command_is_understood() {
        for help in COMMANDS {
            assert!(parse_name(help.name), "{}", help.name);
            for alias in help.aliases {
                assert!(parse_name(alias), "{alias}");
            }
        }
        let exits = COMMANDS.iter().filter(|help| {
            Line::parse(help.name.as_bytes())
                .is_ok_and(|line| line.is_some_and(|line| line.command == Command::Exit))
        });
        assert_eq!(exits.count(), 1, "a listed command means exit by accident");
    }

    fn parse_name(name: &str) -> bool {
        !matches!(Line::parse(name.as_bytes()), Err(UsageError::UnknownCommand { .. }))
    }
}
