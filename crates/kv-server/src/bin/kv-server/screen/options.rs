//! Which options of the program an error of the library calls for.

use kv_core::{ClusterConfigError, QuorumError};
use kv_server::{ConfigError, StartError};
use kv_storage::DataDirectoryError;

/// What to type against an error, in brackets and behind it; nothing where no option helps.
pub(crate) const fn options_against(error: &StartError) -> &'static str {
    match error {
        StartError::Config(problem) => options_against_config(problem),
        StartError::Bind { .. } => " (--servers)",
        StartError::NoFolder(_) => " (--data-dir, --memory)",
        StartError::NoRoom { .. } => " (--data-dir)",
        StartError::Data(
            DataDirectoryError::InUse { .. }
            | DataDirectoryError::NotDescribed { .. }
            | DataDirectoryError::Damaged { .. }
            | DataDirectoryError::OtherServer { .. }
            | DataDirectoryError::OtherEngine { .. },
        ) => " (--data-dir)",
        StartError::OpLog(_) => " (--op-log off)",
        StartError::Data(
            DataDirectoryError::Failed(_)
            | DataDirectoryError::NewerFormat { .. }
            | DataDirectoryError::OtherConfiguration { .. },
        )
        | StartError::AddressInUse { .. }
        | StartError::Socket(_)
        | StartError::Recover(_)
        | StartError::Journal(_)
        | StartError::Checkpoint(_)
        | StartError::SetAside { .. }
        | StartError::Threads(_)
        | StartError::Interrupted
        | _ => "",
    }
}

/// The same for a configuration.
pub(crate) const fn options_against_config(problem: &ConfigError) -> &'static str {
    match problem {
        ConfigError::NotListed { .. }
        | ConfigError::Cluster(ClusterConfigError::Quorum {
            problem: QuorumError::TooMany { .. },
            ..
        }) => " (--servers)",
        ConfigError::ClusterNameTooLong { .. } => " (--cluster)",
        ConfigError::Cluster(
            ClusterConfigError::Quorum { .. }
            | ClusterConfigError::ListedTwice { .. }
            | ClusterConfigError::VoterCount { .. },
        )
        | _ => "",
    }
}
