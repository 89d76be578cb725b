//! A checkpoint's directory comes into being in one step.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::{OpenStore, failed};
use crate::disk::sync_directory;

/// Makes an empty store where there is none.
///
/// It is made under another name first: the store below cannot be opened where the process or the
/// power went while it was made, and there it is made anew.
///
/// # Errors
/// [`CheckpointError::Failed`] if the disk fails.
pub(crate) fn make_if_missing(directory: &Path) -> Result<(), CheckpointError> {
    make_with(directory, |draft| OpenStore::open(draft).map(drop), sync_directory)
}

fn make_with(
    directory: &Path,
    make: impl FnOnce(&Path) -> Result<(), CheckpointError>,
    mut sync: impl FnMut(&Path) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let or_fail = |done: io::Result<()>| done.map_err(|e| failed(directory, e.into()));
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(false) => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return or_fail(Err(error)),
        Ok(true) | Err(_) => {}
    }
    let mut draft = directory.as_os_str().to_owned();
    draft.push(".draft");
    let draft = Path::new(&draft);
    match fs::remove_dir_all(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return or_fail(Err(error)),
        Ok(()) | Err(_) => {}
    }
    make(draft)?;
    or_fail(sync_directories(draft, &mut sync))?;
    or_fail(fs::rename(draft, directory))?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    or_fail(sync(parent.unwrap_or(Path::new("."))))
}

/// Syncs the names of all that a directory holds. The store below syncs its files, but not each
/// directory after the last one that it made in it.
fn sync_directories(
    directory: &Path,
    sync: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path(), sync)?;
        }
    }
    sync(directory)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fails<T>() -> io::Result<T> {
        Err(ErrorKind::Other.into())
    }

    #[test]
    fn it_has_its_name_once_it_is_whole_and_the_name_is_synced() {
        for found in ["nothing", "an empty directory"] {
            let folder = tempfile::tempdir().unwrap();
            let directory = folder.path().join("checkpoint");
            if found != "nothing" {
                fs::create_dir(&directory).unwrap();
            }
            let is_empty = || fs::read_dir(&directory).is_ok_and(|mut all| all.next().is_none());
            let is_not_there = || !directory.exists() || is_empty();
            let make = |draft: &Path| {
                fs::create_dir(draft).unwrap();
                assert!(is_not_there(), "found {found}, half made");
                fs::create_dir_all(draft.join("inner/most")).unwrap();
                fs::write(draft.join("last"), b"").unwrap();
                assert!(is_not_there(), "found {found}, whole");
                Ok(())
            };
            let mut synced = Vec::new();
            let sync = |path: &Path| {
                let path = path.strip_prefix(folder.path()).unwrap().to_owned();
                synced.push((path, directory.join("last").exists()));
                Ok(())
            };
            make_with(&directory, make, sync).unwrap();
            let draft =
                ["inner/most", "inner", ""].map(|name| Path::new("checkpoint.draft").join(name));
            let [most, inner, draft] = draft.map(|path| (path, false));
            let expected = [most, inner, draft, (PathBuf::new(), true)];
            assert_eq!(synced, expected, "found {found}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        }
    }

    #[test]
    fn one_that_was_not_made_or_not_synced_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("checkpoint");
        let half_made = |draft: &Path| {
            fs::create_dir(draft).and_then(|()| fails()).map_err(|e| failed(draft, e.into()))
        };
        assert!(make_with(&directory, half_made, |_| Ok(())).is_err());
        assert!(!directory.exists());
        // This one fails if what was half made is still there.
        let make = |draft: &Path| fs::create_dir(draft).map_err(|e| failed(draft, e.into()));
        assert!(make_with(&directory, make, |_| fails()).is_err());
        assert!(!directory.exists());
        let fails_then = |_: &Path| if directory.exists() { fails() } else { Ok(()) };
        assert!(make_with(&directory, make, fails_then).is_err());
    }
}
