//! What a check may cost, and what it has cost so far.

use std::fmt;

/// How much a check may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most steps of the whole check: one call tried in one state. A step takes some 0.2
    /// microseconds where values are small; long values that are appended to, many keys tied
    /// together and more than a thousand calls open at once count as several steps. Each key, or
    /// group of keys tied together, can rely on an equal share of what those before it left; the
    /// shortest are looked at first. Those that need more than their share get what all others
    /// left.
    pub steps_max: u64,
    /// The same for making a counterexample smaller.
    pub shrink_steps_max: u64,
    /// The most bytes of memory that the search for one key's order may hold, beside the history
    /// itself; about right, not exact.
    pub memory_bytes_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps_max: 50_000_000, shrink_steps_max: 10_000_000, memory_bytes_max: 1 << 30 }
    }
}

/// What a check ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// [`Budget::steps_max`].
    Steps,
    /// [`Budget::memory_bytes_max`].
    Memory,
    /// The caller's time.
    Time,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "steps",
            Self::Memory => "memory",
            Self::Time => "time",
        })
    }
}

/// What is left of one search's budget.
pub(super) struct Meter<'a> {
    steps_left: u64,
    bytes_left: usize,
    /// Asked every [`STEPS_BETWEEN_LOOKS`] steps.
    is_over: &'a mut dyn FnMut() -> bool,
    looks_in: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(steps: u64, bytes: usize, is_over: &'a mut dyn FnMut() -> bool) -> Self {
        Self { steps_left: steps, bytes_left: bytes, is_over, looks_in: STEPS_BETWEEN_LOOKS }
    }

    pub(super) const fn steps_left(&self) -> u64 {
        self.steps_left
    }

    pub(super) const fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Bound> {
        let Some(left) = self.steps_left.checked_sub(steps) else {
            self.steps_left = 0;
            return Err(Bound::Steps);
        };
        self.steps_left = left;
        if let Some(looks_in) = self.looks_in.checked_sub(steps) {
            self.looks_in = looks_in;
            return Ok(());
        }
        self.looks_in = STEPS_BETWEEN_LOOKS;
        if (self.is_over)() { Err(Bound::Time) } else { Ok(()) }
    }

    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Bound> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Bound::Memory)?;
        Ok(())
    }

    pub(super) const fn give_back(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_add(bytes);
    }
}

const STEPS_BETWEEN_LOOKS: u64 = 4_096;
