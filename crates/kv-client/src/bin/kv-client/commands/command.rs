//! Commands: what a line of words means.

use std::time::Duration;

use kv_core::{
    Batch, Check, Command as Step, Condition, Key, NodeId, Operation, RequestOptions, Value,
};
use kv_proto::parse_duration;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineOptions {
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) timeout: Option<Duration>,
    /// How often it is run.
    pub(crate) repeat: u64,
    /// From the beginning of a run to that of the next one, at least.
    pub(crate) every: Duration,
}

/// What can be typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Execute(Request),
    /// At the same time, each with a result of its own.
    Each(Vec<Request>),
    /// A put whose value is the standard input.
    PutInput(PutInput),
    /// Removes the keys that begin with these bytes.
    DeletePrefix(Vec<u8>, RequestOptions),
    List(Listing, Shape),
    Status {
        all: bool,
        wait: bool,
    },
    Health {
        /// Serving reads is enough.
        reads: bool,
        wait: bool,
    },
    /// This server is to become the sequencer.
    Lead(NodeId),
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
    /// Whether no more is asked than whether there is the key.
    pub(crate) asks_existence: bool,
}

/// A put that has no value yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PutInput {
    key: Key,
    check: Option<Check>,
    time_to_live: Option<Duration>,
    options: RequestOptions,
}

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// The keys that begin with these bytes.
    Scan(Vec<u8>),
    /// All of one server.
    Dump,
}

/// What is shown of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) part: Part,
    /// How many keys at most.
    pub(crate) limit: Option<u64>,
    /// As they are, each with a NUL behind it.
    pub(crate) null: bool,
}

/// What is shown of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    #[default]
    Entries,
    Keys,
    Values,
    /// Nothing: how many there are.
    Count,
}

impl PutInput {
    /// The put of a value.
    pub(crate) fn with(self, value: Vec<u8>) -> Result<Request, UsageError> {
        let Self { key, check, time_to_live, options } = self;
        let put = Step::Put { key: key.clone(), value: Value::new(value)?, time_to_live };
        Request::write("put", key, check, put, options)
    }
}

impl Request {
    /// A write that takes effect only if `check` holds.
    fn write(
        name: &'static str,
        key: Key,
        check: Option<Check>,
        step: Step,
        options: RequestOptions,
    ) -> Result<Self, UsageError> {
        let conditions = check.map(|check| Condition { key: key.clone(), check });
        let batch = Batch::new(conditions.into_iter().collect(), vec![step])?;
        let operation = Operation::Batch(batch);
        Ok(Self { name, key, operation, options, asks_existence: false })
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
        let command = match arguments.is_set("--help") {
            true => Command::Help(Some(help)),
            false => command?,
        };
        Ok(Self { command, options: arguments.line_options()? })
    }
}

impl Command {
    fn of(words: &mut Arguments) -> Result<Self, UsageError> {
        Ok(match words.help.name {
            "get" => Self::reads(words, false)?,
            "exists" => Self::reads(words, true)?,
            "put" => Self::put(words)?,
            "delete" => Self::delete(words)?,
            "cas" => {
                let (key, old, value) = (words.key()?, words.value("OLD")?, words.value("NEW")?);
                let put =
                    Step::Put { key: key.clone(), value, time_to_live: words.time_to_live()? };
                Self::write(words, key, Some(Check::ValueIs(old)), put)?
            }
            "expire" => {
                let (key, time) = (words.key()?, text(&words.word("TIME")?.bytes));
                let time_to_live = Some(parse_duration(&time).map_err(UsageError::TimeToLive)?);
                Self::write(words, key.clone(), None, Step::Expire { key, time_to_live })?
            }
            "persist" => {
                let key = words.key()?;
                Self::write(words, key.clone(), None, Step::Expire { key, time_to_live: None })?
            }
            "ttl" => {
                let key = words.key()?;
                Self::write(words, key.clone(), None, Step::TimeToLive { key })?
            }
            "incr" => {
                let (key, by) = (words.key()?, words.number()?.unwrap_or(1));
                Self::write(words, key.clone(), None, Step::Increment { key, by })?
            }
            "append" => {
                let (key, suffix) = (words.key()?, words.value("VALUE")?);
                Self::write(words, key.clone(), None, Step::Append { key, suffix })?
            }
            "lead" => Self::Lead(words.server()?),
            "delay" => Self::Delay(words.pause()?),
            "scan" => {
                let prefix = words.words.next().map(|word| word.bytes).unwrap_or_default();
                Self::List(Listing::Scan(prefix), Shape::of(words)?)
            }
            "dump" => Self::List(Listing::Dump, Shape::of(words)?),
            "status" => Self::Status { all: words.is_set("--all"), wait: words.is_set("--wait") },
            "health" => {
                Self::Health { reads: words.is_set("--reads"), wait: words.is_set("--wait") }
            }
            "help" => Self::Help(match words.words.next() {
                Some(topic) => Some(find_command(&text(&topic.bytes).to_lowercase())?),
                None => None,
            }),
            _ => Self::Exit,
        })
    }

    /// One read, or several.
    fn reads(words: &mut Arguments, asks_existence: bool) -> Result<Self, UsageError> {
        let (name, options) = (words.help.name, words.options()?);
        let read = |key: Key| {
            let (operation, options) = (Operation::get(key.clone()), options.clone());
            Request { name, key, operation, options, asks_existence }
        };
        let first = read(words.key()?);
        if words.words.len() == 0 {
            return Ok(Self::Execute(first));
        }
        let mut requests = vec![first];
        while words.words.len() > 0 {
            let word = words.word("KEY")?;
            if word == Word::bare(COMMENT_MARK.to_vec()) {
                // What follows is meant for a comment more likely than for keys.
                return Err(UsageError::CommentBehind);
            }
            requests.push(read(Key::new(word.bytes)?));
        }
        Ok(Self::Each(requests))
    }

    fn write(
        words: &Arguments,
        key: Key,
        check: Option<Check>,
        step: Step,
    ) -> Result<Self, UsageError> {
        let options = words.options()?;
        Ok(Self::Execute(Request::write(words.help.name, key, check, step, options)?))
    }

    fn put(words: &mut Arguments) -> Result<Self, UsageError> {
        let (key, check) = (words.key()?, words.check()?);
        let time_to_live = words.time_to_live()?;
        if words.is_set("--stdin") {
            let options = words.options()?;
            return Ok(Self::PutInput(PutInput { key, check, time_to_live, options }));
        }
        let value = words.value("VALUE")?;
        let put = Step::Put { key: key.clone(), value, time_to_live };
        Self::write(words, key, check, put)
    }

    fn delete(words: &mut Arguments) -> Result<Self, UsageError> {
        let check = words.check()?;
        match (words.value_of("--prefix"), &check) {
            (Some(b""), _) => Err(UsageError::EmptyPrefix),
            (Some(_), Some(_)) => {
                Err(UsageError::Together { options: "--prefix and the --if options" })
            }
            (Some(prefix), None) => Ok(Self::DeletePrefix(prefix.to_vec(), words.options()?)),
            (None, _) => {
                let key = words.key()?;
                Self::write(words, key.clone(), check, Step::Delete { key })
            }
        }
    }
}

impl Shape {
    fn of(words: &Arguments) -> Result<Self, UsageError> {
        let parts = [
            words.is_set("--keys-only").then_some(Part::Keys),
            words.is_set("--values-only").then_some(Part::Values),
            words.is_set("--count").then_some(Part::Count),
        ];
        let mut parts = parts.into_iter().flatten();
        let part = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return Err(UsageError::Together { options: "--keys-only, --values-only and --count" });
        }
        Ok(Self { part, limit: words.count_of("--limit")?, null: words.is_set("--null") })
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
    use kv_core::{Level, Quorum, Version};

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
        assert_eq!(parse("dump").command, Command::List(Listing::Dump, Shape::default()));
        let status = |all, wait| Command::Status { all, wait };
        assert_eq!(parse("status").command, status(false, false));
        assert_eq!(parse("status --wait --all").command, status(true, true));
        assert_eq!(parse("health --reads").command, Command::Health { reads: true, wait: false });
        assert_eq!(parse("lead 2").command, Command::Lead(NodeId::new(2).unwrap()));
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
    fn the_standard_input_is_named_by_what_no_value_can_be() {
        for line in ["put x --stdin", "put --stdin x"] {
            assert!(matches!(parse(line).command, Command::PutInput(put) if put.key == key("x")));
        }
        let dash = Operation::put(key("x"), value("-"));
        assert_eq!(request("put x -").operation, dash);
        let word = Operation::put(key("x"), value("--stdin"));
        assert_eq!(request("put x -- --stdin").operation, word);
        assert_eq!(request("put x \"--stdin\"").operation, word);
        assert!(error("put x 1 --stdin").starts_with("1 is too much"));
    }

    #[test]
    fn a_write_may_have_a_condition() {
        let check = |line: &str| {
            let Operation::Batch(batch) = request(line).operation else {
                panic!("{line} is no batch");
            };
            assert_eq!(batch.commands().len(), 1, "{line}");
            batch.conditions().first().map(|condition| condition.check.clone())
        };
        assert_eq!(check("put x 1"), None);
        assert_eq!(check("put x 1 --if-absent"), Some(Check::Absent));
        assert_eq!(check("put --if-version 7 x 1"), Some(Check::VersionIs(Version::Log(7))));
        assert_eq!(check("put x 1 --if-value=a=b"), Some(Check::ValueIs(value("a=b"))));
        assert_eq!(check("put x 1 --if-value \"\""), Some(Check::ValueIs(value(""))));
        assert_eq!(check("delete x --if-present"), Some(Check::Present));
        assert_eq!(check("delete x --if-version 7"), Some(Check::VersionIs(Version::Log(7))));
        assert_eq!(
            error("put x 1 --if-absent --if-version 7"),
            "the --if options cannot stand together: leave out all but one"
        );
        assert_eq!(error("put x 1 --if-version new"), "--if-version takes a whole number, not new");
        assert!(error("delete x --if-absent").starts_with("unknown option --if-absent"));
    }

    #[test]
    fn a_read_may_say_its_level() {
        assert_eq!(request("get x --level sequential").options.level, Some(Level::Sequential));
        assert_eq!(request("ttl x --level linearizable").options.level, Some(Level::Linearizable));
        assert_eq!(request("get x").options.level, None);
        assert!(error("get x --level strong").starts_with("--level is linearizable or"));
        assert!(error("put x 1 --level sequential").starts_with("unknown option --level"));
    }

    #[test]
    fn a_key_may_last_for_a_time() {
        let put = |line: &str| {
            let Operation::Batch(batch) = request(line).operation else {
                panic!("{line} is no batch");
            };
            let [Step::Put { time_to_live, .. }] = batch.commands() else {
                panic!("{line} is no put");
            };
            *time_to_live
        };
        let seconds = Duration::from_secs;
        assert_eq!(put("put x 1 --ttl 10s"), Some(seconds(10)));
        assert_eq!(put("cas x 1 2 --ttl 1m"), Some(seconds(60)));
        let expire = |time_to_live| Operation::of(Step::Expire { key: key("x"), time_to_live });
        assert_eq!(request("expire x 5s").operation, expire(Some(seconds(5))));
        assert_eq!(request("persist x").operation, expire(None));
        let time_to_live = Operation::of(Step::TimeToLive { key: key("x") });
        assert_eq!(request("ttl x").operation, time_to_live);
        assert!(error("put x 1 --ttl soon").starts_with("the time to live: "));
        assert!(error("expire x").starts_with("TIME is missing"));
    }

    #[test]
    fn several_keys_are_read_and_a_prefix_is_deleted() {
        let Command::Each(gets) = parse("get x y --r all").command else {
            panic!("not several");
        };
        let operations: Vec<_> = gets.iter().map(|get| get.operation.clone()).collect();
        assert_eq!(operations, [Operation::get(key("x")), Operation::get(key("y"))]);
        assert!(gets.iter().all(|get| get.options.read_quorum == Some(Quorum::All)));
        assert!(request("exists x").asks_existence);
        assert!(matches!(parse("delete --prefix a").command,
            Command::DeletePrefix(prefix, _) if prefix == b"a"));
        assert!(error("delete --prefix \"\"").contains("would remove every key"));
        assert!(error("delete --prefix a b").starts_with("b is too much"));
        assert!(error("delete --prefix a --if-present").contains("cannot stand together"));
    }

    #[test]
    fn lists_have_shapes_and_commands_are_repeated() {
        let shape = |line: &str| {
            let Command::List(_, shape) = parse(line).command else {
                panic!("{line} is no list");
            };
            shape
        };
        assert_eq!(shape("scan p --limit 3").limit, Some(3));
        let keys = Shape { part: Part::Keys, limit: None, null: true };
        assert_eq!(shape("dump --keys-only --null"), keys);
        assert_eq!(shape("scan --count").part, Part::Count);
        assert!(error("scan --count --keys-only").contains("cannot stand together"));
        assert_eq!(error("scan --limit -1"), "--limit takes a whole number, not -1");
        let options = |line: &str| parse(line).options;
        assert_eq!(options("get x --repeat 3").repeat, 3);
        let every = options("get x --every 2s");
        assert_eq!((every.repeat, every.every), (u64::MAX, Duration::from_secs(2)));
        assert_eq!(options("get x").repeat, 1);
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
            LineOptions {
                json: true,
                raw: false,
                timeout: Some(Duration::from_secs(1)),
                repeat: 1,
                every: Duration::ZERO,
            }
        );
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let cases = [
            ("gte x", "unknown command gte: did you mean `get`?; `help` lists all"),
            ("frobnicate", "unknown command frobnicate; `help` lists all"),
            ("get", "KEY is missing; usage: get KEY... [--r N|majority|all]"),
            (
                "put x hello world",
                "world is too much; put what holds spaces in quotes; usage: put KEY VALUE [--w \
                 N|majority|all]",
            ),
            ("get x --w 2", "unknown option --w; usage: get KEY... [--r N|majority|all]"),
            ("get x --json=1", "unknown option --json=1; usage: get KEY... [--r N|majority|all]"),
            ("get x --r", "--r needs a value; usage: get KEY... [--r N|majority|all]"),
            ("get x --r most", "--r: a quorum is a whole number, `majority` or `all`"),
            ("incr x 1.5", "1.5 is no whole number of 64 bits; usage: incr KEY [N]"),
            ("get \"\"", "a key has at least 1 byte"),
            ("status --timeout 0s", "--timeout: a request needs some time: write for example 5s"),
            ("lead", "SERVER is missing; usage: lead SERVER"),
            ("lead two", "two is no id of a server; usage: lead SERVER"),
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
