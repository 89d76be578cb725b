//! A server goes on from what its data directory holds.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv_core::{Checkpoint, ConsistencyEngine, EngineConfig, RecoverError};
use kv_storage::{
    CHECKPOINT_DIRECTORY, CheckpointError, CheckpointStore, DataDirectory, DataDirectoryError,
    DataOwner, Journal, JournalConfig, JournalError, LastRun, LockHolder, RealDisk, SyncPolicy,
    data_directory_name,
};

use crate::config::{DataConfig, RecoveryHook};
use crate::data::found::{FoundData, Reading};
use crate::data::read_ahead::ReadAhead;
use crate::data::set_aside::{all_set_aside, set_aside};
use crate::data::{DataFiles, OpenedFiles};
use crate::failure::StartError;
use crate::op_log::LogOwner;

/// An engine, and where its records go.
pub(crate) struct Recovered<E: ConsistencyEngine> {
    pub(crate) engine: E,
    /// `None` in memory.
    pub(crate) found: Option<FoundData>,
    /// `None` in memory.
    pub(crate) files: Option<OpenedFiles<E::Record>>,
}

impl<E> Recovered<E>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    /// Whose operations its log of operations holds.
    pub(crate) fn log_owner(&self) -> LogOwner {
        let store = self.files.as_ref().map(|opened| opened.files.store());
        LogOwner { engine: E::NAME.to_owned(), store }
    }
}

/// Recovers an engine from its data directory, or starts an empty one in memory. `store` is a
/// random number.
pub(crate) async fn recover<E>(
    config: EngineConfig,
    data: Option<DataConfig>,
    on_recovery: Option<RecoveryHook>,
    store: u64,
) -> Result<Recovered<E>, StartError>
where
    E: ConsistencyEngine + Send + 'static,
    E::Record: Send + 'static,
{
    let Some(data) = data else {
        let engine = E::recover(config, None, [])?;
        return Ok(Recovered { engine, found: None, files: None });
    };
    let recovering =
        tokio::task::spawn_blocking(move || recover_from(config, &data, on_recovery, store));
    match recovering.await {
        Ok(recovered) => recovered,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StartError::Interrupted),
        },
    }
}

fn recover_from<E>(
    config: EngineConfig,
    data: &DataConfig,
    on_recovery: Option<RecoveryHook>,
    store: u64,
) -> Result<Recovered<E>, StartError>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    let folder = data.folder.join(data_directory_name(config.node, E::NAME));
    let owner = DataOwner {
        node: config.node,
        engine: E::NAME,
        cluster: config.cluster.clone(),
        shared_quorums: E::SHARED_QUORUMS,
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = LockHolder { pid: std::process::id(), since };
    let reading = Reading::begin(folder.clone(), on_recovery);
    let disk = RealDisk::open(&folder).map_err(StartError::NoFolder)?;
    let directory = DataDirectory::open(disk.clone(), &owner, process, store);
    let mut directory = directory.map_err(blame_folder)?;
    // Neither a directory that is set aside nor a checkpoint that was opened is as it was.
    Journal::check_formats(&disk)?;
    let boot = boot();
    match directory.last_run(boot) {
        LastRun::MayHaveForgotten => set_aside_all(&directory, &disk, since)?,
        LastRun::Kept => Journal::check_present(&disk)?,
        LastRun::None => {}
    }
    let identity = directory.meta().identity.clone();
    let mut store = CheckpointStore::open(folder.join(CHECKPOINT_DIRECTORY), identity.clone())?;
    let covers = store.covers();
    let total_bytes = disk.total_bytes().map_err(JournalError::from)?;
    let layout = JournalConfig::new(identity).fitting(total_bytes);
    let recovered = Journal::recover(disk, layout, covers);
    let (journal, recovery) = recovered.map_err(|error| tell_no_room(error, &folder))?;
    if let Some(torn) = &recovery.torn {
        let (file, offset) = (torn.file.display(), torn.offset);
        tracing::warn!("{file}: what was being written at byte {offset} at the end was cut off");
    }
    let reading = Arc::new(reading);
    let engine: E = match replay(config, &mut store, &journal, &reading) {
        Ok(engine) => engine,
        Err(StartError::Recover(error @ RecoverError::OtherConfiguration)) => {
            let refusal = directory.into_refusal();
            return Err(refusal.map_or(StartError::Recover(error), StartError::from));
        }
        Err(error) => return Err(error),
    };
    directory.take_configuration()?;
    let set_aside = all_set_aside(&folder);
    let set_aside = set_aside.map_err(|cause| StartError::SetAside { directory: folder, cause })?;
    let found = Some(FoundData { set_aside, ..reading.found(&engine.status()) });
    directory.begin_run(boot, data.sync == SyncPolicy::Always)?;
    let files = DataFiles::start(directory, journal, store, data);
    Ok(Recovered { engine, found, files: Some(files.map_err(StartError::Threads)?) })
}

/// At a start no writes are refused: the server does not come up.
fn tell_no_room(error: JournalError, folder: &Path) -> StartError {
    if let JournalError::Full { needed_bytes, free_bytes } = error {
        return StartError::NoRoom { directory: folder.to_owned(), needed_bytes, free_bytes };
    }
    error.into()
}

fn blame_folder(error: DataDirectoryError) -> StartError {
    if let DataDirectoryError::Failed(failure) = &error
        && matches!(failure.kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    {
        return StartError::NoFolder(failure.clone());
    }
    error.into()
}

/// Makes an engine of a checkpoint and the records after it, all of which were readable. Both are
/// read and decoded on threads of their own while the engine takes them in.
fn replay<E: ConsistencyEngine>(
    config: EngineConfig,
    store: &mut CheckpointStore,
    journal: &Journal<RealDisk>,
    progress: &Arc<Reading>,
) -> Result<E, StartError>
where
    E::Record: Send + 'static,
{
    let covers = store.covers();
    let (checkpoint, reading) = store.read()?.unzip();
    let checkpoint = checkpoint.map(|checkpoint| {
        let progress = Arc::clone(progress);
        let items = ReadAhead::start(checkpoint.items).map_err(StartError::Threads)?;
        let items = items.inspect(move |_| progress.note_item());
        Ok::<_, StartError>(Checkpoint { items: Box::new(items), ..checkpoint })
    });
    let checkpoint = checkpoint.transpose()?;
    let records = journal.replay::<E::Record>(covers);
    let mut records = ReadAhead::start(records).map_err(StartError::Threads)?;
    let counted = records.by_ref().inspect(|_| progress.note_record());
    let engine = E::recover(config, checkpoint, counted);
    records.into_inner().finish()?;
    match (engine, reading.map_or(Ok(()), |reading| reading.finish())) {
        // An engine that refuses the checkpoint does not read it to its end.
        (Err(error), Ok(()) | Err(CheckpointError::NotReadThrough)) => Err(error.into()),
        (_, Err(error)) => Err(error.into()),
        (Ok(engine), Ok(())) => Ok(engine),
    }
}

/// Sets aside what may lack a part of what was promised.
fn set_aside_all(
    directory: &DataDirectory<RealDisk>,
    disk: &RealDisk,
    now: Duration,
) -> Result<(), StartError> {
    let folder = disk.directory();
    let lost = set_aside(disk, &directory.meta().identity, now);
    let lost =
        lost.map_err(|cause| StartError::SetAside { directory: folder.to_owned(), cause })?;
    if let Some(lost) = lost {
        let (folder, lost) = (folder.display(), lost.display());
        tracing::warn!(
            "{folder} was written with --fsync interval or never and not closed before power was \
             lost: this server starts empty, and what was there is set aside in {lost}. What the \
             other servers do not have, `kv-server backup {lost} FILE` saves"
        );
    }
    Ok(())
}

/// Names the machine's present run; `None` where the system does not tell.
fn boot() -> Option<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_to_begin_is_told_as_that() {
        let full = JournalError::Full { needed_bytes: 7, free_bytes: 3 };
        assert_eq!(
            tell_no_room(full, Path::new("d")).to_string(),
            "the disk of d is too full to begin on: 7 bytes are needed and 3 are free; make room, \
             or keep the data elsewhere"
        );
    }
}
