//! Keys of the eventual engine that only one request at a time touches: each is put once, and some are
//! deleted afterwards. So what a read shows, with W + R > N, is known from what was acknowledged.
//!
//! Which of the two writes counts is a matter of versions: two servers may have stamped them, and the
//! later one lower.

use std::collections::BTreeMap;
use std::fmt;

use kv_core::{Key, Value, Version};

use crate::cluster::Held;
use crate::load::Told;

/// The keys of one worker.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys {
    keys: BTreeMap<Key, OwnKey>,
}

/// What is known of a key; its value is its name.
#[derive(Clone, Copy, Debug)]
struct OwnKey {
    put: End,
    delete: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done(Version),
    Unknown,
    NotDone,
}

/// How many writes ended in which way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) unknown: u64,
}

impl OwnKeys {
    pub(crate) fn put(&mut self, key: Key, told: &Told) {
        self.keys.insert(key, OwnKey { put: End::of(told), delete: None });
    }

    pub(crate) fn delete(&mut self, key: &Key, told: &Told) {
        if let Some(known) = self.keys.get_mut(key) {
            known.delete = Some(End::of(told));
        }
    }

    /// The key whose place among all is this one, counted round.
    pub(crate) fn pick(&self, place: u64) -> Option<&Key> {
        let count = u64::try_from(self.keys.len()).unwrap();
        let place = usize::try_from(place.checked_rem(count)?).unwrap();
        self.keys.keys().nth(place)
    }

    pub(crate) fn is_deleted(&self, key: &Key) -> bool {
        self.keys.get(key).is_some_and(|known| known.delete.is_some())
    }

    /// Checks what a read showed that began after all writes of the key had ended.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check(&self, key: &Key, found: Option<&Value>) -> Result<(), String> {
        let Some(known) = self.keys.get(key) else {
            return Err(format!("{key:?} was never put"));
        };
        let fits = match found {
            None => known.may_be_missing(),
            Some(value) => value.as_bytes() == key.as_bytes() && known.may_be_there(),
        };
        if fits { Ok(()) } else { Err(format!("{key:?} is {found:?}, but {known:?}")) }
    }

    /// Checks what all servers hold in the end.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn check_held(&self, held: &Held) -> Result<(), String> {
        let mut keys = self.keys.keys();
        keys.try_for_each(|key| self.check(key, held.get(key).map(|held| &held.value)))
    }

    pub(crate) fn ends(&self) -> Ends {
        let mut ends = Ends::default();
        for known in self.keys.values() {
            ends.puts += u64::from(matches!(known.put, End::Done(_)));
            ends.deletes += u64::from(matches!(known.delete, Some(End::Done(_))));
            let both = [Some(known.put), known.delete];
            ends.unknown +=
                both.iter().map(|end| u64::from(*end == Some(End::Unknown))).sum::<u64>();
        }
        ends
    }
}

impl OwnKey {
    fn may_be_missing(self) -> bool {
        match (self.put, self.delete) {
            (End::Unknown | End::NotDone, _) | (_, Some(End::Unknown)) => true,
            (End::Done(put), Some(End::Done(delete))) => delete > put,
            (End::Done(_), None | Some(End::NotDone)) => false,
        }
    }

    fn may_be_there(self) -> bool {
        match (self.put, self.delete) {
            (End::NotDone, _) => false,
            (End::Done(put), Some(End::Done(delete))) => put > delete,
            (End::Done(_) | End::Unknown, _) => true,
        }
    }
}

impl End {
    fn of(told: &Told) -> Self {
        match told {
            Told::Done(_, Some(version)) => Self::Done(*version),
            Told::Done(_, None) => panic!("a write was acknowledged without its version"),
            Told::NotDone => Self::NotDone,
            Told::Unknown(_) => Self::Unknown,
        }
    }
}

impl std::ops::AddAssign for Ends {
    fn add_assign(&mut self, other: Self) {
        self.puts += other.puts;
        self.deletes += other.deletes;
        self.unknown += other.unknown;
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { puts, deletes, unknown } = self;
        write!(f, "{puts} puts and {deletes} deletes acknowledged, {unknown} writes unknown")
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{CommandResult, HybridTime, Incarnation, NodeId};

    use super::*;

    fn done(millis: u64) -> Told {
        let time = HybridTime::from_millis(millis);
        let (origin, incarnation) = (NodeId::new(1).unwrap(), Incarnation(1));
        Told::Done(CommandResult::Written, Some(Version::Stamp { time, origin, incarnation }))
    }

    /// Whether the key may be missing, and whether it may be there.
    fn may_be(put: &Told, delete: Option<&Told>) -> (bool, bool) {
        let key = Key::new("k").unwrap();
        let mut keys = OwnKeys::default();
        keys.put(key.clone(), put);
        if let Some(told) = delete {
            keys.delete(&key, told);
        }
        let value = Value::new("k").unwrap();
        (keys.check(&key, None).is_ok(), keys.check(&key, Some(&value)).is_ok())
    }

    #[test]
    fn what_was_acknowledged_is_what_a_read_must_show() {
        assert_eq!(may_be(&done(5), None), (false, true));
        assert_eq!(may_be(&done(5), Some(&done(6))), (true, false));
        assert_eq!(may_be(&done(5), Some(&done(4))), (false, true));
        assert_eq!(may_be(&done(5), Some(&Told::NotDone)), (false, true));
        assert_eq!(may_be(&Told::NotDone, None), (true, false));
    }

    #[test]
    fn what_is_unknown_allows_both() {
        assert_eq!(may_be(&Told::Unknown(None), None), (true, true));
        assert_eq!(may_be(&done(5), Some(&Told::Unknown(None))), (true, true));
    }

    #[test]
    fn another_value_is_found() {
        let key = Key::new("k").unwrap();
        let mut keys = OwnKeys::default();
        keys.put(key.clone(), &done(5));
        assert!(keys.check(&key, Some(&Value::new("other").unwrap())).is_err());
    }
}
