//! `kv-server recover`: one server goes on with what it has, where the others have lost too much.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Args;
use kv_core::{ClusterConfig, ClusterId, ConsistencyEngine, PersistSeq};
use kv_linear::{LinearEngine, Quorums, Record};
use kv_storage::{DataDirectory, DataOwner, Journal, JournalConfig, LockHolder, Meta, RealDisk};

use crate::screen::{self, counted};
use crate::tools::error_text::error_text;
use crate::tools::kept_log::{KeptLog, newest_of, who_is_ahead};
use crate::tools::resting::RestingServer;

/// The words of `kv-server recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverSettings {
    /// The data directories of the servers that are left, such as kv-data/2-linearizable, to see
    /// which has the most; or the one to go on with. The servers must not run
    #[arg(value_name = "DATA_DIRECTORY", required = true, num_args = 1..)]
    directories: Vec<String>,

    /// Go on with this directory, and give up what it lacks
    #[arg(long)]
    accept_data_loss: bool,
}

/// The record could not be written for certain, and not for certain not.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server may have left its cluster or not; name its directory to `kv-server recover` to see"
)]
struct MayHaveLeft;

/// What one server has left.
struct Found {
    log: KeptLog,
    keys: u64,
    meta: Meta,
    /// The last record that its checkpoint reflects.
    covers: PersistSeq,
}

impl RecoverSettings {
    /// Exits with 0 once the directory is ready for another cluster, with 1 if nothing was changed.
    pub(crate) fn run(&self) -> ExitCode {
        match self.recover() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                let changed = if error.is::<MayHaveLeft>() { "" } else { "; nothing was changed" };
                screen::complain(format_args!("{}{changed}", error_text(&error)));
                ExitCode::FAILURE
            }
        }
    }

    /// Whether the directory was changed.
    fn recover(&self) -> anyhow::Result<bool> {
        let mut found = Vec::new();
        for directory in &self.directories {
            let left = look_at(directory)?;
            let (log, keys) = (&left.log, counted(left.keys, "key"));
            screen::say(format_args!("server {}: {directory}: {log}; {keys}", log.node));
            found.push((log.clone(), left));
        }
        let logs: Vec<KeptLog> = found.iter().map(|(log, _)| log.clone()).collect();
        let (log, left) = newest_of(found)?.context("there is a data directory")?;
        let cluster = left.log.cluster.context(
            "this server has no cluster to leave: it is empty, or was recovered already and is to \
             be started",
        )?;
        ensure!(!log.is_empty(), "there is nothing in this log to go on with");
        if !self.accept_data_loss {
            say_what_it_means(&log, &logs, &left.meta.configuration);
            return Ok(false);
        }
        if logs.len() > 1 {
            bail!("name the one directory to go on with, for which {} is best", log.directory);
        }
        let next = leave(Path::new(&log.directory), &left)?;
        screen::say(format_args!(
            "server {} has left cluster {:016x} and founds cluster {:016x} on its log: start it \
             first, then the others, each on an empty directory",
            log.node, cluster.0, next.0
        ));
        Ok(true)
    }
}

fn look_at(directory: &str) -> anyhow::Result<Found> {
    let mut server = RestingServer::open(Path::new(directory))?;
    let meta = server.meta().clone();
    ensure!(
        meta.identity.engine == LinearEngine::NAME,
        "{directory} is of the {} engine, which needs no such step: start the servers that are \
         left, and the others empty",
        meta.identity.engine
    );
    ensure!(
        meta.run.is_none_or(|run| run.synced || run.ended),
        "{directory} was written with --fsync interval or never and not closed: `kv-server backup` \
         it, and restore that into a new cluster"
    );
    let covers = server.open_checkpoint()?;
    let journal = server.journal(covers)?;
    let mut engine: LinearEngine = server.engine(&journal, covers)?;
    engine.apply_whole_log();
    let status = engine.status();
    let keys = status.positions.keys.unwrap_or_default();
    let log = KeptLog::of(directory, meta.identity.node, &status);
    Ok(Found { log, keys, meta, covers })
}

/// What is lost is for a person to accept, who knows by these words what that is.
fn say_what_it_means(log: &KeptLog, logs: &[KeptLog], config: &ClusterConfig) {
    if logs.len() > 1 {
        screen::say(format_args!("{}", who_is_ahead(log, logs)));
    }
    let Quorums { nodes, promises, recovery, .. } = Quorums::of(config);
    let needed = promises.max(recovery);
    let with_sequencer = if recovery < needed {
        let last = log.sequencer();
        format!(", or {recovery} with server {last}, the last sequencer, among them")
    } else {
        String::new()
    };
    screen::say(format_args!(
        "nothing was changed. The servers form their cluster again by themselves while {needed} of \
         {nodes} have their data{with_sequencer}: do this only if more disks are lost for good.\n\
         With --accept-data-loss, server {} leaves the cluster and founds another one with what it \
         has, which cannot be undone (`kv-server backup` its directory first):\n  \
         - writes that were acknowledged and are not in this log are lost for ever;\n  \
         - the other servers join with nothing, and whatever they have must be removed: name the \
         directories of all that are left first, to see which is ahead.\n\
         To do it: kv-server recover {} --accept-data-loss",
        log.node, log.directory
    ));
}

/// Writes into a data directory that its server has left its cluster; the name of the next one.
fn leave(folder: &Path, left: &Found) -> anyhow::Result<ClusterId> {
    let Meta { identity, configuration, .. } = left.meta.clone();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let owner = DataOwner {
        node: identity.node,
        engine: LinearEngine::NAME,
        cluster: configuration,
        shared_quorums: LinearEngine::SHARED_QUORUMS,
    };
    let holder = LockHolder { pid: std::process::id(), since };
    let disk = RealDisk::open(folder)?;
    let mut directory = DataDirectory::open(disk.clone(), &owner, holder, identity.store)?;
    let (mut journal, _) = Journal::recover(disk, JournalConfig::new(identity), left.covers)?;
    let cluster = ClusterId(RandomState::new().build_hasher().finish());
    let next = journal.last().next();
    journal.append(next, &Record::Salvaged { cluster }).context(MayHaveLeft)?;
    journal.close().context(MayHaveLeft)?;
    // For people and tools to read; the record is what counts.
    if let Err(error) = directory.note_cluster(cluster) {
        screen::complain(format_args!("the name of the new cluster was not noted: {error}"));
    }
    Ok(cluster)
}
