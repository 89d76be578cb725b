//! The options of requests that this engine does not support.

use kv_core::{Feature, Level, NotDone, RequestOptions};

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
    use kv_core::Quorum;

    use super::*;

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
