//! Backups: a client asks servers for all that they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kv_check::Request;
use kv_core::driver::SessionPart;
use kv_core::{
    CheckpointItem, ConsistencyEngine, EngineConfig, Key, NodeId, Operation, Outcome, RequestId,
    RequestOptions, SnapshotPart, Version, Wire,
};

use super::Cluster;
use super::event::Event;
use crate::config::draw;
use crate::disk::Items;
use crate::fault::Fault;
use crate::server::arrival::Arrival;
use crate::server::session::SnapshotBegin;
use crate::violation::{Breach, Violation};

/// What one server gave for a backup.
#[derive(Clone, Debug)]
pub(crate) struct BackupCopy {
    /// Which backup it belongs to; those of one backup follow each other.
    pub(crate) backup: u64,
    pub(crate) node: NodeId,
    /// When the backup began.
    pub(crate) begun: Duration,
    session: usize,
    stands: Stands,
    snapshot: Option<u64>,
    parts: u32,
    items: Vec<CheckpointItem>,
    metadata: Bytes,
    /// What the server held when the snapshot began.
    whole: Option<Items>,
    fingerprint: Option<u64>,
}

/// How a copy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stands {
    /// The client reads at the server first, so that it holds what was acknowledged before.
    Reads(RequestId),
    UnderWay,
    /// It is whole; which version it has of each key, if the engine says so.
    Whole(Option<BTreeMap<Key, Option<Version>>>),
    /// The client was told that there is none, or is gone.
    Over,
}

impl BackupCopy {
    /// Which version it has of each key that was asked for before it ended; `None` unless it is
    /// whole and the engine says so.
    pub(crate) const fn shown(&self) -> Option<&BTreeMap<Key, Option<Version>>> {
        match &self.stands {
            Stands::Whole(shown) => shown.as_ref(),
            Stands::Reads(_) | Stands::UnderWay | Stands::Over => None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.stands, Stands::Reads(_) | Stands::UnderWay)
    }

    /// Takes a part.
    fn take(&mut self, part: SnapshotPart) -> Result<(), Breach> {
        let first = part.items.first().map(|(key, _)| key);
        let last = self.items.last().map(|(key, _)| key);
        let follows = part.number == self.parts
            && self.snapshot.is_none_or(|name| name == part.snapshot)
            && (self.parts == 0 || part.metadata.is_empty())
            && first.is_none_or(|first| last.is_none_or(|last| last < first));
        if !follows {
            return Err(Breach::BackupDisorderly { part: part.number });
        }
        self.snapshot = Some(part.snapshot);
        if self.parts == 0 {
            self.metadata = part.metadata;
        }
        self.parts += 1;
        self.items.extend(part.items);
        Ok(())
    }

    /// Whether it is what the server held when it began.
    fn is_one_moment(&self) -> bool {
        self.whole
            .as_ref()
            .is_none_or(|whole| whole.items == self.items && whole.metadata == self.metadata)
    }
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// Lets a client ask servers for all that they hold, in one of the sessions of each; where
    /// `reads_first` says so, once the server has answered it a read.
    pub fn back_up(&mut self, nodes: &[NodeId], session: usize, reads_first: bool) {
        self.backups += 1;
        self.counts.note(Fault::Backup);
        for &node in nodes {
            let stands = if reads_first {
                let read = Operation::get(crate::workload::key(READ_KEY));
                Stands::Reads(self.submit(node, read, RequestOptions::default()))
            } else {
                Stands::UnderWay
            };
            let copy = BackupCopy {
                backup: self.backups,
                node,
                begun: self.now,
                session,
                stands: stands.clone(),
                snapshot: None,
                parts: 0,
                items: Vec::new(),
                metadata: Bytes::new(),
                whole: None,
                fingerprint: None,
            };
            self.copies.push(copy);
            if stands == Stands::UnderWay {
                self.ask_for_snapshot(self.copies.len() - 1);
            }
        }
    }

    /// Whether a backup was taken to its end while what its server held changed.
    #[must_use]
    pub const fn has_backed_up_what_changed(&self) -> bool {
        self.has_backed_up_what_changed
    }

    /// A server that owes a client an answer to its request for a snapshot, or more of that.
    pub(crate) fn owes_backup(&self) -> Option<NodeId> {
        let open = |copy: &&BackupCopy| match copy.stands {
            Stands::Reads(id) => !self.request(id).is_none_or(Request::has_ended),
            Stands::UnderWay => true,
            Stands::Whole(_) | Stands::Over => false,
        };
        self.copies.iter().find(open).map(|copy| copy.node)
    }

    /// A client has the answer to its request, after which it may ask for a snapshot.
    pub(crate) fn go_on_with_backup(&mut self, id: RequestId) {
        let reads = |copy: &BackupCopy| copy.stands == Stands::Reads(id);
        let Some(place) = self.copies.iter().rposition(reads) else {
            return;
        };
        if matches!(self.outcome(id), Some(Outcome::Done(_))) {
            self.ask_for_snapshot(place);
        } else if let Some(copy) = self.copies.get_mut(place) {
            copy.stands = Stands::Over;
        }
    }

    fn ask_for_snapshot(&mut self, place: usize) {
        let Some(copy) = self.copies.get_mut(place) else {
            return;
        };
        copy.stands = Stands::UnderWay;
        let (node, session) = (copy.node, copy.session);
        if !self.arrive(node, Arrival::Snapshot { session, tag: tag(place) }) {
            self.end_copy(place);
        }
    }

    /// The clients of a server have gone, or that of one session has.
    pub(crate) fn lose_copies(&mut self, node: NodeId, session: Option<usize>) {
        for copy in self.copies.iter_mut().filter(|copy| copy.node == node && copy.is_open()) {
            let is_gone = session.is_none_or(|session| session == copy.session);
            if is_gone && copy.stands == Stands::UnderWay {
                copy.stands = Stands::Over;
            }
        }
    }

    /// Takes note of the snapshots that a turn has begun, and gives each client the next part of
    /// its own, as far as it takes one.
    pub(crate) fn send_parts(&mut self, node: NodeId) -> Result<(), Violation> {
        for SnapshotBegin { tag, whole } in self.server_mut(node).take_begun_snapshots() {
            let fingerprint = self.engine(node).map(E::fingerprint);
            let Some(place) = place(tag) else {
                continue;
            };
            match (whole, self.copies.get_mut(place)) {
                (Ok(whole), Some(copy)) => {
                    (copy.whole, copy.fingerprint) = (whole, fingerprint);
                }
                (Err(_), _) => self.end_copy(place),
                (Ok(_), None) => {}
            }
        }
        for session in 0..self.server(node).sessions().count() {
            let Some(part) = self.server_mut(node).next_part(session) else {
                continue;
            };
            let at = self.now + draw(&mut self.reading_stream, &READ_WITHIN);
            let starts = self.server(node).starts;
            self.queue.push(at, Event::ClientReads { node, starts, session });
            self.on_part(node, part)?;
        }
        Ok(())
    }

    /// A client has read the part that it was sent.
    pub(crate) fn on_client_reads(&mut self, node: NodeId, starts: u64, session: usize) {
        let server = self.server_mut(node);
        if server.starts != starts {
            return;
        }
        if server.session_mut(session).is_some_and(crate::server::session::Session::read_part) {
            self.schedule_work(node);
        }
    }

    fn on_part(&mut self, node: NodeId, part: SessionPart) -> Result<(), Violation> {
        let (tag, part) = match part {
            SessionPart::Part { tag, part } => (tag, part),
            SessionPart::Gone { tag } => {
                self.note(node, 16, |out| tag.encode(out), || "-> its state is gone".to_owned());
                place(tag).into_iter().for_each(|place| self.end_copy(place));
                return Ok(());
            }
        };
        let text = || format!("-> part {} of a backup", part.number);
        self.note(node, 16, |out| (tag, part.to_bytes()).encode(out), text);
        let Some(place) = place(tag).filter(|place| *place < self.copies.len()) else {
            return Ok(());
        };
        let is_last = part.is_last;
        let taken = self.copies.get_mut(place).map_or(Ok(()), |copy| copy.take(part));
        taken.map_err(|breach| self.violation(node, breach))?;
        if is_last { self.finish_copy(place) } else { Ok(()) }
    }

    /// A copy has come to its end.
    fn finish_copy(&mut self, place: usize) -> Result<(), Violation> {
        let Some(copy) = self.copies.get(place) else {
            return Ok(());
        };
        if !copy.is_one_moment() {
            return Err(self.violation(copy.node, Breach::BackupDiffers));
        }
        let changed = copy.fingerprint != self.engine(copy.node).map(E::fingerprint);
        self.has_backed_up_what_changed |= changed && copy.parts > 1;
        let shown = self.shown_by(copy);
        if let Some(copy) = self.copies.get_mut(place) {
            copy.stands = Stands::Whole(shown);
            (copy.items, copy.whole) = (Vec::new(), None);
        }
        Ok(())
    }

    /// What an engine that starts on a copy holds of each key that was asked for so far.
    fn shown_by(&self, copy: &BackupCopy) -> Option<BTreeMap<Key, Option<Version>>> {
        let (probe, _) = self.probe?;
        let server = self.server(copy.node);
        let cluster = server.disk_config.as_ref().unwrap_or(&self.config.cluster);
        let config =
            EngineConfig { cluster: cluster.clone(), ..server.engine_config(&self.config) };
        let (covers, metadata) = (copy.whole.as_ref()?.covers, copy.metadata.clone());
        let items = copy.items.clone();
        let checkpoint = Items { covers, metadata, items }.checkpoint();
        let engine = E::recover(config, Some(checkpoint), []).ok()?;
        let keys = self.requests().filter_map(|(_, request)| match &request.op {
            Operation::Batch(batch) => Some(batch.commands()),
            Operation::Scan(_)
            | Operation::Dump(_)
            | Operation::OpenSession
            | Operation::Lead { .. } => None,
        });
        let keys = keys.flatten().map(|command| command.key());
        Some(keys.map(|key| (key.clone(), (probe.held)(&engine, key))).collect())
    }

    fn end_copy(&mut self, place: usize) {
        if let Some(copy) = self.copies.get_mut(place) {
            copy.stands = Stands::Over;
            (copy.items, copy.whole) = (Vec::new(), None);
        }
    }
}

/// The client's name for a copy: none of a request.
fn tag(place: usize) -> u64 {
    TAGS + u64::try_from(place).unwrap_or_default()
}

fn place(tag: u64) -> Option<usize> {
    usize::try_from(tag.checked_sub(TAGS)?).ok()
}

const TAGS: u64 = 1 << 63;

/// The key that is read before a backup.
const READ_KEY: &str = "k0";

/// How long a client takes to read a part.
const READ_WITHIN: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_millis(20);
