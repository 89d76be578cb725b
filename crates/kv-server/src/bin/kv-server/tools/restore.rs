//! `kv-server restore`: a backup into a new cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use kv_core::{Answer, CommandResult, Dump, Key, Operation, Outcome, Value};
use kv_server::DEFAULT_CLUSTER;

use crate::screen::{self, counted};
use crate::tools::backup::{BackupReader, addresses};
use crate::tools::error_text::error_text;
use crate::tools::remote::Remote;

/// The words of `kv-server restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreSettings {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The servers of a cluster that runs and is empty: ids (`1-3`), ids with addresses
    /// (`1=host:4961,...`) or one address
    #[arg(value_name = "SERVERS")]
    servers: String,

    /// The cluster's name
    #[arg(long, env = "KV_CLUSTER", value_name = "NAME", default_value = DEFAULT_CLUSTER)]
    cluster: String,
}

impl RestoreSettings {
    /// Restores; exits with 0 once every key was read back and is equal, otherwise with 1.
    pub(crate) fn run(&self) -> ExitCode {
        match self.restore() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                screen::complain(format_args!("{}", error_text(&error)));
                ExitCode::FAILURE
            }
        }
    }

    fn restore(&self) -> anyhow::Result<()> {
        let file = self.file.display();
        let count = BackupReader::verify(&self.file).context("nothing was restored")?;
        let keys = counted(count, "key");
        let head = BackupReader::open(&self.file)?.head().clone();
        let (engine, cluster) = (&head.engine, &head.cluster);
        screen::say(format_args!("{file}: {keys} of {engine} servers ({cluster}); sound"));
        let mut target = self.empty_target()?;
        let half = || {
            format!(
                "the cluster has a part of {file} only: start a new one on other data directories \
                 (--data-dir), and restore into that"
            )
        };
        write_all(&mut target, &self.file).with_context(half)?;
        verify_all(&mut target, &self.file).with_context(half)?;
        screen::say(format_args!("restored {keys}; each was read back and is equal"));
        Ok(())
    }

    /// A server of the cluster that serves, once no server of it was found to hold anything.
    fn empty_target(&self) -> anyhow::Result<Remote> {
        let mut target = None;
        let mut reasons = Vec::new();
        for address in addresses(std::slice::from_ref(&self.servers))? {
            let mut remote = match Remote::connect(&address, &self.cluster) {
                Ok(remote) => remote,
                Err(error) => {
                    reasons.push(error_text(&error));
                    continue;
                }
            };
            // In the one order this comes after all that the server is to have applied.
            match remote.execute(Operation::get(Key::new("x")?))? {
                Outcome::Done(_) => {}
                Outcome::NotDone(why) => reasons.push(format!("{address}: {why}")),
                Outcome::Unknown(why) => reasons.push(format!("{address}: {why}")),
            }
            if holds_something(&mut remote)? {
                bail!(
                    "server {} at {address} holds keys already, and nothing was restored: restore \
                     into a new cluster, on other data directories (--data-dir)",
                    remote.welcome().node
                );
            }
            if reasons.is_empty() || target.is_none() {
                target = Some(remote);
            }
        }
        target.with_context(|| {
            format!("no server serves, and nothing was restored; {}", reasons.join("; "))
        })
    }
}

fn holds_something(remote: &mut Remote) -> anyhow::Result<bool> {
    let mut after = None;
    loop {
        match remote.execute(Operation::Dump(Dump { after, limit: 1 }))? {
            Outcome::Done(done) => match done.answer {
                Answer::Page(page) if !page.entries.is_empty() => return Ok(true),
                Answer::Page(page) if page.next.is_some() => after = page.next,
                Answer::Page(_) | Answer::Results(_) => return Ok(false),
            },
            Outcome::NotDone(why) => {
                bail!("{} does not say what it holds: {why}", remote.address())
            }
            Outcome::Unknown(why) => {
                bail!("{} does not say what it holds: {why}", remote.address())
            }
        }
    }
}

/// Calls `work` for the keys of a backup, some at a time.
fn in_batches(
    file: &Path,
    mut work: impl FnMut(Vec<(Key, Value)>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = BackupReader::open(file)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(entry) = reader.read_next()? {
        let Some(value) = entry.value else { continue };
        bytes += entry.key.as_bytes().len() + value.as_bytes().len();
        batch.push((entry.key, value));
        if batch.len() >= BATCH_LEN || bytes >= BATCH_BYTES {
            work(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    work(batch)
}

/// Puts all keys. A put that was not done, or may not have been, is put again: nobody else writes.
fn write_all(target: &mut Remote, file: &Path) -> anyhow::Result<()> {
    in_batches(file, |mut batch| {
        for _ in 0..TRIES_MAX {
            let puts = batch.iter().map(|(key, value)| Operation::put(key.clone(), value.clone()));
            let outcomes = target.execute_all(puts.collect::<Vec<_>>())?;
            let mut why = String::new();
            let again = batch.into_iter().zip(outcomes).filter(|(_, outcome)| match outcome {
                Outcome::Done(_) => false,
                Outcome::NotDone(reason) => {
                    why = reason.to_string();
                    true
                }
                Outcome::Unknown(reason) => {
                    why = reason.to_string();
                    true
                }
            });
            batch = again.map(|(put, _)| put).collect();
            if batch.is_empty() {
                return Ok(());
            }
            tracing::info!(%why, again = batch.len(), "some keys are put again");
            std::thread::sleep(PAUSE);
        }
        let keys = counted(u64::try_from(batch.len()).unwrap_or(u64::MAX), "key");
        bail!("{} does not take {keys}", target.address())
    })
}

/// Reads all keys back.
fn verify_all(target: &mut Remote, file: &Path) -> anyhow::Result<()> {
    in_batches(file, |batch| {
        let gets = batch.iter().map(|(key, _)| Operation::get(key.clone()));
        let outcomes = target.execute_all(gets.collect::<Vec<_>>())?;
        for ((key, value), outcome) in batch.iter().zip(outcomes) {
            if !is_value(&outcome, value) {
                let key = kv_proto::as_word(key.as_bytes());
                bail!("the key {key} does not hold what was restored: {outcome:?}");
            }
        }
        Ok(())
    })
}

fn is_value(outcome: &Outcome, expected: &Value) -> bool {
    match outcome {
        Outcome::Done(done) => match &done.answer {
            Answer::Results(results) => matches!(
                results.as_slice(),
                [CommandResult::Value(Some(found))] if found.value == *expected
            ),
            Answer::Page(_) => false,
        },
        Outcome::NotDone(_) | Outcome::Unknown(_) => false,
    }
}

/// Keys that are put or read at once.
const BATCH_LEN: usize = 256;

/// A batch takes no further key once it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// How often a put is tried.
const TRIES_MAX: usize = 40;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
