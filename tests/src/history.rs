//! What clients asked and were told, and whether one order of it all explains it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// A history of reads and writes by several clients, each of which does one thing at a time.
///
/// What is recorded first happened first: a client records that it begins before it sends anything,
/// and that it ended after it has the answer.
#[derive(Debug, Default)]
pub struct History {
    events: Mutex<Vec<Event>>,
}

/// A read or a write of a key; each write has a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read, with what was found once that is known.
    Read(Option<u64>),
    /// A write.
    Write(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    client: usize,
    key: usize,
    access: Access,
    ended: bool,
}

impl History {
    /// Records that a client begins to access a key; what a read will find is not looked at.
    pub fn begin(&self, client: usize, key: usize, access: Access) {
        self.events().push(Event { client, key, access, ended: false });
    }

    /// Records that a client's access has ended.
    pub fn end(&self, client: usize, key: usize, access: Access) {
        self.events().push(Event { client, key, access, ended: true });
    }

    /// Takes back what a client has begun, because it definitely had no effect.
    ///
    /// # Panics
    /// If the client has begun nothing on that key.
    pub fn withdraw(&self, client: usize, key: usize) {
        let mut events = self.events();
        let begun = events.iter().rposition(|event| (event.client, event.key) == (client, key));
        let begun = events.remove(begun.expect("something was begun"));
        assert!(!begun.ended, "what has ended cannot be taken back");
    }

    /// How many accesses have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.events().iter().filter(|event| event.ended).count()
    }

    /// Checks each key by itself, which is enough: linearizability is local (Herlihy & Wing,
    /// *Linearizability*, 1990, theorem 1). All keys are missing at the beginning.
    ///
    /// # Errors
    /// [`NotLinearizable`] with the events of a key that no order explains.
    ///
    /// # Panics
    /// If a client began something before it had ended what it did to the same key.
    pub fn check(&self) -> Result<(), NotLinearizable> {
        let mut keys: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        for event in self.events().iter() {
            keys.entry(event.key).or_default().push(*event);
        }
        keys.into_iter().try_for_each(|(key, events)| {
            if is_linearizable(&events) { Ok(()) } else { Err(NotLinearizable { key, events }) }
        })
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_linearizable(events: &[Event]) -> bool {
    let mut tester = LinearizabilityTester::new(Register(None));
    for Event { client, access, ended, .. } in events {
        let recorded = match (ended, access) {
            (false, Access::Read(_)) => tester.on_invoke(*client, RegisterOp::Read),
            (false, Access::Write(value)) => {
                tester.on_invoke(*client, RegisterOp::Write(Some(*value)))
            }
            (true, Access::Read(found)) => tester.on_return(*client, RegisterRet::ReadOk(*found)),
            (true, Access::Write(_)) => tester.on_return(*client, RegisterRet::WriteOk),
        };
        recorded.expect("a client does one thing at a time");
    }
    tester.is_consistent()
}

/// No order of the accesses to a key explains what the clients were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLinearizable {
    /// The key.
    pub key: usize,
    events: Vec<Event>,
}

impl fmt::Display for NotLinearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order of these explains them; key {}, in real time:", self.key)?;
        for Event { client, access, ended, .. } in &self.events {
            match (ended, access) {
                (false, Access::Read(_)) => writeln!(f, "  client {client} reads")?,
                (true, Access::Read(found)) => writeln!(f, "  client {client} read {found:?}")?,
                (false, Access::Write(value)) => writeln!(f, "  client {client} writes {value}")?,
                (true, Access::Write(value)) => writeln!(f, "  client {client} wrote {value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: usize = 0;

    fn whole(history: &History, client: usize, access: Access) {
        history.begin(client, X, access);
        history.end(client, X, access);
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = History::default();
        whole(&history, 0, Access::Write(1));
        whole(&history, 0, Access::Write(2));
        whole(&history, 1, Access::Read(Some(1)));
        assert_eq!(history.check().map_err(|error| error.key), Err(X));
    }

    #[test]
    fn a_lost_write_is_found() {
        let history = History::default();
        whole(&history, 0, Access::Write(1));
        whole(&history, 1, Access::Read(None));
        assert!(history.check().is_err());
    }

    #[test]
    fn two_readers_that_see_two_writes_in_two_orders_are_found() {
        let history = History::default();
        history.begin(0, X, Access::Write(1));
        history.begin(1, X, Access::Write(2));
        for (reader, first, second) in [(2, 1, 2), (3, 2, 1)] {
            whole(&history, reader, Access::Read(Some(first)));
            whole(&history, reader, Access::Read(Some(second)));
        }
        history.end(0, X, Access::Write(1));
        history.end(1, X, Access::Write(2));
        assert!(history.check().is_err());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_show_or_not_and_a_withdrawn_one_may_not() {
        for found in [None, Some(1)] {
            let history = History::default();
            history.begin(0, X, Access::Write(1));
            whole(&history, 1, Access::Read(found));
            assert_eq!(history.check(), Ok(()));
            history.withdraw(0, X);
            assert_eq!(history.check().is_ok(), found.is_none());
        }
    }

    #[test]
    fn a_read_during_a_write_may_see_either_and_keys_do_not_mix() {
        for found in [None, Some(1)] {
            let history = History::default();
            history.begin(0, X, Access::Write(1));
            whole(&history, 1, Access::Read(found));
            history.end(0, X, Access::Write(1));
            history.begin(1, X + 1, Access::Read(None));
            history.end(1, X + 1, Access::Read(None));
            assert_eq!(history.check(), Ok(()));
        }
    }
}
