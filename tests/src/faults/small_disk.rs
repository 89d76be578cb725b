//! A disk that can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at a new folder; `None` where this user may not.
    ///
    /// # Panics
    /// If the folder cannot be made.
    #[must_use]
    pub fn mount(at: PathBuf, mebibytes: u32) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Self(at))
    }

    /// Mounts it anew with other options.
    ///
    /// # Panics
    /// If that fails.
    pub fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        let mounted = Command::new("mount").args(["-o", &how]).arg(&self.0).status().unwrap();
        assert!(mounted.success());
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy one, as a failing test may leave a server there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
