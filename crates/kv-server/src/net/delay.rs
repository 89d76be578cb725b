//! A simulated delay on what is sent to other servers.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kv_core::SeedStream;
use tokio::time::Instant;

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

    fn draw(self, random: &mut SeedStream) -> Duration {
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

/// What is held back for one connection, first in, first out.
#[derive(Debug)]
pub(crate) struct HeldBack<T> {
    delay: Delay,
    random: SeedStream,
    queue: VecDeque<(Instant, T)>,
}

impl<T> HeldBack<T> {
    pub(crate) fn new(delay: Delay, seed: u64) -> Self {
        Self { delay, random: SeedStream::new(seed), queue: VecDeque::new() }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.delay.is_off()
    }

    /// Whether more may be held back; what comes beyond waits in the link's queue, and what that
    /// does not take is dropped by the driver.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < HELD_BACK_MAX
    }

    /// Holds something back for a time of its own, and at least until all before it have gone.
    pub(crate) fn push(&mut self, now: Instant, item: T) {
        let due = now + self.delay.draw(&mut self.random);
        let due = self.queue.back().map_or(due, |(before, _)| due.max(*before));
        self.queue.push_back((due, item));
    }

    /// The first one, once its time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        let due = self.queue.front().is_some_and(|(due, _)| *due <= now);
        if due { self.queue.pop_front().map(|(_, item)| item) } else { None }
    }

    /// When the first one's time comes, if there is one.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

/// How many messages may be held back for one connection; a batch that was begun is taken whole.
const HELD_BACK_MAX: usize = 16_384;

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

    #[test]
    fn what_was_first_leaves_first_and_none_before_its_time() {
        let mut held = HeldBack::new(millis(10, 500), 7);
        let start = Instant::now();
        for number in 0..100 {
            held.push(start, number);
        }
        assert_eq!(held.pop_due(start + Duration::from_millis(9)), None);
        let late = start + Duration::from_millis(500);
        let left: Vec<i32> = std::iter::from_fn(|| held.pop_due(late)).collect();
        assert_eq!(left, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn there_is_a_bound() {
        let mut held = HeldBack::new(millis(1, 1), 7);
        for _ in 0..HELD_BACK_MAX {
            assert!(held.has_room());
            held.push(Instant::now(), ());
        }
        assert!(!held.has_room());
        held.clear();
        assert!(held.has_room());
    }
}
