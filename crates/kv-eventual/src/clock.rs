//! The hybrid logical clock.

use std::time::Duration;

use kv_core::HybridTime;

/// How far wall clocks may be apart. A coordinator whose wall clock is further off its peers'
/// refuses writes. A replica rejects a write that is stamped further ahead of both its wall clock and
/// its logical one, unless the coordinator's wall clock agrees with its own.
pub const MAX_SKEW: Duration = Duration::from_secs(10);

/// A hybrid logical clock (Kulkarni et al., *Logical Physical Clocks*, 2014) that issues no stamp
/// twice, not even across a restart: it issues only below a bound that stands in the journal
/// before the stamp does, and starts again at that bound.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    latest: HybridTime,
    bound: HybridTime,
    /// How far ahead this bound was set, in milliseconds; 0 before the first since the start.
    step_ms: u64,
}

impl Clock {
    /// A clock that continues from the bound in the journal.
    pub(crate) const fn recovered(bound: HybridTime) -> Self {
        Self { latest: bound, bound, step_ms: 0 }
    }

    /// The highest stamp issued or observed.
    pub(crate) const fn latest(&self) -> HybridTime {
        self.latest
    }

    /// The least stamp that the clock would issue at this time.
    pub(crate) fn tick(&self, wall: Duration) -> HybridTime {
        reading(wall).max(self.latest.next())
    }

    /// Issues a stamp, `tick` or later. If a bound is returned, it must go into the journal
    /// before anything that carries the stamp. That is so well before the stamps reach the bound
    /// which is there, so that a clock in use need not wait for the disk.
    ///
    /// Each start begins at the bound of the one before. So that many starts in a row do not push
    /// the clock far ahead of the wall, the first bound is near, and each next one twice as far.
    pub(crate) fn issue(&mut self, time: HybridTime) -> Option<HybridTime> {
        assert!(time > self.latest, "a stamp is issued once");
        self.latest = time;
        if time.millis() + self.step_ms / 2 < self.bound.millis() {
            return None;
        }
        self.step_ms = (self.step_ms * 2).clamp(FIRST_STEP_MS, STEP_MS_MAX);
        self.bound = HybridTime::from_millis(time.millis() + self.step_ms);
        Some(self.bound)
    }

    /// Sets the bound to the highest stamp seen, if that is above it. If a bound is returned, it is to
    /// go into the journal.
    pub(crate) fn raise_bound(&mut self) -> Option<HybridTime> {
        let is_above = self.latest > self.bound;
        self.bound = self.bound.max(self.latest);
        is_above.then_some(self.bound)
    }

    /// Moves on to a stamp that was received; false if it is further than [`MAX_SKEW`] ahead of both
    /// the wall clock and this one, which then stays.
    pub(crate) fn observe(&mut self, time: HybridTime, wall: Duration) -> bool {
        let present = millis(wall).max(self.latest.millis());
        let is_near = time.millis() <= present.saturating_add(millis(MAX_SKEW));
        if is_near {
            self.follow(time);
        }
        is_near
    }

    /// Whether a stamp is no later than [`MAX_SKEW`] after what the wall clock shows, or than this
    /// clock. Unlike those that servers send, it cannot move this clock a bit further each time.
    pub(crate) fn is_near(&self, time: HybridTime, wall: Duration) -> bool {
        time <= self.latest.next() || time.millis() <= millis(wall).saturating_add(millis(MAX_SKEW))
    }

    /// Moves on to a stamp that is to be believed, however far ahead it is.
    pub(crate) fn follow(&mut self, time: HybridTime) {
        self.latest = self.latest.max(time);
    }
}

/// Whether a stamp can be anything else than damage: no clock shows the year 6429.
pub(crate) const fn is_plausible(time: HybridTime) -> bool {
    time.millis() < MILLIS_END
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn reading(wall: Duration) -> HybridTime {
    HybridTime::from_millis(millis(wall).min(MILLIS_END - 1))
}

/// How far ahead the first bound since a start is set: each start without any time between costs
/// that much of [`MAX_SKEW`].
const FIRST_STEP_MS: u64 = 32;

/// How far ahead a bound is set in the end. The next one is set when half of that is left, which
/// makes two records for each second of writing.
const STEP_MS_MAX: u64 = 1_000;

/// Half of what 48 bits of milliseconds can say, so that adding to a stamp never runs over.
const MILLIS_END: u64 = 1 << 47;

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_000_000);

    fn at(millis: u64) -> HybridTime {
        HybridTime::from_millis(millis)
    }

    #[test]
    fn stamps_rise_even_if_the_wall_clock_falls() {
        let mut clock = Clock::recovered(HybridTime::ZERO);
        let mut last = HybridTime::ZERO;
        for wall in [WALL, WALL, WALL - Duration::from_secs(5), WALL] {
            let time = clock.tick(wall);
            assert!(time > last);
            clock.issue(time);
            last = time;
        }
        assert_eq!(last, at(1_000_000_000).next().next().next());
    }

    #[test]
    fn a_bound_is_asked_for_twice_a_second_and_is_well_above_every_stamp_issued() {
        let mut clock = Clock { step_ms: STEP_MS_MAX, ..Clock::recovered(HybridTime::ZERO) };
        let mut bounds = Vec::new();
        for tenth in 0..30 {
            let time = clock.tick(WALL + Duration::from_millis(100 * tenth));
            bounds.extend(clock.issue(time));
            assert!(bounds.last().is_some_and(|bound| time.millis() + 500 < bound.millis()));
        }
        let millis = bounds.into_iter().map(HybridTime::millis);
        assert!(millis.eq((0..6).map(|half| 1_000_001_000 + 500 * half)));
    }

    #[test]
    fn the_first_bound_of_a_start_is_near_and_each_next_one_twice_as_far() {
        let mut clock = Clock::recovered(at(1_000_000_000));
        let mut steps = Vec::new();
        for ms in 1..3_000 {
            let time = clock.tick(WALL + Duration::from_millis(ms));
            steps.extend(clock.issue(time).map(|bound| bound.millis() - time.millis()));
        }
        assert!(steps.starts_with(&[32, 64, 128, 256, 512, 1_000, 1_000]), "{steps:?}");
    }

    #[test]
    fn starts_in_quick_succession_keep_the_clock_near_the_wall() {
        let mut bound = HybridTime::ZERO;
        for start in 0..50 {
            let wall = WALL + Duration::from_millis(100 * start);
            let mut clock = Clock::recovered(bound);
            for ms in 0..60 {
                let wall = wall + Duration::from_millis(ms);
                let time = clock.tick(wall);
                assert!(time.millis() < millis(wall) + 1_000, "start {start}: {time}");
                bound = clock.issue(time).unwrap_or(bound);
            }
        }
    }

    #[test]
    fn a_recovered_clock_starts_at_its_bound_or_at_the_wall() {
        let clock = Clock::recovered(at(1_000_000_700));
        assert_eq!(clock.tick(WALL), at(1_000_000_700).next());
        let later = WALL + Duration::from_secs(1);
        assert_eq!(clock.tick(later), at(1_000_001_000));
    }

    #[test]
    fn a_received_stamp_moves_the_clock_up_to_the_allowed_skew() {
        let mut clock = Clock::recovered(HybridTime::ZERO);
        let limit = at(1_000_010_000);
        assert!(!clock.observe(at(1_000_010_001), WALL));
        assert_eq!(clock.latest(), HybridTime::ZERO);
        assert!(clock.observe(limit, WALL));
        assert_eq!(clock.tick(WALL), limit.next());
    }
}
