//! What must hold of every run of a simulated cluster, checked from the outside: from what clients
//! were told and what the disks hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    Answer, Command, CommandResult, Counter, Done, Key, Level, NodeId, Operation, Outcome,
    RequestId, RequestOptions, Scan, SeedStream, Served, Value, Version, Wire,
};
use kv_eventual::{Entry, EventualEngine, Record};
use kv_sim::{Cluster, Request, RequestState};

pub(crate) type Sim = Cluster<EventualEngine>;

/// How many servers' disks hold a write of a key, or a newer one.
pub(crate) fn holders(sim: &Sim, key: &Key, version: Version) -> usize {
    let holds = |node: &NodeId| {
        let newest = disk(sim, *node).get(key).map(|entry| entry.stamp.into());
        newest.is_some_and(|newest: Version| newest >= version)
    };
    sim.nodes().filter(holds).count()
}

/// What a server's disk would bring back after a loss of power.
pub(crate) fn disk(sim: &Sim, node: NodeId) -> BTreeMap<Key, Entry> {
    let (checkpoint, records) = sim.disk(node).unwrap();
    let mut entries = BTreeMap::<Key, Entry>::new();
    let keep = |entries: &mut BTreeMap<Key, Entry>, key: Key, entry: Entry| {
        if entry.supersedes(entries.get(&key)) {
            entries.insert(key, entry);
        }
    };
    if let Some(checkpoint) = checkpoint.read() {
        for (key, entry) in checkpoint.items {
            keep(&mut entries, Key::new(key).unwrap(), Entry::from_bytes(entry).unwrap());
        }
    }
    for (_, record) in records {
        if let Record::Write(write) = record {
            keep(&mut entries, write.key, write.entry);
        } else if let Record::Removed { records, .. } = record {
            entries.retain(|key, entry| !records.contains(&(key.clone(), entry.id())));
        }
    }
    entries
}

/// The key of a request, and what it writes: `Some(None)` for a delete, `None` for a get.
pub(crate) fn command(request: &Request) -> (Key, Option<Option<Value>>) {
    let batch = match &request.op {
        Operation::Scan(scan) => return (Key::new(scan.from.clone()).unwrap(), None),
        Operation::Batch(batch) => batch,
        other => panic!("only gets, scans, puts and deletes are asked for here, not {other:?}"),
    };
    let command = batch.single().unwrap();
    let value = if let Command::Put { value, .. } = command {
        Some(Some(value.clone()))
    } else if matches!(command, Command::Delete { .. }) {
        Some(None)
    } else {
        None
    };
    (command.key().clone(), value)
}

/// A done write's version, with the number of servers that were said to hold it.
pub(crate) fn written(request: &Request) -> Option<(Version, u16)> {
    let done = done(request)?;
    let Served::Quorum { servers } = done.served else {
        panic!("not served by a quorum: {done:?}");
    };
    // What a read of a deleted key says is the delete's version.
    command(request).1?;
    Some((done.version?, servers))
}

/// What a done get showed: `Some(None)` for a missing key.
pub(crate) fn read(request: &Request) -> Option<Option<(Value, Version)>> {
    let Answer::Results(results) = &done(request)?.answer else {
        return None;
    };
    let Some(CommandResult::Value(found)) = results.first() else {
        return None;
    };
    Some(found.as_ref().map(|found| (found.value.clone(), found.version)))
}

pub(crate) fn done(request: &Request) -> Option<&Done> {
    let Some(Outcome::Done(done)) = request.outcome() else {
        return None;
    };
    Some(done)
}

/// Runs for so long, and at the moment of each new Done of a write looks whether as many disks
/// hold it as the reply says, and at least W.
pub(crate) fn run_watching(sim: &mut Sim, time: Duration, seen: &mut BTreeSet<RequestId>) {
    let end = sim.now() + time;
    // Nothing is submitted while it runs, so only these can get an answer.
    let requests = sim.requests().map(|(id, _)| id);
    let mut open: BTreeSet<RequestId> = requests.filter(|id| !seen.contains(id)).collect();
    while sim.now() < end {
        let left = end - sim.now();
        let mut fresh = Vec::new();
        sim.run_until(left, |sim| {
            let replied = open.iter().filter(|id| sim.outcome(**id).is_some());
            fresh = replied.copied().collect();
            !fresh.is_empty()
        })
        .unwrap();
        for id in fresh {
            open.remove(&id);
            seen.insert(id);
            let request = sim.request(id).unwrap();
            if let Some((version, servers)) = written(request) {
                let (key, _) = command(request);
                let w = sim.config().cluster.write_quorum();
                assert!(servers >= w, "done with {servers} of {w} acknowledgements");
                let holders = holders(sim, &key, version);
                assert!(
                    holders >= usize::from(servers),
                    "seed {}: {id} is said to be on {servers} servers but {holders} disks hold it",
                    sim.config().seed
                );
            }
        }
    }
}

/// No version names two writes: neither in what clients were told nor on the disks. Nor does an
/// identity: origin, incarnation and number.
pub(crate) fn check_versions_unique(sim: &Sim) {
    let mut writes = BTreeMap::<Version, (Key, Option<Value>)>::new();
    let mut check = |version: Version, write: (Key, Option<Value>)| {
        let first = writes.entry(version).or_insert_with(|| write.clone());
        assert_eq!(*first, write, "seed {}: {version} twice", sim.config().seed);
    };
    for (_, request) in sim.requests() {
        let (key, value) = command(request);
        let unknown = if let Some(Outcome::Unknown(unknown)) = request.outcome() {
            unknown.version
        } else {
            None
        };
        let version = written(request).map(|(version, _)| version).or(unknown);
        if let (Some(version), Some(value)) = (version, value) {
            check(version, (key.clone(), value));
        }
        if let Some(Some((value, version))) = read(request) {
            check(version, (key, Some(value)));
        }
    }
    let mut identities = BTreeMap::new();
    for node in sim.nodes() {
        for (key, entry) in disk(sim, node) {
            let stamp = *identities.entry(entry.id()).or_insert(entry.stamp);
            assert_eq!(stamp, entry.stamp, "seed {}: {:?} twice", sim.config().seed, entry.id());
            check(entry.stamp.into(), (key, entry.value));
        }
    }
}

/// The keys that a done request shows, or shows to be missing; of a scan those of `keys` that its page
/// covers.
fn shown(request: &Request, keys: &BTreeSet<Key>) -> Vec<(Key, Option<Version>)> {
    if let Operation::Scan(scan) = &request.op {
        let Some(Answer::Page(page)) = done(request).map(|done| &done.answer) else {
            return Vec::new();
        };
        let is_covered = |key: &&Key| {
            scan.contains(key) && page.next.as_ref().is_none_or(|through| *key <= through)
        };
        let version = |key: &Key| {
            page.entries.iter().find(|(found, _)| found == key).map(|(_, held)| held.version)
        };
        return keys.iter().filter(is_covered).map(|key| (key.clone(), version(key))).collect();
    }
    let found = read(request).map(|found| found.map(|(_, version)| version));
    found.map(|found| (command(request).0, found)).into_iter().collect()
}

/// Whether a request is a scan that was answered.
pub(crate) fn is_scan(request: &Request) -> bool {
    matches!(request.op, Operation::Scan(_)) && done(request).is_some()
}

/// A read that began after a write was acknowledged, or shown by an atomic read, shows that write or a
/// newer one; a missing key shows that a newer delete may have been there. Holds for W + R > N.
pub(crate) fn check_visibility(sim: &Sim) {
    let keys: BTreeSet<Key> = sim.requests().map(|(_, request)| command(request).0).collect();
    let reads = sim.requests().flat_map(|(id, request)| {
        shown(request, &keys).into_iter().map(move |(key, shown)| (id, request, key, shown))
    });
    for (id, request, key, shown) in reads {
        let acknowledged = sim.requests().filter(|(_, other)| {
            command(other).0 == key && ended_at(other).is_some_and(|at| at < request.invoked_at)
        });
        let newest = acknowledged.filter_map(|(_, other)| known(other)).max();
        let Some(newest) = newest else {
            continue;
        };
        let seed = sim.config().seed;
        match shown {
            Some(version) => assert!(
                version >= newest,
                "seed {seed}: read {id} shows {version} after {newest} was acknowledged"
            ),
            None => assert!(
                sim.requests().any(|(_, other)| may_hide(request, other, &key, newest)),
                "seed {seed}: read {id} shows nothing after {newest} was acknowledged"
            ),
        }
    }
}

/// The version that later reads show at the least, once this request is answered.
fn known(request: &Request) -> Option<Version> {
    let written = written(request).map(|(version, _)| version);
    let is_atomic = request.options.level == Some(Level::Atomic);
    written.or_else(|| Some(read(request).filter(|_| is_atomic)??.1))
}

/// Whether a request is an atomic read that was answered.
pub(crate) fn is_atomic_read(request: &Request) -> bool {
    request.options.level == Some(Level::Atomic) && read(request).is_some()
}

/// Whether a request is a delete that a read can have seen, and can be at least this new.
fn may_hide(read: &Request, delete: &Request, key: &Key, newest: Version) -> bool {
    let is_delete = command(delete) == (key.clone(), Some(None));
    let began = ended_at(read).is_some_and(|at| delete.invoked_at <= at);
    let version = written(delete).map(|(version, _)| version);
    let was_tried = !is_refused(delete);
    is_delete && began && was_tried && version.is_none_or(|version| version >= newest)
}

/// A write that was said to be definitely not done is on no disk and was shown to nobody. Every
/// value is written once, so a value tells its write.
pub(crate) fn check_not_done(sim: &Sim) {
    let refused: BTreeMap<_, _> = sim
        .requests()
        .filter(|(_, request)| is_refused(request))
        .filter_map(|(id, request)| Some((command(request).1??, id)))
        .collect();
    let seed = sim.config().seed;
    for node in sim.nodes() {
        for entry in disk(sim, node).into_values() {
            let id = entry.value.as_ref().and_then(|value| refused.get(value));
            assert_eq!(id, None, "seed {seed}: refused, but on the disk of {node}");
        }
    }
    for (_, request) in sim.requests() {
        if let Some(Some((value, _))) = read(request) {
            let id = refused.get(&value);
            assert_eq!(id, None, "seed {seed}: refused, but shown");
        }
    }
}

/// What every read shows was put by some request to that key.
pub(crate) fn check_origin(sim: &Sim) {
    let put: BTreeSet<(Key, Value)> = sim
        .requests()
        .filter_map(|(_, request)| {
            let (key, value) = command(request);
            Some((key, value??))
        })
        .collect();
    for (id, request) in sim.requests() {
        if let Some(Some((value, _))) = read(request) {
            let (key, _) = command(request);
            assert!(put.contains(&(key, value)), "read {id} shows what nobody put");
        }
    }
}

/// Reads every key at every server with all servers' answers until repairs have made them hold
/// the same, which must not take long.
pub(crate) fn check_converges(sim: &mut Sim, keys: &[Key]) {
    let all = u16::try_from(sim.nodes().count()).unwrap();
    for round in 0.. {
        let fingerprints: BTreeSet<u64> = sim.fingerprints().into_values().collect();
        let at_rest = sim.nodes().all(|node| {
            let status = sim.status(node).unwrap();
            let pending = [Counter::PendingWrites, Counter::UnpersistedRecords];
            pending.into_iter().all(|counter| status.counter(counter) == Some(0))
        });
        if fingerprints.len() == 1 && at_rest {
            return;
        }
        assert!(round < 5, "seed {}: the servers differ", sim.config().seed);
        let nodes: Vec<_> = sim.nodes().collect();
        for key in keys {
            let options = RequestOptions::default().with_read_quorum(kv_core::Quorum::Count(all));
            for &node in &nodes {
                sim.submit(node, Operation::get(key.clone()), options.clone());
            }
        }
        sim.run_for(Duration::from_secs(10)).unwrap();
    }
}

pub(crate) fn is_refused(request: &Request) -> bool {
    matches!(request.outcome(), Some(Outcome::NotDone(_))) || request.state == RequestState::Refused
}

pub(crate) fn ended_at(request: &Request) -> Option<Duration> {
    if let RequestState::Replied { at, .. } = request.state { Some(at) } else { None }
}

/// Gets, puts and deletes on a few keys; every value is written once.
pub(crate) struct Clients {
    pub(crate) stream: SeedStream,
    pub(crate) keys: Vec<Key>,
    written: u64,
    /// Whether every other read is an atomic one.
    pub(crate) reads_atomically: bool,
    /// Whether clients scan in place of reading one key.
    pub(crate) scans: bool,
}

impl Clients {
    pub(crate) fn new(seed: u64, keys: u64) -> Self {
        let key = |n| Key::new(format!("k{n}")).unwrap();
        Self {
            stream: SeedStream::new(seed ^ 0x636c_6965_6e74),
            keys: (0..keys).map(key).collect(),
            written: 0,
            reads_atomically: false,
            scans: false,
        }
    }

    pub(crate) fn submit(&mut self, sim: &mut Sim) -> RequestId {
        let nodes: Vec<_> = sim.nodes().collect();
        let node = self.pick(&nodes);
        let key = self.pick(&self.keys.clone());
        let op = match self.stream.below(10) {
            0..=4 => {
                self.written += 1;
                let value = Value::new(format!("v{}", self.written)).unwrap();
                Operation::put(key, value)
            }
            5 => Operation::delete(key),
            _ if self.scans => {
                let limit = u32::try_from(1 + self.stream.below(3)).unwrap();
                let from = key.as_bytes().to_vec().into();
                Operation::Scan(Scan { from, until: None, after: None, limit })
            }
            _ => Operation::get(key),
        };
        let is_atomic = self.reads_atomically && op.is_read_only() && self.stream.chance(500);
        let options = RequestOptions::default()
            .with_timeout(Duration::from_millis(200 + self.stream.below(2_000)))
            .with_level(is_atomic.then_some(Level::Atomic));
        sim.submit(node, op, options)
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let len = u64::try_from(from.len()).unwrap();
        let index = usize::try_from(self.stream.below(len)).unwrap();
        from.get(index).unwrap().clone()
    }
}

/// How requests ended, to see that a run has some of everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) not_done: u64,
    pub(crate) unknown: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, sim: &Sim) {
        for (_, request) in sim.requests() {
            match request.outcome() {
                Some(Outcome::Done(_)) => self.done += 1,
                Some(Outcome::NotDone(_)) => self.not_done += 1,
                Some(Outcome::Unknown(_)) => self.unknown += 1,
                None => {}
            }
        }
    }
}

pub(crate) fn counter(sim: &Sim, node: NodeId, counter: Counter) -> u64 {
    sim.status(node).unwrap().counter(counter).unwrap()
}
