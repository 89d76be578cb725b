//! What the clients of a round do while servers are killed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_check::{Event, Process as Caller, Refusal, Seen};
use kv_client::{Certainty, Client, ClientError};
use kv_core::{
    Answer, Batch, Command, CommandResult, Key, Operation, RequestOptions, SeedStream, Value,
    Version,
};
use kv_tests::wait_until;

use crate::rising::{RisingKey, RisingKeys};

pub(crate) const CLIENTS: u64 = 4;

const BALLAST_BYTES: usize = 20_000;

/// Keys of a round that are read and written by all clients; each is judged by itself.
const SHARED_KEYS: u64 = 8;

/// What the clients of a round share.
pub(crate) struct Round {
    number: u64,
    pub(crate) stopped: AtomicBool,
    done: AtomicU64,
    pub(crate) history: Mutex<Vec<(Caller, Event)>>,
    callers: AtomicU64,
    rising: Arc<RisingKeys>,
}

impl Round {
    pub(crate) fn new(number: u64, rising: Arc<RisingKeys>) -> Self {
        Self {
            number,
            stopped: AtomicBool::new(false),
            done: AtomicU64::new(0),
            history: Mutex::default(),
            callers: AtomicU64::new(CLIENTS),
            rising,
        }
    }

    pub(crate) fn wait_for_more(&self, count: u64) {
        let before = self.done.load(Ordering::Relaxed);
        wait_until("operations are done", || self.done.load(Ordering::Relaxed) >= before + count);
    }

    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn record(&self, caller: u64, event: Event) {
        self.history.lock().unwrap().push((Caller(caller), event));
    }
}

/// Puts a key of its own, then reads or writes one of the shared ones, and so on; returns its own
/// keys that were acknowledged.
pub(crate) async fn work(
    round: Arc<Round>,
    connection: Client,
    client: u64,
    mut draw: SeedStream,
) -> Vec<String> {
    // So much that within some rounds journals go on in further segments, and checkpoints let the
    // first ones go; of one key, so that what servers hold stays small.
    let ballast = put(format!("ballast.{client}"), vec![0; BALLAST_BYTES]);
    let mut acknowledged = Vec::new();
    let mut caller = client;
    for turn in 0_u64.. {
        if round.is_over() {
            break;
        }
        let own = format!("own.{}.{client}.{turn}", round.number);
        if let Told::Done(..) = execute(&connection, put(own.clone(), own.clone())).await {
            acknowledged.push(own);
            round.done.fetch_add(1, Ordering::Relaxed);
        }
        execute(&connection, ballast.clone()).await;
        let key = format!("all.{}.{}", round.number, draw.below(SHARED_KEYS));
        let command =
            if draw.chance(500) { get(key) } else { put(key, format!("{client}.{turn}")) };
        let batch = Batch::new(Vec::new(), vec![command.clone()]).unwrap();
        round.record(caller, Event::Invoke(batch));
        match execute(&connection, command).await {
            Told::Done(result, _) => round.record(caller, Event::Ok(vec![seen(result)])),
            Told::NotDone => round.record(caller, Event::Fail(Refusal::NeverTried)),
            Told::Unknown(_) => {
                round.record(caller, Event::Info);
                caller = round.callers.fetch_add(1, Ordering::Relaxed);
            }
        }
        pause(&mut draw).await;
    }
    acknowledged
}

/// Puts the next number into a key that only this client writes, or reads such a key of any client,
/// and so on.
pub(crate) async fn count_up(
    round: Arc<Round>,
    connection: Client,
    client: u64,
    mut draw: SeedStream,
) {
    while !round.is_over() {
        if draw.chance(500) {
            let begun = round.rising.begin_put(RisingKey::to_write(client, &mut draw));
            let command = put(begun.key.to_string(), begun.number.to_string());
            let told = execute(&connection, command).await;
            round.rising.end_put(&begun, &told).unwrap_or_else(|fault| panic!("{fault}"));
        } else {
            let look = round.rising.begin_read(RisingKey::to_read(&mut draw));
            if let Told::Done(result, _) = execute(&connection, get(look.key.to_string())).await {
                let CommandResult::Value(found) = result else {
                    panic!("a get was answered by {result:?}");
                };
                let fits = round.rising.end_read(&look, found);
                fits.unwrap_or_else(|fault| panic!("{fault}"));
            }
        }
        pause(&mut draw).await;
    }
}

/// What a client knows of a command.
#[derive(Debug)]
pub(crate) enum Told {
    /// Its result, and the version that it made.
    Done(CommandResult, Option<Version>),
    NotDone,
    /// The version that it has if it took effect, where that is known.
    Unknown(Option<Version>),
}

pub(crate) fn put(key: String, value: impl Into<Vec<u8>>) -> Command {
    let value = Value::new(value.into()).unwrap();
    Command::Put { key: Key::new(key).unwrap(), value, time_to_live: None }
}

pub(crate) fn get(key: String) -> Command {
    Command::Get { key: Key::new(key).unwrap() }
}

pub(crate) fn seen(result: CommandResult) -> Seen {
    match result {
        CommandResult::Value(found) => Seen::Value(found.map(|found| found.value)),
        CommandResult::Written => Seen::Written,
        CommandResult::Number(number) => Seen::Number(number),
        CommandResult::Length(_)
        | CommandResult::Changed(_)
        | CommandResult::TimeToLive(_)
        | CommandResult::Expiry(_) => panic!("not asked for"),
    }
}

async fn execute(connection: &Client, command: Command) -> Told {
    // A server may have gone: then nobody waits for long.
    execute_within(Duration::from_millis(500), connection, command).await
}

pub(crate) async fn execute_within(
    timeout: Duration,
    connection: &Client,
    command: Command,
) -> Told {
    let options = RequestOptions::default().with_timeout(timeout);
    match connection.execute(Operation::of(command), options).await {
        Ok(done) => match done.answer {
            Answer::Results(results) => {
                Told::Done(results.into_iter().next().unwrap(), done.version)
            }
            Answer::Page(_) => panic!("a page was not asked for"),
        },
        Err(ClientError::Unknown(unknown)) => Told::Unknown(unknown.version),
        Err(error) => match error.certainty() {
            Certainty::NotDone => Told::NotDone,
            Certainty::Unknown => Told::Unknown(None),
        },
    }
}

async fn pause(draw: &mut SeedStream) {
    tokio::time::sleep(Duration::from_millis(draw.below(4))).await;
}
