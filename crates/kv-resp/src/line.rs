//! Requests that a person types: words on a line, some of them in quotes.

use bytes::Bytes;

/// Splits a line into words as Redis does: `"..."` takes `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH` and
/// `\"`, `'...'` takes `\'`; `None` if a quote is not closed or a word goes on behind it.
pub(crate) fn split_line(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut rest = line;
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(Bytes::from(word));
    }
}

/// Takes one word off the line; gives what is left.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'"' => {
                let after = take_quoted(after, word)?;
                return is_at_end_of_word(after).then_some(after);
            }
            b'\'' => {
                let after = take_literal(after, word)?;
                return is_at_end_of_word(after).then_some(after);
            }
            byte if is_space(*byte) || *byte == 0 => return Some(after),
            byte => word.push(*byte),
        }
        rest = after;
    }
    Some(rest)
}

/// Takes what is between `"` and `"`.
fn take_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(16 * hex_digit(*high) + hex_digit(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

/// Takes what is between `'` and `'`.
fn take_literal<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

fn is_at_end_of_word(rest: &[u8]) -> bool {
    rest.first().is_none_or(|next| is_space(*next))
}

/// What C's `isspace` takes for a space.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c)
}

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_redis_cli_quotes_them() {
        type Words = Option<&'static [&'static [u8]]>;
        let cases: [(&[u8], Words); 9] = [
            (b"", Some(&[])),
            (b"  a\tb  ", Some(&[b"a", b"b"])),
            (br#""a b" c"#, Some(&[b"a b", b"c"])),
            (br#""\x41\n\"\\\q""#, Some(&[b"A\n\"\\q"])),
            (br"'it\'s' '\n'", Some(&[b"it's", br"\n"])),
            (br#""" ''"#, Some(&[b"", b""])),
            (br#""a"b"#, None),
            (br#""a"#, None),
            (b"'a", None),
        ];
        for (line, expected) in cases {
            let words = split_line(line);
            let expected = expected.map(<[&[u8]]>::to_vec);
            assert_eq!(words, expected.map(|words| words.into_iter().map(Bytes::from).collect()));
        }
    }
}
