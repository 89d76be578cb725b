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
use crate::tally::Tally;
use crate::told_of_key::{End, Put, ToldOfKey};

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

#[derive(Default)]
struct AllTold {
    keys: BTreeMap<RisingKey, ToldOfKey>,
    issued: BTreeMap<Issuer, Version>,
    tally: Tally,
}

/// The server whose clock stamps a version; `None` for the one log.
type Issuer = Option<NodeId>;

impl RisingKeys {
    pub(crate) fn new(is_linearizable: bool) -> Self {
        Self { is_linearizable, told: Mutex::default() }
    }

    pub(crate) fn all() -> impl Iterator<Item = RisingKey> {
        let of_client = |client| (0..=LAST_PLACE).map(move |place| RisingKey { client, place });
        (0..CLIENTS).flat_map(of_client)
    }

    /// Those that are read before the end.
    pub(crate) fn read_in_rounds() -> impl Iterator<Item = RisingKey> {
        Self::all().filter(|key| key.place < LAST_PLACE)
    }

    pub(crate) fn begin_put(&self, key: RisingKey) -> BegunPut {
        let mut told = self.told.lock().unwrap();
        let puts = &mut told.keys.entry(key).or_default().puts;
        puts.push(Put { end: End::Open, version: None });
        BegunPut { key, number: puts.len(), issued: told.issued.clone() }
    }

    /// # Errors
    /// If what the client was told cannot be.
    pub(crate) fn end_put(&self, begun: &BegunPut, end: &Told) -> Result<(), String> {
        let mut told = self.told.lock().unwrap();
        let AllTold { keys, issued, tally } = &mut *told;
        let (key, number) = (begun.key, begun.number);
        let of_key = keys.get_mut(&key).unwrap();
        let (end, version) = match end {
            Told::Done(CommandResult::Written, Some(version)) => (End::Done, Some(*version)),
            Told::Done(..) => return Err(format!("{key}: a put was answered by {end:?}")),
            Told::NotDone => (End::NotDone, None),
            Told::Unknown(version) => (End::Unknown, *version),
        };
        if let Some(version) = version {
            if let Some(before) = begun.issued.get(&issuer(version))
                && !is_issued_later(version, *before)
            {
                return Err(format!("{key} {number}: {version} issued after {before}; {of_key}"));
            }
            let highest = issued.entry(issuer(version)).or_insert(version);
            *highest = version.max(*highest);
            of_key.learn(key, number, version)?;
        }
        let put = of_key.puts.get_mut(number - 1).unwrap();
        put.end = end;
        if end == End::NotDone && put.version.is_some() {
            return Err(format!("{key} {number}: not done, but shown; {of_key}"));
        }
        if end == End::Done {
            let last = of_key.acknowledged.checked_sub(1).and_then(|last| of_key.puts.get(last));
            let last = last.and_then(|put| put.version);
            let moved = last.is_some_and(|last| Some(issuer(last)) != version.map(issuer));
            tally.moved += u64::from(moved);
            tally.acknowledged += 1;
            of_key.acknowledged = number;
            of_key.floor = of_key.floor.max(version);
        }
        Ok(())
    }

    pub(crate) fn begin_read(&self, key: RisingKey) -> BegunRead {
        let mut told = self.told.lock().unwrap();
        let of_key = told.keys.entry(key).or_default();
        BegunRead { key, floor: of_key.floor, number: of_key.acknowledged }
    }

    /// # Errors
    /// If the read may not show this.
    pub(crate) fn end_read(
        &self,
        begun: &BegunRead,
        found: Option<Versioned>,
    ) -> Result<(), String> {
        let mut told = self.told.lock().unwrap();
        let AllTold { keys, tally, .. } = &mut *told;
        let (key, floor, acknowledged) = (begun.key, begun.floor, begun.number);
        let of_key = keys.get_mut(&key).unwrap();
        tally.reads += 1;
        let Some(Versioned { value, version }) = found else {
            let missing = || format!("{key} is missing; {of_key}");
            return floor.map_or(Ok(()), |_| Err(missing()));
        };
        let number = number_of(&value).filter(|number| (1..=of_key.puts.len()).contains(number));
        let number = number.ok_or_else(|| format!("{key}: {value:?} was never put; {of_key}"))?;
        of_key.learn(key, number, version)?;
        if let Some(floor) = floor.filter(|floor| version < *floor) {
            return Err(format!(
                "{key}: {number} at {version} came back, but {acknowledged} was acknowledged \
                 before, and nothing below {floor} may be shown; {of_key}"
            ));
        }
        tally.overtaken += u64::from(number < acknowledged);
        if self.is_linearizable {
            of_key.floor = of_key.floor.max(Some(version));
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { is_linearizable: self.is_linearizable, ..self.told.lock().unwrap().tally }
    }
}

impl RisingKey {
    /// Some keys are written often, and each further one half as often as the one before: the last
    /// write of some is then a while ago when servers are killed.
    pub(crate) fn to_write(client: u64, draw: &mut SeedStream) -> Self {
        let place = u64::from(draw.next_u64().trailing_zeros());
        Self { client, place: place.min(LAST_PLACE) }
    }

    /// Any but the last: no read repairs that one where a server has lost it.
    pub(crate) const fn to_read(draw: &mut SeedStream) -> Self {
        Self { client: draw.below(CLIENTS), place: draw.below(LAST_PLACE) }
    }
}

impl fmt::Display for RisingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rising.{}.{}", self.client, self.place)
    }
}

fn number_of(value: &Value) -> Option<usize> {
    std::str::from_utf8(value.as_bytes()).ok()?.parse().ok()
}

const fn issuer(version: Version) -> Issuer {
    match version {
        Version::Log(_) | Version::Tag { .. } => None,
        Version::Stamp { origin, .. } => Some(origin),
    }
}

/// Whether one issuer gave this version after the other one: its clock alone must tell, whatever life
/// it was in.
fn is_issued_later(version: Version, before: Version) -> bool {
    match (version, before) {
        (Version::Stamp { time, .. }, Version::Stamp { time: before, .. }) => time > before,
        (Version::Log(_) | Version::Tag { .. }, _) | (_, Version::Log(_) | Version::Tag { .. }) => {
            version > before
        }
    }
}

/// The place of a client's key that is written the least.
const LAST_PLACE: u64 = 7;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation};

    use super::*;

    const KEY: RisingKey = RisingKey { client: 0, place: 0 };

    fn stamp(millis: u64, server: u16) -> Version {
        let (time, origin) = (HybridTime::from_millis(millis), NodeId::new(server).unwrap());
        Version::Stamp { time, origin, incarnation: Incarnation(u64::from(server)) }
    }

    fn done(version: Version) -> Told {
        Told::Done(CommandResult::Written, Some(version))
    }

    fn put(keys: &RisingKeys, told: &Told) -> Result<(), String> {
        keys.end_put(&keys.begin_put(KEY), told)
    }

    fn read(keys: &RisingKeys, number: &'static str, version: Version) -> Result<(), String> {
        let value = Value::new(number).unwrap();
        keys.end_read(&keys.begin_read(KEY), Some(Versioned { value, version }))
    }

    fn after(puts: &[Told]) -> RisingKeys {
        let keys = RisingKeys::new(false);
        for told in puts {
            put(&keys, told).unwrap();
        }
        keys
    }

    fn assert_fault(result: Result<(), String>, words: &str) {
        let fault = result.unwrap_err();
        assert!(fault.starts_with(words), "{fault}");
    }

    #[test]
    fn a_put_that_another_server_stamped_higher_may_be_shown_after_a_later_one() {
        let keys = after(&[done(stamp(5, 1)), Told::Unknown(None), done(stamp(3, 2))]);
        read(&keys, "1", stamp(5, 1)).unwrap();
        read(&keys, "2", stamp(6, 1)).unwrap();
        assert_eq!((keys.tally().moved, keys.tally().overtaken), (1, 2));
    }

    #[test]
    fn an_older_value_or_none_may_not_be_shown() {
        let keys = after(&[done(stamp(5, 1)), done(stamp(6, 1))]);
        let came_back = "rising.0.0: 1 at 5.0@1 came back, but 2 was acknowledged before";
        assert_fault(read(&keys, "1", stamp(5, 1)), came_back);
        assert_fault(keys.end_read(&keys.begin_read(KEY), None), "rising.0.0 is missing");
    }

    #[test]
    fn what_was_not_done_or_never_put_may_not_be_shown() {
        let keys = after(&[Told::NotDone]);
        assert_fault(read(&keys, "1", stamp(5, 1)), "rising.0.0 1: not done, but shown");
        assert_fault(read(&keys, "2", stamp(5, 1)), "rising.0.0: b\"2\" was never put");
        let begun = keys.begin_put(KEY);
        read(&keys, "2", stamp(5, 1)).unwrap();
        assert_fault(keys.end_put(&begun, &Told::NotDone), "rising.0.0 2: not done, but shown");
    }

    #[test]
    fn a_put_has_one_version() {
        let keys = after(&[done(stamp(5, 1))]);
        assert_fault(read(&keys, "1", stamp(6, 1)), "rising.0.0 1: 6.0@1, but known as 5.0@1");
    }

    #[test]
    fn a_server_issues_no_stamp_twice() {
        let keys = after(&[done(stamp(5, 1)), done(stamp(9, 2))]);
        let twice = "rising.0.0 3: 5.0@1 issued after 5.0@1";
        assert_fault(put(&keys, &done(stamp(5, 1))), twice);
    }

    #[test]
    fn what_a_read_of_the_linearizable_engine_showed_stays() {
        let keys = RisingKeys::new(true);
        put(&keys, &done(Version::Log(1))).unwrap();
        put(&keys, &Told::Unknown(None)).unwrap();
        read(&keys, "2", Version::Log(3)).unwrap();
        assert_fault(read(&keys, "1", Version::Log(1)), "rising.0.0: 1 at 1 came back");
    }
}
