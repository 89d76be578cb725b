//! A disk in memory that fails as real ones do.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::error::{DiskAction, DiskError};
use crate::disk::sim_state::{CrashHabits, PowerLoss, SimState};
use crate::disk::{Disk, DiskFile};

/// A directory in memory. It outlives the process that uses it, and a crash loses of what was not
/// synced whatever chance decides: each write whole, in part or not at all; any names.
///
/// Clones are the same disk. Everything that is left to chance follows from the seed and the
/// order of the calls.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<SimState>>,
}

impl SimDisk {
    /// An empty disk; `seed` decides what its crashes lose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(SimState::new(seed))) }
    }

    /// Ends the process as a power loss does, and says what that did. Files that were open then
    /// fail from here on, locks are released, and armed faults are disarmed.
    pub fn crash(&self) -> PowerLoss {
        self.state().crash()
    }

    /// Says what power losses may do from here on; all of it, if nothing is said.
    pub fn set_crash_habits(&self, habits: CrashHabits) {
        self.state().habits = habits;
    }

    /// A copy, with a fate of its own, that holds only what is certain to outlive a loss of power
    /// now.
    #[must_use]
    pub fn synced(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state().synced())) }
    }

    /// Ends the process without a power loss, as `kill -9` does: what it wrote is there for the
    /// next one, synced or not.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// Lets power be lost after this many more operations, before the next one: that one and
    /// all others fail until [`SimDisk::crash`].
    pub fn stop_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// Whether power has been lost in that way.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.state().operations_left == Some(0)
    }

    /// How many operations there have been.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the next sync of a file fail: of what it should have made durable, chance decides
    /// what is; the rest will not be, though reads still show it until the next crash.
    pub fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    /// Lets the next write fail; chance decides how much of it was done.
    pub fn fail_next_write(&self) {
        self.state().write_fails = true;
    }

    /// Lets the next file that is opened be one more than the process may have open.
    pub fn fail_next_open(&self) {
        self.state().open_fails = true;
    }

    /// Disarms all faults that were to come: failing syncs, writes and opens, and a loss of power.
    pub fn spare(&self) {
        self.state().spare();
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Bounds the bytes of all files together; `None` for no bound. A write that grows a file
    /// beyond it fails as on a full disk.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.state().quota_bytes = bytes;
    }

    /// Changes what a file holds, as a damaged medium does: no process did it, and syncs do not
    /// matter. False if there is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.state().damage(name, change)
    }

    /// Flips one bit of a file; false if it has no such bit.
    pub fn flip_bit(&self, name: &str, bit: u64) -> bool {
        let mut flipped = false;
        self.damage(name, |bytes| {
            let place = usize::try_from(bit / 8).unwrap_or(usize::MAX);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        });
        flipped
    }

    /// Loses every file.
    pub fn wipe(&self) {
        self.state().wipe();
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        // A panic in a test that held the lock is told by that test.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, name: &str, (inode, life): (u64, u64)) -> SimFile {
        SimFile { disk: self.clone(), name: Arc::from(name), inode, life }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, name: &str) -> Result<SimFile, DiskError> {
        let made = self.state().create(name);
        made.map(|file| self.handle(name, file)).map_err(|e| failed(DiskAction::Create, name, e))
    }

    fn open(&self, name: &str) -> Result<SimFile, DiskError> {
        let opened = {
            let mut state = self.state();
            if std::mem::take(&mut state.open_fails) {
                let error = io::Error::from(rustix::io::Errno::MFILE);
                return Err(DiskError::new(DiskAction::Open, name, &error));
            }
            state.open(name)
        };
        opened.map(|file| self.handle(name, file)).map_err(|e| failed(DiskAction::Open, name, e))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.state().list().map_err(|e| failed(DiskAction::Read, ".", e))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.state().remove(name).map_err(|e| failed(DiskAction::Remove, name, e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.state().rename(from, to).map_err(|e| failed(DiskAction::Rename, from, e))
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        self.state().sync_names().map_err(|e| failed(DiskAction::Sync, ".", e))
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        self.state().free_bytes().map_err(|e| failed(DiskAction::MeasureFree, ".", e))
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    fn try_lock(&self, name: &str, content: &[u8]) -> Result<Option<SimLock>, DiskError> {
        let locked = self.state().try_lock(name, content);
        let locked = locked.map_err(|e| failed(DiskAction::Lock, name, e))?;
        Ok(locked.map(|life| SimLock { disk: self.clone(), name: name.to_owned(), life }))
    }
}

/// An open file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFile {
    disk: SimDisk,
    name: Arc<str>,
    inode: u64,
    life: u64,
}

impl DiskFile for SimFile {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        let size = self.disk.state().size_bytes((self.inode, self.life));
        size.map_err(|e| failed(DiskAction::Read, &self.name, e))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let read = self.disk.state().read_at((self.inode, self.life), offset, into);
        read.map_err(|e| failed(DiskAction::Read, &self.name, e).at(offset))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.disk.state().write_at((self.inode, self.life), offset, bytes);
        written.map_err(|e| failed(DiskAction::Write, &self.name, e).at(offset))
    }

    fn sync(&self) -> Result<(), DiskError> {
        let synced = self.disk.state().sync((self.inode, self.life));
        synced.map_err(|e| failed(DiskAction::Sync, &self.name, e))
    }

    fn renamed(self, path: PathBuf) -> Self {
        Self { name: path.to_string_lossy().into(), ..self }
    }
}

/// A lock on a file of a [`SimDisk`], until it is dropped or its process ends.
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    name: String,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().unlock(&self.name, self.life);
    }
}

fn failed(action: DiskAction, name: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::new(action, name, &io::Error::from(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with(content: &[u8]) -> (SimDisk, SimFile) {
        let disk = SimDisk::new(7);
        let file = disk.create("f").unwrap();
        file.write_at(0, content).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        (disk, file)
    }

    #[test]
    fn a_file_that_was_removed_can_be_synced_by_whoever_has_it_open() {
        let disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        file.write_at(0, b"x").unwrap();
        disk.remove("a").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(file.sync(), Ok(()));
        disk.crash();
        assert!(file.sync().is_err(), "its process has ended");
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let file = disk.create("f").unwrap();
            file.write_at(0, b"....").unwrap();
            file.sync().unwrap();
            disk.sync_directory().unwrap();
            file.write_at(0, b"ab").unwrap();
            file.write_at(2, b"cd").unwrap();
            disk.crash();
            assert!(file.size_bytes().is_err(), "the process that opened it has ended");
            seen.insert(disk.read("f").unwrap());
        }
        for outcome in ["....", "ab..", "..cd", "abcd", "a...", "...d", ".b.."] {
            assert!(seen.contains(outcome.as_bytes()), "{outcome} never happened");
        }
    }

    #[test]
    fn a_disk_without_bad_habits_keeps_the_first_writes_whole() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let (tears, reorders) = (seed % 2 == 1, false);
            let disk = SimDisk::new(seed);
            disk.set_crash_habits(CrashHabits { tears, reorders });
            let file = disk.create("f").unwrap();
            file.write_at(0, b"....").unwrap();
            file.sync().unwrap();
            disk.sync_directory().unwrap();
            file.write_at(0, b"ab").unwrap();
            file.write_at(2, b"cd").unwrap();
            let loss = disk.crash();
            let held = disk.read("f").unwrap();
            assert_eq!((loss.unsynced, loss.reordered), (2, 0));
            assert_eq!(
                loss.torn,
                u64::from(![&b"...."[..], b"ab..", b"abcd"].contains(&&held[..]))
            );
            seen.insert((tears, held));
        }
        let whole: Vec<_> = seen.iter().filter(|(tears, _)| !tears).map(|(_, held)| held).collect();
        assert_eq!(whole, [&b"...."[..], b"ab..", b"abcd"]);
        for torn in [&b"a..."[..], b"abc.", b"ab.d"] {
            assert!(seen.contains(&(true, torn.to_vec())));
        }
    }

    #[test]
    fn a_copy_of_what_was_synced_has_a_fate_of_its_own() {
        let (disk, file) = disk_with(b"one");
        file.write_at(0, b"two").unwrap();
        disk.create("g").unwrap();
        let copy = disk.synced();
        assert_eq!(
            (copy.list().unwrap(), copy.read("f").unwrap()),
            (vec!["f".into()], b"one".into())
        );
        copy.wipe();
        assert_eq!(disk.read("f").unwrap(), b"two");
    }

    #[test]
    fn a_killed_process_loses_nothing_that_it_wrote() {
        let (disk, file) = disk_with(b"one");
        file.write_at(0, b"two").unwrap();
        disk.kill();
        assert_eq!(disk.read("f").unwrap(), b"two");
        assert!(file.sync().is_err());
        disk.open("f").unwrap().sync().unwrap();
        disk.crash();
        assert_eq!(disk.read("f").unwrap(), b"two");
    }

    #[test]
    fn any_names_are_lost_or_the_last_ones() {
        let kept = |reorders: bool| {
            let mut kept = std::collections::BTreeSet::new();
            for seed in 0..100 {
                let disk = SimDisk::new(seed);
                disk.set_crash_habits(CrashHabits { tears: true, reorders });
                disk.create("a").unwrap().sync().unwrap();
                disk.rename("a", "b").unwrap();
                disk.create("c").unwrap();
                disk.crash();
                kept.insert(disk.list().unwrap().concat());
            }
            kept.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(kept(false), ["", "a", "b", "bc"]);
        assert_eq!(kept(true), ["", "a", "ac", "b", "bc", "c"]);
    }

    #[test]
    fn files_are_removed_in_any_order() {
        let mut kept = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            for name in ["1", "2"] {
                disk.create(name).unwrap();
            }
            disk.sync_directory().unwrap();
            disk.remove("1").unwrap();
            disk.remove("2").unwrap();
            disk.crash();
            kept.insert(disk.list().unwrap().concat());
        }
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), ["", "1", "12", "2"]);
    }

    #[test]
    fn after_a_failed_sync_another_one_succeeds_and_does_not_help() {
        let mut lost = false;
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let file = disk.create("f").unwrap();
            disk.sync_directory().unwrap();
            file.write_at(0, b"data").unwrap();
            disk.fail_next_sync();
            assert_eq!(file.sync().unwrap_err().action, DiskAction::Sync);
            assert_eq!(disk.read("f").unwrap(), b"data");
            file.sync().unwrap();
            disk.crash();
            lost |= disk.read("f").unwrap() != b"data";
        }
        assert!(lost);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_nothing_else() {
        let (disk, file) = disk_with(b"1234");
        disk.set_quota(Some(6));
        assert_eq!(disk.free_bytes().unwrap(), 2);
        assert!(file.write_at(4, b"567").unwrap_err().is_full());
        file.write_at(0, b"abcdef").unwrap();
        assert!(disk.create("g").unwrap().write_at(0, b"x").unwrap_err().is_full());
        disk.remove("f").unwrap();
        assert_eq!(disk.free_bytes().unwrap(), 6);
    }

    #[test]
    fn power_is_lost_before_the_operation_that_was_chosen() {
        let (disk, file) = disk_with(b"12");
        disk.stop_after(1);
        file.write_at(0, b"ab").unwrap();
        assert!(disk.has_stopped());
        assert!(file.sync().is_err());
        assert!(disk.list().is_err());
        disk.crash();
        assert_eq!(disk.list().unwrap(), ["f"]);
    }

    #[test]
    fn locks_end_with_their_process() {
        let disk = SimDisk::new(1);
        let lock = disk.try_lock("lock", b"1").unwrap().unwrap();
        assert!(disk.try_lock("lock", b"2").unwrap().is_none());
        disk.kill();
        let second = disk.try_lock("lock", b"2").unwrap();
        assert!(second.is_some());
        drop(lock);
        assert!(
            disk.try_lock("lock", b"3").unwrap().is_none(),
            "that was not the one's to release"
        );
    }

    #[test]
    fn damage_is_done_to_synced_bytes_too() {
        let (disk, file) = disk_with(b"a");
        assert!(disk.flip_bit("f", 1));
        assert!(!disk.flip_bit("f", 8));
        assert!(!disk.flip_bit("g", 0));
        let mut byte = [0];
        file.read_at(0, &mut byte).unwrap();
        assert_eq!(byte, *b"c");
        disk.crash();
        assert_eq!(disk.read("f").unwrap(), b"c");
    }
}
