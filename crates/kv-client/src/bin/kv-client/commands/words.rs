//! Words on a line: how they are typed and how they are printed.

use kv_proto::is_printable;
pub(crate) use kv_proto::{as_line, as_word, in_quotes};

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
    #[error("the quote {quote} at column {column} is not closed: end the word with {quote}")]
    Unclosed { quote: char, column: usize },
    #[error(
        "the quote {quote} at column {column} stands inside a word: put the whole word in quotes, \
         as in {example}"
    )]
    InsideWord { quote: char, column: usize, example: &'static str },
    #[error(
        "the escape at column {column} is not known: use \\n \\r \\t \\0 \\\\ \\\" or \\xNN with two hex \
         digits, or single quotes"
    )]
    Escape { column: usize },
}

/// Splits a line at white space. A word in double quotes may hold white space and the escapes `\n`,
/// `\r`, `\t`, `\0`, `\\`, `\"` and `\xNN`; one in single quotes is taken as it is, up to the next
/// single quote; so are words without quotes.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Word>, SplitError> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest).map_err(|mistake| mistake.in_line(line))?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// What is wrong with a word, and the rest of the line from there on.
struct Mistake<'a> {
    what: What,
    rest: &'a [u8],
}

enum What {
    Unclosed,
    InsideWord,
    Escape,
}

impl Mistake<'_> {
    fn in_line(&self, line: &[u8]) -> SplitError {
        let before = line.get(..line.len() - self.rest.len()).unwrap_or_default();
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        let quote = self.rest.first().map_or('"', |byte| char::from(*byte));
        match self.what {
            What::Unclosed => SplitError::Unclosed { quote, column },
            What::InsideWord => {
                let example = if quote == '"' { r#"'{"a": 1}'"# } else { r#""it's""# };
                SplitError::InsideWord { quote, column, example }
            }
            What::Escape => SplitError::Escape { column },
        }
    }
}

/// Reads the word that a line begins with, and returns what comes after it.
fn word(line: &[u8]) -> Result<(Word, &[u8]), Mistake<'_>> {
    let (word, after) = match line {
        [b'"', ..] => double_quoted(line)?,
        [b'\'', rest @ ..] => single_quoted(line, rest)?,
        _ => bare(line)?,
    };
    match after.first() {
        Some(next) if !next.is_ascii_whitespace() => {
            // The quote that ends too early is the byte before.
            let rest = line.get(line.len() - after.len() - 1..).unwrap_or_default();
            Err(Mistake { what: What::InsideWord, rest })
        }
        Some(_) | None => Ok((word, after)),
    }
}

fn bare(line: &[u8]) -> Result<(Word, &[u8]), Mistake<'_>> {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (word, after) = line.split_at(end.unwrap_or(line.len()));
    if let Some(quote) = word.iter().position(|byte| matches!(byte, b'"' | b'\'')) {
        let rest = line.get(quote..).unwrap_or_default();
        return Err(Mistake { what: What::InsideWord, rest });
    }
    Ok((Word::bare(word.to_vec()), after))
}

fn single_quoted<'a>(line: &'a [u8], rest: &'a [u8]) -> Result<(Word, &'a [u8]), Mistake<'a>> {
    let end = rest.iter().position(|byte| *byte == b'\'');
    let end = end.ok_or(Mistake { what: What::Unclosed, rest: line })?;
    let (bytes, after) = rest.split_at(end);
    let word = Word { bytes: bytes.to_vec(), quoted: true };
    Ok((word, after.get(1..).unwrap_or_default()))
}

fn double_quoted(word: &[u8]) -> Result<(Word, &[u8]), Mistake<'_>> {
    let mut bytes = Vec::new();
    let mut line = word.get(1..).unwrap_or_default();
    loop {
        let escape = Mistake { what: What::Escape, rest: line };
        match line {
            [] | [b'\\'] => return Err(Mistake { what: What::Unclosed, rest: word }),
            [b'"', after @ ..] => return Ok((Word { bytes, quoted: true }, after)),
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = hex_digit(*high).zip(hex_digit(*low));
                let (high, low) = digits.ok_or(escape)?;
                bytes.push(high * 16 + low);
                line = after;
            }
            [b'\\', byte, after @ ..] => {
                bytes.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0' => 0,
                    b'\\' | b'"' => *byte,
                    _ => return Err(escape),
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

/// Bytes in single quotes, if they can stand there: printable text without a single quote.
pub(crate) fn in_single_quotes(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = |character| character != '\'' && is_printable(character);
    text.chars().all(fits).then(|| format!("'{text}'"))
}

/// A message with escapes for what a terminal would obey: parts of it may be another's words.
pub(crate) fn as_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' | '\n' => message.push(character),
            _ => {
                let mut buffer = [0; 4];
                let quoted = in_quotes(character.encode_utf8(&mut buffer).as_bytes());
                message.push_str(quoted.trim_matches('"'));
            }
        }
    }
    message
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
    fn single_quotes_are_taken_as_they_are() {
        assert_eq!(bare_words(r#"put y 'hello world'"#), ["put", "y", "hello world"]);
        assert_eq!(bare_words(r#"put y '{"a": "\n"}' ''"#), ["put", "y", r#"{"a": "\n"}"#, ""]);
        assert_eq!(bare_words(r#"put y "it's""#), ["put", "y", "it's"]);
        assert!(split(b"put '--w'").unwrap()[1].quoted);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            (r#"put "a"#, r#"the quote " at column 5 is not closed: end the word with ""#),
            (r#"put "a\""#, r#"the quote " at column 5 is not closed: end the word with ""#),
            (r#"put "a\"#, r#"the quote " at column 5 is not closed: end the word with ""#),
            ("put é 'a b", "the quote ' at column 7 is not closed: end the word with '"),
            (
                r#"put a"b"#,
                r#"the quote " at column 6 stands inside a word: put the whole word in quotes, as in '{"a": 1}'"#,
            ),
            (
                r#"put "a"b"#,
                r#"the quote " at column 7 stands inside a word: put the whole word in quotes, as in '{"a": 1}'"#,
            ),
            (
                "put it's",
                r#"the quote ' at column 7 stands inside a word: put the whole word in quotes, as in "it's""#,
            ),
            (
                "put 'it's'",
                r#"the quote ' at column 8 stands inside a word: put the whole word in quotes, as in "it's""#,
            ),
        ] {
            assert_eq!(split(line.as_bytes()).unwrap_err().to_string(), expected, "{line}");
        }
        for line in [r#"put "\q""#, r#"put "\xg0""#, r#"put "\x1"#] {
            assert_eq!(split(line.as_bytes()), Err(SplitError::Escape { column: 6 }), "{line}");
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
        assert_eq!(as_word(b"it's"), r#""it's""#);
        assert_eq!(as_word(b""), r#""""#);
    }
}
