//! Where the lines that were typed are kept.

use std::env::var_os;
use std::path::PathBuf;

/// The file of the history, in a folder that is made if need be. `None` for none: if that is asked
/// for by `off`, or if there is no home.
pub(crate) fn file(asked: Option<&str>) -> Option<PathBuf> {
    let path = match asked {
        Some("off") => return None,
        Some(path) => PathBuf::from(path),
        None => state_folder(var_os("XDG_STATE_HOME"), var_os("HOME"))?.join("kv").join(FILE),
    };
    if let Some(folder) = path.parent() {
        // A history that cannot be written is no reason not to start.
        let _ = make_folder(folder);
    }
    Some(path)
}

/// As the XDG base directory specification says, where a relative path counts as none.
fn state_folder(
    state: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    let state = state.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || home.map(PathBuf::from).filter(|path| path.is_absolute());
    state.or_else(|| home().map(|home| home.join(".local/state")))
}

fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

const FILE: &str = "client_history";

/// How many lines are kept.
pub(crate) const LINES_MAX: usize = 1000;

/// Longer lines are not kept.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_the_specification() {
        let folder = |state: Option<&str>, home: Option<&str>| {
            state_folder(state.map(Into::into), home.map(Into::into))
        };
        let expect = |path: &str| Some(PathBuf::from(path));
        assert_eq!(folder(Some("/state"), Some("/home/a")), expect("/state"));
        assert_eq!(folder(None, Some("/home/a")), expect("/home/a/.local/state"));
        assert_eq!(folder(Some("here"), Some("/home/a")), expect("/home/a/.local/state"));
        assert_eq!(folder(None, None), None);
        assert_eq!(file(Some("off")), None);
        assert_eq!(file(Some("h.txt")), expect("h.txt"));
    }
}
