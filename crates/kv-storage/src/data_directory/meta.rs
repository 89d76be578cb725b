//! What a data directory says of itself.

use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{ClusterConfig, ClusterId, Wire, wire_struct};

use crate::data_directory::DataOwner;
use crate::data_directory::error::DataDirectoryError;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::identity::{Preamble, PreambleFault, StoreIdentity};

/// What a data directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Whose data it is; it stands in every file.
    pub identity: StoreIdentity,
    /// The configuration that the data was first written under.
    pub configuration: ClusterConfig,
    /// The cluster's name, once it is known.
    pub cluster: Option<ClusterId>,
    /// The process that used the directory last; `None` before the first.
    pub run: Option<Run>,
}

wire_struct!(Meta { identity, configuration, cluster, run });

/// The process that used the directory last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which run of the machine it was in; both 0 if that was not known.
    boot: (u64, u64),
    /// Nothing was promised before it was synced.
    pub synced: bool,
    /// It ended by itself, with everything synced.
    pub ended: bool,
}

wire_struct!(Run { boot, synced, ended });

impl Run {
    pub(crate) fn begin(boot: Option<u128>, synced: bool) -> Self {
        let mut bytes = Bytes::copy_from_slice(&boot.unwrap_or(0).to_be_bytes());
        Self { boot: (bytes.get_u64(), bytes.get_u64()), synced, ended: false }
    }

    pub(crate) fn boot(self) -> Option<u128> {
        let boot = (u128::from(self.boot.0) << 64) | u128::from(self.boot.1);
        (boot != 0).then_some(boot)
    }
}

impl Meta {
    /// Reads the description of a data directory that may be in use; `None` if there is none.
    ///
    /// # Errors
    /// [`DataDirectoryError`] if it is damaged, of a newer format or cannot be read.
    pub fn load(disk: &impl Disk) -> Result<Option<Self>, DataDirectoryError> {
        let bytes = match disk.read(META_NAME) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let file = disk.path(META_NAME);
        match FORMAT.check(&bytes) {
            Ok(_) => {}
            Err(PreambleFault::Damaged) => return Err(DataDirectoryError::Damaged { file }),
            Err(PreambleFault::Newer { found }) => {
                let known = FORMAT.version;
                return Err(DataDirectoryError::NewerFormat { file, found, known });
            }
        }
        Self::open(&bytes).map(Some).ok_or(DataDirectoryError::Damaged { file })
    }

    /// Replaces the description in one step.
    pub(crate) fn save(&self, disk: &impl Disk) -> Result<(), DiskError> {
        let draft = format!("{META_NAME}{DRAFT_SUFFIX}");
        match disk.remove(&draft) {
            Err(error) if !error.is_not_found() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(&draft)?;
        file.write_at(0, &self.seal())?;
        file.sync()?;
        disk.rename(&draft, META_NAME)?;
        disk.sync_directory()
    }

    /// Whether a server may use the directory.
    pub(crate) fn check(&self, owner: &DataOwner, path: &Path) -> Result<(), DataDirectoryError> {
        let directory = path.to_owned();
        let (found, wanted) = (&self.configuration, &owner.cluster);
        if self.identity.node != owner.node {
            let (found, wanted) = (self.identity.node, owner.node);
            return Err(DataDirectoryError::OtherServer { directory, found, wanted });
        }
        if self.identity.engine != owner.engine {
            let (found, wanted) = (self.identity.engine.clone(), owner.engine);
            return Err(DataDirectoryError::OtherEngine { directory, found, wanted });
        }
        let quorums = |cluster: &ClusterConfig| (cluster.write_quorum(), cluster.read_quorum());
        let same_quorums = !owner.shared_quorums || quorums(found) == quorums(wanted);
        if found.voters() != wanted.voters() || !same_quorums {
            let (found, wanted) = (Box::new(found.clone()), Box::new(wanted.clone()));
            return Err(DataDirectoryError::OtherConfiguration { directory, found, wanted });
        }
        Ok(())
    }

    fn seal(&self) -> Bytes {
        let mut out = BytesMut::new();
        FORMAT.encode(&mut out);
        self.encode(&mut out);
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        out.freeze()
    }

    fn open(bytes: &[u8]) -> Option<Self> {
        let (sealed, checksum) = bytes.split_last_chunk::<4>()?;
        let body = Bytes::copy_from_slice(sealed.get(Preamble::LEN..)?);
        let is_whole = crc32c::crc32c(sealed) == u32::from_le_bytes(*checksum);
        Self::from_bytes(body).ok().filter(|_| is_whole)
    }
}

/// The file of the description.
pub(crate) const META_NAME: &str = "meta";

/// What its name ends with while it is written.
pub(crate) const DRAFT_SUFFIX: &str = ".draft";

const FORMAT: Preamble = Preamble { magic: *b"KVSTMETA", version: 1 };
