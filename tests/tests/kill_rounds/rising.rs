//! Keys that one client each writes over and over with rising numbers, through all rounds, and what
//! reads of them may show: else an older value that comes back would be taken for the newest.
//!
//! What is promised, with W + R > N, is said in versions: a read that begins after a put was
//! acknowledged shows its version or a greater one. In the linearizable engine versions rise with
//! time, so that the number shown is the last acknowledged one or a later one. In the eventual engine
//! they rise for each server that stamps them; between two servers, a client's later put may be
//! stamped lower than its earlier one and lose. In both, a put whose end is unknown may take effect
//! after later ones. Where a read shows an earlier number than the last acknowledged one, it must be
//! one of these cases, so its version must be the greater; they are counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use kv_core::{CommandResult, NodeId, SeedStream, Value, Version, Versioned};

use crate::load::{CLIENTS, Told};

/// All these keys, with what was put into them and what was told of that.
pub(crate) struct RisingKeys {
    is_linearizable: bool,
    told: Mutex<AllTold>,
}

/// One key, which only one client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RisingKey {
    client: u64,
    place: u64,
}

/// A put that was not answered yet.
pub(crate) struct BegunPut {
    pub(crate) key: RisingKey,
    pub(crate) number: usize,
    /// The greatest version by each issuer when it began.
    issued: BTreeMap<Issuer, Version>,
}

/// A read that was not answered yet.
pub(crate) struct BegunRead {
    pub(crate) key: RisingKey,
    /// The least version that it may show, and the last number acknowledged when it began.
    floor: Option<Version>,
    number: usize,
}

/// What came of it all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    acknowledged: u64,
    reads: u64,
    /// Acknowledged puts that another server stamped than the key's last one.
    moved: u64,
    /// Reads that showed an earlier number than the last one acknowledged.
    overtaken: u64,
    is_linearizable: bool,
}

#[derive(Default)]
struct AllTold {
    keys: BTreeMap<RisingKey, ToldOfKey>,
    issued: BTreeMap<Issuer, Version>,
    tally: Tally,
}

/// The server whose clock stamps a version; `None` for the one log.
type Issuer = Option<NodeId>;

#[derive(Default)]
struct ToldOfKey {
    /// The put of number 1, 2 and so on.
    puts: Vec<Put>,
    floor: Option<Version>,
    /// The last number acknowledged; 0 before the first.
    acknowledged: usize,
}

struct Put {
    end: End,
    /// As the client was told, or as a read has shown.
    version: Option<Version>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Done,
    NotDone,
    Unknown,
}

impl RisingKeys {
    pub(crate) fn new(is_linearizable: bool) -> Self {
        Self { is_linearizable, told: Mutex::default() }
    }

    pub(crate) fn all() -> impl Iterator<Item = RisingKey> {
        let of_client = |client| (0..KEYS_OF_CLIENT).map(move |place| RisingKey { client, place });
        (0..CLIENTS).flat_map(of_client)
    }

    pub(crate) fn begin_put(&self, key: RisingKey) -> BegunPut {
        let mut told = self.told.lock().unwrap();
        let puts = &mut told.keys.entry(key).or_default().puts;
        puts.push(Put { end: End::Open, version: None });
        BegunPut { key, number: puts.len(), issued: told.issued.clone() }
    }

    /// # Panics
    /// If what the client was told cannot be.
    pub(crate) fn end_put(&self, begun: &BegunPut, end: &Told) {
        let mut told = self.told.lock().unwrap();
        let AllTold { keys, issued, tally } = &mut *told;
        let of_key = keys.get_mut(&begun.key).unwrap();
        let (end, version) = match end {
            Told::Done(CommandResult::Written, Some(version)) => (End::Done, Some(*version)),
            Told::Done(..) => panic!("{}: a put was answered by {end:?}", begun.key),
            Told::NotDone => (End::NotDone, None),
            Told::Unknown(version) => (End::Unknown, *version),
        };
        if let Some(version) = version {
            let before = begun.issued.get(&issuer(version));
            let rises = before.is_none_or(|before| is_issued_later(version, *before));
            assert!(rises, "{} {}: {version} after {before:?}; {of_key}", begun.key, begun.number);
            let highest = issued.entry(issuer(version)).or_insert(version);
            *highest = version.max(*highest);
            of_key.learn(begun.key, begun.number, version);
        }
        let put = of_key.puts.get_mut(begun.number - 1).unwrap();
        put.end = end;
        let was_shown = end == End::NotDone && put.version.is_some();
        assert!(!was_shown, "{} {}: shown, but not done; {of_key}", begun.key, begun.number);
        if end == End::Done {
            let last = of_key.acknowledged.checked_sub(1).and_then(|last| of_key.puts.get(last));
            let last = last.and_then(|put| put.version);
            let moved = last.is_some_and(|last| Some(issuer(last)) != version.map(issuer));
            tally.moved += u64::from(moved);
            tally.acknowledged += 1;
            of_key.acknowledged = begun.number;
            of_key.floor = of_key.floor.max(version);
        }
    }

    pub(crate) fn begin_read(&self, key: RisingKey) -> BegunRead {
        let mut told = self.told.lock().unwrap();
        let of_key = told.keys.entry(key).or_default();
        BegunRead { key, floor: of_key.floor, number: of_key.acknowledged }
    }

    /// # Panics
    /// If the read may not show this.
    pub(crate) fn end_read(&self, begun: &BegunRead, found: Option<Versioned>) {
        let mut told = self.told.lock().unwrap();
        let AllTold { keys, tally, .. } = &mut *told;
        let key = begun.key;
        let of_key = keys.get_mut(&key).unwrap();
        tally.reads += 1;
        let Some(Versioned { value, version }) = found else {
            return assert!(begun.floor.is_none(), "{key} is missing; {of_key}");
        };
        let number = number_of(&value).filter(|number| (1..=of_key.puts.len()).contains(number));
        let number = number.unwrap_or_else(|| panic!("{key}: {value:?} was never put; {of_key}"));
        of_key.learn(key, number, version);
        let is_new = Some(version) >= begun.floor;
        let (acknowledged, floor) = (begun.number, begun.floor);
        assert!(
            is_new,
            "{key}: {number} at {version} came back, {acknowledged} was acknowledged before, and \
             nothing below {floor:?} may be shown; {of_key}"
        );
        tally.overtaken += u64::from(number < acknowledged);
        if self.is_linearizable {
            of_key.floor = of_key.floor.max(Some(version));
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { is_linearizable: self.is_linearizable, ..self.told.lock().unwrap().tally }
    }
}

impl RisingKey {
    pub(crate) const fn draw(client: u64, draw: &mut SeedStream) -> Self {
        Self { client, place: draw.below(KEYS_OF_CLIENT) }
    }
}

impl fmt::Display for RisingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rising.{}.{}", self.client, self.place)
    }
}

impl Tally {
    /// # Panics
    /// If clients did not do what the test is about.
    pub(crate) fn assert_worth(&self) {
        assert!(self.acknowledged > 0 && self.reads > 0, "nothing was tried: {self}");
        let has_failed_over = self.is_linearizable || self.moved > 0;
        assert!(has_failed_over, "no client went on at another server: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, reads, moved, overtaken, .. } = self;
        write!(f, "{acknowledged} acknowledged puts of rising numbers")?;
        if !self.is_linearizable {
            write!(f, " ({moved} at another server than the one before)")?;
        }
        write!(f, ", {reads} reads, {overtaken} of a put that overtook a later one")
    }
}

impl ToldOfKey {
    /// # Panics
    /// If the put cannot have that version.
    fn learn(&mut self, key: RisingKey, number: usize, version: Version) {
        let put = self.puts.get_mut(number - 1).unwrap();
        let known = *put.version.get_or_insert(version);
        let was_not_done = put.end == End::NotDone;
        assert!(!was_not_done, "{key} {number}: not done, but shown at {version}; {self}");
        assert_eq!(known, version, "{key} {number}: two versions; {self}");
    }
}

impl fmt::Display for ToldOfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the last puts:")?;
        let puts = (1..).zip(&self.puts);
        for (number, put) in puts.skip(self.puts.len().saturating_sub(SHOWN_MAX)) {
            let end = match put.end {
                End::Open => "open",
                End::Done => "done",
                End::NotDone => "not done",
                End::Unknown => "unknown",
            };
            write!(f, " {number} {end}")?;
            if let Some(version) = put.version {
                write!(f, " at {version}")?;
            }
            f.write_str(",")?;
        }
        write!(f, " acknowledged through {}", self.acknowledged)
    }
}

fn number_of(value: &Value) -> Option<usize> {
    std::str::from_utf8(value.as_bytes()).ok()?.parse().ok()
}

const fn issuer(version: Version) -> Issuer {
    match version {
        Version::Log(_) => None,
        Version::Stamp { origin, .. } => Some(origin),
    }
}

/// Whether one issuer gave this version after the other one: its clock alone must tell, whatever life
/// it was in.
fn is_issued_later(version: Version, before: Version) -> bool {
    match (version, before) {
        (Version::Stamp { time, .. }, Version::Stamp { time: before, .. }) => time > before,
        (Version::Log(_), _) | (_, Version::Log(_)) => version > before,
    }
}

/// So many that a client's last put of some lies some time back when servers are killed.
const KEYS_OF_CLIENT: u64 = 4;

/// How many puts of a key a failure shows.
const SHOWN_MAX: usize = 20;
