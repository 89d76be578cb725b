//! The words after a command's name.

use std::time::Duration;

use kv_core::{Key, Quorum, RequestOptions, Value};
use kv_proto::parse_duration;

use super::help::{COMMON_OPTIONS, CommandHelp};
use super::timeout::parse_timeout;
use super::usage::UsageError;
use super::words::Word;

/// The words after a command's name, sorted into options and others.
pub(crate) struct Arguments {
    pub(crate) help: &'static CommandHelp,
    /// Quoted counts for all that cannot be mistaken.
    pub(crate) words: std::vec::IntoIter<Word>,
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) help_asked: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) read_quorum: Option<Quorum>,
    pub(crate) write_quorum: Option<Quorum>,
}

impl Arguments {
    pub(crate) fn of(
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

    /// The options of the request that the command makes.
    pub(crate) fn options(&self) -> RequestOptions {
        RequestOptions {
            read_quorum: self.read_quorum,
            write_quorum: self.write_quorum,
            ..RequestOptions::default()
        }
    }

    pub(crate) fn key(&mut self) -> Result<Key, UsageError> {
        Ok(Key::new(self.word("KEY")?.bytes)?)
    }

    pub(crate) fn value(&mut self, what: &'static str) -> Result<Value, UsageError> {
        Ok(Value::new(self.word(what)?.bytes)?)
    }

    /// A whole number, if there is another word.
    pub(crate) fn number(&mut self) -> Result<Option<i64>, UsageError> {
        let usage = self.help.usage;
        let Some(word) = self.words.next().map(|word| text(&word.bytes)) else {
            return Ok(None);
        };
        let number = word.parse().map(Some);
        number.map_err(|_| UsageError::Number { word, usage })
    }

    /// Whole milliseconds, or a number with its unit.
    pub(crate) fn pause(&mut self) -> Result<Duration, UsageError> {
        let word = text(&self.word("MS")?.bytes);
        let pause = match word.parse() {
            Ok(millis) => Duration::from_millis(millis),
            Err(_) => parse_duration(&word).map_err(UsageError::Delay)?,
        };
        Ok(pause.min(PAUSE_MAX))
    }

    /// The next word, which is named for whoever left it out.
    pub(crate) fn word(&mut self, what: &'static str) -> Result<Word, UsageError> {
        let usage = self.help.usage;
        self.words.next().ok_or(UsageError::Missing { what, usage })
    }

    /// There must be no more words.
    pub(crate) fn end(&mut self) -> Result<(), UsageError> {
        let usage = self.help.usage;
        match self.words.next().map(|word| text(&word.bytes)) {
            Some(word) => Err(UsageError::TooMany { word, usage }),
            None => Ok(()),
        }
    }
}

/// Bytes as text, for a message.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A year.
const PAUSE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const JSON: &str = "--json";
const RAW: &str = "--raw";
const HELP: &str = "--help";
const TIMEOUT: &str = "--timeout";
const READ: &str = "--r";
const WRITE: &str = "--w";
