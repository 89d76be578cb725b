//! A simulated delay on what is sent to other servers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kv_core::SeedStream;

/// How long each message to another server is held back: a random time in a range, so that a
/// person can watch what consistency means. The order on a connection is kept, as TCP keeps it.
///
/// As text, in whole milliseconds: `1-5`, `20` for always 20, or `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    min: Duration,
    max: Duration,
}

impl Delay {
    /// Messages leave at once.
    pub const OFF: Self = Self { min: Duration::ZERO, max: Duration::ZERO };

    /// The longest delay.
    pub const MAX: Duration = Duration::from_secs(60);

    /// A delay from `min` to `max`, both included, up to [`Delay::MAX`].
    ///
    /// # Errors
    /// [`DelayError`] if the range is empty or goes too far.
    pub fn new(min: Duration, max: Duration) -> Result<Self, DelayError> {
        if min > max {
            return Err(DelayError::Empty);
        }
        if max > Self::MAX { Err(DelayError::TooLong) } else { Ok(Self { min, max }) }
    }

    /// Whether messages leave at once.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.max.is_zero()
    }

    pub(crate) fn draw(self, random: &mut SeedStream) -> Duration {
        let width = self.max.saturating_sub(self.min).as_nanos();
        let width = u64::try_from(width).unwrap_or(u64::MAX);
        self.min + Duration::from_nanos(random.below(width.saturating_add(1)))
    }
}

impl FromStr for Delay {
    type Err = DelayError;

    fn from_str(text: &str) -> Result<Self, DelayError> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let millis = |text: &str| text.trim().parse().map_err(|_| DelayError::Number);
        Self::new(Duration::from_millis(millis(min)?), Duration::from_millis(millis(max)?))
    }
}

/// `off`, `20` or `1-5`, in milliseconds.
impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() {
            return f.write_str("off");
        }
        write!(f, "{}", self.min.as_millis())?;
        if self.min == self.max { Ok(()) } else { write!(f, "-{}", self.max.as_millis()) }
    }
}

/// Why a text or a pair of times is no delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelayError {
    /// Something else than whole milliseconds.
    #[error("a delay is in whole milliseconds: write for example 1-5, 20 or off")]
    Number,
    /// The first time is the longer one.
    #[error("the range is empty: write the shorter delay first")]
    Empty,
    /// Over [`Delay::MAX`].
    #[error("a delay is at most {} ms", Delay::MAX.as_millis())]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(min: u64, max: u64) -> Delay {
        Delay::new(Duration::from_millis(min), Duration::from_millis(max)).unwrap()
    }

    #[test]
    fn ranges_numbers_and_off_are_delays() {
        for (text, expected) in [("1-5", millis(1, 5)), ("20", millis(20, 20)), ("off", Delay::OFF)]
        {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        let mistakes = [
            ("5-1", DelayError::Empty),
            ("", DelayError::Number),
            ("1-", DelayError::Number),
            ("5ms", DelayError::Number),
            ("0-60001", DelayError::TooLong),
        ];
        for (text, error) in mistakes {
            assert_eq!(text.parse::<Delay>(), Err(error), "{text}");
        }
    }

    #[test]
    fn times_are_in_the_range_and_spread_over_it() {
        let (delay, mut random) = (millis(10, 20), SeedStream::new(7));
        let drawn: Vec<Duration> = (0..200).map(|_| delay.draw(&mut random)).collect();
        let range = Duration::from_millis(10)..=Duration::from_millis(20);
        assert!(drawn.iter().all(|time| range.contains(time)));
        assert!(drawn.iter().any(|time| *time < Duration::from_millis(12)));
        assert!(drawn.iter().any(|time| *time > Duration::from_millis(18)));
    }
}
