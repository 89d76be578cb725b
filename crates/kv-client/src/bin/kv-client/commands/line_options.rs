//! What every command may say of itself.

use std::time::Duration;

/// The options that every command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineOptions {
    pub(crate) json: bool,
    pub(crate) raw: bool,
    pub(crate) timeout: Option<Duration>,
    /// How often it is run.
    pub(crate) repeat: u64,
    /// From the beginning of a run to that of the next one, at least.
    pub(crate) every: Duration,
}
