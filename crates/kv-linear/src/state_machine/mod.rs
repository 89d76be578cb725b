//! What operations do to the keys.

pub(crate) mod dedup;
mod draft;
pub(crate) mod expiry;
pub(crate) mod numbers;
pub(crate) mod page;
pub(crate) mod sessions;
#[cfg(test)]
mod tests;

use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Done, Key, NotDone, Operation, Outcome, Page,
    Scan, Served, Store, Version, Versioned,
};

use crate::mutation::{Broken, Mutation};
use crate::state_machine::draft::Draft;
use crate::state_machine::expiry::{Deadlines, Expiry, Held, Live};
use crate::state_machine::page::PageBounds;
use crate::state_machine::sessions::{Logged, Sessions, Verdict};

/// The keys with their values: a function of the entries applied, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateMachine {
    store: Store<Held>,
    deadlines: Deadlines,
    sessions: Sessions,
    /// Log time: that of the last entry applied. It never falls.
    now_ms: u64,
}

impl StateMachine {
    /// Puts a key of a checkpoint where it was.
    pub(crate) fn restore(&mut self, key: Key, held: Held) {
        self.deadlines.change(&key, Expiry::NEVER, held.expiry);
        self.store.insert(key, held);
    }

    /// Goes on from a moment of log time at which the state was as it is.
    pub(crate) fn resume(&mut self, log_time_ms: u64) {
        self.now_ms = self.now_ms.max(log_time_ms);
    }

    /// Goes on with another state.
    pub(crate) fn replace(&mut self, next: Self, broken: Broken) {
        self.store.replace(next.store);
        self.deadlines = next.deadlines;
        self.sessions = next.sessions;
        self.now_ms = next.now_ms;
        if broken.is(Mutation::CheckpointForgetsTheInstalled) {
            self.store.note_recovered();
        }
    }

    /// The keys that are there.
    pub(crate) const fn live(&self) -> Live<'_> {
        Live { store: &self.store, now_ms: self.now_ms }
    }

    /// The keys, some of which may be over.
    pub(crate) const fn store(&self) -> &Store<Held> {
        &self.store
    }

    /// The same for views of them.
    pub(crate) const fn store_mut(&mut self) -> &mut Store<Held> {
        &mut self.store
    }

    pub(crate) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The same, for a checkpoint to be read into them.
    pub(crate) const fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.sessions
    }

    /// The next moment at which a key is to be removed.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.next_ms()
    }

    /// Goes on to the log time of an entry. Keys whose time is up are not there from here on; some
    /// of them are removed, on all servers the same.
    pub(crate) fn advance(&mut self, log_time_ms: u64) {
        let before_ms = self.now_ms;
        self.resume(log_time_ms);
        self.sessions.advance(before_ms, self.now_ms);
        for _ in 0..REMOVED_AT_ONCE {
            let Some(key) = self.deadlines.pop_over(self.now_ms) else {
                return;
            };
            self.store.remove(&key);
        }
    }

    /// Carries out a request as the operation with a number, unless it is one of a session that was
    /// carried out before, or of none.
    pub(crate) fn apply_once(
        &mut self,
        logged: &Logged,
        number: u64,
        bounds: PageBounds,
        broken: Broken,
    ) -> Outcome {
        let Logged { identity, operation } = logged;
        let Some(identity) = identity else {
            return self.apply(operation, number, bounds, broken);
        };
        if let Verdict::Answered(outcome) = self.sessions.look_up(identity, self.now_ms)
            && !broken.is(Mutation::DuplicateCarriedOut)
        {
            let is_done = matches!(outcome, Outcome::Done(_));
            if is_done && broken.is(Mutation::AnswerNotKept) {
                return self.read(operation, number, 0, (bounds, broken));
            }
            return outcome;
        }
        let outcome = self.apply(operation, number, bounds, broken);
        // How large a page is, is each server's own affair; and to read again does no harm.
        if !operation.is_read_only() {
            self.sessions.keep(identity, number, &outcome);
        }
        outcome
    }

    /// Carries out the operation with a number. `bounds` limit a page that is read; they
    /// have no part in what is written.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation,
        number: u64,
        bounds: PageBounds,
        broken: Broken,
    ) -> Outcome {
        let answer = match operation {
            Operation::Batch(batch) => self.apply_batch(batch, number, broken),
            Operation::Scan(_) | Operation::Dump(_) | Operation::Lead { .. } => {
                Ok(self.page(operation, bounds, broken))
            }
            Operation::OpenSession => {
                self.sessions.open(number, self.now_ms);
                Ok(Answer::Results(Vec::new()))
            }
        };
        outcome(answer, number)
    }

    /// Reads at the position after operation `number`. How long keys last from now on is counted
    /// from `clock_ms`, if log time is behind that.
    pub(crate) fn read(
        &self,
        operation: &Operation,
        number: u64,
        clock_ms: u64,
        (bounds, broken): (PageBounds, Broken),
    ) -> Outcome {
        let answer = match operation {
            Operation::Batch(batch) => match batch.single() {
                Some(Command::Get { key }) => Ok(self.get(key)),
                _ => {
                    let clock_ms = clock_ms.max(self.now_ms);
                    let mut draft = Draft::new(self.live(), Version::Log(number), clock_ms, broken);
                    self.run(&mut draft, batch, broken).map(Answer::Results)
                }
            },
            Operation::Scan(_)
            | Operation::Dump(_)
            | Operation::OpenSession
            | Operation::Lead { .. } => Ok(self.page(operation, bounds, broken)),
        };
        outcome(answer, number)
    }

    fn page(&self, operation: &Operation, bounds: PageBounds, broken: Broken) -> Answer {
        Answer::Page(match operation {
            Operation::Scan(scan) if broken.is(Mutation::ScanIgnoresEnd) => {
                let endless = Scan { until: None, ..scan.clone() };
                page::of_scan(self.live(), &endless, bounds)
            }
            Operation::Scan(scan) => page::of_scan(self.live(), scan, bounds),
            Operation::Dump(dump) => page::of_dump(self.live(), dump, bounds),
            Operation::Batch(_) | Operation::OpenSession | Operation::Lead { .. } => {
                Page { entries: Vec::new(), next: None }
            }
        })
    }

    fn get(&self, key: &Key) -> Answer {
        Answer::Results(vec![CommandResult::Value(self.live().get(key).cloned())])
    }

    fn apply_batch(
        &mut self,
        batch: &Batch,
        number: u64,
        broken: Broken,
    ) -> Result<Answer, NotDone> {
        if let Some(Command::Put { key, value, time_to_live }) = batch.single() {
            let versioned = Versioned { value: value.detached(), version: Version::Log(number) };
            let expiry = Expiry::after(self.now_ms, *time_to_live);
            self.write(key.detached(), Some(Held { versioned, expiry }));
            return Ok(Answer::Results(vec![CommandResult::Written]));
        }
        let mut draft = Draft::new(self.live(), Version::Log(number), self.now_ms, broken);
        let results = self.run(&mut draft, batch, broken);
        if results.is_ok() || broken.is(Mutation::FailedBatchWrites) {
            for (key, held) in draft.into_writes() {
                self.write(key, held);
            }
        }
        results.map(Answer::Results)
    }

    /// Carries out the commands on a draft. What they write is of no use unless all conditions hold
    /// and all commands succeed.
    fn run(
        &self,
        draft: &mut Draft<'_>,
        batch: &Batch,
        broken: Broken,
    ) -> Result<Vec<CommandResult>, NotDone> {
        let looked_at = if broken.is(Mutation::FirstConditionOnly) { 1 } else { usize::MAX };
        for (place, condition) in (0u16..).zip(batch.conditions()).take(looked_at) {
            let found = self.live().held(&condition.key);
            let is_passed = matches!(condition.check, Check::ExpiryIs(_))
                && broken.is(Mutation::ExpiryConditionIgnored);
            if !is_passed && !holds(&condition.check, found) {
                let found = found.map(|held| held.versioned.clone());
                return Err(NotDone::ConditionFailed { index: place, found });
            }
        }
        let commands = (0u16..).zip(batch.commands());
        commands.map(|(place, command)| draft.carry_out(place, command)).collect()
    }

    fn write(&mut self, key: Key, held: Option<Held>) {
        let after = held.as_ref().map_or(Expiry::NEVER, |held| held.expiry);
        if after != Expiry::NEVER || !self.deadlines.is_empty() {
            let before = self.store.get(&key).map_or(Expiry::NEVER, |held| held.expiry);
            self.deadlines.change(&key, before, after);
        }
        match held {
            Some(held) => self.store.insert(key, held),
            None => self.store.remove(&key),
        }
    }
}

fn outcome(answer: Result<Answer, NotDone>, number: u64) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Done(Done {
            answer,
            version: Some(Version::Log(number)),
            served: Served::Linearizable,
        }),
        Err(reason) => Outcome::NotDone(reason),
    }
}

fn holds(check: &Check, found: Option<&Held>) -> bool {
    match check {
        Check::Absent => found.is_none(),
        Check::Present => found.is_some(),
        Check::ValueIs(value) => found.is_some_and(|held| held.versioned.value == *value),
        Check::VersionIs(version) => found.is_some_and(|held| held.versioned.version == *version),
        Check::ExpiryIs(moment) => found.is_some_and(|held| held.expiry.moment() == *moment),
    }
}

/// How many keys one entry removes at most whose time is up. More are not there all the same, and
/// the next entries remove them.
const REMOVED_AT_ONCE: usize = 1_000;
