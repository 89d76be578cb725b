//! Keys and values as people read and type them.

use std::fmt::Write;

/// Bytes in double quotes, with the escapes `\n`, `\r`, `\t`, `\\`, `\"` and `\xNN` for all that is
/// not printable, so that a line stays a line.
#[must_use]
pub fn in_quotes(bytes: &[u8]) -> String {
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

/// Bytes as a line of their own: bare where that is clear, else in quotes.
#[must_use]
pub fn as_line(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with('"') && text.chars().all(is_printable) => text.to_owned(),
        Ok(_) | Err(_) => in_quotes(bytes),
    }
}

/// Bytes as one word of a line: bare where that is clear, else in quotes.
#[must_use]
pub fn as_word(bytes: &[u8]) -> String {
    let line = as_line(bytes);
    if line.is_empty() || (!line.starts_with('"') && line.contains([' ', '"', '\''])) {
        in_quotes(bytes)
    } else {
        line
    }
}

/// Appends a character as it stands between double quotes.
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

/// Whether a terminal shows a character as itself. Marks that turn the direction of writing would
/// let a value forge what stands around it.
#[must_use]
pub fn is_printable(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
    !character.is_control() && !turns && !breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(in_quotes(b"a\"b\\\n\r\t\0\xff"), r#""a\"b\\\n\r\t\x00\xff""#);
        let tricky = "é\u{202e}\u{2028}\u{85}".as_bytes();
        assert_eq!(in_quotes(tricky), r#""é\xe2\x80\xae\xe2\x80\xa8\xc2\x85""#);
        let all: Vec<u8> = (0..=255).collect();
        assert!(!in_quotes(&all).contains(char::is_control));
    }

    #[test]
    fn lines_and_words_are_quoted_only_where_they_must() {
        assert_eq!(as_line(b"hello world"), "hello world");
        assert_eq!(as_line(b"\"a"), r#""\"a""#);
        assert_eq!(as_line(b""), "");
        assert_eq!(as_word(b"a"), "a");
        for (bytes, quoted) in [
            (&b"a b"[..], r#""a b""#),
            (b"a\"b", r#""a\"b""#),
            (b"it's", r#""it's""#),
            (b"", r#""""#),
        ] {
            assert_eq!(as_word(bytes), quoted);
        }
    }
}
