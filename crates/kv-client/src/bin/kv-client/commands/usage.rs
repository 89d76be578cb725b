//! Mistakes in commands.

use std::io;

use kv_core::{BatchError, QuorumError, SizeError};
use kv_proto::DurationError;

use super::timeout::TimeoutError;
use super::words::{SplitError, as_word};

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
    #[error("the time to live: {0}")]
    TimeToLive(DurationError),
    #[error("{option}: {error}")]
    Time { option: &'static str, error: TimeoutError },
    #[error("--level is linearizable, sequential, sequenced or atomic, not {}", as_word(word.as_bytes()))]
    Level { word: String },
    #[error("{option} takes a whole number, not {}", as_word(word.as_bytes()))]
    Count { option: &'static str, word: String },
    #[error("{options} cannot stand together: leave out all but one")]
    Together { options: &'static str },
    #[error("a comment stands on a line of its own; write \"#\" in quotes for the key")]
    CommentBehind,
    #[error(
        "begin: a transaction takes several lines; write them at the prompt, or into a pipe or a file"
    )]
    BeginAlone,
    #[error("a transaction has begun already: `commit` or `discard` it first")]
    BegunAlready,
    #[error("no transaction has begun: `begin` begins one")]
    NoTransaction,
    #[error("{what} cannot stand in a transaction: `commit` or `discard` it first")]
    NotInTransaction { what: &'static str },
    #[error("{option} stands behind `commit`, not behind a line of a transaction")]
    OptionOfCommit { option: &'static str },
    #[error("an empty --prefix would remove every key: name how the keys begin")]
    EmptyPrefix,
    #[error("{} is no whole number of 64 bits; usage: {usage}", as_word(word.as_bytes()))]
    Number { word: String, usage: &'static str },
    #[error("{} is no id of a server; usage: {usage}", as_word(word.as_bytes()))]
    Server { word: String, usage: &'static str },
    #[error("{0}")]
    Size(#[from] SizeError),
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    Split(#[from] SplitError),
    #[error("--stdin cannot be used here: the standard input brings the commands")]
    InputTaken,
    #[error("the standard input cannot be read: {0}")]
    InputUnreadable(io::ErrorKind),
    #[error("the line is longer than {limit} bytes; it was skipped")]
    LineTooLong { limit: usize },
    #[error("bytes that are no text were typed; write them as \\xNN in double quotes")]
    NoText,
}
