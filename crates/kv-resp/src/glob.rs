//! Patterns of `KEYS` and `SCAN`.

/// Whether a text is one that a pattern describes: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a byte
/// that is meant as it stands. What is not closed goes to the end, as in Redis.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The last `*` is the only one that need be tried again: what stood before it has its match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match pattern {
            [b'*', after @ ..] => {
                if after.is_empty() {
                    return true;
                }
                retry = Some((after, text));
                pattern = after;
                continue;
            }
            [] if text.is_empty() => return true,
            [] => None,
            _ => text.split_first().and_then(|(byte, rest)| {
                let after = one(pattern, *byte)?;
                Some((after, rest))
            }),
        };
        match (step, retry) {
            (Some((after, rest)), _) => (pattern, text) = (after, rest),
            (None, Some((after, from))) => {
                let Some((_, rest)) = from.split_first() else {
                    return false;
                };
                retry = Some((after, rest));
                (pattern, text) = (after, rest);
            }
            (None, None) => return false,
        }
    }
}

/// Whether the front of a pattern, which is no `*`, takes a byte; gives the pattern behind it.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => {
            let (is_in, after) = class_takes(class, byte);
            is_in.then_some(after)
        }
        [b'\\', literal, after @ ..] => (*literal == byte).then_some(after),
        [literal, after @ ..] => (*literal == byte).then_some(after),
        [] => None,
    }
}

/// Whether a class, whose `[` was read, holds a byte; gives the pattern behind the class.
fn class_takes(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut is_in = false;
    loop {
        class = match class {
            [] => return (is_in != is_negated, class),
            [b']', after @ ..] => return (is_in != is_negated, after),
            [b'\\', literal, after @ ..] => {
                is_in |= *literal == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (from.min(to), from.max(to));
                is_in |= (from..=to).contains(&&byte);
                after
            }
            [literal, after @ ..] => {
                is_in |= *literal == byte;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_redis() {
        let yes = [
            ("*", ""),
            ("", ""),
            ("a*c", "abbc"),
            ("a*c*", "acb"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[c-a]llo", "hbllo"),
            (r"a\*b", "a*b"),
            (r"[\]]", "]"),
            ("[a", "a"),
            ("*a*b*", "xxaxxbxx"),
            (r"\", r"\"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        let no = [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("h[^e]llo", "hello"),
            (r"a\*b", "axb"),
            ("*a", "ab"),
            ("[]", "a"),
            ("[^a", "a"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(10_000).as_bytes()));
    }
}
