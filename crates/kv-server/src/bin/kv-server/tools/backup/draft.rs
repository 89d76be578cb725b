//! A backup is put together from what servers hold, running or not.

use std::fmt::Display;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kv_core::{
    CheckpointItem, ClusterConfig, ConsistencyEngine, DecodeError, Incarnation, Key, Operation,
    Outcome, Versioned, Waiting,
};
use kv_eventual::EventualEngine;
use kv_linear::{LinearEngine, Quorums, StoredKey};

use crate::screen::{self, counted};
use crate::tools::backup::file::{BackupReader, BackupWriter, Entry, Head};
use crate::tools::error_text::error_text;
use crate::tools::kept_log::{KeptLog, newest_of};
use crate::tools::remote::Remote;
use crate::tools::resting::RestingServer;

/// A backup on its way into its file.
pub(crate) struct Draft<'a> {
    pub(crate) file: &'a Path,
    pub(crate) began_ms: u64,
    /// Files with what single servers hold, which go at the end.
    pub(crate) parts: Vec<PathBuf>,
}

type Entries = Box<dyn Iterator<Item = anyhow::Result<Entry>>>;

impl Draft<'_> {
    /// Backs up what servers that do not run have in their data directories.
    pub(crate) fn write_resting(&self, directories: &[String]) -> anyhow::Result<u64> {
        let mut states: Vec<Entries> = Vec::new();
        let mut logs: Vec<(KeptLog, LinearEngine)> = Vec::new();
        let mut may_lack = Vec::new();
        let mut first: Option<(String, ClusterConfig)> = None;
        for directory in directories {
            let mut server = RestingServer::open(Path::new(directory))?;
            let identity = server.meta().identity.clone();
            let own = (identity.engine.clone(), server.meta().configuration.clone());
            let (engine, config) = first.get_or_insert_with(|| own.clone()).clone();
            if own.0 != engine || own.1.voters() != config.voters() {
                bail!("{directory} is of another cluster than {}", directories.join(" "));
            }
            if server.meta().run.is_some_and(|run| !run.synced && !run.ended) {
                may_lack.push(directory.as_str());
            }
            let covers = server.open_checkpoint()?;
            let journal = server.journal(covers)?;
            let entries: Entries = match engine.as_str() {
                EventualEngine::NAME => {
                    let mut engine: EventualEngine = server.engine(&journal, covers)?;
                    decoded(whole(&mut engine)?, read_eventual)
                }
                LinearEngine::NAME => {
                    let mut engine: LinearEngine = server.engine(&journal, covers)?;
                    engine.apply_whole_log();
                    let log = KeptLog::of(directory, identity.node, &engine.status());
                    screen::say(format_args!("server {}: read {directory}: {log}", identity.node));
                    logs.push((log, engine));
                    continue;
                }
                other => bail!("{directory} is of the {other} engine, which is not known here"),
            };
            screen::say(format_args!("server {}: read {directory}", identity.node));
            states.push(entries);
        }
        let (engine, config) = first.context("there is a data directory")?;
        if let Some((log, mut newest)) = newest_of(logs)? {
            say_whose_log(&log, directories.len(), &config);
            states.push(decoded(whole(&mut newest)?, read_linear));
        }
        if engine == EventualEngine::NAME {
            say_what_is_certain(states.len(), &config);
        }
        if !may_lack.is_empty() {
            screen::say(format_args!(
                "but for what {} had not yet synced, with --fsync interval or never, if power was \
                 lost since",
                may_lack.join(" ")
            ));
        }
        self.merge(states, &engine, &config)
    }

    /// Backs up a cluster that runs.
    pub(crate) fn write_running(
        &mut self,
        addresses: &[String],
        cluster: &str,
    ) -> anyhow::Result<u64> {
        let mut remotes = Vec::new();
        for address in addresses {
            match Remote::connect(address, cluster) {
                Ok(remote) => remotes.push(remote),
                Err(error) => {
                    screen::say(format_args!("left out: {}", error_text(&error)));
                }
            }
        }
        let first = remotes.first().map(|remote| remote.welcome().clone());
        let first = first.context("no server answers: start one, or name others")?;
        match first.engine.as_str() {
            LinearEngine::NAME => self.write_ordered(remotes).context(NOT_WRITTEN),
            EventualEngine::NAME => self.write_replicas(remotes).context(NOT_WRITTEN),
            other => bail!("the servers run the {other} engine, which is not known here"),
        }
    }

    /// Takes the state of one server. A read is answered once the server has applied all that was
    /// acknowledged before it began: so what the server holds from then on has all of that.
    fn write_ordered(&self, remotes: Vec<Remote>) -> anyhow::Result<u64> {
        let mut reasons = Vec::new();
        for mut remote in remotes {
            let place = format!("server {} at {}", remote.welcome().node, remote.address());
            let read = match remote.execute(Operation::get(Key::new("x")?)) {
                Ok(read) => read,
                Err(error) => {
                    reasons.push(error_text(&error));
                    continue;
                }
            };
            match read {
                Outcome::Done(_) => {
                    let config = remote.welcome().config.clone();
                    screen::say(format_args!("{place}: at one place of the one order"));
                    let mut writer = self.writer(self.file, LinearEngine::NAME, &config)?;
                    fetch(&mut remote, read_linear, &mut writer)?;
                    return Ok(writer.finish()?);
                }
                Outcome::NotDone(reason) => reasons.push(format!("{place}: {reason}")),
                Outcome::Unknown(reason) => reasons.push(format!("{place}: {reason}")),
            }
        }
        bail!("no server serves; {}", reasons.join("; "))
    }

    /// Takes the states of all servers, each at a moment of its own, and of each key the newest
    /// version.
    fn write_replicas(&mut self, remotes: Vec<Remote>) -> anyhow::Result<u64> {
        let mut states: Vec<Entries> = Vec::new();
        let mut of_cluster = None;
        for mut remote in remotes {
            let welcome = remote.welcome().clone();
            let place = format!("server {} at {}", welcome.node, remote.address());
            let status = remote.status()?;
            let is_new = status.incarnation == Incarnation::UNKNOWN;
            if status.waiting == Some(Waiting::Joining)
                || (status.waiting == Some(Waiting::OwnDisk) && is_new)
            {
                screen::say(format_args!("left out: {place} is joining"));
                continue;
            }
            let mut name = self.file.as_os_str().to_owned();
            name.push(format!(".part.server{}", welcome.node));
            let part = PathBuf::from(name);
            self.parts.push(part.clone());
            let mut writer = self.writer(&part, EventualEngine::NAME, &welcome.config)?;
            fetch(&mut remote, read_eventual, &mut writer)?;
            let keys = counted(writer.finish()?, "key");
            screen::say(format_args!("{place}: {keys}, deleted ones among them"));
            let mut reader = BackupReader::open(&part)?;
            let entries = std::iter::from_fn(move || reader.read_next().transpose());
            states.push(Box::new(entries.map(|entry| Ok(entry?))));
            of_cluster.get_or_insert(welcome.config);
        }
        let config = of_cluster.context("no server serves; wait until one is ready")?;
        say_what_is_certain(states.len(), &config);
        self.merge(states, EventualEngine::NAME, &config)
    }

    /// Writes the newest version of each key, unless that is its deletion.
    fn merge(
        &self,
        states: Vec<Entries>,
        engine: &str,
        config: &ClusterConfig,
    ) -> anyhow::Result<u64> {
        let mut writer = self.writer(self.file, engine, config)?;
        let mut states: Vec<Peekable<Entries>> =
            states.into_iter().map(Iterator::peekable).collect();
        while let Some(newest) = next_newest(&mut states)? {
            if newest.value.is_some() {
                writer.add(newest)?;
            }
        }
        Ok(writer.finish()?)
    }

    fn writer(
        &self,
        path: &Path,
        engine: &str,
        config: &ClusterConfig,
    ) -> anyhow::Result<BackupWriter> {
        let (engine, cluster) = (engine.to_owned(), config.to_string());
        let head = Head { engine, cluster, began_ms: self.began_ms };
        BackupWriter::create(path, head).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        for part in &self.parts {
            // It may not have come to that.
            let _ = fs::remove_file(part);
        }
    }
}

/// What is said before the cause where a backup was begun.
const NOT_WRITTEN: &str = "no backup was written, so try again";

/// The newest entry of the least key, of which all are taken.
fn next_newest(states: &mut [Peekable<Entries>]) -> anyhow::Result<Option<Entry>> {
    let mut least: Option<Key> = None;
    for state in &mut *states {
        match state.peek() {
            Some(Ok(entry)) if least.as_ref().is_none_or(|least| entry.key < *least) => {
                least = Some(entry.key.clone());
            }
            Some(Ok(_) | Err(_)) | None => {}
        }
    }
    let mut newest: Option<Entry> = None;
    for state in states {
        let is_due = |next: &anyhow::Result<Entry>| match next {
            Ok(entry) => Some(&entry.key) == least.as_ref(),
            Err(_) => true,
        };
        if let Some(entry) = state.next_if(is_due).transpose()?
            && newest.as_ref().is_none_or(|newest| newest.version < entry.version)
        {
            newest = Some(entry);
        }
    }
    Ok(newest)
}

fn say_what_is_certain(answered: usize, config: &ClusterConfig) {
    let missing = usize::from(config.nodes()).saturating_sub(answered);
    let certain: &dyn Display = if missing == 0 {
        &"every write"
    } else {
        &format_args!("every write with W={} or more", missing + 1)
    };
    let answered = match (answered, config.nodes()) {
        (_, 1) => "the only server is".to_owned(),
        (1, nodes) => format!("1 of {nodes} servers is"),
        (answered, nodes) => format!("{answered} of {nodes} servers are"),
    };
    screen::say(format_args!(
        "{answered} in it: {certain} that was acknowledged before the backup \
         began, or a newer one of its key"
    ));
}

/// All that an engine holds.
fn whole<E: ConsistencyEngine>(
    engine: &mut E,
) -> anyhow::Result<Box<dyn Iterator<Item = CheckpointItem> + Send>> {
    let view = kv_core::read_whole_view(engine, kv_core::ViewScope::Whole);
    Ok(view.context("what the directory holds cannot be read")?.into_checkpoint().items)
}

fn say_whose_log(log: &KeptLog, named: usize, config: &ClusterConfig) {
    if named > 1 {
        screen::say(format_args!("server {} is ahead, so its log is the backup", log.node));
    }
    let quorums = Quorums::of(config);
    let needed = usize::from(quorums.promises);
    if named >= needed {
        return;
    }
    let sequencer = config.voters().first().filter(|_| !quorums.survive_the_sequencer());
    match sequencer {
        Some(sequencer) if *sequencer == log.node => {}
        Some(sequencer) => screen::say(format_args!(
            "what is acknowledged is certain to be with server {sequencer}, the sequencer; without \
             it, with the one that is ahead of all others, if W is 2 or more: name the data \
             directories of all servers that are left"
        )),
        None => screen::say(format_args!(
            "all that was acknowledged is certain to be in a backup of {needed} servers: name the data \
             directories of all servers that are left"
        )),
    }
}

type ReadItem = fn(CheckpointItem) -> Result<Option<Entry>, DecodeError>;

fn read_linear(item: CheckpointItem) -> Result<Option<Entry>, DecodeError> {
    let found = LinearEngine::read_checkpoint_item(item)?;
    Ok(found.map(|StoredKey { key, versioned: Versioned { value, version }, expires_ms }| Entry {
        key,
        value: Some(value),
        version,
        expires_ms,
    }))
}

fn read_eventual(item: CheckpointItem) -> Result<Option<Entry>, DecodeError> {
    let write = EventualEngine::read_checkpoint_item(item)?;
    let (key, version) = (write.key, write.entry.stamp.into());
    Ok(Some(Entry { key, value: write.entry.value, version, expires_ms: None }))
}

fn decoded(items: impl Iterator<Item = CheckpointItem> + 'static, read: ReadItem) -> Entries {
    Box::new(items.filter_map(move |item| read(item).transpose()).map(|entry| Ok(entry?)))
}

/// Fetches all that a server holds.
fn fetch(remote: &mut Remote, read: ReadItem, writer: &mut BackupWriter) -> anyhow::Result<()> {
    remote.begin_checkpoint()?;
    loop {
        let chunk = remote.next_chunk()?;
        for item in chunk.items {
            if let Some(entry) = read(item)? {
                writer.add(entry)?;
            }
        }
        if chunk.is_last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Value, Version};

    use super::*;

    fn state(entries: &[(&'static str, u64, Option<&'static str>)]) -> Peekable<Entries> {
        let entries = entries.iter().map(|(key, version, value)| {
            let value = value.map(|value| Value::new(value).unwrap());
            let (key, version) = (Key::new(*key).unwrap(), Version::Log(*version));
            Ok(Entry { key, value, version, expires_ms: None })
        });
        let entries: Entries = Box::new(entries.collect::<Vec<_>>().into_iter());
        entries.peekable()
    }

    #[test]
    fn of_each_key_the_newest_version_is_taken_deletions_included() {
        let mut states = [
            state(&[("a", 1, Some("old")), ("b", 5, None), ("d", 1, Some("d"))]),
            state(&[("a", 2, Some("new")), ("b", 4, Some("gone")), ("c", 1, Some("c"))]),
            state(&[]),
        ];
        let mut merged = Vec::new();
        while let Some(entry) = next_newest(&mut states).unwrap() {
            let value = entry.value.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
            merged.push((entry.key, value));
        }
        let expected = [("a", Some("new")), ("b", None), ("c", Some("c")), ("d", Some("d"))];
        let expected = expected.map(|(key, value): (_, Option<&str>)| {
            (Key::new(key).unwrap(), value.map(ToOwned::to_owned))
        });
        assert_eq!(merged, expected);
    }
}
