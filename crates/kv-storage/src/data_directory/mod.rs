//! The directory that a server keeps its data in: a lock, a description, the journal, the
//! checkpoint.

mod error;
mod lock;
mod meta;
mod resting;

use kv_core::{ClusterConfig, ClusterId, NodeId, PersistSeq};

use crate::data_directory::lock::LOCK_NAME;
use crate::data_directory::meta::META_NAME;
use crate::disk::Disk;
use crate::identity::StoreIdentity;
use crate::journal::JournalInspection;

pub use error::DataDirectoryError;
pub use lock::LockHolder;
pub use meta::{Meta, Run};
pub use resting::RestingDirectory;

/// A data directory that this process alone uses until it is dropped.
#[derive(Debug)]
pub struct DataDirectory<D: Disk> {
    disk: D,
    meta: Meta,
    /// Another configuration than the one that is described, and the refusal of it.
    told: Option<(ClusterConfig, DataDirectoryError)>,
    _lock: D::Lock,
}

/// Which server wants to use a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOwner {
    /// The server.
    pub node: NodeId,
    /// The engine, [`kv_core::ConsistencyEngine::NAME`].
    pub engine: &'static str,
    /// The cluster as the server was told.
    pub cluster: ClusterConfig,
    /// [`kv_core::ConsistencyEngine::SHARED_QUORUMS`]: whether W and R may not differ from those
    /// that the data was written under.
    pub shared_quorums: bool,
}

/// How the last process that used a data directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRun {
    /// There was none.
    None,
    /// Everything that it promised is there.
    Kept,
    /// It promised before it synced, and power may have been lost since: what it promised may be
    /// forgotten, so the server has to start as one that lost its disk.
    MayHaveForgotten,
}

impl<D: Disk> DataDirectory<D> {
    /// Locks a directory and looks whose it is. An empty one is described as the owner's; `store`
    /// is then a random number, which names it.
    ///
    /// # Errors
    /// [`DataDirectoryError`] if another process uses it, if it is another server's, or if it is
    /// damaged or cannot be written.
    pub fn open(
        disk: D,
        owner: &DataOwner,
        process: LockHolder,
        store: u64,
    ) -> Result<Self, DataDirectoryError> {
        let path = disk.path("");
        let Some(lock) = disk.try_lock(LOCK_NAME, process.to_string().as_bytes())? else {
            let text = disk.read(LOCK_NAME).unwrap_or_default();
            let holder = LockHolder::parse(&text);
            return Err(DataDirectoryError::InUse { directory: path, holder, now: process.since });
        };
        let mut meta = match Meta::load(&disk)? {
            Some(meta) => meta,
            None if disk.list()?.iter().all(|name| is_ours_before_meta(name)) => {
                let identity =
                    StoreIdentity { store, node: owner.node, engine: owner.engine.to_owned() };
                let meta = Meta {
                    identity,
                    configuration: owner.cluster.clone(),
                    cluster: None,
                    run: None,
                };
                meta.save(&disk)?;
                meta
            }
            None => return Err(DataDirectoryError::NotDescribed { directory: path }),
        };
        let mut told = None;
        if let Err(error) = meta.check(owner, &path) {
            // A server that never got into a cluster may be told other numbers: that is how a
            // mistake that its peers refused is put right.
            let is_other = matches!(error, DataDirectoryError::OtherConfiguration { .. });
            if is_other && holds_nothing(&disk, &meta.identity) {
                meta.configuration = owner.cluster.clone();
                meta.save(&disk)?;
            } else if is_other && owner.shared_quorums && meta.cluster.is_none() {
                // A cluster is noted a little after it is joined: the engine's records know.
                told = Some((owner.cluster.clone(), error));
            } else {
                return Err(error);
            }
        }
        Ok(Self { disk, meta, told, _lock: lock })
    }

    /// Describes the directory under the configuration that its owner was told, where the engine
    /// has found that nothing was written under another one.
    ///
    /// # Errors
    /// [`DataDirectoryError::Failed`] if the disk fails.
    pub fn take_configuration(&mut self) -> Result<(), DataDirectoryError> {
        match self.told.take() {
            Some((told, _)) => self.rewrite(|meta| meta.configuration = told),
            None => Ok(()),
        }
    }

    /// The refusal of the configuration that its owner was told, where the engine has found that
    /// something was written under another one; `None` if it is the same.
    #[must_use]
    pub fn into_refusal(self) -> Option<DataDirectoryError> {
        self.told.map(|(_, refusal)| refusal)
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// What the directory says of itself.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Notes under which cluster's name the data stands, for people and tools to read.
    ///
    /// # Errors
    /// [`DataDirectoryError::Failed`] if the disk fails.
    pub fn note_cluster(&mut self, cluster: ClusterId) -> Result<(), DataDirectoryError> {
        self.rewrite(|meta| meta.cluster = Some(cluster))
    }

    /// How the last process ended that noted that it wrote; `boot` as in
    /// [`DataDirectory::begin_run`]. Changes nothing, so that a server which has to forget what is
    /// there can do so before it notes that it begins.
    #[must_use]
    pub fn last_run(&self, boot: Option<u128>) -> LastRun {
        match self.meta.run {
            None => LastRun::None,
            Some(run) if run.synced || run.ended || (boot.is_some() && run.boot() == boot) => {
                LastRun::Kept
            }
            Some(_) => LastRun::MayHaveForgotten,
        }
    }

    /// Notes that a process begins to write, and says how the last one ended. `boot` names the
    /// machine's present run, so that a loss of power in between is noticed; `None` if that is
    /// not known. `synced` says whether nothing is promised before it is synced.
    ///
    /// # Errors
    /// [`DataDirectoryError::Failed`] if the disk fails.
    pub fn begin_run(
        &mut self,
        boot: Option<u128>,
        synced: bool,
    ) -> Result<LastRun, DataDirectoryError> {
        let last = self.last_run(boot);
        // After another such run that is said already, and a full disk is no hindrance.
        if !(synced && self.is_synced()) {
            self.rewrite(|meta| meta.run = Some(Run::begin(boot, synced)))?;
        }
        Ok(last)
    }

    /// Notes that the process has synced everything and ends. Where nothing was promised before it
    /// was synced there is nothing to note.
    ///
    /// # Errors
    /// [`DataDirectoryError::Failed`] if the disk fails.
    pub fn end_run(&mut self) -> Result<(), DataDirectoryError> {
        if self.is_synced() {
            return Ok(());
        }
        self.rewrite(|meta| {
            if let Some(run) = &mut meta.run {
                run.ended = true;
            }
        })
    }

    /// Whether the run that was noted last promised nothing before it was synced.
    fn is_synced(&self) -> bool {
        self.meta.run.is_some_and(|run| run.synced)
    }

    fn rewrite(&mut self, change: impl FnOnce(&mut Meta)) -> Result<(), DataDirectoryError> {
        let mut meta = self.meta.clone();
        change(&mut meta);
        meta.save(&self.disk)?;
        self.meta = meta;
        Ok(())
    }
}

/// Whether nothing was ever written under the configuration; `false` if that cannot be told.
fn holds_nothing(disk: &impl Disk, identity: &StoreIdentity) -> bool {
    let journal = JournalInspection::open(disk.clone(), identity, PersistSeq(0));
    journal.is_ok_and(|journal| journal.is_untouched())
}

/// The name of a server's directory among those of others: `1-eventual`.
#[must_use]
pub fn data_directory_name(node: NodeId, engine: &str) -> String {
    format!("{node}-{engine}")
}

/// The name of the checkpoint's directory within the data directory.
pub const CHECKPOINT_DIRECTORY: &str = "checkpoint";

fn is_ours_before_meta(name: &str) -> bool {
    name == LOCK_NAME || name.strip_suffix(meta::DRAFT_SUFFIX) == Some(META_NAME)
}

#[cfg(test)]
mod tests {
    use kv_core::Quorum;

    use super::*;
    use crate::disk::{DiskFile, SimDisk};
    use crate::journal::{Journal, JournalConfig};
    use std::time::Duration;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn owner() -> DataOwner {
        let two = Quorum::Count(2);
        let cluster = ClusterConfig::new([1, 2, 3].map(node), two, two).unwrap();
        DataOwner { node: node(1), engine: "eventual", cluster, shared_quorums: false }
    }

    fn open(disk: &SimDisk, owner: &DataOwner) -> Result<DataDirectory<SimDisk>, String> {
        let process = LockHolder { pid: 77, since: Duration::from_secs(5000) };
        DataDirectory::open(disk.clone(), owner, process, 9).map_err(|error| error.to_string())
    }

    #[test]
    fn a_directory_stays_its_owners() {
        let disk = SimDisk::new(1);
        let mut data = open(&disk, &owner()).unwrap();
        assert_eq!(data.meta().identity.store, 9);
        data.note_cluster(ClusterId(5)).unwrap();
        drop(data);
        disk.crash();
        let data = open(&disk, &owner()).unwrap();
        assert_eq!(data.meta().cluster, Some(ClusterId(5)));
        drop(data);
        assert_eq!(
            open(&disk, &DataOwner { node: node(2), ..owner() }).unwrap_err(),
            "the data directory  is server 1's and this is server 2: use another one"
        );
        assert_eq!(
            open(&disk, &DataOwner { engine: "linearizable", ..owner() }).unwrap_err(),
            "the data directory  is of the eventual engine and this is the linearizable one: use \
             another one"
        );
    }

    #[test]
    fn other_quorums_are_refused_where_they_are_the_clusters() {
        let disk = SimDisk::new(1);
        let identity = open(&disk, &owner()).unwrap().meta().identity.clone();
        let config = JournalConfig { segment_bytes: 4096, ..JournalConfig::new(identity) };
        let (mut journal, _) = Journal::recover(disk.clone(), config, PersistSeq(0)).unwrap();
        let (one, all) = (Quorum::Count(1), Quorum::All);
        let cluster = ClusterConfig::new([1, 2, 3].map(node), all, all).unwrap();
        let told_other = DataOwner { cluster, shared_quorums: true, ..owner() };
        assert!(open(&disk, &told_other).is_ok(), "nothing was written yet");
        assert!(open(&disk, &DataOwner { shared_quorums: true, ..owner() }).is_ok());
        journal.append(PersistSeq(1), &7u64).unwrap();
        journal.sync().unwrap();
        // It is in no cluster yet: that is the engine's to know.
        let data = open(&disk, &told_other).unwrap();
        assert!(data.into_refusal().unwrap().to_string().contains("was told N=3 W=3 R=3"));
        let mut data = open(&disk, &DataOwner { shared_quorums: true, ..owner() }).unwrap();
        data.note_cluster(ClusterId(5)).unwrap();
        drop(data);
        let cluster = ClusterConfig::new([1, 2, 3].map(node), one, all).unwrap();
        let other = DataOwner { cluster, ..owner() };
        assert!(open(&disk, &other).is_ok());
        assert_eq!(
            open(&disk, &DataOwner { shared_quorums: true, ..other }).unwrap_err(),
            "the data directory  was written with N=3 W=2 R=2, servers 1 2 3 and this server was \
             told N=3 W=1 R=3, servers 1 2 3: start it with the old numbers, or on another data \
             directory"
        );
        let cluster = ClusterConfig::new([1, 2].map(node), one, all).unwrap();
        assert!(open(&disk, &DataOwner { cluster, ..owner() }).is_err());
    }

    #[test]
    fn the_configuration_is_taken_where_nothing_was_written_under_another_one() {
        let disk = SimDisk::new(1);
        let first = DataOwner { shared_quorums: true, ..owner() };
        let identity = open(&disk, &first).unwrap().meta().identity.clone();
        let config = JournalConfig { segment_bytes: 4096, ..JournalConfig::new(identity) };
        let (mut journal, _) = Journal::recover(disk.clone(), config, PersistSeq(0)).unwrap();
        journal.append(PersistSeq(1), &7u64).unwrap();
        journal.sync().unwrap();
        let all = Quorum::All;
        let cluster = ClusterConfig::new([1, 2, 3].map(node), all, all).unwrap();
        let other = DataOwner { cluster: cluster.clone(), ..first.clone() };
        let mut data = open(&disk, &other).unwrap();
        assert_eq!(data.meta().configuration, first.cluster);
        data.take_configuration().unwrap();
        assert_eq!(data.meta().configuration, cluster);
        drop(data);
        assert!(open(&disk, &other).unwrap().into_refusal().is_none());
    }

    #[test]
    fn a_directory_in_use_names_its_holder() {
        let disk = SimDisk::new(1);
        let held = open(&disk, &owner()).unwrap();
        let process = LockHolder { pid: 78, since: Duration::from_secs(5000 + 3725) };
        let error = DataDirectory::open(disk.clone(), &owner(), process, 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the data directory  is in use by process 77, for 1 h 2 min: stop that server, or use \
             another directory"
        );
        drop(held);
        assert!(open(&disk, &owner()).is_ok());
    }

    #[test]
    fn files_without_a_description_are_left_alone() {
        let disk = SimDisk::new(1);
        disk.create("journal-000000000001.segment").unwrap();
        let error = open(&disk, &owner()).unwrap_err();
        assert!(error.contains("no `meta`"), "{error}");
        assert_eq!(disk.list().unwrap(), ["journal-000000000001.segment", "lock"]);
    }

    #[test]
    fn a_crash_leaves_the_old_description_or_the_new_one() {
        for stop in 0..40 {
            let disk = SimDisk::new(stop);
            disk.stop_after(stop);
            let noted = open(&disk, &owner()).map(|mut data| data.note_cluster(ClusterId(5)));
            disk.crash();
            let data = open(&disk, &owner()).unwrap();
            let was_noted = noted.is_ok_and(|noted| noted.is_ok());
            assert!(!was_noted || data.meta().cluster == Some(ClusterId(5)), "{stop}");
        }
    }

    #[test]
    fn a_damaged_description_is_refused_at_every_byte() {
        let disk = SimDisk::new(1);
        drop(open(&disk, &owner()).unwrap());
        let len = disk.read(META_NAME).unwrap().len();
        for place in 0..len {
            disk.damage(META_NAME, |bytes| bytes[place] ^= 4);
            let error = open(&disk, &owner()).unwrap_err();
            assert!(error.contains("is damaged"), "{error}");
            disk.damage(META_NAME, |bytes| bytes[place] ^= 4);
        }
        for cut in 0..len {
            let whole = disk.read(META_NAME).unwrap();
            disk.damage(META_NAME, |bytes| bytes.truncate(cut));
            assert!(open(&disk, &owner()).is_err());
            disk.damage(META_NAME, |bytes| *bytes = whole);
        }
        assert!(open(&disk, &owner()).is_ok());
    }

    #[test]
    fn promises_before_a_sync_are_doubted_after_a_loss_of_power() {
        let kept = |boots: [Option<u128>; 2], synced: bool, ended: bool| {
            let disk = SimDisk::new(1);
            let mut data = open(&disk, &owner()).unwrap();
            assert_eq!(data.begin_run(boots[0], synced).unwrap(), LastRun::None);
            if ended {
                data.end_run().unwrap();
            }
            drop(data);
            disk.kill();
            open(&disk, &owner()).unwrap().begin_run(boots[1], synced).unwrap() == LastRun::Kept
        };
        assert!(kept([Some(1), Some(2)], true, false));
        assert!(kept([Some(1), Some(2)], false, true));
        assert!(kept([Some(1), Some(1)], false, false));
        assert!(!kept([Some(1), Some(2)], false, false));
        assert!(!kept([None, None], false, false));
    }

    #[test]
    fn a_run_that_promises_what_is_synced_needs_no_room_after_another_one() {
        let disk = SimDisk::new(1);
        let mut data = open(&disk, &owner()).unwrap();
        data.begin_run(Some(1), true).unwrap();
        disk.set_quota(Some(0));
        data.end_run().unwrap();
        assert_eq!(data.begin_run(Some(2), true).unwrap(), LastRun::Kept);
        assert!(data.begin_run(Some(2), false).is_err());
        assert_eq!(data.meta().run.map(|run| run.synced), Some(true));
        disk.set_quota(None);
        data.begin_run(Some(2), false).unwrap();
        assert_eq!(data.begin_run(Some(3), true).unwrap(), LastRun::MayHaveForgotten);
        assert_eq!(data.last_run(Some(4)), LastRun::Kept);
    }

    #[test]
    fn what_another_program_left_under_the_drafts_name_is_no_hindrance() {
        let disk = SimDisk::new(1);
        let draft = disk.create("meta.draft").unwrap();
        draft.write_at(0, &[1; 1000]).unwrap();
        assert!(open(&disk, &owner()).is_ok());
        assert!(open(&disk, &owner()).is_ok());
    }
}
