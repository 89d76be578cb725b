//! What simulated clients ask for.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Batch, Check, Command, Condition, Dump, Key, Level, Operation, Quorum, RequestIdentity,
    RequestOptions, Scan, SeedStream, SessionId, Value, Version,
};

/// A stream of requests on a few keys, in which no two writes write the same value.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    stream: SeedStream,
    keys: u64,
    written: u64,
}

impl Workload {
    /// Requests on `keys` keys; the seed decides them.
    pub(crate) const fn new(seed: u64, keys: u64) -> Self {
        Self { stream: SeedStream::new(seed), keys, written: 0 }
    }

    /// The next request: mostly puts, gets and deletes, and some of each other operation.
    pub(crate) fn next(&mut self) -> (Operation, RequestOptions) {
        let op = match self.stream.below(20) {
            0..=8 => Operation::put(self.key(), self.value()),
            9..=15 => Operation::get(self.key()),
            16 | 17 => Operation::delete(self.key()),
            18 => self.dump(),
            _ => self.rare_operation(),
        };
        (op, self.options())
    }

    /// Any operation at all, all kinds alike, with options that an engine may refuse.
    pub(crate) fn any(&mut self) -> (Operation, RequestOptions) {
        let op = match self.stream.below(7) {
            0 => Operation::put(self.key(), self.value()),
            1 => Operation::get(self.key()),
            2 => Operation::delete(self.key()),
            3 => self.dump(),
            4 => Operation::OpenSession,
            _ => self.rare_operation(),
        };
        let quorum = |stream: &mut SeedStream| match stream.below(8) {
            0 => Some(Quorum::Majority),
            1 => Some(Quorum::All),
            2 => Some(Quorum::Count(0)),
            3 => Some(Quorum::Count(u16::MAX)),
            4 => Some(Quorum::Count(1)),
            _ => None,
        };
        let options = RequestOptions::default()
            .with_timeout(match self.stream.below(5) {
                0 => Duration::ZERO,
                1 => Duration::MAX,
                _ => self.options().timeout,
            })
            .with_write_quorum(quorum(&mut self.stream))
            .with_read_quorum(quorum(&mut self.stream))
            .with_level(match self.stream.below(5) {
                0 => Some(Level::Linearizable),
                1 => Some(Level::Sequential),
                2 => Some(Level::Sequenced),
                _ => None,
            })
            .with_seen(self.stream.chance(300).then(|| Version::Log(self.stream.below(20))))
            .with_identity(self.stream.chance(200).then(|| RequestIdentity {
                session: SessionId(self.stream.below(20)),
                number: self.stream.below(5),
                acknowledged_below: self.stream.below(5),
            }));
        (op, options)
    }

    fn options(&mut self) -> RequestOptions {
        RequestOptions::default().with_timeout(Duration::from_millis(50 + self.stream.below(5_000)))
    }

    fn dump(&mut self) -> Operation {
        let after = self.stream.chance(500).then(|| self.key());
        let limit = [0, 1, 3, u32::MAX];
        let limit = *pick(&mut self.stream, &limit).unwrap_or(&1);
        Operation::Dump(Dump { after, limit })
    }

    fn rare_operation(&mut self) -> Operation {
        match self.stream.below(6) {
            0 => Operation::of(Command::Increment {
                key: self.key(),
                by: i64::from_le_bytes(self.stream.next_u64().to_le_bytes()),
            }),
            1 => Operation::of(Command::Append { key: self.key(), suffix: self.value() }),
            2 => Operation::of(Command::Put {
                key: self.key(),
                value: self.value(),
                time_to_live: Some(Duration::from_millis(self.stream.below(2_000))),
            }),
            3 => Operation::Scan(Scan {
                from: Bytes::new(),
                until: self.stream.chance(500).then(|| Bytes::from_static(b"k2")),
                after: self.stream.chance(300).then(|| self.key()),
                limit: 10,
            }),
            4 => {
                let commands = vec![
                    Command::Get { key: self.key() },
                    Command::Put { key: self.key(), value: self.value(), time_to_live: None },
                ];
                batch(Vec::new(), commands)
            }
            _ => {
                let condition = Condition { key: self.key(), check: self.check() };
                let command =
                    Command::Put { key: self.key(), value: self.value(), time_to_live: None };
                batch(vec![condition], vec![command])
            }
        }
    }

    fn check(&mut self) -> Check {
        match self.stream.below(4) {
            0 => Check::Absent,
            1 => Check::Present,
            2 => Check::ValueIs(self.value()),
            _ => Check::VersionIs(Version::Log(self.stream.below(20))),
        }
    }

    fn key(&mut self) -> Key {
        key(&format!("k{}", self.stream.below(self.keys)))
    }

    /// A value that was never given out before.
    fn value(&mut self) -> Value {
        self.written += 1;
        value(&format!("v{}", self.written))
    }
}

/// A key of a short text that is not empty.
pub(crate) fn key(text: &str) -> Key {
    match Key::new(text.to_owned()) {
        Ok(key) => key,
        Err(error) => panic!("a workload's key: {error}"),
    }
}

/// A value of a short text.
pub(crate) fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap_or_default()
}

/// One of some things, all alike; `None` of nothing.
pub(crate) fn pick<'a, T>(stream: &mut SeedStream, from: &'a [T]) -> Option<&'a T> {
    let len = u64::try_from(from.len()).unwrap_or(u64::MAX);
    let index = usize::try_from(stream.below(len)).unwrap_or(usize::MAX);
    from.get(index)
}

fn batch(conditions: Vec<Condition>, commands: Vec<Command>) -> Operation {
    match Batch::new(conditions, commands) {
        Ok(batch) => Operation::Batch(batch),
        Err(error) => panic!("a workload's batch: {error}"),
    }
}
