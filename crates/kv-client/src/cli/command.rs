//! Commands: what a line of words means.

use std::io;
use std::time::Duration;

use kv_core::{
    Batch, BatchError, Check, Command as Step, Condition, Key, Operation, Quorum, QuorumError,
    RequestOptions, SizeError, Value,
};
use kv_proto::{DurationError, parse_duration};

use super::help::{COMMANDS, COMMON_OPTIONS, CommandHelp, named};
use super::suggestion::nearest;
use super::words::{SplitError, Word, as_word, split};
use crate::driver::TIMEOUT_MAX;

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

/// Why words are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("unknown command {}{}; `help` lists all", as_word(word.as_bytes()),
        nearest.map_or_else(String::new, |name| format!(": did you mean `{name}`?")))]
    UnknownCommand { word: String, nearest: Option<&'static str> },
    #[error("{what} is missing; usage: {usage}")]
    Missing { what: &'static str, usage: &'static str },
    #[error("{} is too much; put what holds spaces in quotes; usage: {usage}",
        as_word(word.as_bytes()))]
    TooMany { word: String, usage: &'static str },
    #[error("unknown option {option}; usage: {usage}")]
    UnknownOption { option: String, usage: &'static str },
    #[error("{option} needs a value; usage: {usage}")]
    OptionWithoutValue { option: &'static str, usage: &'static str },
    #[error("{option}: {error}")]
    Quorum { option: &'static str, error: QuorumError },
    #[error("delay: {0}")]
    Delay(DurationError),
    #[error("--timeout: {0}")]
    Timeout(#[from] TimeoutError),
    #[error("{} is no whole number of 64 bits; usage: {usage}", as_word(word.as_bytes()))]
    Number { word: String, usage: &'static str },
    #[error("{0}")]
    Size(#[from] SizeError),
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    Split(#[from] SplitError),
    #[error(
        "- stands for the standard input, which brings the commands here: write \"-\" for the \
         character"
    )]
    InputTaken,
    #[error("the standard input cannot be read: {0}")]
    InputUnreadable(io::ErrorKind),
    #[error("the line is longer than {limit} bytes; it was skipped")]
    LineTooLong { limit: usize },
    #[error("bytes that are no text were typed; write them as \\xNN in double quotes")]
    NoText,
}

impl Line {
    /// Reads a line; `None` if it has no words.
    pub(crate) fn parse(line: &[u8]) -> Result<Option<Self>, UsageError> {
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
        let command = arguments.command();
        let command = command.and_then(|command| arguments.end().map(|()| command));
        if arguments.help_asked {
            let options = LineOptions::default();
            return Ok(Self { command: Command::Help(Some(help)), options });
        }
        let (json, raw, timeout) = (arguments.json, arguments.raw, arguments.timeout);
        Ok(Self { command: command?, options: LineOptions { json, raw, timeout } })
    }
}

fn find_command(name: &str) -> Result<&'static CommandHelp, UsageError> {
    named(name).ok_or_else(|| {
        let names: Vec<&str> = COMMANDS.iter().map(|help| help.name).collect();
        UsageError::UnknownCommand { word: name.to_owned(), nearest: nearest(name, &names) }
    })
}

/// The words after a command's name, sorted into options and others.
struct Arguments {
    help: &'static CommandHelp,
    /// Quoted counts for all that cannot be mistaken.
    words: std::vec::IntoIter<Word>,
    json: bool,
    raw: bool,
    help_asked: bool,
    timeout: Option<Duration>,
    read_quorum: Option<Quorum>,
    write_quorum: Option<Quorum>,
}

impl Arguments {
    fn of(
        words: impl Iterator<Item = Word>,
        help: &'static CommandHelp,
    ) -> Result<Self, UsageError> {
        let mut sorted = Self {
            help,
            words: Vec::new().into_iter(),
            json: false,
            raw: false,
            help_asked: false,
            timeout: None,
            read_quorum: None,
            write_quorum: None,
        };
        let mut others = Vec::new();
        let mut options_ended = false;
        let mut words = words;
        while let Some(word) = words.next() {
            if options_ended || word.quoted || !word.bytes.starts_with(b"--") {
                others.push(Word { quoted: word.quoted || options_ended, ..word });
            } else if word.bytes == b"--" {
                options_ended = true;
            } else {
                sorted.take_option(&word.bytes, &mut words)?;
            }
        }
        sorted.words = others.into_iter();
        Ok(sorted)
    }

    fn take_option(
        &mut self,
        word: &[u8],
        words: &mut impl Iterator<Item = Word>,
    ) -> Result<(), UsageError> {
        let usage = self.help.usage;
        let word = String::from_utf8_lossy(word);
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (&*word, None),
        };
        let known = COMMON_OPTIONS.iter().chain(self.help.options);
        let Some(&option) = known.into_iter().find(|option| **option == name) else {
            let option = name.to_owned();
            return Err(UsageError::UnknownOption { option, usage });
        };
        let switch = match option {
            JSON => Some(&mut self.json),
            RAW => Some(&mut self.raw),
            HELP => Some(&mut self.help_asked),
            _ => None,
        };
        if let Some(switch) = switch
            && joined.is_none()
        {
            *switch = true;
            return Ok(());
        }
        let next = || words.next().map(|word| text(&word.bytes));
        let value = joined.or_else(next);
        let value = value.ok_or(UsageError::OptionWithoutValue { option, usage })?;
        let quorum = || {
            let parsed = value.parse();
            parsed.map_err(|error| UsageError::Quorum { option, error })
        };
        match option {
            READ => self.read_quorum = Some(quorum()?),
            WRITE => self.write_quorum = Some(quorum()?),
            TIMEOUT => self.timeout = Some(parse_timeout(&value)?),
            _ => {
                let option = word.into_owned();
                return Err(UsageError::UnknownOption { option, usage });
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, UsageError> {
        Ok(match self.help.name {
            "get" => {
                let key = self.key()?;
                self.request(key.clone(), Operation::get(key))
            }
            "put" => self.put()?,
            "delete" => {
                let key = self.key()?;
                self.request(key.clone(), Operation::delete(key))
            }
            "cas" => self.compare_and_set()?,
            "incr" => {
                let (key, by) = (self.key()?, self.number()?.unwrap_or(1));
                let step = Step::Increment { key: key.clone(), by };
                self.request(key, Operation::of(step))
            }
            "delay" => Command::Delay(self.pause()?),
            "scan" => Command::Scan(self.words.next().map(|word| word.bytes).unwrap_or_default()),
            "dump" => Command::Dump,
            "status" => Command::Status,
            "help" => Command::Help(match self.words.next() {
                Some(topic) => Some(find_command(&text(&topic.bytes).to_lowercase())?),
                None => None,
            }),
            _ => Command::Exit,
        })
    }

    fn request(&self, key: Key, operation: Operation) -> Command {
        let options = self.options();
        Command::Execute(Request { name: self.help.name, key, operation, options })
    }

    fn options(&self) -> RequestOptions {
        RequestOptions {
            read_quorum: self.read_quorum,
            write_quorum: self.write_quorum,
            ..RequestOptions::default()
        }
    }

    fn put(&mut self) -> Result<Command, UsageError> {
        let (key, word) = (self.key()?, self.word("VALUE")?);
        if word == Word::bare(b"-".to_vec()) {
            return Ok(Command::PutInput(PutInput { key, options: self.options() }));
        }
        let value = Value::new(word.bytes)?;
        Ok(self.request(key.clone(), Operation::put(key, value)))
    }

    fn compare_and_set(&mut self) -> Result<Command, UsageError> {
        let (key, old, value) = (self.key()?, self.value("OLD")?, self.value("NEW")?);
        let condition = Condition { key: key.clone(), check: Check::ValueIs(old) };
        let put = Step::Put { key: key.clone(), value, time_to_live: None };
        let batch = Batch::new(vec![condition], vec![put])?;
        Ok(self.request(key, Operation::Batch(batch)))
    }

    fn key(&mut self) -> Result<Key, UsageError> {
        Ok(Key::new(self.word("KEY")?.bytes)?)
    }

    fn value(&mut self, what: &'static str) -> Result<Value, UsageError> {
        Ok(Value::new(self.word(what)?.bytes)?)
    }

    fn number(&mut self) -> Result<Option<i64>, UsageError> {
        let usage = self.help.usage;
        let Some(word) = self.words.next().map(|word| text(&word.bytes)) else {
            return Ok(None);
        };
        let number = word.parse().map(Some);
        number.map_err(|_| UsageError::Number { word, usage })
    }

    /// Whole milliseconds, or a number with its unit.
    fn pause(&mut self) -> Result<Duration, UsageError> {
        let word = text(&self.word("MS")?.bytes);
        let pause = match word.parse() {
            Ok(millis) => Duration::from_millis(millis),
            Err(_) => parse_duration(&word).map_err(UsageError::Delay)?,
        };
        Ok(pause.min(TIMEOUT_MAX))
    }

    fn word(&mut self, what: &'static str) -> Result<Word, UsageError> {
        let usage = self.help.usage;
        self.words.next().ok_or(UsageError::Missing { what, usage })
    }

    fn end(&mut self) -> Result<(), UsageError> {
        let usage = self.help.usage;
        match self.words.next().map(|word| text(&word.bytes)) {
            Some(word) => Err(UsageError::TooMany { word, usage }),
            None => Ok(()),
        }
    }
}

/// Reads a request's time, which is more than none.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, TimeoutError> {
    match parse_duration(text)? {
        Duration::ZERO => Err(TimeoutError::Zero),
        timeout => Ok(timeout),
    }
}

/// Why a text is no time for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeoutError {
    #[error("a request needs some time: write for example 5s")]
    Zero,
    #[error("{0}")]
    Duration(#[from] DurationError),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const JSON: &str = "--json";
const RAW: &str = "--raw";
const HELP: &str = "--help";
const TIMEOUT: &str = "--timeout";
const READ: &str = "--r";
const WRITE: &str = "--w";

#[cfg(test)]
mod tests {
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
