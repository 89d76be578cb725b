//! Why a server does not start, or does not go on.

use std::io;
use std::path::PathBuf;

use kv_core::{HaltReason, RecoverError};
use kv_storage::{CheckpointError, DataDirectoryError, DiskError, JournalError};

use crate::config::ConfigError;
use crate::op_log::OpLogError;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not legal.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another program listens there.
    #[error(
        "{address} is in use: is this server running already? Stop it, or choose another id or \
         address"
    )]
    AddressInUse {
        /// Where this server should listen.
        address: String,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}: {cause}; correct this server's address")]
    Bind {
        /// Where this server should listen.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// It cannot listen there for clients of Redis's protocol.
    #[error("cannot listen on {address} for Redis clients: {source}; choose another --resp")]
    BindResp {
        /// Where this server should listen.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The socket that was given does not listen.
    #[error("the socket to listen on is not usable: {0}")]
    Socket(io::Error),
    /// The engine refuses what the disk holds.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The data directory cannot be made or written.
    #[error("{0}; keep the data elsewhere, or in memory only")]
    NoFolder(DiskError),
    /// There is no room for the journal's first file.
    #[error(
        "the disk of {} is too full to begin on: {needed_bytes} bytes are needed and {free_bytes} \
         are free; make room, or keep the data elsewhere",
        directory.display()
    )]
    NoRoom {
        /// The data directory.
        directory: PathBuf,
        /// What the file takes, and what must be left free beside it.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirectoryError),
    /// The journal is damaged or its disk fails.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The checkpoint is damaged or its disk fails.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// What a loss of power may have cut short cannot be set aside.
    #[error(
        "cannot set aside what is in {}: {cause}; move its journal and checkpoint elsewhere, then \
         start again",
        directory.display()
    )]
    SetAside {
        /// The data directory.
        directory: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The threads that write to the disk cannot be started.
    #[error("cannot start the threads that write to the disk: {0}")]
    Threads(io::Error),
    /// The runtime was stopped meanwhile.
    #[error("the start was interrupted")]
    Interrupted,
    /// The log of operations cannot be written.
    #[error(transparent)]
    OpLog(#[from] OpLogError),
}

impl StartError {
    pub(crate) fn bind(address: String, cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::AddrInUse {
            Self::AddressInUse { address }
        } else {
            Self::Bind { address, cause }
        }
    }
}

/// Why a server stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The engine found an invariant broken.
    #[error("stopped: {reason}")]
    Halted {
        /// Which.
        reason: HaltReason,
    },
    /// The journal takes nothing more.
    #[error("stopped: {0}")]
    Journal(JournalError),
    /// The checkpoint could not be written.
    #[error("stopped: {0}")]
    Checkpoint(CheckpointError),
    /// The data directory could not be closed.
    #[error("stopped: {0}")]
    Data(DataDirectoryError),
    /// The socket to listen on is not usable.
    #[error("stopped: the socket to listen on is not usable: {0}")]
    Socket(io::Error),
    /// The driver's task died: a bug of this program.
    #[error("stopped by a bug in this program; the log above says where")]
    Driver,
}
