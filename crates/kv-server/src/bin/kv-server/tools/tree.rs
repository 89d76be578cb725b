//! What a tool found, shown to people as indented lines and to programs as JSON.

use std::fmt::{self, Write};

/// A value with names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Nothing,
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<Tree>),
    Fields(Vec<(String, Tree)>),
}

impl Tree {
    pub(crate) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn fields<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Fields(fields.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write_json(&mut out);
        out
    }

    /// Lines for people, without an end of line after the last.
    pub(crate) fn to_lines(&self) -> String {
        let mut out = String::new();
        let _ = self.write_lines(0, &mut out);
        out.trim_matches('\n').to_owned()
    }

    fn write_json(&self, out: &mut String) -> fmt::Result {
        match self {
            Self::Nothing => out.write_str("null"),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Number(number) => write!(out, "{number}"),
            Self::Text(text) => write_quoted(text, out),
            Self::List(items) => {
                out.write_char('[')?;
                for (place, item) in items.iter().enumerate() {
                    out.write_str(if place == 0 { "" } else { "," })?;
                    item.write_json(out)?;
                }
                out.write_char(']')
            }
            Self::Fields(fields) => {
                out.write_char('{')?;
                for (place, (name, value)) in fields.iter().enumerate() {
                    out.write_str(if place == 0 { "" } else { "," })?;
                    write_quoted(name, out)?;
                    out.write_char(':')?;
                    value.write_json(out)?;
                }
                out.write_char('}')
            }
        }
    }

    fn write_lines(&self, depth: usize, out: &mut String) -> fmt::Result {
        match self {
            Self::Nothing => out.write_str(" none"),
            Self::Flag(flag) => out.write_str(if *flag { " yes" } else { " no" }),
            Self::Number(number) => write!(out, " {number}"),
            Self::Text(text) => write!(out, " {text}"),
            Self::List(items) if items.is_empty() => out.write_str(" none"),
            Self::List(items) => items.iter().try_for_each(|item| {
                write!(out, "\n{:1$}-", "", 2 * depth)?;
                item.write_lines(depth + 1, out)
            }),
            Self::Fields(fields) => fields.iter().try_for_each(|(name, value)| {
                write!(out, "\n{:1$}{name}:", "", 2 * depth)?;
                value.write_lines(depth + 1, out)
            }),
        }
    }
}

fn write_quoted(text: &str, out: &mut String) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            control if u32::from(control) < 0x20 => write!(out, "\\u{:04x}", u32::from(control))?,
            plain => out.write_char(plain)?,
        }
    }
    out.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tree_is_lines_and_json() {
        let file = Tree::fields([("file", Tree::text("a\"b\n")), ("bytes", Tree::Number(7))]);
        let tree = Tree::fields([
            ("sound", Tree::Flag(true)),
            ("torn", Tree::Nothing),
            ("damage", Tree::List(Vec::new())),
            ("files", Tree::List(vec![file])),
        ]);
        assert_eq!(
            tree.to_json(),
            r#"{"sound":true,"torn":null,"damage":[],"files":[{"file":"a\"b\u000a","bytes":7}]}"#
        );
        let lines = tree.to_lines();
        assert!(lines.starts_with("sound: yes\ntorn: none\ndamage: none\nfiles:\n"), "{lines}");
        assert!(lines.ends_with("\n    bytes: 7"), "{lines}");
    }
}
