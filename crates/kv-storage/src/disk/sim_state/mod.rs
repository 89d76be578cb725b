//! What a simulated disk holds, synced and not.

mod power_loss;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use kv_core::SeedStream;

pub use power_loss::{CrashHabits, PowerLoss};

/// A file by number, and the life of the process that opened it.
type Opened = (u64, u64);

type Done<T> = Result<T, ErrorKind>;

#[derive(Debug)]
pub(crate) struct SimState {
    pub(crate) operations_left: Option<u64>,
    pub(crate) operations: u64,
    pub(crate) sync_fails: bool,
    pub(crate) write_fails: bool,
    pub(crate) open_fails: bool,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) habits: CrashHabits,
    stream: SeedStream,
    inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
    /// How many writes there were; their order on all files together.
    writes: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    locked: BTreeSet<String>,
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that no sync has covered, in order.
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    /// Its place among the writes to all files.
    order: u64,
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum NameChange {
    Set(String, u64),
    Removed(String),
    /// From which name to which, and the file: its old name need not have come to the disk.
    Renamed(String, String, u64),
}

impl SimState {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            operations_left: None,
            operations: 0,
            sync_fails: false,
            write_fails: false,
            open_fails: false,
            quota_bytes: None,
            habits: CrashHabits { tears: true, reorders: true },
            stream: SeedStream::new(seed),
            inodes: BTreeMap::new(),
            last_inode: 0,
            writes: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            locked: BTreeSet::new(),
            life: 0,
        }
    }

    pub(crate) fn end_life(&mut self) {
        self.life += 1;
        self.spare();
        self.locked.clear();
    }

    pub(crate) fn spare(&mut self) {
        self.operations_left = None;
        self.sync_fails = false;
        self.write_fails = false;
        self.open_fails = false;
    }

    /// The same disk, but holding only what is certain to outlive a loss of power now.
    pub(crate) fn synced(&self) -> Self {
        let durable = |inode: &Inode| Inode {
            current: inode.durable.clone(),
            durable: inode.durable.clone(),
            pending: Vec::new(),
        };
        Self {
            inodes: self.inodes.iter().map(|(number, inode)| (*number, durable(inode))).collect(),
            last_inode: self.last_inode,
            names: self.durable_names.clone(),
            durable_names: self.durable_names.clone(),
            ..Self::new(0)
        }
    }

    pub(crate) fn wipe(&mut self) {
        self.end_life();
        self.inodes.clear();
        self.names.clear();
        self.durable_names.clear();
        self.name_changes.clear();
    }

    pub(crate) fn damage(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let inode = self.names.get(name).and_then(|number| self.inodes.get_mut(number));
        let Some(inode) = inode else {
            return false;
        };
        change(&mut inode.current);
        inode.durable.clone_from(&inode.current);
        inode.pending.clear();
        true
    }

    pub(crate) fn create(&mut self, name: &str) -> Done<Opened> {
        self.begin_operation()?;
        if self.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        self.last_inode += 1;
        self.inodes.insert(self.last_inode, Inode::default());
        self.change_names(NameChange::Set(name.to_owned(), self.last_inode));
        Ok((self.last_inode, self.life))
    }

    pub(crate) fn open(&mut self, name: &str) -> Done<Opened> {
        self.begin_operation()?;
        let inode = self.names.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok((inode, self.life))
    }

    pub(crate) fn list(&mut self) -> Done<Vec<String>> {
        self.begin_operation()?;
        Ok(self.names.keys().cloned().collect())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Done<()> {
        self.begin_operation()?;
        if !self.names.contains_key(name) {
            return Err(ErrorKind::NotFound);
        }
        self.change_names(NameChange::Removed(name.to_owned()));
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Done<()> {
        self.begin_operation()?;
        let inode = self.names.get(from).copied().ok_or(ErrorKind::NotFound)?;
        self.change_names(NameChange::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    pub(crate) fn sync_names(&mut self) -> Done<()> {
        self.begin_operation()?;
        self.name_changes.clear();
        self.durable_names.clone_from(&self.names);
        self.forget_nameless();
        Ok(())
    }

    pub(crate) fn free_bytes(&mut self) -> Done<u64> {
        self.begin_operation()?;
        Ok(self.quota_bytes.map_or(UNBOUNDED_FREE, |quota| quota.saturating_sub(self.used_bytes())))
    }

    pub(crate) fn try_lock(&mut self, name: &str, content: &[u8]) -> Done<Option<u64>> {
        if self.locked.contains(name) {
            return Ok(None);
        }
        let file = match self.open(name) {
            Err(ErrorKind::NotFound) => self.create(name)?,
            opened => opened?,
        };
        if let Some(inode) = self.inodes.get_mut(&file.0) {
            *inode = Inode::default();
        }
        self.write_at(file, 0, content)?;
        self.locked.insert(name.to_owned());
        Ok(Some(self.life))
    }

    pub(crate) fn unlock(&mut self, name: &str, life: u64) {
        if life == self.life {
            self.locked.remove(name);
        }
    }

    pub(crate) fn size_bytes(&mut self, file: Opened) -> Done<u64> {
        self.begin_operation()?;
        Ok(u64::try_from(self.inode(file)?.current.len()).unwrap_or(u64::MAX))
    }

    pub(crate) fn read_at(&mut self, file: Opened, offset: u64, into: &mut [u8]) -> Done<()> {
        self.begin_operation()?;
        let from = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let bytes = self.inode(file)?.current.get(from..from + into.len());
        into.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(crate) fn write_at(&mut self, file: Opened, offset: u64, bytes: &[u8]) -> Done<()> {
        self.begin_operation()?;
        let from = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let len = self.inode(file)?.current.len();
        let growth = u64::try_from((from + bytes.len()).saturating_sub(len)).unwrap_or(u64::MAX);
        if growth > 0 && self.quota_bytes.is_some_and(|quota| self.used_bytes() + growth > quota) {
            return Err(ErrorKind::StorageFull);
        }
        let fails = std::mem::take(&mut self.write_fails);
        let done = if fails { draw(&mut self.stream, bytes.len()) } else { bytes.len() };
        let bytes = bytes.get(..done).unwrap_or_default();
        self.writes += 1;
        let write = Write { order: self.writes, offset: from, bytes: bytes.to_vec() };
        let inode = self.inode(file)?;
        overwrite(&mut inode.current, from, bytes);
        inode.pending.push(write);
        if fails { Err(ErrorKind::Other) } else { Ok(()) }
    }

    pub(crate) fn sync(&mut self, file: Opened) -> Done<()> {
        self.begin_operation()?;
        let fails = std::mem::take(&mut self.sync_fails);
        let is_removed = file.1 == self.life && !self.inodes.contains_key(&file.0);
        if fails {
            self.inode(file)?;
            self.lose_unsynced(&[file.0]);
            return Err(ErrorKind::Other);
        }
        if is_removed {
            // Whoever has it open may sync it all the same.
            return Ok(());
        }
        let inode = self.inode(file)?;
        for write in std::mem::take(&mut inode.pending) {
            overwrite(&mut inode.durable, write.offset, &write.bytes);
        }
        Ok(())
    }

    fn begin_operation(&mut self) -> Done<()> {
        match &mut self.operations_left {
            Some(0) => return Err(ErrorKind::NotConnected),
            Some(left) => *left -= 1,
            None => {}
        }
        self.operations += 1;
        Ok(())
    }

    fn inode(&mut self, (number, life): Opened) -> Done<&mut Inode> {
        if life != self.life {
            return Err(ErrorKind::NotConnected);
        }
        self.inodes.get_mut(&number).ok_or(ErrorKind::NotConnected)
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        let inodes = self.names.values().filter_map(|number| self.inodes.get(number));
        inodes.map(|inode| u64::try_from(inode.current.len()).unwrap_or(u64::MAX)).sum()
    }

    fn forget_nameless(&mut self) {
        let named: BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Removed(name) => {
                names.remove(name);
            }
            Self::Renamed(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

fn draw(stream: &mut SeedStream, below: usize) -> usize {
    let drawn = stream.below(u64::try_from(below).unwrap_or(u64::MAX));
    usize::try_from(drawn).unwrap_or(0)
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

/// What a disk without a quota has free.
const UNBOUNDED_FREE: u64 = 1 << 40;
