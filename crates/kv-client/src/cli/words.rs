//! Words on a line: how they are typed and how they are printed.

use std::fmt::Write;

/// A word as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) bytes: Vec<u8>,
    /// A quoted word is never an option.
    pub(crate) quoted: bool,
}

impl Word {
    /// A word that the shell has split off.
    pub(crate) const fn bare(bytes: Vec<u8>) -> Self {
        let quoted = false;
        Self { bytes, quoted }
    }
}

/// Why a line cannot be split into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    #[error("a quote is not closed: end the word with \"")]
    Unclosed,
    #[error("a quote stands inside a word: put the whole word in quotes, with \\\" for a quote")]
    InsideWord,
    #[error("an escape is not known: use \\n \\r \\t \\0 \\\\ \\\" or \\xNN with two hex digits")]
    Escape,
}

/// Splits a line at white space. A word in double quotes may hold white space and the escapes `\n`,
/// `\r`, `\t`, `\0`, `\\`, `\"` and `\xNN`; other words are taken as they are.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Word>, SplitError> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        let (word, after) =
            if *first == b'"' { quoted(rest.get(1..).unwrap_or_default())? } else { bare(rest)? };
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

fn bare(line: &[u8]) -> Result<(Word, &[u8]), SplitError> {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (word, after) = line.split_at(end.unwrap_or(line.len()));
    if word.contains(&b'"') {
        return Err(SplitError::InsideWord);
    }
    Ok((Word::bare(word.to_vec()), after))
}

/// Reads a word whose first quote has been read.
fn quoted(mut line: &[u8]) -> Result<(Word, &[u8]), SplitError> {
    let mut bytes = Vec::new();
    loop {
        match line {
            [] => return Err(SplitError::Unclosed),
            [b'"', after @ ..] if after.first().is_none_or(u8::is_ascii_whitespace) => {
                let quoted = true;
                return Ok((Word { bytes, quoted }, after));
            }
            [b'"', ..] => return Err(SplitError::InsideWord),
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = hex_digit(*high).zip(hex_digit(*low));
                let (high, low) = digits.ok_or(SplitError::Escape)?;
                bytes.push(high * 16 + low);
                line = after;
            }
            [b'\\', escape, after @ ..] => {
                bytes.push(match escape {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0' => 0,
                    b'\\' | b'"' => *escape,
                    _ => return Err(SplitError::Escape),
                });
                line = after;
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                line = after;
            }
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Bytes in quotes, with escapes for all that is not printable, so that a line stays a line.
pub(crate) fn in_quotes(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut text, character);
        }
        for byte in chunk.invalid() {
            push_hex(&mut text, *byte);
        }
    }
    text.push('"');
    text
}

fn push_escaped(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        _ if is_printable(character) => text.push(character),
        _ => {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                push_hex(text, byte);
            }
        }
    }
}

fn push_hex(text: &mut String, byte: u8) {
    // Writing to a string does not fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// Bytes as a line of their own: bare where that is clear, else in quotes.
pub(crate) fn as_line(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('"') && text.chars().all(is_printable) => text.to_owned(),
        Ok(_) | Err(_) => in_quotes(bytes),
    }
}

/// Bytes as one word of a line: bare where that is clear, else in quotes.
pub(crate) fn as_word(bytes: &[u8]) -> String {
    let line = as_line(bytes);
    if line.is_empty() || (!line.starts_with('"') && line.contains([' ', '"'])) {
        in_quotes(bytes)
    } else {
        line
    }
}

/// A message with escapes for what a terminal would obey: parts of it may be another's words.
pub(crate) fn as_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' | '\n' => message.push(character),
            _ => push_escaped(&mut message, character),
        }
    }
    message
}

/// Whether a terminal shows a character as itself. Marks that turn the direction of writing would
/// let a value forge what stands around it.
fn is_printable(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !character.is_control() && !turns && !breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare_words(line: &str) -> Vec<String> {
        let words = split(line.as_bytes()).unwrap();
        let words = words.into_iter().map(|word| word.bytes);
        words.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn white_space_parts_words() {
        assert_eq!(bare_words("  put\tx  1 \r\n"), ["put", "x", "1"]);
        assert_eq!(bare_words(" \t "), Vec::<String>::new());
        assert_eq!(bare_words(r"put x a\nb"), ["put", "x", r"a\nb"]);
    }

    #[test]
    fn quotes_hold_white_space_and_escapes() {
        assert_eq!(
            split(br#"put "a b" "\n\r\t\0\\\"\x00\xfF""#).unwrap(),
            [
                Word::bare(b"put".to_vec()),
                Word { bytes: b"a b".to_vec(), quoted: true },
                Word { bytes: b"\n\r\t\0\\\"\x00\xff".to_vec(), quoted: true },
            ]
        );
        assert_eq!(bare_words(r#"put x """#), ["put", "x", ""]);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            (r#"put "a"#, SplitError::Unclosed),
            (r#"put "a\""#, SplitError::Unclosed),
            (r#"put a"b"#, SplitError::InsideWord),
            (r#"put "a"b"#, SplitError::InsideWord),
            (r#"put "\q""#, SplitError::Escape),
            (r#"put "\xg0""#, SplitError::Escape),
            (r#"put "\x1"#, SplitError::Escape),
        ] {
            assert_eq!(split(line.as_bytes()), Err(expected), "{line}");
        }
    }

    #[test]
    fn every_byte_that_is_printed_in_quotes_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let printed = in_quotes(&all);
        assert!(!printed.contains(char::is_control));
        assert_eq!(split(printed.as_bytes()).unwrap()[0].bytes, all);
        let tricky = "é\u{202e}\u{2028}\u{85}".as_bytes();
        assert_eq!(in_quotes(tricky), r#""é\xe2\x80\xae\xe2\x80\xa8\xc2\x85""#);
        assert_eq!(split(in_quotes(tricky).as_bytes()).unwrap()[0].bytes, tricky);
    }

    #[test]
    fn messages_command_no_terminal() {
        let message = "\nserver 1 says \"a\\b\": \u{1b}[2J";
        assert_eq!(as_message(message), "\nserver 1 says \"a\\b\": \\x1b[2J");
    }

    #[test]
    fn lines_and_words_are_quoted_only_where_they_must() {
        assert_eq!(as_line(b"hello world"), "hello world");
        assert_eq!(as_line(b"a\"b\\c"), "a\"b\\c");
        assert_eq!(as_line(b"a\nb"), r#""a\nb""#);
        assert_eq!(as_line(b"\"a"), r#""\"a""#);
        assert_eq!(as_line(b"\xff"), r#""\xff""#);
        assert_eq!(as_line(b""), "");
        assert_eq!(as_word(b"a"), "a");
        assert_eq!(as_word(b"a b"), r#""a b""#);
        assert_eq!(as_word(b"a\"b"), r#""a\"b""#);
        assert_eq!(as_word(b""), r#""""#);
    }
}
