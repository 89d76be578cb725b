//! `kv-server restore`: a backup into a new cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use kv_core::{
    Answer, Command, CommandResult, ConsistencyEngine, Dump, Key, Operation, Outcome, Value,
};
use kv_eventual::EventualEngine;
use kv_server::DEFAULT_CLUSTER;

use crate::screen::{self, counted};
use crate::tools::backup::{BackupReader, Entry, addresses, now_ms};
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
        let written = write_all(&mut target, &self.file).with_context(half)?;
        verify_all(&mut target, &self.file).with_context(half)?;
        written.say_what_differs();
        let keys = counted(written.keys, "key");
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

/// A key of a backup.
#[derive(Clone, Debug)]
struct Kept {
    key: Key,
    value: Value,
    expires_ms: Option<u64>,
}

impl Kept {
    /// How long it still lasts; zero if its time is up.
    fn time_left(&self) -> Option<Duration> {
        let left = |expires_ms: u64| Duration::from_millis(expires_ms.saturating_sub(now_ms()));
        self.expires_ms.map(left)
    }

    fn is_over(&self) -> bool {
        self.time_left() == Some(Duration::ZERO)
    }
}

/// What was put, and what could not be put as it was.
#[derive(Debug, Default)]
struct Written {
    keys: u64,
    over: u64,
    made_endless: u64,
}

impl Written {
    fn say_what_differs(&self) {
        if self.over > 0 {
            let keys = counted(self.over, "key");
            screen::say(format_args!("{keys} had expired since and were left out"));
        }
        if self.made_endless > 0 {
            let keys = counted(self.made_endless, "key");
            screen::say(format_args!(
                "{keys} would have expired and last for ever now: the eventual engine keeps no \
                 times to live"
            ));
        }
    }
}

/// Calls `work` for the keys of a backup, some at a time.
fn in_batches(
    file: &Path,
    mut work: impl FnMut(Vec<Kept>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = BackupReader::open(file)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(Entry { key, value, expires_ms, .. }) = reader.read_next()? {
        let Some(value) = value else { continue };
        bytes += key.as_bytes().len() + value.as_bytes().len();
        batch.push(Kept { key, value, expires_ms });
        if batch.len() >= BATCH_LEN || bytes >= BATCH_BYTES {
            work(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    work(batch)
}

/// Puts all keys whose time is not up. A put that was not done, or may not have been, is put again:
/// nobody else writes.
fn write_all(target: &mut Remote, file: &Path) -> anyhow::Result<Written> {
    let has_times = target.welcome().engine != EventualEngine::NAME;
    let mut written = Written::default();
    in_batches(file, |mut batch| {
        let all = batch.len();
        batch.retain(|kept| !kept.is_over());
        written.over += count(all - batch.len());
        written.keys += count(batch.len());
        if !has_times {
            written.made_endless +=
                count(batch.iter().filter(|kept| kept.expires_ms.is_some()).count());
        }
        put_batch(target, batch, has_times)
    })?;
    Ok(written)
}

fn put_batch(target: &mut Remote, mut batch: Vec<Kept>, has_times: bool) -> anyhow::Result<()> {
    for _ in 0..TRIES_MAX {
        let puts = batch.iter().map(|kept| {
            let (key, value) = (kept.key.clone(), kept.value.clone());
            let time_to_live = kept.time_left().filter(|_| has_times);
            Operation::of(Command::Put { key, value, time_to_live })
        });
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
    bail!("{} does not take {}", target.address(), counted(count(batch.len()), "key"))
}

/// Reads all keys back. One whose time is up may be gone.
fn verify_all(target: &mut Remote, file: &Path) -> anyhow::Result<()> {
    in_batches(file, |batch| {
        let gets = batch.iter().map(|kept| Operation::get(kept.key.clone()));
        let outcomes = target.execute_all(gets.collect::<Vec<_>>())?;
        for (kept, outcome) in batch.iter().zip(outcomes) {
            if !is_value(&outcome, &kept.value) && !kept.is_over() {
                let key = kv_proto::as_word(kept.key.as_bytes());
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

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Keys that are put or read at once.
const BATCH_LEN: usize = 256;

/// A batch takes no further key once it has this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// How often a put is tried.
const TRIES_MAX: usize = 40;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
