//! Why a data directory is not used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kv_core::{ClusterConfig, NodeId};

use crate::data_directory::lock::LockHolder;
use crate::disk::DiskError;

/// Why a server does not use a data directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataDirectoryError {
    /// A file operation failed.
    #[error(transparent)]
    Failed(#[from] DiskError),
    /// Another process uses it.
    #[error(
        "the data directory {} is in use by {}: stop that server, or use another directory",
        directory.display(),
        Held(*holder, *now)
    )]
    InUse {
        /// Which directory.
        directory: PathBuf,
        /// Who uses it; `None` if that could not be read.
        holder: Option<LockHolder>,
        /// Time since the Unix epoch when it was tried.
        now: Duration,
    },
    /// There are files, and none that says whose they are.
    #[error(
        "the data directory {} has no `meta` that says whose it is: put it back, or use another \
         directory",
        directory.display()
    )]
    NotDescribed {
        /// Which directory.
        directory: PathBuf,
    },
    /// The description is not as it was written.
    #[error("{} is damaged: restore a backup, or use another directory", file.display())]
    Damaged {
        /// The description.
        file: PathBuf,
    },
    /// A newer release wrote the description.
    #[error(
        "{} has format {found} and this release reads up to {known}: start the newer release \
         again",
        file.display()
    )]
    NewerFormat {
        /// The description.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is read.
        known: u32,
    },
    /// It is another server's.
    #[error(
        "the data directory {} is server {found}'s and this is server {wanted}: use another one",
        directory.display()
    )]
    OtherServer {
        /// Which directory.
        directory: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who wants to use it.
        wanted: NodeId,
    },
    /// It is another engine's.
    #[error(
        "the data directory {} is of the {found} engine and this is the {wanted} one: use another \
         one",
        directory.display()
    )]
    OtherEngine {
        /// Which directory.
        directory: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wants to use it.
        wanted: &'static str,
    },
    /// It was written under another configuration of the cluster.
    #[error(
        "the data directory {} was written with {found} and this server was told {wanted}: start \
         it with the old numbers, or on another data directory",
        directory.display()
    )]
    OtherConfiguration {
        /// Which directory.
        directory: PathBuf,
        /// What it was written under.
        found: Box<ClusterConfig>,
        /// What the server was told.
        wanted: Box<ClusterConfig>,
    },
}

/// `process 77, for 1 h 2 min`
struct Held(Option<LockHolder>, Duration);

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(holder) = self.0 else {
            return f.write_str("another process");
        };
        let seconds = self.1.saturating_sub(holder.since).as_secs();
        write!(f, "process {}, for ", holder.pid)?;
        match (seconds / 3600, seconds / 60 % 60) {
            (0, 0) => write!(f, "{seconds} s"),
            (0, minutes) => write!(f, "{minutes} min"),
            (hours, minutes) => write!(f, "{hours} h {minutes} min"),
        }
    }
}
