//! Commands: what a line of words means.

use std::time::Duration;

use kv_core::{
    Batch, Check, Command as Step, Condition, Key, NodeId, Operation, Quorum, RequestOptions, Value,
};
use kv_proto::parse_duration;

use super::arguments::{Arguments, text};
use super::help::{COMMANDS, CommandHelp, named};
use super::line_options::LineOptions;
use super::usage::UsageError;
use super::words::{Word, split};
use kv_cli::suggestion::nearest;

/// One command with its options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) command: Command,
    pub(crate) options: LineOptions,
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
    /// The lines up to `commit` are to take effect together.
    Begin,
    Commit,
    Discard,
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
    Scan { prefix: Vec<u8>, read_quorum: Option<Quorum> },
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

impl Request {
    /// What is to take effect together; `None` if it is no such operation.
    pub(crate) const fn batch(&self) -> Option<&Batch> {
        match &self.operation {
            Operation::Batch(batch) => Some(batch),
            Operation::Scan(_)
            | Operation::Dump(_)
            | Operation::OpenSession
            | Operation::Lead { .. } => None,
        }
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
            "begin" => Self::Begin,
            "commit" => Self::Commit,
            "discard" => Self::Discard,
            "scan" => {
                let prefix = words.words.next().map(|word| word.bytes).unwrap_or_default();
                let read_quorum = words.options()?.read_quorum;
                Self::List(Listing::Scan { prefix, read_quorum }, Shape::of(words)?)
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
        let nearest = nearest(name, COMMANDS.iter().map(|help| help.name));
        UsageError::UnknownCommand { word: name.to_owned(), nearest }
    })
}

/// What a line begins with that is a comment.
const COMMENT_MARK: &[u8] = b"#";

#[cfg(test)]
mod tests;
