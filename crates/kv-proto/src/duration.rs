//! Durations as people write them.

use std::time::Duration;

/// Reads a duration: a number, whole or with up to nine decimals, and a unit (`ms`, `s`, `m`,
/// `h`) right behind it, such as `5s`, `500ms` or `1.5m`.
///
/// # Errors
/// [`DurationError`] if the number or the unit is missing, or the duration is over 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let nanos_per_unit: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ if number.is_empty() => return Err(DurationError::Number),
        _ => return Err(DurationError::Unit),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(DurationError::Number);
    }
    let billionths = format!("{fraction:0<FRACTION_DIGITS_MAX$}");
    let (whole, billionths) = (digits(whole)?, digits(&billionths)?);
    if fraction.is_empty() {
        return Err(DurationError::Number);
    }
    let nanos = u128::from(whole) * nanos_per_unit
        + u128::from(billionths) * nanos_per_unit / 1_000_000_000;
    let nanos = u64::try_from(nanos).map_err(|_| DurationError::TooLong)?;
    Ok(Duration::from_nanos(nanos))
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// It does not begin with a number.
    #[error("a duration is a number and a unit: write for example 5s or 500ms")]
    Number,
    /// Nothing known follows the number.
    #[error("a duration needs one of the units ms, s, m, h: write for example 5s or 500ms")]
    Unit,
    /// It is over 584 years.
    #[error("this duration is too long: write a shorter one, for example 1h")]
    TooLong,
}

fn digits(text: &str) -> Result<u64, DurationError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::Number);
    }
    text.parse().map_err(|_| DurationError::TooLong)
}

const FRACTION_DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_durations() {
        let cases = [
            ("5s", Duration::from_secs(5)),
            ("500ms", Duration::from_millis(500)),
            ("1.5m", Duration::from_secs(90)),
            ("2h", Duration::from_secs(7200)),
            ("0.000000001s", Duration::from_nanos(1)),
            ("0.5ms", Duration::from_micros(500)),
            ("0s", Duration::ZERO),
            (" 7s ", Duration::from_secs(7)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        for text in ["", "s", ".5s", "1.s", "1..2s", "-1s", "five", "0.0000000001s"] {
            assert_eq!(parse_duration(text), Err(DurationError::Number), "{text}");
        }
        for text in ["5", "5 s", "5sec", "5S", "1h30m", "1,5s"] {
            assert_eq!(parse_duration(text), Err(DurationError::Unit), "{text}");
        }
        for text in ["600000000000s", "99999999999999999999999h"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }
}
