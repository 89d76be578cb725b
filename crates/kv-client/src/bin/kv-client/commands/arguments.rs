//! The words after a command's name.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Check, Key, Level, NodeId, Quorum, RequestOptions, Value, Version};
use kv_proto::parse_duration;

use super::help::CommandHelp;
use super::line_options::LineOptions;
use super::timeout::parse_timeout;
use super::usage::UsageError;
use super::words::Word;

/// The words after a command's name, sorted into options and others.
pub(crate) struct Arguments {
    pub(crate) help: &'static CommandHelp,
    /// Quoted counts for all that cannot be mistaken.
    pub(crate) words: std::vec::IntoIter<Word>,
    switches: Vec<&'static str>,
    /// Of an option that is given twice the later value counts.
    values: BTreeMap<&'static str, Vec<u8>>,
}

impl Arguments {
    pub(crate) fn of(
        words: impl Iterator<Item = Word>,
        help: &'static CommandHelp,
    ) -> Result<Self, UsageError> {
        let words_of_none = Vec::new().into_iter();
        let (switches, values) = (Vec::new(), BTreeMap::new());
        let mut sorted = Self { help, words: words_of_none, switches, values };
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
        let (name, joined) = match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (word.get(..at), word.get(at + 1..)),
            None => (Some(word), None),
        };
        let name = text(name.unwrap_or_default());
        let unknown = |option| Err(UsageError::UnknownOption { option, usage });
        let Some(option) = self.help.option(&name) else {
            return unknown(name);
        };
        if option.value.is_some() {
            let next = || words.next().map(|word| word.bytes);
            let value = joined.map(<[u8]>::to_vec).or_else(next);
            let option = option.name;
            let value = value.ok_or(UsageError::OptionWithoutValue { option, usage })?;
            self.values.insert(option, value);
        } else if joined.is_some() {
            return unknown(text(word));
        } else {
            self.switches.push(option.name);
        }
        Ok(())
    }

    /// Whether a switch was given.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }

    /// The value that an option was given.
    pub(crate) fn value_of(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(Vec::as_slice)
    }

    /// The whole number that an option was given.
    pub(crate) fn count_of(&self, option: &'static str) -> Result<Option<u64>, UsageError> {
        let value = self.value_of(option).map(text);
        let count = value.map(|value| value.parse().map_err(|_| value)).transpose();
        count.map_err(|word| UsageError::Count { option, word })
    }

    /// The options that every command takes.
    pub(crate) fn line_options(&self) -> Result<LineOptions, UsageError> {
        let time = |option| {
            let value = self.value_of(option).map(text);
            let time = value.map(|value| parse_timeout(&value)).transpose();
            time.map_err(|error| UsageError::Time { option, error })
        };
        Ok(LineOptions {
            json: self.is_set("--json"),
            raw: self.is_set("--raw"),
            timeout: time("--timeout")?,
            repeat: self.count_of("--repeat")?,
            every: time("--every")?,
        })
    }

    /// The options of the request that the command makes.
    pub(crate) fn options(&self) -> Result<RequestOptions, UsageError> {
        let quorum = |option| {
            let value = self.value_of(option).map(text);
            let quorum = value.map(|value| value.parse::<Quorum>()).transpose();
            quorum.map_err(|error| UsageError::Quorum { option, error })
        };
        Ok(RequestOptions::default()
            .with_read_quorum(quorum("--r")?)
            .with_write_quorum(quorum("--w")?)
            .with_level(self.level()?))
    }

    /// What must hold for a write; of several conditions none can be chosen.
    pub(crate) fn check(&self) -> Result<Option<Check>, UsageError> {
        let version = self.count_of("--if-version")?;
        let value = self.value_of("--if-value").map(<[u8]>::to_vec).map(Value::new).transpose()?;
        let checks = [
            self.is_set("--if-absent").then_some(Check::Absent),
            self.is_set("--if-present").then_some(Check::Present),
            version.map(|index| Check::VersionIs(Version::Log(index))),
            value.map(Check::ValueIs),
        ];
        let mut checks = checks.into_iter().flatten();
        let check = checks.next();
        if checks.next().is_some() {
            return Err(UsageError::Together { options: "the --if options" });
        }
        Ok(check)
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
    pub(crate) fn server(&mut self) -> Result<NodeId, UsageError> {
        let word = text(&self.word("SERVER")?.bytes);
        let node = word.parse().ok().and_then(|number| NodeId::new(number).ok());
        node.ok_or(UsageError::Server { word, usage: self.help.usage })
    }

    pub(crate) fn pause(&mut self) -> Result<Duration, UsageError> {
        let word = text(&self.word("MS")?.bytes);
        let pause = match word.parse() {
            Ok(millis) => Duration::from_millis(millis),
            Err(_) => parse_duration(&word).map_err(UsageError::Delay)?,
        };
        Ok(pause.min(PAUSE_MAX))
    }

    fn level(&self) -> Result<Option<Level>, UsageError> {
        match self.value_of("--level") {
            None => Ok(None),
            Some(b"linearizable") => Ok(Some(Level::Linearizable)),
            Some(b"sequential") => Ok(Some(Level::Sequential)),
            Some(b"sequenced") => Ok(Some(Level::Sequenced)),
            Some(b"atomic") => Ok(Some(Level::Atomic)),
            Some(word) => Err(UsageError::Level { word: text(word) }),
        }
    }

    /// How long a key is to last.
    pub(crate) fn time_to_live(&self) -> Result<Option<Duration>, UsageError> {
        let time = self.value_of("--ttl").map(|word| parse_duration(&text(word))).transpose();
        time.map_err(UsageError::TimeToLive)
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
