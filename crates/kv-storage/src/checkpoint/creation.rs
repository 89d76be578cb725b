//! A checkpoint's directory comes into being in one step.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::{OpenStore, failed};

/// Makes an empty store where there is none.
///
/// It is made under another name first: the store below cannot be opened where the process or the
/// power went while it was made, and there it is made anew.
///
/// # Errors
/// [`CheckpointError::Failed`] if the disk fails.
pub(crate) fn make_if_missing(directory: &Path) -> Result<(), CheckpointError> {
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
    drop(OpenStore::open(draft)?);
    or_fail(fs::rename(draft, directory))?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    or_fail(File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()))
}
