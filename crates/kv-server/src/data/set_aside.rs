//! What a server may have forgotten a part of is set aside, so that the server starts empty.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_core::PersistSeq;
use kv_storage::{
    CHECKPOINT_DIRECTORY, CheckpointStore, JournalInspection, RealDisk, StoreIdentity,
};

use crate::data::found::SetAside;

/// Moves the journal and the checkpoint into a folder `lost-<SECONDS>` of the data directory, which
/// tools read like the data directory of a server that does not run. Returns the folder; `None` if
/// there was nothing to move. `now` is the time since the Unix epoch.
///
/// Cut short, it is finished when it is called again.
///
/// # Errors
/// What the system says, if something could not be moved.
pub(crate) fn set_aside(
    disk: &RealDisk,
    identity: &StoreIdentity,
    now: Duration,
) -> io::Result<Option<PathBuf>> {
    set_aside_with(disk, identity, now, &mut |_, file| sync(file))
}

fn set_aside_with(
    disk: &RealDisk,
    identity: &StoreIdentity,
    now: Duration,
    sync: SyncOf<'_>,
) -> io::Result<Option<PathBuf>> {
    let folder = disk.directory();
    let draft = folder.join(DRAFT);
    // A start that ended early has left what it had begun with.
    if !draft.exists() && holds_nothing(disk, identity) {
        return Ok(None);
    }
    describe(folder, &draft, sync)?;
    for name in names_to_move(folder)? {
        fs::rename(folder.join(&name), draft.join(&name))?;
    }
    // In this order each file is in one of the two after a loss of power.
    sync_directory(&draft, sync)?;
    sync_directory(folder, sync)?;
    let mut seconds = now.as_secs();
    let mut named = folder.join(format!("{PREFIX}{seconds}"));
    while named.exists() {
        seconds += 1;
        named = folder.join(format!("{PREFIX}{seconds}"));
    }
    fs::rename(&draft, &named)?;
    // A draft that came back would be gone on with, and what the server writes from here on, in
    // files of the same names, moved over what is in it.
    sync_directory(folder, sync)?;
    Ok(Some(named))
}

/// The folders of a data directory in which something was set aside, the oldest first.
///
/// # Errors
/// What the system says, if the directory cannot be read.
pub(crate) fn all_set_aside(directory: &Path) -> io::Result<Vec<SetAside>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_named && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort_unstable();
    let measured = folders.into_iter().map(|folder| SetAside { bytes: size_of(&folder), folder });
    Ok(measured.collect())
}

/// How many bytes the files in a folder and below have. What cannot be looked at is left out: a
/// start does not fail for it.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Whether no record was ever written; `false` if that cannot be told.
fn holds_nothing(disk: &RealDisk, identity: &StoreIdentity) -> bool {
    let journal = JournalInspection::open(disk.clone(), identity, PersistSeq(0));
    let checkpoint = disk.directory().join(CHECKPOINT_DIRECTORY);
    let covers_nothing = || {
        let store = CheckpointStore::open(&checkpoint, identity.clone());
        store.is_ok_and(|store| store.covers() == PersistSeq(0))
    };
    journal.is_ok_and(|journal| journal.is_untouched() && journal.torn().is_none())
        && (fs::symlink_metadata(&checkpoint).is_err() || covers_nothing())
}

/// Makes the folder with a copy of the description, which says whose the files are: it is on disk
/// before the first of them comes.
fn describe(folder: &Path, draft: &Path, sync: SyncOf<'_>) -> io::Result<()> {
    match fs::create_dir(draft) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if draft.join(META).exists() {
        return Ok(());
    }
    let half = draft.join(META_DRAFT);
    let mut file = File::create(&half)?;
    file.write_all(&fs::read(folder.join(META))?)?;
    sync(&half, &file)?;
    fs::rename(half, draft.join(META))?;
    sync_directory(draft, sync)
}

fn names_to_move(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        // A name that is no text is not ours.
        if let Ok(name) = entry?.file_name().into_string()
            && (name.starts_with(JOURNAL_PREFIX) || name == CHECKPOINT_DIRECTORY)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Syncs a file or a directory, whose path it is told as well.
type SyncOf<'a> = &'a mut dyn FnMut(&Path, &File) -> io::Result<()>;

fn sync_directory(directory: &Path, sync: SyncOf<'_>) -> io::Result<()> {
    sync(directory, &File::open(directory)?)
}

fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// What the names of folders begin with in which something was set aside.
const PREFIX: &str = "lost-";

/// The folder's name until everything is in it.
const DRAFT: &str = "lost.draft";

/// The description of a data directory.
const META: &str = "meta";

const META_DRAFT: &str = "meta.draft";

/// What the names of the journal's files begin with.
const JOURNAL_PREFIX: &str = "journal-";

#[cfg(test)]
mod tests {
    use kv_core::NodeId;
    use kv_storage::{Journal, JournalConfig};

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn identity() -> StoreIdentity {
        StoreIdentity { store: 7, node: NodeId::FIRST, engine: "eventual".to_owned() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn begin(folder: &Path) -> RealDisk {
        let disk = RealDisk::open(folder).unwrap();
        CheckpointStore::open(folder.join(CHECKPOINT_DIRECTORY), identity()).unwrap();
        Journal::recover(disk.clone(), JournalConfig::new(identity()), PersistSeq(0)).unwrap();
        disk
    }

    /// A data directory with a record.
    fn written(folder: &Path) -> RealDisk {
        let disk = RealDisk::open(folder).unwrap();
        fs::write(folder.join(META), b"whose").unwrap();
        fs::write(folder.join("lock"), b"").unwrap();
        CheckpointStore::open(folder.join(CHECKPOINT_DIRECTORY), identity()).unwrap();
        let config = JournalConfig::new(identity());
        let (mut journal, _) = Journal::recover(disk.clone(), config, PersistSeq(0)).unwrap();
        journal.append(PersistSeq(1), &5u64).unwrap();
        journal.sync().unwrap();
        disk
    }

    #[test]
    fn cut_short_anywhere_it_is_finished_by_the_next_start() {
        let moves = {
            let folder = tempfile::tempdir().unwrap();
            written(folder.path());
            names_to_move(folder.path()).unwrap()
        };
        assert!(moves.len() >= 2, "{moves:?}");
        // Nothing done; the folder made; its description begun; written; each move done.
        for done in 0..=3 + moves.len() {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            let disk = written(folder);
            let draft = folder.join(DRAFT);
            if done >= 1 {
                fs::create_dir(&draft).unwrap();
            }
            if done == 2 {
                fs::write(draft.join(META_DRAFT), b"wh").unwrap();
            }
            if done >= 3 {
                fs::write(draft.join(META), b"whose").unwrap();
                // What a start before has changed since is not of what was set aside.
                fs::write(folder.join(META), b"other").unwrap();
            }
            for name in moves.iter().take(done.saturating_sub(3)) {
                fs::rename(folder.join(name), draft.join(name)).unwrap();
            }
            let lost = set_aside(&disk, &identity(), NOW).unwrap().unwrap();
            assert_eq!(lost, folder.join("lost-1000"), "{done}");
            assert_eq!(names(folder), ["lock", "lost-1000", "meta"], "{done}");
            let mut expected = moves.clone();
            expected.push(META.to_owned());
            expected.sort_unstable();
            assert_eq!(names(&lost), expected, "{done}");
            assert_eq!(fs::read(lost.join(META)).unwrap(), b"whose", "{done}");
            let lost = RealDisk::open_to_read(lost).unwrap();
            let journal = JournalInspection::open(lost, &identity(), PersistSeq(0)).unwrap();
            assert_eq!(journal.records(), 1, "{done}");
        }
    }

    #[test]
    fn each_step_is_on_disk_before_the_next_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let disk = written(folder);
        let draft = folder.join(DRAFT);
        let mut moved = names_to_move(folder).unwrap();
        moved.push(META.to_owned());
        moved.sort_unstable();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut synced = Vec::new();
        let mut note = |path: &Path, _: &File| {
            let is_directory = path.is_dir();
            let holds = || owned(&[&fs::read_to_string(path).unwrap()]);
            synced.push((path.to_owned(), if is_directory { names(path) } else { holds() }));
            Ok(())
        };
        set_aside_with(&disk, &identity(), NOW, &mut note).unwrap().unwrap();
        let expected = [
            (draft.join(META_DRAFT), owned(&["whose"])),
            (draft.clone(), owned(&[META])),
            (draft, moved),
            (folder.to_owned(), owned(&["lock", DRAFT, META])),
            (folder.to_owned(), owned(&["lock", "lost-1000", META])),
        ];
        assert_eq!(synced, expected);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_more_is_done_before_the_next_start() {
        for fails in 1..=5 {
            let folder = tempfile::tempdir().unwrap();
            let disk = written(folder.path());
            let mut synced = 0;
            let mut at_fault = Vec::new();
            let mut fail = |_: &Path, _: &File| {
                synced += 1;
                at_fault = names(folder.path());
                if synced == fails { Err(ErrorKind::Other.into()) } else { Ok(()) }
            };
            assert!(set_aside_with(&disk, &identity(), NOW, &mut fail).is_err(), "{fails}");
            assert_eq!((synced, names(folder.path())), (fails, at_fault));
            let again = set_aside(&disk, &identity(), NOW).unwrap();
            assert_eq!(again.is_some(), fails < 5, "{fails}");
            assert_eq!(names(folder.path()), ["lock", "lost-1000", "meta"], "{fails}");
            assert_eq!(names(&folder.path().join("lost-1000")).len(), 3, "{fails}");
        }
    }

    /// What cannot be synced tells whether it was tried.
    #[test]
    fn a_sync_asks_the_system() {
        sync(&tempfile::tempfile().unwrap()).unwrap();
        assert!(sync(&File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_start_that_ended_early_is_not_set_aside_again() {
        let folder = tempfile::tempdir().unwrap();
        let disk = written(folder.path());
        assert!(set_aside(&disk, &identity(), NOW).unwrap().is_some());
        assert_eq!(set_aside(&disk, &identity(), NOW).unwrap(), None);
        begin(folder.path());
        assert_eq!(set_aside(&disk, &identity(), NOW).unwrap(), None);
        let first = folder.path().join("lost-1000");
        let found = all_set_aside(folder.path()).unwrap();
        assert_eq!(found.iter().map(|found| &found.folder).collect::<Vec<_>>(), [&first]);
        assert!(found[0].bytes > 4 << 20, "the journal's first file alone has 4 MiB: {found:?}");
        fs::create_dir(first.join("more")).unwrap();
        fs::write(first.join("more/x"), [0; 1000]).unwrap();
        let more = all_set_aside(folder.path()).unwrap();
        assert_eq!(more[0].bytes, found[0].bytes + 1000);
        // What was written since is, beside the first.
        written(folder.path());
        assert!(set_aside(&disk, &identity(), NOW).unwrap().is_some());
        let expected = ["lost-1000", "lost-1001"].map(|name| folder.path().join(name));
        let found = all_set_aside(folder.path()).unwrap();
        assert_eq!(found.into_iter().map(|found| found.folder).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_checkpoint_alone_is_set_aside_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let disk = begin(folder.path());
        fs::write(folder.path().join(META), b"whose").unwrap();
        assert_eq!(set_aside(&disk, &identity(), NOW).unwrap(), None);
        let checkpoint = folder.path().join(CHECKPOINT_DIRECTORY);
        fs::remove_dir_all(&checkpoint).unwrap();
        fs::write(&checkpoint, b"what nobody can read").unwrap();
        let lost = set_aside(&disk, &identity(), NOW).unwrap().unwrap();
        assert_eq!(fs::read(lost.join(CHECKPOINT_DIRECTORY)).unwrap(), b"what nobody can read");
    }
}
