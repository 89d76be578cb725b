//! The clocks of one server.

use std::time::Duration;

use kv_core::{Now, wire_enum};

/// How one server reads the time. The hardware outlives the process; the monotonic clock starts
/// anew in each incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    hardware: Hardware,
    /// What the hardware showed when the present incarnation began.
    started: Duration,
    wall_offset: WallOffset,
    /// How far the hardware was ahead, in nanoseconds, when the wall clock was last set right.
    corrected_by: i128,
    frozen_wall: Option<Duration>,
}

/// How far a wall clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallOffset {
    /// It shows a later time than it is.
    Ahead(Duration),
    /// It shows an earlier time than it is.
    Behind(Duration),
}

wire_enum!(WallOffset, "offset of a clock", { 0 => Ahead(off), 1 => Behind(off) });

impl WallOffset {
    /// The right time.
    pub const NONE: Self = Self::Ahead(Duration::ZERO);
}

/// A counter that runs a little fast or slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hardware {
    /// The simulation's time at which the drift was last set.
    since: Duration,
    /// What the counter showed then.
    shown: Duration,
    drift_ppm: i32,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self {
            hardware: Hardware { since: Duration::ZERO, shown: Duration::ZERO, drift_ppm: 0 },
            started: Duration::ZERO,
            wall_offset: WallOffset::NONE,
            corrected_by: 0,
            frozen_wall: None,
        }
    }

    /// A process starts.
    pub(crate) fn start(&mut self, at: Duration) {
        self.started = self.hardware.shows(at);
    }

    pub(crate) const fn set_wall_offset(&mut self, offset: WallOffset) {
        self.wall_offset = offset;
    }

    /// Lets both clocks run fast or slow from here on.
    pub(crate) fn set_drift(&mut self, at: Duration, drift_ppm: i32) {
        let shown = self.hardware.shows(at);
        let drift_ppm = drift_ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
        self.hardware = Hardware { since: at, shown, drift_ppm };
    }

    pub(crate) fn freeze_wall(&mut self, at: Duration) {
        self.frozen_wall = Some(self.now(at).wall);
    }

    pub(crate) const fn thaw_wall(&mut self) {
        self.frozen_wall = None;
    }

    /// Sets the wall clock right and ends its drift. The monotonic clock goes on from where it is.
    pub(crate) fn correct(&mut self, at: Duration) {
        self.set_drift(at, 0);
        self.corrected_by = nanos(self.hardware.shown) - nanos(at);
        self.wall_offset = WallOffset::NONE;
        self.frozen_wall = None;
    }

    /// What the server reads when the simulation's time is `at`.
    pub(crate) fn now(&self, at: Duration) -> Now {
        let shown = self.hardware.shows(at);
        let wall = duration(nanos(WALL_AT_START) + nanos(shown) - self.corrected_by);
        let wall = match self.wall_offset {
            WallOffset::Ahead(offset) => wall + offset,
            WallOffset::Behind(offset) => wall.saturating_sub(offset),
        };
        Now {
            mono: MONO_AT_START + shown.saturating_sub(self.started),
            wall: self.frozen_wall.unwrap_or(wall),
        }
    }

    /// The simulation's time when the server's monotonic clock shows `deadline`, or the first
    /// moment after it.
    pub(crate) fn time_of(&self, deadline: Duration) -> Duration {
        let wanted = self.started.saturating_add(deadline.saturating_sub(MONO_AT_START));
        self.hardware.time_of(wanted)
    }
}

impl Hardware {
    fn shows(&self, at: Duration) -> Duration {
        let passed = nanos(at.saturating_sub(self.since));
        self.shown + duration(passed * (MILLION + i128::from(self.drift_ppm)) / MILLION)
    }

    fn time_of(&self, shown: Duration) -> Duration {
        let wanted = shown.saturating_sub(self.shown);
        if self.drift_ppm == 0 {
            return self.since.saturating_add(wanted);
        }
        let rate = MILLION + i128::from(self.drift_ppm);
        // Rounded up: a deadline must have come when its time has.
        self.since.saturating_add(duration((nanos(wanted) * MILLION + rate - 1) / rate))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

const MILLION: i128 = 1_000_000;
const DRIFT_PPM_MAX: i32 = 500_000;

// Both are far from zero, as on a real machine, so that nothing mistakes zero for "never".
const MONO_AT_START: Duration = Duration::from_secs(1);
const WALL_AT_START: Duration = Duration::from_secs(1_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_convert_there_and_back_in_every_incarnation() {
        let mut clock = Clock::new();
        clock.set_wall_offset(WallOffset::Behind(3 * SECOND));
        clock.start(100 * SECOND);
        let now = clock.now(105 * SECOND);
        assert_eq!(now.mono, MONO_AT_START + 5 * SECOND);
        assert_eq!(now.wall, WALL_AT_START + 102 * SECOND);
        assert_eq!(clock.time_of(now.mono + SECOND), 106 * SECOND);
    }

    #[test]
    fn a_drifting_clock_reaches_each_deadline_no_sooner_than_it_says() {
        for drift_ppm in [-500_000, -333_333, -1, 1, 70_001, 500_000] {
            let mut clock = Clock::new();
            clock.set_drift(10 * SECOND, drift_ppm);
            clock.start(20 * SECOND);
            for step in 0..1000 {
                let deadline = MONO_AT_START + Duration::from_nanos(step * 7_654_321);
                let at = clock.time_of(deadline);
                assert!(clock.now(at).mono >= deadline, "{drift_ppm}: {deadline:?}");
                let early = at.saturating_sub(Duration::from_nanos(3));
                assert!(early < 20 * SECOND || clock.now(early).mono < deadline);
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_right_shows_the_time_and_its_monotonic_one_goes_on() {
        let mut clock = Clock::new();
        clock.set_drift(Duration::ZERO, 100_000);
        assert_eq!(clock.now(100 * SECOND).wall, WALL_AT_START + 110 * SECOND);
        let mono = clock.now(100 * SECOND).mono;
        clock.correct(100 * SECOND);
        let now = clock.now(100 * SECOND);
        assert_eq!((now.mono, now.wall), (mono, WALL_AT_START + 100 * SECOND));
        assert_eq!(clock.now(101 * SECOND).mono, mono + SECOND);
    }

    #[test]
    fn a_frozen_wall_clock_stands_and_then_jumps() {
        let mut clock = Clock::new();
        clock.freeze_wall(SECOND);
        let later = clock.now(9 * SECOND);
        assert_eq!((later.mono, later.wall), (MONO_AT_START + 9 * SECOND, WALL_AT_START + SECOND));
        clock.thaw_wall();
        assert_eq!(clock.now(9 * SECOND).wall, WALL_AT_START + 9 * SECOND);
    }
}
