//! How long a request may take.

use std::time::Duration;

use kv_proto::{DurationError, parse_duration};

/// Reads a request's time, which is more than none.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, TimeoutError> {
    match parse_duration(text)? {
        Duration::ZERO => Err(TimeoutError::Zero),
        timeout => Ok(timeout),
    }
}

/// Why a text is no time for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeoutError {
    #[error("a request needs some time: write for example 5s")]
    Zero,
    #[error("{0}")]
    Duration(#[from] DurationError),
}
