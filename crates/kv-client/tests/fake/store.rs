//! A server that keeps keys, for tests of the command line.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kv_core::{
    Answer, Check, ClusterId, Command, CommandResult, Counter, Done, Incarnation, Key, KeyExpiry,
    NotDone, Operation, Outcome, Page, PeerLag, Positions, RequestOptions, Role, Scan, Served,
    Status, TimeToLive, Value, Version, Versioned,
};
use kv_proto::{RequestBody, ResponseBody};

use super::{FakeConnection, FakeServer, cluster};

/// All that was asked of a store, in order.
pub type Log = Arc<Mutex<Vec<(Operation, RequestOptions)>>>;

/// Serves any number of connections from one map until the test ends.
pub fn serve(server: FakeServer) -> Log {
    let log = Log::default();
    let store = Arc::new(Mutex::new(Store::default()));
    let asked = Arc::clone(&log);
    tokio::spawn(async move {
        loop {
            let connection = server.accept().await;
            tokio::spawn(serve_one(connection, Arc::clone(&store), Arc::clone(&asked)));
        }
    });
    log
}

async fn serve_one(mut connection: FakeConnection, store: Arc<Mutex<Store>>, log: Log) {
    while let Some(request) = connection.next_request().await {
        let body = match request.body {
            RequestBody::Execute { op, options } => {
                log.lock().unwrap().push((op.clone(), options));
                ResponseBody::Outcome(store.lock().unwrap().execute(&op))
            }
            RequestBody::Status => ResponseBody::Status(Box::new(status())),
            RequestBody::Cancel | RequestBody::Snapshot => continue,
        };
        connection.respond(request.id, body).await;
    }
}

#[derive(Default)]
struct Store {
    map: BTreeMap<Key, Versioned>,
    writes: u64,
}

impl Store {
    fn execute(&mut self, op: &Operation) -> Outcome {
        let answer = match op {
            Operation::Batch(batch) => {
                for (index, condition) in (0..).zip(batch.conditions()) {
                    let found = self.map.get(&condition.key).cloned();
                    if !holds(&condition.check, found.as_ref()) {
                        return Outcome::NotDone(NotDone::ConditionFailed { index, found });
                    }
                }
                let before = (self.map.clone(), self.writes);
                let commands = (0..).zip(batch.commands());
                let results = commands.map(|(index, command)| self.apply(index, command));
                match results.collect::<Result<Vec<_>, _>>() {
                    Ok(results) => Answer::Results(results),
                    Err(reason) => {
                        (self.map, self.writes) = before;
                        return Outcome::NotDone(reason);
                    }
                }
            }
            Operation::Dump(dump) => Answer::Page(self.page(dump.after.as_ref())),
            Operation::Scan(scan) => Answer::Page(self.scan(scan)),
            Operation::OpenSession => {
                self.writes += 1;
                Answer::Results(Vec::new())
            }
            Operation::Lead { .. } => Answer::Results(Vec::new()),
        };
        Outcome::Done(Done {
            answer,
            version: Some(Version::Log(self.writes)),
            served: Served::Quorum { servers: 2 },
        })
    }

    fn apply(&mut self, index: u16, command: &Command) -> Result<CommandResult, NotDone> {
        match command {
            Command::Get { key } => Ok(CommandResult::Value(self.map.get(key).cloned())),
            Command::Put { key, value, .. } => {
                self.writes += 1;
                let version = Version::Log(self.writes);
                let value = value.clone();
                self.map.insert(key.clone(), Versioned { value, version });
                Ok(CommandResult::Written)
            }
            Command::Delete { key } => {
                self.writes += 1;
                self.map.remove(key);
                Ok(CommandResult::Written)
            }
            Command::Increment { key, by } => {
                let old = self.map.get(key).map(|found| found.value.as_bytes());
                let old = old.map_or("0", |bytes| std::str::from_utf8(bytes).unwrap());
                let Ok(old) = old.parse::<i64>() else {
                    return Err(NotDone::NotANumber { index });
                };
                let (key, number) = (key.clone(), old + by);
                let value = Value::new(number.to_string()).unwrap();
                self.apply(index, &Command::Put { key, value, time_to_live: None })?;
                Ok(CommandResult::Number(number))
            }
            // Its keys last for ever.
            Command::Expire { key, .. } | Command::ExpireAt { key, .. } => {
                Ok(CommandResult::Changed(self.map.contains_key(key)))
            }
            Command::Expiry { key } => Ok(CommandResult::Expiry(if self.map.contains_key(key) {
                KeyExpiry::Never
            } else {
                KeyExpiry::Missing
            })),
            Command::Rewrite { key, value } => {
                let (key, value) = (key.clone(), value.clone());
                self.apply(index, &Command::Put { key, value, time_to_live: None })
            }
            Command::TimeToLive { key } => {
                Ok(CommandResult::TimeToLive(if self.map.contains_key(key) {
                    TimeToLive::Endless
                } else {
                    TimeToLive::Missing
                }))
            }
            Command::Append { key, suffix } => {
                let old = self.map.get(key).map_or(&b""[..], |found| found.value.as_bytes());
                let value = Value::new([old, suffix.as_bytes()].concat()).unwrap();
                let length = u64::try_from(value.as_bytes().len()).unwrap();
                let key = key.clone();
                self.apply(index, &Command::Put { key, value, time_to_live: None })?;
                Ok(CommandResult::Length(length))
            }
        }
    }

    /// One page of all that is asked for.
    fn scan(&self, scan: &Scan) -> Page {
        let rest = self.map.iter().filter(|(key, _)| {
            let key = key.as_bytes();
            key >= &scan.from[..] && scan.until.as_ref().is_none_or(|until| key < &until[..])
        });
        let entries = rest.map(|(key, found)| (key.clone(), found.clone())).collect();
        Page { entries, next: None }
    }

    /// Pages of two entries, so that there are several.
    fn page(&self, after: Option<&Key>) -> Page {
        let rest = self.map.iter().filter(|(key, _)| Some(*key) > after);
        let mut entries: Vec<_> = rest.map(|(key, found)| (key.clone(), found.clone())).collect();
        let has_more = entries.len() > 2;
        entries.truncate(2);
        let next = entries.last().filter(|_| has_more).map(|(key, _)| key.clone());
        Page { entries, next }
    }
}

fn holds(check: &Check, found: Option<&Versioned>) -> bool {
    match (check, found) {
        (Check::Absent, found) => found.is_none(),
        (Check::Present, found) => found.is_some(),
        (Check::ValueIs(value), found) => found.is_some_and(|found| found.value == *value),
        (Check::VersionIs(version), found) => found.is_some_and(|found| found.version == *version),
        (Check::ExpiryIs(expiry), found) => found.is_some() && expiry.is_none(),
    }
}

pub fn status() -> Status {
    Status {
        engine: "fake".to_owned(),
        node: super::node(2),
        incarnation: Incarnation::following(Incarnation::UNKNOWN, 0xab),
        cluster_id: Some(ClusterId(0xc1)),
        cluster: cluster(),
        role: Role::Sequencer,
        connected: vec![super::node(1)],
        waiting: None,
        positions: Positions { keys: Some(3), ..Positions::default() },
        lags: vec![PeerLag { peer: super::node(1), entries: 1 }],
        counters: vec![(Counter::Resends, 4)],
    }
}
