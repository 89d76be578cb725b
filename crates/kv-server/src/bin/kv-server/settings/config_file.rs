//! A TOML file with settings.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kv_cli::suggestion::nearest;
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use crate::settings::{Form, KEYS, Key};

/// A setting that a file makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSetting {
    /// The setting's [`Key::field`].
    pub(crate) field: &'static str,
    /// Its name in the file, with its table's.
    pub(crate) name: String,
    /// Its value, as its option would be given it.
    pub(crate) text: String,
    /// The line that it stands in, from 1.
    pub(crate) line: usize,
}

/// Reads a file; says nothing yet of whether the values are legal.
pub(crate) fn read_settings(path: &Path) -> Result<Vec<FileSetting>, ConfigFileError> {
    let unreadable = |source| ConfigFileError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
        return Err(unreadable(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    parse_settings(&text).map_err(|(line, problem)| ConfigFileError::Line {
        path: path.to_owned(),
        line,
        problem,
    })
}

fn parse_settings(text: &str) -> Result<Vec<FileSetting>, (usize, LineProblem)> {
    let line_at =
        |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let top = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        (line_at(offset), LineProblem::Syntax { message: error.message().to_owned() })
    })?;
    let mut settings = Vec::new();
    read_table("", top.get_ref(), &mut settings)
        .map_err(|(offset, problem)| (line_at(offset), problem))?;
    // The parser sorts by name; a person reads from the top, and wants the first mistake first.
    settings.sort_by_key(|(offset, _)| *offset);
    let settings = settings.into_iter();
    Ok(settings.map(|(at, setting)| FileSetting { line: line_at(at), ..setting }).collect())
}

fn read_table(
    table: &str,
    entries: &DeTable<'_>,
    settings: &mut Vec<(usize, FileSetting)>,
) -> Result<(), (usize, LineProblem)> {
    for (name, value) in entries {
        let (offset, name) = (name.span().start, name.get_ref().as_ref());
        let full = full_name(table, name);
        let problem = |problem| (offset, problem);
        if let Some(key) = KEYS.iter().find(|key| key.table == table && key.name == name) {
            let text = text_of(key, value.get_ref()).ok_or_else(|| {
                no_address(key, value.get_ref()).unwrap_or_else(|| {
                    problem(LineProblem::Kind { name: full.clone(), expected: expected(key.form) })
                })
            })?;
            settings.push((offset, FileSetting { field: key.field, name: full, text, line: 0 }));
            continue;
        }
        if let DeValue::Table(inner) = value.get_ref()
            && table.is_empty()
            && is_table(name)
        {
            read_table(name, inner, settings)?;
        } else if let DeValue::Table(_) = value.get_ref()
            && table.is_empty()
            && let Some(nearest) = nearest_table(name)
        {
            return Err(problem(LineProblem::UnknownTable { name: full, nearest }));
        } else {
            let nearest = nearest_name(&full);
            return Err(problem(LineProblem::Unknown { name: full, nearest }));
        }
    }
    Ok(())
}

/// The value as the setting's option would be given it; `None` if it is of no fitting kind.
fn text_of(key: &Key, value: &DeValue<'_>) -> Option<String> {
    match (key.form, value) {
        (Form::Switch, DeValue::Boolean(is_on)) => Some(is_on.to_string()),
        (Form::Switch, _) => None,
        (_, DeValue::String(text)) => Some(text.clone().into_owned()),
        (Form::Number | Form::Range, DeValue::Integer(number)) => decimal(number),
        (Form::Range, DeValue::Array(range)) => {
            let ends: Option<Vec<String>> = range.iter().map(integer).collect();
            ends.filter(|ends| ends.len() == 2).map(|ends| ends.join("-"))
        }
        (Form::Addresses, DeValue::Table(addresses)) => {
            let pair = |(id, address): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let id: &DeString<'_> = id.get_ref();
                address.get_ref().as_str().map(|address| format!("{id}={address}"))
            };
            let pairs: Option<Vec<String>> = addresses.iter().map(pair).collect();
            pairs.map(|pairs| pairs.join(","))
        }
        _ => None,
    }
}

/// The first entry of a table of addresses that is none, with where it stands.
fn no_address(key: &Key, value: &DeValue<'_>) -> Option<(usize, LineProblem)> {
    let (Form::Addresses, DeValue::Table(addresses)) = (key.form, value) else {
        return None;
    };
    let wrong = addresses.iter().filter(|(_, address)| address.get_ref().as_str().is_none());
    let (id, _) = wrong.min_by_key(|(id, _)| id.span().start)?;
    let name = full_name(key.name, id.get_ref().as_ref());
    let expected = "an address in quotes, such as \"127.0.0.1:4961\"";
    Some((id.span().start, LineProblem::Kind { name, expected }))
}

fn integer(value: &Spanned<DeValue<'_>>) -> Option<String> {
    value.get_ref().as_integer().and_then(decimal)
}

fn decimal(number: &DeInteger<'_>) -> Option<String> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

const fn expected(form: Form) -> &'static str {
    match form {
        Form::Text => "a text in quotes",
        Form::Number => "a whole number, or a text in quotes",
        Form::Range => "a range such as [1, 5], a whole number, or \"off\"",
        Form::Addresses => "a text such as \"1-3\", or a table of addresses by id",
        Form::Switch => "true or false",
    }
}

fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| key.table == name)
}

/// The setting whose name is most like this one, if any is like it at all; the table may be wrong or
/// missing.
fn nearest_name(wrong: &str) -> Option<String> {
    let names = || KEYS.iter().map(|key| full_name(key.table, key.name));
    nearest(wrong, names()).or_else(|| {
        let last = wrong.rsplit('.').next()?;
        let last = nearest(last, KEYS.iter().map(|key| key.name))?;
        names().find(|name| name.rsplit('.').next() == Some(last))
    })
}

/// The table whose name is most like this one, if any is like it at all.
fn nearest_table(wrong: &str) -> Option<&'static str> {
    let table = |key: &Key| match key.form {
        Form::Addresses => key.name,
        Form::Text | Form::Number | Form::Range | Form::Switch => key.table,
    };
    nearest(wrong, KEYS.iter().map(table).filter(|table| !table.is_empty()))
}

/// A setting's name with its table's.
fn full_name(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

/// Why a file makes no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    #[error("cannot read {}: {source}; correct --config or KV_CONFIG", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line { path: PathBuf, line: usize, problem: LineProblem },
}

/// What is wrong in a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineProblem {
    #[error("this is no TOML: {message}")]
    Syntax { message: String },
    #[error(
        "there is no setting `{name}`{}; `kv-server config` shows all",
        nearest.as_ref().map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
    )]
    Unknown { name: String, nearest: Option<String> },
    #[error(
        "there is no table `[{name}]`, did you mean `[{nearest}]`?; `kv-server config` shows all"
    )]
    UnknownTable { name: String, nearest: &'static str },
    #[error("`{name}` takes {expected}")]
    Kind { name: String, expected: &'static str },
    #[error("`{name}` cannot be `{text}`: {reason}")]
    Value { name: String, text: String, reason: String },
}

/// A file larger than this is none that a person wrote.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&'static str, String, usize)> {
        let settings = parse_settings(text).unwrap();
        settings.into_iter().map(|setting| (setting.field, setting.text, setting.line)).collect()
    }

    fn problem(text: &str) -> String {
        let (line, problem) = parse_settings(text).unwrap_err();
        format!("{line}: {problem}")
    }

    #[test]
    fn values_are_read_as_their_options_are_given() {
        let text = "w = 2\nr = \"majority\"\n\n[network]\ndelay_ms = [1, 5]\n[limits]\n\
                    clients_max = 0x10\n";
        let expected =
            [("w", "2", 1), ("r", "majority", 2), ("delay", "1-5", 5), ("clients_max", "16", 7)];
        assert_eq!(read(text), expected.map(|(field, text, line)| (field, text.to_owned(), line)));
    }

    #[test]
    fn servers_are_a_text_or_a_table() {
        assert_eq!(read("servers = \"1-3\""), [("servers", "1-3".to_owned(), 1)]);
        let table = "[servers]\n1 = \"a:1\"\n2 = \"b:2\"\n";
        assert_eq!(read(table), [("servers", "1=a:1,2=b:2".to_owned(), 1)]);
    }

    #[test]
    fn mistakes_name_their_line_and_the_nearest_right_name() {
        assert_eq!(
            problem("w = 1\n[limits]\nclient_max = 3\n"),
            "3: there is no setting `limits.client_max`, did you mean `limits.clients_max`?; \
             `kv-server config` shows all"
        );
        assert!(problem("delay_ms = 3").contains("did you mean `network.delay_ms`?"));
        assert!(problem("consistancy = \"eventual\"").contains("did you mean `consistency`?"));
        assert_eq!(
            problem("zzz = 3"),
            "1: there is no setting `zzz`; `kv-server config` shows all"
        );
        assert_eq!(problem("\n\nlog = 3"), "3: `log` takes a text in quotes");
        assert_eq!(
            problem("w = 1\n[netwrk]\ndelay_ms = 3\n"),
            "2: there is no table `[netwrk]`, did you mean `[network]`?; `kv-server config` shows \
             all"
        );
        assert!(problem("[server]\n1 = \"a:1\"").contains("did you mean `[servers]`?"));
        assert!(
            problem("[servers]\n1 = \"a:1\"\n2 = 3\n")
                .starts_with("3: `servers.2` takes an address in quotes")
        );
        assert!(problem("op_log = \"off\"").contains("did you mean `op_log.folder`?"));
        assert!(problem("w = 1\nw = 2").starts_with("2: this is no TOML: duplicate key"));
        assert!(problem("w = 1\nr =\n").starts_with("2: this is no TOML"));
    }
}
