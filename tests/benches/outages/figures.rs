//! What is printed.

use std::time::Duration;

/// The pauses and waits of several rounds of one fault.
#[derive(Default)]
pub(crate) struct Rounds {
    pauses: Vec<Duration>,
    waits: Vec<Duration>,
}

impl Rounds {
    pub(crate) fn add(&mut self, (pause, wait): (Duration, Duration)) {
        self.pauses.push(pause);
        self.waits.push(wait);
    }

    /// Prints a line.
    pub(crate) fn show(&mut self, what: &str) {
        self.pauses.sort();
        self.waits.sort();
        println!(
            "{what:<34} {:>6} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            self.pauses.len(),
            median_ms(&self.pauses),
            worst_ms(&self.pauses),
            median_ms(&self.waits),
            worst_ms(&self.waits),
        );
    }
}

/// Prints what stands above the lines.
pub(crate) fn head(title: &str) {
    println!(
        "\n{title}\n{:<34} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "", "rounds", "pause p50", "worst ms", "wait p50", "worst ms"
    );
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median_ms(sorted: &[Duration]) -> f64 {
    sorted.get(sorted.len() / 2).copied().map_or(0.0, millis)
}

fn worst_ms(sorted: &[Duration]) -> f64 {
    sorted.last().copied().map_or(0.0, millis)
}
