//! The requests that this engine refuses because it does not support them.

use kv_core::{Command, Feature, Level, NotDone, Operation, RequestOptions};

/// Why an operation cannot be assigned a position in the log, if it cannot.
pub(crate) fn unsupported(operation: &Operation) -> Option<NotDone> {
    let Operation::Batch(batch) = operation else {
        return None;
    };
    let ends = |command: &Command| {
        let Command::Put { time_to_live, .. } = command else {
            return false;
        };
        time_to_live.is_some()
    };
    let feature = batch.commands().iter().any(ends);
    feature.then_some(NotDone::NotSupported(Feature::TimeToLive))
}

/// Why a request's options cannot be kept, if they cannot.
pub(crate) fn unsupported_options(options: &RequestOptions) -> Option<NotDone> {
    if options.write_quorum.is_some() || options.read_quorum.is_some() {
        return Some(NotDone::NotSupported(Feature::RequestQuorum));
    }
    match options.level {
        Some(Level::Sequential) => Some(NotDone::NotSupported(Feature::Level)),
        Some(Level::Linearizable) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{Key, Quorum, Value};

    use super::*;

    #[test]
    fn a_value_with_an_end_is_not_supported() {
        let put = |time_to_live| {
            Operation::of(Command::Put {
                key: Key::new("k").unwrap(),
                value: Value::default(),
                time_to_live,
            })
        };
        let reason = Some(NotDone::NotSupported(Feature::TimeToLive));
        assert_eq!(unsupported(&put(Some(Duration::from_secs(1)))), reason);
        assert_eq!(unsupported(&put(None)), None);
    }

    #[test]
    fn quorums_are_the_clusters_and_reads_linearizable() {
        let with = |write_quorum, read_quorum, level| {
            unsupported_options(&RequestOptions {
                write_quorum,
                read_quorum,
                level,
                ..RequestOptions::default()
            })
        };
        let quorum = Some(NotDone::NotSupported(Feature::RequestQuorum));
        assert_eq!(with(Some(Quorum::All), None, None), quorum);
        assert_eq!(with(None, Some(Quorum::Count(1)), None), quorum);
        let level = Some(NotDone::NotSupported(Feature::Level));
        assert_eq!(with(None, None, Some(Level::Sequential)), level);
        assert_eq!(with(None, None, Some(Level::Linearizable)), None);
    }
}
