//! The programs under test, built before the first of them is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A program of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `kv-server`.
    Server,
    /// `kv-client`.
    Client,
}

impl Program {
    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "kv-server",
            Self::Client => "kv-client",
        }
    }
}

/// The path of a program, which is built first: once in a test process, with the profile and in the
/// target folder of the test itself, so that no test runs a stale program or misses one.
///
/// # Panics
/// If it cannot be built.
pub fn program(program: Program) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("the test's own path is known");
        build(&Build::of(&test))
    });
    folder.join(format!("{}{}", program.name(), std::env::consts::EXE_SUFFIX))
}

/// Where and how a test was built.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    target: PathBuf,
    /// The folder in `target`.
    folder: OsString,
}

impl Build {
    /// Tells it from the test's own path, `<target>/<folder>/deps/<test>`.
    fn of(test: &Path) -> Self {
        let folder = test.ancestors().nth(2).expect("a test lies in <target>/<profile>/deps");
        let target = folder.parent().expect("a profile's folder lies in the target folder");
        let name = folder.file_name().expect("a profile's folder has a name");
        Self { target: target.to_owned(), folder: name.to_owned() }
    }

    /// The profile; the folder of `dev`, and of `test`, is `debug`.
    fn profile(&self) -> OsString {
        if self.folder == "debug" { "dev".into() } else { self.folder.clone() }
    }
}

fn build(build: &Build) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--bins", "-p", "kv-server", "-p", "kv-client", "--profile"])
        .arg(build.profile())
        .arg("--target-dir")
        .arg(&build.target)
        .stdin(Stdio::null())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "the programs cannot be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    build.target.join(&build.folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_and_the_target_folder_are_the_tests_own() {
        let debug = Build::of(Path::new("/t/debug/deps/failover-0a"));
        assert_eq!((debug.target.as_path(), debug.profile()), (Path::new("/t"), "dev".into()));
        let release = Build::of(Path::new("/t/release/deps/failover-0a"));
        assert_eq!(release.profile(), "release");
    }

    #[test]
    fn both_programs_are_there() {
        for which in [Program::Server, Program::Client] {
            let path = program(which);
            assert!(path.is_file(), "{} is missing", path.display());
        }
    }
}
