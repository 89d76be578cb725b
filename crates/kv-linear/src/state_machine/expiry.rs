//! How long keys last: until log time reaches their deadlines.
//!
//! Log time is that of the last entry applied, so all servers agree on what has expired at each
//! position of the log, whatever their clocks show.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use kv_core::{DecodeError, ExpiryMs, Key, Store, TimeToLive, Versioned, Wire, wire_struct};

/// When a key ends, in milliseconds of log time, if it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expiry(Option<NonZeroU64>);

impl Expiry {
    /// The end of a key that lasts for ever.
    pub(crate) const NEVER: Self = Self(None);

    /// The end of a time that begins at `now_ms`; a part of a millisecond counts as a whole one.
    pub(crate) fn after(now_ms: u64, time_to_live: Option<Duration>) -> Self {
        let deadline_ms = |time: Duration| {
            let ms = u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            NonZeroU64::new(now_ms.saturating_add(ms)).unwrap_or(NonZeroU64::MIN)
        };
        Self(time_to_live.map(deadline_ms))
    }

    /// The end at a moment. There is no moment 0.
    pub(crate) fn at(moment: ExpiryMs) -> Self {
        Self(Some(NonZeroU64::new(moment.0).unwrap_or(NonZeroU64::MIN)))
    }

    /// The moment of the end, if there is one.
    pub(crate) fn moment(self) -> Option<ExpiryMs> {
        self.deadline_ms().map(ExpiryMs)
    }

    pub(crate) fn deadline_ms(self) -> Option<u64> {
        self.0.map(NonZeroU64::get)
    }

    /// Whether a key with this end is there at a time.
    pub(crate) fn is_over(self, now_ms: u64) -> bool {
        self.deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// How long a key lasts that is there still. A clock that is ahead of log time may show that
    /// its time is up.
    pub(crate) fn time_left(self, clock_ms: u64) -> TimeToLive {
        let left = |deadline_ms: u64| Duration::from_millis(deadline_ms.saturating_sub(clock_ms));
        self.deadline_ms().map_or(TimeToLive::Endless, |deadline| TimeToLive::Left(left(deadline)))
    }
}

impl Wire for Expiry {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.deadline_ms().encode(out);
    }

    fn decode(input: &mut bytes::Bytes) -> Result<Self, DecodeError> {
        let deadline_ms: Option<u64> = Option::decode(input)?;
        let invalid = DecodeError::Invalid { what: "deadline of a key: it is 0" };
        deadline_ms.map(|ms| NonZeroU64::new(ms).ok_or(invalid)).transpose().map(Self)
    }
}

/// What a key holds, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) versioned: Versioned,
    pub(crate) expiry: Expiry,
}

wire_struct!(Held { versioned, expiry });

/// The keys that are there at a moment of log time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live<'a> {
    pub(crate) store: &'a Store<Held>,
    pub(crate) now_ms: u64,
}

impl<'a> Live<'a> {
    pub(crate) fn held(&self, key: &Key) -> Option<&'a Held> {
        self.store.get(key).filter(|held| !held.expiry.is_over(self.now_ms))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&'a Versioned> {
        self.held(key).map(|held| &held.versioned)
    }

    /// The keys after `after` (all of them for `None`), ascending.
    pub(crate) fn after(
        self,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Versioned)> {
        let live = self.store.after(after).filter(move |(_, held)| {
            let is_over = held.expiry.is_over(self.now_ms);
            !is_over
        });
        live.map(|(key, held)| (key, &held.versioned))
    }
}

/// The deadlines of all keys that have one, the next one first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<(u64, Key)>);

impl Deadlines {
    /// Notes that a key's end is another one.
    pub(crate) fn change(&mut self, key: &Key, before: Expiry, after: Expiry) {
        if before == after {
            return;
        }
        if let Some(deadline_ms) = before.deadline_ms() {
            self.0.remove(&(deadline_ms, key.clone()));
        }
        if let Some(deadline_ms) = after.deadline_ms() {
            self.0.insert((deadline_ms, key.clone()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next deadline.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.0.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Takes out a key whose time is up.
    pub(crate) fn pop_over(&mut self, now_ms: u64) -> Option<Key> {
        let is_over = self.next_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms);
        is_over.then(|| self.0.pop_first()).flatten().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_key_is_there_until_log_time_reaches_its_deadline() {
        let expiry = Expiry::after(100, Some(MS * 5));
        assert_eq!([104, 105, 106].map(|now| expiry.is_over(now)), [false, true, true]);
        assert!(!Expiry::after(100, None).is_over(u64::MAX));
        assert!(Expiry::after(0, Some(Duration::ZERO)).is_over(1));
        assert!(!Expiry::after(u64::MAX, Some(Duration::MAX)).is_over(u64::MAX - 1));
    }

    #[test]
    fn a_time_is_never_cut_short() {
        assert_eq!(Expiry::after(100, Some(Duration::from_nanos(1))).deadline_ms(), Some(101));
        assert_eq!(Expiry::after(100, Some(MS)).deadline_ms(), Some(101));
    }

    #[test]
    fn the_time_left_is_never_below_zero() {
        let expiry = Expiry::after(100, Some(MS * 5));
        assert_eq!(expiry.time_left(103), TimeToLive::Left(MS * 2));
        assert_eq!(expiry.time_left(200), TimeToLive::Left(Duration::ZERO));
        assert_eq!(Expiry::NEVER.time_left(200), TimeToLive::Endless);
    }

    #[test]
    fn a_deadline_has_a_byte_form_without_zero() {
        for expiry in [Expiry::NEVER, Expiry::after(7, Some(MS))] {
            assert_eq!(Expiry::from_bytes(expiry.to_bytes()), Ok(expiry));
        }
        assert!(Expiry::from_bytes(Some(0_u64).to_bytes()).is_err());
    }
}
