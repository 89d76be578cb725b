//! Which servers hold a write, where the engine says so.

pub(crate) mod probe;

use std::time::Duration;

use kv_check::Request;
use kv_core::{
    Command, ConsistencyEngine, Done, EngineConfig, Key, NodeId, Operation, Outcome, RequestId,
    Version,
};

use self::probe::Probe;
use super::Cluster;
use crate::violation::Breach;

impl<E: ConsistencyEngine> Cluster<E> {
    /// From here on notes, for each request, what its server holds of its key, and counts the
    /// disks that hold a write when it is acknowledged: of one in `every` writes, since each
    /// server's journal is read for it.
    pub fn probe(&mut self, probe: Probe<E>, every: u64) {
        self.probe = Some((probe, every.max(1)));
    }

    /// How often the disks that hold an acknowledged write were counted.
    #[must_use]
    pub const fn holders_counted(&self) -> u64 {
        self.holders_counted
    }

    /// What the request's server held of the request's key when it was put.
    pub(crate) fn held_at_begin(&self, id: RequestId) -> Option<Version> {
        self.held.get(&id).copied()
    }

    /// Notes what a server holds of the key of a request that is put to it now.
    pub(crate) fn note_held(&mut self, node: NodeId, id: RequestId, op: &Operation) {
        let version = self.probe.and_then(|(probe, _)| {
            let (key, engine) = (written_key(op)?, self.engine(node)?);
            (probe.held)(engine, key)
        });
        self.held.extend(version.map(|version| (id, version)));
    }

    /// Notes the write that a server is asked to keep.
    pub(crate) fn note_kept(&mut self, node: NodeId, record: &E::Record) {
        let write = self.probe.and_then(|(probe, _)| (probe.kept)(record));
        self.kept.extend(write.map(|write| (write, node)));
    }

    /// Looks whether enough disks hold a write that is acknowledged now. A run in which a disk
    /// was lost since the write began shows nothing.
    pub(crate) fn count_holders(&mut self, node: NodeId, id: RequestId) -> Result<(), Breach> {
        let Some((probe, every)) = self.probe else {
            return Ok(());
        };
        let Some((key, version)) = self.request(id).and_then(write) else {
            return Ok(());
        };
        self.writes_done += 1;
        let Some(request) = self.request(id).filter(|_| self.writes_done.is_multiple_of(every))
        else {
            return Ok(());
        };
        let lost = self.losses.iter().any(|loss| loss.at >= request.invoked_at)
            || self.servers.values().any(|server| server.disk_damaged);
        // It may have been a delete, or deleted since, and no server needs to know of that any more.
        let took = self.now.saturating_sub(request.invoked_at);
        let may_be_forgotten = took > DELETES_KEPT_FOR;
        if lost || may_be_forgotten {
            return Ok(());
        }
        let cluster = self.server(node).cluster(&self.config);
        let asked = request.options.write_quorum.map(|quorum| quorum.resolve(cluster.nodes()));
        let needed = asked.and_then(Result::ok).unwrap_or_else(|| cluster.write_quorum());
        let Some(answered) = self.engine(node) else {
            return Ok(());
        };
        let mut holders = 0;
        for server in self.nodes() {
            // What a restart cannot go on from is judged elsewhere.
            let holds = |disk: E| (probe.holds)(&disk, answered, &key, version);
            holders += u16::from(self.on_disk(server).is_none_or(holds));
        }
        self.holders_counted += 1;
        if holders < needed { Err(Breach::ThinlyHeld { id, holders, needed }) } else { Ok(()) }
    }

    /// Whether one of the servers other than this one does not know of another of them, by what is on
    /// its disk.
    pub(crate) fn has_strangers_without(&self, lost: NodeId) -> bool {
        let Some((probe, _)) = self.probe else {
            return false;
        };
        let left: Vec<NodeId> = self.nodes().filter(|node| *node != lost).collect();
        let knows_all = |node: &NodeId| {
            let disk = self.on_disk(*node);
            let others = left.iter().filter(|other| *other != node);
            disk.is_none_or(|disk| others.into_iter().all(|other| (probe.knows)(&disk, *other)))
        };
        !left.iter().all(knows_all)
    }

    /// The engine as a restart of the server would find it.
    fn on_disk(&self, node: NodeId) -> Option<E> {
        let server = self.server(node);
        let cluster = server.disk_config.as_ref().unwrap_or(&self.config.cluster);
        let config =
            EngineConfig { cluster: cluster.clone(), ..server.engine_config(&self.config) };
        let (checkpoint, records) = self.disk(node).ok()?;
        E::recover(config, checkpoint.read(), records).ok()
    }
}

/// For so long a delete is kept at least.
const DELETES_KEPT_FOR: Duration = Duration::from_secs(10);

/// The key and the version of a write that was done.
fn write(request: &Request) -> Option<(Key, Version)> {
    let key = written_key(&request.op)?.clone();
    let Some(Outcome::Done(Done { version, .. })) = request.outcome() else {
        return None;
    };
    Some((key, (*version)?))
}

/// The first key that an operation writes.
fn written_key(op: &Operation) -> Option<&Key> {
    let Operation::Batch(batch) = op else {
        return None;
    };
    let mut writes = batch.commands().iter().filter(|command| !command.is_read_only());
    writes.next().map(Command::key)
}
