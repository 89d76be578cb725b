//! `kv-server backup`: all keys of a cluster, at one moment, in a file.

mod draft;
mod file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Args;
use kv_proto::{ServerList, check_address};
use kv_server::DEFAULT_CLUSTER;

use crate::screen::{self, counted};
use crate::tools::backup::draft::Draft;
use crate::tools::error_text::error_text;

pub(crate) use file::{BackupReader, Entry};

/// The words of `kv-server backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupSettings {
    /// The servers of a cluster that runs: ids (`1-3`), ids with addresses (`1=host:4961,...`) or
    /// one address; or data directories of servers that do not run
    #[arg(value_name = "SOURCE", required = true, num_args = 1..)]
    sources: Vec<String>,

    /// The file to write; `-` for the standard output
    #[arg(value_name = "FILE", required = true)]
    file: PathBuf,

    /// Replace the file if there is one
    #[arg(long)]
    force: bool,

    /// The cluster's name
    #[arg(long, env = "KV_CLUSTER", value_name = "NAME", default_value = DEFAULT_CLUSTER)]
    cluster: String,
}

impl BackupSettings {
    /// Writes the backup; exits with 0 once it is whole, on disk and verified, otherwise with 1.
    pub(crate) fn run(&self) -> ExitCode {
        match self.write() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                screen::complain(format_args!("{}", error_text(&error)));
                ExitCode::FAILURE
            }
        }
    }

    fn write(&self) -> anyhow::Result<()> {
        if self.file == Path::new("-") {
            return self.write_out();
        }
        let file = self.file.display();
        if self.file.exists() && !self.force {
            bail!(
                "{file} exists already: name another file, replace it with --force, or write to the standard output, which is `-`"
            );
        }
        remove_leftovers(&self.file);
        let (entries, bytes) = self.write_to(&self.file)?;
        screen::say(format_args!("wrote {file}: {}", described(entries, bytes)));
        Ok(())
    }

    /// Writes the backup to the standard output, from a file that is verified before: whoever reads it
    /// gets a whole backup or none.
    fn write_out(&self) -> anyhow::Result<()> {
        screen::keep_stdout_for_data();
        let number = std::process::id();
        let file = std::env::temp_dir().join(format!("kv-server-backup-{number}"));
        let written = self.write_to(&file).and_then(|(entries, bytes)| {
            match io::copy(&mut fs::File::open(&file)?, &mut kv_cli::output::Stdout) {
                Ok(_) => screen::say(format_args!("wrote {}", described(entries, bytes))),
                // That has been reported, and shows in the exit code.
                Err(_) if kv_cli::output::has_failed() => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        });
        // Whatever stays is in the folder for what may go.
        let _ = fs::remove_file(&file);
        written
    }

    /// Writes and verifies a file; returns how many entries and bytes it has.
    fn write_to(&self, path: &Path) -> anyhow::Result<(u64, u64)> {
        let file = path.display();
        let mut draft = Draft { file: path, began_ms: now_ms(), parts: Vec::new() };
        let directories = self.sources.iter().filter(|source| Path::new(source).is_dir()).count();
        let entries = if directories == self.sources.len() {
            draft.write_resting(&self.sources)?
        } else if directories == 0 {
            draft.write_running(&addresses(&self.sources)?, &self.cluster)?
        } else {
            bail!("name servers, or the data directories of servers that do not run, not both");
        };
        let verified = BackupReader::verify(path)?;
        if verified != entries {
            bail!("{file} has {verified} of {}: check the disk", counted(entries, "key"));
        }
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok((entries, bytes))
    }
}

fn described(entries: u64, bytes: u64) -> String {
    format!("{}, {}; verified", counted(entries, "key"), counted(bytes, "byte"))
}

/// Removes what a backup to this file has left that was killed.
fn remove_leftovers(file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some((name, entries)) =
        file.file_name().zip(fs::read_dir(folder.unwrap_or(Path::new("."))).ok())
    else {
        return;
    };
    for entry in entries.flatten() {
        if is_leftover(&entry.file_name().to_string_lossy(), &name.to_string_lossy()) {
            // One that stays is written over, or in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a backup called `file` makes a file of this name and removes it at its end.
fn is_leftover(name: &str, file: &str) -> bool {
    let Some(end) = name.strip_prefix(file).and_then(|end| end.strip_prefix(".part")) else {
        return false;
    };
    let of_server = end.strip_prefix(".server").map(|end| end.strip_suffix(".part").unwrap_or(end));
    end.is_empty()
        || of_server
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The addresses that words name: a list of servers, or one address.
pub(crate) fn addresses(words: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for word in words {
        match word.parse::<ServerList>() {
            Ok(list) => {
                let of_list = list.ids().filter_map(|id| list.address(id));
                all.extend(of_list.map(ToOwned::to_owned));
            }
            Err(_) if !word.contains('=') && check_address(word).is_ok() => all.push(word.clone()),
            Err(error) => bail!(
                "`{word}` is no data directory and names no servers ({error}): write `1-3`, \
                 `1=host:4961,2=host:4961`, `host:4961`, or a folder such as kv-data/1-eventual"
            ),
        }
    }
    Ok(all)
}

/// The time of day, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_backup_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left = ["b.part", "b.part.server1", "b.part.server12.part"];
        // Backups of single servers may well be called so.
        let backups = ["b", "b.server1", "b.server12.part", "a.part", "bb.part", "b.parts"];
        let others = ["b.part.server", "b.part.serverx", "b.part.server1.old"];
        let others: Vec<&str> = backups.into_iter().chain(others).collect();
        for name in left.iter().chain(&others) {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_leftovers(&folder.path().join("b"));
        for name in left {
            assert!(!folder.path().join(name).exists(), "{name}");
        }
        for name in others {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn sources_are_lists_or_addresses() {
        let of = |word: &str| addresses(&[word.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(of("1-2"), Ok(vec!["127.0.0.1:4961".to_owned(), "127.0.0.1:4962".to_owned()]));
        assert_eq!(of("2=db:1"), Ok(vec!["db:1".to_owned()]));
        assert_eq!(of("db:1"), Ok(vec!["db:1".to_owned()]));
        assert!(of("kv-data/9-eventual").unwrap_err().contains("is no data directory"));
    }
}
