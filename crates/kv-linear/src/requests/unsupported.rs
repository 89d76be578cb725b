//! The options of requests that this engine does not support.

use kv_core::{Feature, Level, NotDone, RequestOptions, Version};

/// Why a request's options cannot be kept, if they cannot.
pub(crate) fn unsupported_options(options: &RequestOptions) -> Option<NotDone> {
    if options.write_quorum.is_some() || options.read_quorum.is_some() {
        return Some(NotDone::NotSupported(Feature::RequestQuorum));
    }
    match (options.level, options.seen) {
        // It is of another store.
        (Some(Level::Sequential), Some(Version::Stamp { .. } | Version::Tag { .. })) => {
            Some(NotDone::NotSupported(Feature::Level))
        }
        (Some(Level::Sequential), Some(Version::Log(_)) | None)
        | (Some(Level::Linearizable | Level::Sequenced | Level::Atomic) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, NodeId, Quorum};

    use super::*;

    #[test]
    fn quorums_are_the_clusters() {
        let with = |write_quorum, read_quorum| {
            unsupported_options(
                &RequestOptions::default()
                    .with_write_quorum(write_quorum)
                    .with_read_quorum(read_quorum),
            )
        };
        let quorum = Some(NotDone::NotSupported(Feature::RequestQuorum));
        assert_eq!(with(Some(Quorum::All), None), quorum);
        assert_eq!(with(None, Some(Quorum::Count(1))), quorum);
        assert_eq!(with(None, None), None);
    }

    #[test]
    fn a_sequential_read_names_what_was_seen_of_this_log() {
        let with = |level, seen| {
            unsupported_options(&RequestOptions::default().with_level(level).with_seen(seen))
        };
        let (time, origin) = (HybridTime::ZERO, NodeId::FIRST);
        let stamp = Version::Stamp { time, origin, incarnation: Incarnation(1) };
        let level = Some(NotDone::NotSupported(Feature::Level));
        assert_eq!(with(Some(Level::Sequential), Some(stamp)), level);
        assert_eq!(with(Some(Level::Sequential), Some(Version::Log(4))), None);
        assert_eq!(with(Some(Level::Linearizable), None), None);
    }
}
