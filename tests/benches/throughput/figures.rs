//! The figures of all rounds.

use std::fmt;

use hdrhistogram::Histogram;

use crate::load::{new_histogram, rate};

/// What all rounds brought.
#[derive(Clone)]
pub(crate) struct Figures {
    rates: Vec<f64>,
    micros: Histogram<u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, round: &Histogram<u64>) {
        self.rates.push(rate(round));
        self.micros.add(round).unwrap();
    }

    /// Puts a second in the median round.
    pub(crate) fn rate(&self) -> f64 {
        Spread::of(self.rates.clone()).median
    }

    /// How many puts a second there were for one of the other's, round by round.
    pub(crate) fn ratio_to(&self, other: &Self) -> Spread {
        Spread::of(self.rates.iter().zip(&other.rates).map(|(own, other)| own / other).collect())
    }

    /// The time in which this share of all puts was done, in microseconds.
    pub(crate) fn micros_at(&self, share: f64) -> u64 {
        self.micros.value_at_quantile(share)
    }
}

/// A figure of several rounds.
pub(crate) struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self { least: rounds[0], median: rounds[rounds.len() / 2], most: rounds[rounds.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}-{:.2})", self.median, self.least, self.most)
    }
}

impl Default for Figures {
    fn default() -> Self {
        Self { rates: Vec::new(), micros: new_histogram() }
    }
}
