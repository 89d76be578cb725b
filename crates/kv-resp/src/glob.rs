//! Patterns of `KEYS` and `SCAN`.

use crate::error::ReplyError;

/// Whether a text is one that a pattern describes: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a byte
/// that is meant as it stands. What is not closed goes to the end, as in Redis.
///
/// # Errors
/// If that would take more than `steps`, from which those are taken that it took.
pub(crate) fn matches(pattern: &[u8], text: &[u8], steps: &mut usize) -> Result<bool, ReplyError> {
    let (mut pattern, mut text) = (pattern, text);
    // The last `*` is the only one that need be tried again: what stood before it has its match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match pattern {
            [b'*', after @ ..] => {
                if after.is_empty() {
                    return Ok(true);
                }
                spend(steps, 1)?;
                retry = Some((after, text));
                pattern = after;
                continue;
            }
            [] if text.is_empty() => return Ok(true),
            [] => None,
            _ => match text.split_first() {
                None => None,
                Some((byte, rest)) => {
                    let (is_one, after) = one(pattern, *byte);
                    spend(steps, pattern.len() - after.len())?;
                    is_one.then_some((after, rest))
                }
            },
        };
        match (step, retry) {
            (Some((after, rest)), _) => (pattern, text) = (after, rest),
            (None, Some((after, from))) => {
                let Some((_, rest)) = from.split_first() else {
                    return Ok(false);
                };
                retry = Some((after, rest));
                (pattern, text) = (after, rest);
            }
            (None, None) => return Ok(false),
        }
    }
}

fn spend(steps: &mut usize, count: usize) -> Result<(), ReplyError> {
    *steps = steps.checked_sub(count).ok_or(ReplyError::PatternTime)?;
    Ok(())
}

/// Whether the front of a pattern, which is no `*`, takes a byte; gives the pattern behind it.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [b'?', after @ ..] => (true, after),
        [b'[', class @ ..] => class_takes(class, byte),
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal == byte, after),
        [] => (false, pattern),
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

/// The most steps of a pattern for all keys that are looked at in one turn.
pub(crate) const STEPS_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        super::matches(pattern, text, &mut STEPS_MAX.clone()).unwrap()
    }

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

    #[test]
    fn a_pattern_takes_no_more_steps_than_it_may() {
        let pattern = format!("*{}b", "a".repeat(1 << 15));
        let text = "a".repeat(1 << 16);
        let matched = super::matches(pattern.as_bytes(), text.as_bytes(), &mut STEPS_MAX.clone());
        assert!(matches!(matched, Err(ReplyError::PatternTime)), "{matched:?}");
    }
}
