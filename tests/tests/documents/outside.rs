//! Crates outside the workspace, which share its lock file and its target folder.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A workspace elsewhere, whose members depend on crates of this one by path.
pub(crate) struct Outside {
    folder: TempDir,
    members: Vec<String>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
        Self { folder, members: Vec::new() }
    }

    /// Adds a program, or a library where there is no `main`.
    pub(crate) fn add(&mut self, name: &str, text: &str, needs: &[&str]) {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        let mut manifest = format!(
            "[package]\nname = \"outside-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n"
        );
        for need in needs {
            writeln!(manifest, "{}", dependency(need)).unwrap();
        }
        let file = if text.contains("fn main(") { "main.rs" } else { "lib.rs" };
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("src").join(file), text).unwrap();
        self.members.push(name.to_owned());
    }

    /// Compiles each member alone, so that none sees what another one asked for.
    pub(crate) fn check(&self) {
        let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {:?}\n", self.members);
        fs::write(self.folder.path().join("Cargo.toml"), workspace).unwrap();
        for member in &self.members {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let output = Command::new(cargo)
                .current_dir(self.folder.path())
                .args(["check", "--quiet", "--offline", "-p", &format!("outside-{member}")])
                .arg("--target-dir")
                .arg(target_folder())
                .stdin(Stdio::null())
                .output()
                .expect("cargo can be started");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{member} does not compile:\n{errors}");
        }
    }
}

/// The Rust programs under a heading of a document.
pub(crate) fn programs_of(document: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let (mut is_there, mut program, mut programs) = (false, None::<String>, Vec::new());
    for line in text.lines() {
        match (&mut program, line.trim()) {
            (Some(_), "```") => programs.extend(program.take()),
            (Some(text), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, "```rust") if is_there => program = Some(String::new()),
            (None, _) => {
                if let Some(title) = line.strip_prefix("## ") {
                    is_there = title == heading;
                }
            }
        }
    }
    programs
}

/// An example of a crate, as a user copies it.
pub(crate) fn example(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn dependency(need: &str) -> String {
    if need == "tokio" {
        let features = r#"["macros", "net", "rt-multi-thread", "sync", "time"]"#;
        return format!("tokio = {{ version = \"1\", features = {features} }}");
    }
    let path = root().join("crates").join(need);
    let path = path.display();
    let has_program = ["kv-server", "kv-client", "kv-sim"].contains(&need);
    let bare = if has_program { ", default-features = false" } else { "" };
    format!("{need} = {{ path = \"{path}\"{bare} }}")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// `<target>` of the test's own path, `<target>/<profile>/deps/<test>`.
fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}
