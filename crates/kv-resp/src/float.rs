//! The numbers of `INCRBYFLOAT`: Redis counts in the x87's 80-bit format and shows 17 decimals.

use std::str::FromStr;

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;

/// A number with 64 bits of precision, or an infinite one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LongDouble {
    Finite(FBig<HalfEven, 2>),
    Infinite,
}

impl LongDouble {
    /// Reads a number as C's `strtold` does, but for hexadecimal ones; `None` for what is none, and
    /// for one that is too large.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if ["inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name)) {
            return Some(Self::Infinite);
        }
        if unsigned.len() > TEXT_BYTES_MAX || !is_decimal(unsigned) {
            return None;
        }
        let decimal = FBig::<HalfEven, 10>::from_str(text).ok()?;
        if decimal.repr().significand().is_zero() {
            return Some(Self::Finite(FBig::ZERO.with_precision(BITS).value()));
        }
        let number = decimal.with_base_and_precision::<2>(BITS).value();
        let bits = isize::try_from(number.repr().digits()).ok()?;
        let scale = number.repr().exponent().checked_add(bits)?;
        (SCALE_MIN..=SCALE_MAX).contains(&scale).then_some(Self::Finite(number))
    }

    /// The sum; `None` if it is not finite.
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        let (Self::Finite(one), Self::Finite(other)) = (self, other) else {
            return None;
        };
        // Added without bounds and rounded once: dashu-float 0.6.2 halves some sums that it rounds
        // itself, as that of -2^63 and 1.25.
        let [one, other] = [one, other].map(|number| number.clone().with_precision(0).value());
        let sum = (one + other).with_precision(BITS).value();
        Some(Self::Finite(sum))
    }

    /// The number with at most 17 decimals, without zeros at its end and without an exponent.
    pub(crate) fn to_text(&self) -> String {
        let Self::Finite(number) = self else {
            return "inf".to_owned();
        };
        let (significand, exponent) = (number.repr().significand(), number.repr().exponent());
        if let Ok(exponent) = usize::try_from(exponent) {
            return (significand.clone() << exponent).to_string();
        }
        let is_negative = *significand < 0.into();
        let magnitude = if is_negative { -significand.clone() } else { significand.clone() };
        let units = decimals(u64::try_from(magnitude).unwrap_or(u64::MAX), exponent);
        let text = format!("{}.{:0DECIMALS$}", units / ONE, units % ONE);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if is_negative && units > 0 { format!("-{text}") } else { text.to_owned() }
    }
}

/// A number below 1 or with a fraction, in units of the last decimal that is shown, rounded to the
/// nearest and to an even one between two.
fn decimals(significand: u64, exponent: isize) -> u128 {
    let scaled = u128::from(significand) * ONE;
    let bits = u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX);
    let Some(floor) = scaled.checked_shr(bits) else {
        return 0;
    };
    let rest = scaled - (floor << bits);
    let half = 1 << (bits - 1);
    floor + u128::from(rest > half || rest == half && floor % 2 == 1)
}

/// How many decimals are shown, and 1 in units of the last one.
const DECIMALS: usize = 17;
const ONE: u128 = 100_000_000_000_000_000;

/// Whether this is digits with at most one point among them, and an exponent of a few digits.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exponent = |text: &str| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        (1..=EXPONENT_DIGITS_MAX).contains(&digits.len()) && are_digits(digits)
    };
    whole.len() + fraction.len() > 0
        && are_digits(whole)
        && are_digits(fraction)
        && exponent.is_none_or(is_exponent)
}

/// The bits of an x87 number's significand.
const BITS: usize = 64;

/// The powers of two between which such numbers lie.
const SCALE_MIN: isize = -16_445;
const SCALE_MAX: isize = 16_384;

/// The longest text that Redis takes for such a number.
const TEXT_BYTES_MAX: usize = 5 * 1024;

/// Of the exponents of the largest and the least number.
const EXPONENT_DIGITS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> String {
        let [one, other] = [one, other].map(|text| LongDouble::parse(text.as_bytes()).unwrap());
        one.plus(&other).unwrap().to_text()
    }

    #[test]
    fn sums_are_those_of_redis() {
        let cases = [
            ("1", "0.25", "1.25"),
            ("0.1", "0.2", "0.3"),
            ("-9223372036854775808", "1.25", "-9223372036854775807"),
            ("1", "-1.1", "-0.1"),
            ("3", "1.1", "4.1"),
            ("17179869184", "1.5", "17179869185.5"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "1e-18", "0"),
            ("1e20", "1", "100000000000000000000"),
            (".5", "5.", "5.5"),
            ("-1", "1", "0"),
            ("0", "0", "0"),
            ("3.0e-17", "0", "0.00000000000000003"),
        ];
        for (one, other, expected) in cases {
            assert_eq!(sum(one, other), expected, "{one} + {other}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " 1", "1 ", "a", "1a", ".", "1e", "1e99999", "1_0", "--1", "nan", "1e5000"]
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse(b"-inf"), Some(LongDouble::Infinite));
    }
}
