//! Servers killed as `kill -9` does, one or all at once, under the load of several clients, again
//! and again on the same data: nothing acknowledged is lost, and what clients of the linearizable
//! engine see is explained by one order of all operations.
//!
//! Both models have a test, which mostly waits, for servers that start and for disks, so that the two
//! run beside each other. `KV_KILL_ROUNDS=100` asks for that many rounds, half of them of each model,
//! instead of a quarter of a minute; `KV_TEST_SEED` draws the lots of another run again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its seed and its rounds"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kv_client::{Certainty, Client};
use kv_core::{
    Answer, Batch, Command, CommandResult, Key, Operation, Outcome, RequestOptions, SeedStream,
    Value,
};
use kv_sim::{Budget, Event, History, Process as Caller, Refusal, Seen, Verdict, linearizability};
use kv_tests::{Process, Site, wait_until};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const CLIENTS: u64 = 4;

const BALLAST_BYTES: usize = 20_000;

/// Keys of a round that are read and written by all clients; each is judged by itself.
const SHARED_KEYS: u64 = 8;

/// A cluster of three, and all keys that were acknowledged so far.
struct Rounds {
    site: Site,
    words: [String; 3],
    servers: [Process; 3],
    draw: SeedStream,
    runtime: Runtime,
    acknowledged: Vec<String>,
    is_linearizable: bool,
}

/// What the clients of a round share.
struct Round {
    number: u64,
    stopped: AtomicBool,
    done: AtomicU64,
    history: Mutex<Vec<(Caller, Event)>>,
    callers: AtomicU64,
}

impl Rounds {
    fn begin(model: &str, seed: u64) -> Self {
        let site = Site::of(3);
        let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2 --op-log off --checkpoint-mib 1"));
        let servers = site.ready_servers(words.each_ref().map(String::as_str));
        Self {
            site,
            words,
            servers,
            draw: SeedStream::new(seed),
            runtime: Runtime::new().unwrap(),
            acknowledged: Vec::new(),
            is_linearizable: model == "linearizability",
        }
    }

    fn run(&mut self, number: u64) {
        let round = Arc::new(Round {
            number,
            stopped: AtomicBool::new(false),
            done: AtomicU64::new(0),
            history: Mutex::default(),
            callers: AtomicU64::new(CLIENTS),
        });
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let server = u16::try_from(client % 3 + 1).unwrap();
            let connection = self.runtime.block_on(self.site.connect(server));
            let draw = SeedStream::new(self.draw.next_u64());
            let work = work(Arc::clone(&round), connection, client, draw);
            clients.spawn_on(work, self.runtime.handle());
        }
        round.wait_for_more(10 + self.draw.below(30));
        self.kill_and_restart();
        round.wait_for_more(20);
        round.stopped.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(keys) = self.runtime.block_on(clients.join_next()) {
            acknowledged.extend(keys.unwrap());
        }
        self.assert_held(&acknowledged);
        self.acknowledged.extend(acknowledged);
        if self.is_linearizable {
            let history = History { events: std::mem::take(&mut round.history.lock().unwrap()) };
            let verdict = linearizability(&history, Budget::default()).unwrap();
            assert_eq!(verdict, Verdict::Linearizable, "round {number}: {verdict}");
        }
    }

    /// All servers at once, or one.
    fn kill_and_restart(&mut self) {
        let victim = usize::try_from(self.draw.below(4)).unwrap();
        let is_victim = |place: usize| victim == 3 || victim == place;
        for (place, server) in self.servers.iter_mut().enumerate() {
            if is_victim(place) {
                server.kill();
            }
        }
        for (place, (server, words)) in self.servers.iter_mut().zip(&self.words).enumerate() {
            if is_victim(place) {
                *server = self.site.server(words);
            }
        }
        for (place, server) in self.servers.iter_mut().enumerate() {
            if is_victim(place) {
                server.wait_for("ready");
            }
        }
    }

    fn assert_held(&mut self, keys: &[String]) {
        let server = u16::try_from(self.draw.below(3) + 1).unwrap();
        self.runtime.block_on(async {
            let client = self.site.connect(server).await;
            for key in keys {
                let found = client.get(Key::new(key.clone()).unwrap()).await.unwrap().found;
                let found = found.map(|found| found.value);
                assert_eq!(found, Some(Value::new(key.clone()).unwrap()), "{key} was acknowledged");
            }
        });
    }
}

impl Round {
    fn wait_for_more(&self, count: u64) {
        let before = self.done.load(Ordering::Relaxed);
        wait_until("operations are done", || self.done.load(Ordering::Relaxed) >= before + count);
    }

    fn record(&self, caller: u64, event: Event) {
        self.history.lock().unwrap().push((Caller(caller), event));
    }
}

/// Puts a key of its own, then reads or writes one of the shared ones, and so on; returns its own
/// keys that were acknowledged.
async fn work(
    round: Arc<Round>,
    connection: Client,
    client: u64,
    mut draw: SeedStream,
) -> Vec<String> {
    // So much that within some rounds journals go on in further segments, and checkpoints let the
    // first ones go; of one key, so that what servers hold stays small.
    let ballast = Command::Put {
        key: Key::new(format!("ballast.{client}")).unwrap(),
        value: Value::new(vec![0; BALLAST_BYTES]).unwrap(),
        time_to_live: None,
    };
    let mut acknowledged = Vec::new();
    let mut caller = client;
    for turn in 0_u64.. {
        if round.stopped.load(Ordering::Relaxed) {
            break;
        }
        let own = format!("own.{}.{client}.{turn}", round.number);
        let put = Command::Put {
            key: Key::new(own.clone()).unwrap(),
            value: Value::new(own.clone()).unwrap(),
            time_to_live: None,
        };
        if let Told::Done(_) = execute(&connection, put).await {
            acknowledged.push(own);
            round.done.fetch_add(1, Ordering::Relaxed);
        }
        execute(&connection, ballast.clone()).await;
        let key = Key::new(format!("all.{}.{}", round.number, draw.below(SHARED_KEYS))).unwrap();
        let command = if draw.chance(500) {
            Command::Get { key }
        } else {
            let value = Value::new(format!("{client}.{turn}")).unwrap();
            Command::Put { key, value, time_to_live: None }
        };
        let batch = Batch::new(Vec::new(), vec![command.clone()]).unwrap();
        round.record(caller, Event::Invoke(batch));
        match execute(&connection, command).await {
            Told::Done(seen) => round.record(caller, Event::Ok(vec![seen])),
            Told::NotDone => round.record(caller, Event::Fail(Refusal::NeverTried)),
            Told::Unknown => {
                round.record(caller, Event::Info);
                caller = round.callers.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(draw.below(4))).await;
    }
    acknowledged
}

enum Told {
    Done(Seen),
    NotDone,
    Unknown,
}

async fn execute(connection: &Client, command: Command) -> Told {
    // A server may have gone: then nobody waits for long.
    let options =
        RequestOptions { timeout: Duration::from_millis(500), ..RequestOptions::default() };
    match connection.execute(Operation::of(command), options).await {
        Ok(Outcome::Done(done)) => match done.answer {
            Answer::Results(results) => match results.into_iter().next().unwrap() {
                CommandResult::Value(found) => Told::Done(Seen::Value(found.map(|v| v.value))),
                CommandResult::Written => Told::Done(Seen::Written),
                CommandResult::Number(_) | CommandResult::Length(_) => panic!("not asked for"),
            },
            Answer::Page(_) => panic!("a page was not asked for"),
        },
        Ok(Outcome::NotDone(_)) => Told::NotDone,
        Ok(Outcome::Unknown(_)) => Told::Unknown,
        Err(error) => match error.certainty() {
            Certainty::NotDone => Told::NotDone,
            Certainty::Unknown => Told::Unknown,
        },
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Kills servers of a model again and again, for a while or for half of the rounds asked for.
fn kill_again_and_again(model: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = setting("KV_TEST_SEED").unwrap_or(now.subsec_nanos().into());
    println!("{model}: the lots were drawn by KV_TEST_SEED={seed}");
    let rounds_max = setting("KV_KILL_ROUNDS");
    let mut rounds = Rounds::begin(model, seed);
    let engine = if rounds.is_linearizable { "linearizable" } else { "eventual" };
    let first = format!("kv-data/1-{engine}/journal-000000000001.segment");
    let first_segment = rounds.site.folder().join(first);
    let began = Instant::now();
    let mut number = 0;
    let is_over = |time: Duration| time >= TIME && (!first_segment.exists() || time >= TIME_MAX);
    while rounds_max.map_or(!is_over(began.elapsed()), |max| number < max / 2) {
        rounds.run(number);
        number += 1;
    }
    let acknowledged = std::mem::take(&mut rounds.acknowledged);
    assert!(!acknowledged.is_empty());
    rounds.assert_held(&acknowledged);
    assert!(!first_segment.exists(), "no checkpoint let a segment go");
    println!(
        "{model}: {number} rounds of kill -9 in {:.0?}, {} acknowledged writes, all there",
        began.elapsed(),
        acknowledged.len()
    );
}

#[test]
fn linearizable_servers_killed_again_and_again_lose_nothing() {
    kill_again_and_again("linearizability");
}

#[test]
fn eventual_servers_killed_again_and_again_lose_nothing() {
    kill_again_and_again("eventual");
}

/// How long each model is tried where no number of rounds is asked for.
const TIME: Duration = Duration::from_secs(13);

/// How long at most until a checkpoint has let a segment go.
const TIME_MAX: Duration = Duration::from_secs(60);
