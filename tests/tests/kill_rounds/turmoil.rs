//! Five servers of the eventual engine under 64 requests at a time, while one after the other is killed,
//! stopped, frozen, cut off, emptied or set back: no read misses what was acknowledged before it, in the
//! end all servers hold the same, and nothing acknowledged is missing from it.
//!
//! `KV_TURMOIL_SECONDS` asks for another time than half a minute; `--nocapture` shows each fault.

use std::path::Path;
use std::process::Command as Shell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kv_client::Client;
use kv_core::{Command, CommandResult, Counter, Key, Role, SeedStream};
use kv_tests::{Cut, Service, wait_until};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Setup};
use crate::load::{Told, execute_within, get, put};
use crate::own_keys::{Ends, OwnKeys};

/// How a server is lost, for a while.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Freeze,
    CutOff(Cut),
    /// Its data is removed while it is down.
    Wipe,
    /// An older copy of its data takes its place while it is down.
    SetBack,
}

const FAULTS: [Fault; 9] = [
    Fault::Kill,
    Fault::CutOff(Cut::BothWays),
    Fault::Wipe,
    Fault::Freeze,
    Fault::SetBack,
    Fault::CutOff(Cut::Outgoing),
    Fault::Stop,
    Fault::CutOff(Cut::Incoming),
    Fault::CutOff(Cut::Refused),
];

/// What the workers share.
#[derive(Default)]
struct Load {
    service: Service,
    is_over: AtomicBool,
}

struct Turmoil {
    title: &'static str,
    cluster: Cluster,
    load: Arc<Load>,
    workers: JoinSet<OwnKeys>,
    draw: SeedStream,
    last_lost: u16,
}

impl Turmoil {
    fn begin(title: &'static str, setup: Setup) -> Self {
        let seed = crate::seed();
        println!("{title}: the lots were drawn by KV_TEST_SEED={seed}");
        let cluster = Cluster::start(setup);
        let mut draw = SeedStream::new(seed);
        let load = Arc::new(Load::default());
        let mut workers = JoinSet::new();
        let starts: Vec<u16> = cluster.ids().collect();
        let clients: Vec<Client> = starts
            .into_iter()
            .map(|server| cluster.runtime().block_on(cluster.client(server)))
            .collect();
        for (number, client) in (0..REQUESTS).zip(clients.iter().cycle()) {
            let worker = work(number, Arc::clone(&load), client.clone(), draw.next_u64());
            workers.spawn_on(worker, cluster.runtime().handle());
        }
        Self { title, cluster, load, workers, draw, last_lost: 0 }
    }

    fn lose(&mut self, fault: Fault) {
        let (last_lost, title) = (self.last_lost, self.title);
        let others: Vec<u16> = self.cluster.ids().filter(|id| *id != last_lost).collect();
        let place = self.draw.below(u64::try_from(others.len()).unwrap());
        let id = *others.get(usize::try_from(place).unwrap()).unwrap();
        self.last_lost = id;
        self.wait_for_more(WRITES_BETWEEN);
        let _ = self.load.service.take_longest_pause();
        let begun = Instant::now();
        self.inflict(id, fault);
        self.wait_for_more(WRITES_BETWEEN);
        std::thread::sleep(fault.lasts().saturating_sub(begun.elapsed()));
        self.repair(id, fault);
        let repaired = Instant::now();
        self.wait_until_it_counts(id, fault);
        let returned = repaired.elapsed();
        let pause = self.load.service.take_longest_pause();
        println!(
            "{title}: {fault:?} of server {id}: counts again after {returned:.2?}; longest time without \
             an acknowledgement {pause:.2?}"
        );
    }

    fn inflict(&mut self, id: u16, fault: Fault) {
        match fault {
            Fault::Kill => self.cluster.kill(id),
            Fault::Stop => self.cluster.stop(id),
            Fault::Freeze => self.cluster.freeze(id),
            Fault::CutOff(cut) => self.cluster.cut_off(id, cut),
            Fault::Wipe => {
                self.cluster.kill(id);
                self.cluster.wipe(id);
            }
            Fault::SetBack => self.set_back(id),
        }
    }

    /// Leaves a server that is down with the data that it had some seconds ago.
    fn set_back(&mut self, id: u16) {
        let data = self.cluster.data_of(id);
        let older = data.with_file_name("older");
        // As a snapshot of a disk does, so that no file is renamed while it is copied.
        self.cluster.freeze(id);
        copy(&data, &older);
        self.cluster.thaw(id);
        self.wait_for_more(WRITES_BETWEEN);
        // Its peers learn once a second what it has.
        std::thread::sleep(Duration::from_secs(3));
        self.cluster.kill(id);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&older, &data).unwrap();
    }

    fn repair(&mut self, id: u16, fault: Fault) {
        match fault {
            Fault::Kill | Fault::Stop | Fault::Wipe | Fault::SetBack => self.cluster.restart(id),
            Fault::Freeze => self.cluster.thaw(id),
            Fault::CutOff(_) => self.cluster.heal(id),
        }
    }

    /// Waits until what a server holds counts for reads, and it serves.
    fn wait_until_it_counts(&self, id: u16, fault: Fault) {
        wait_until(&format!("server {id} counts after {fault:?}"), || {
            self.cluster.status_of(id).is_some_and(|status| {
                let has_noticed = status.counter(Counter::DiskLosses) > Some(0);
                status.role == Role::Coordinator
                    && (has_noticed || !matches!(fault, Fault::SetBack))
            }) && self.cluster.serves(id)
        });
    }

    fn wait_for_more(&self, count: u64) {
        let service = &self.load.service;
        let before = service.count();
        wait_until("writes are acknowledged", || service.count() >= before + count);
    }

    fn end(mut self) {
        self.load.is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(keys) = self.cluster.runtime().block_on(self.workers.join_next()) {
            all.push(keys.unwrap());
        }
        self.cluster.wait_until_all_serve();
        let began = Instant::now();
        let held = self.cluster.held_by_all();
        let mut ends = Ends::default();
        for keys in &all {
            keys.check_held(&held).unwrap_or_else(|fault| panic!("in the end {fault}"));
            ends += keys.ends();
        }
        println!("{}: {ends}; all servers hold the same after {:.1?}", self.title, began.elapsed());
        assert!(ends.puts > 0 && ends.deletes > 0, "nothing was tried: {ends}");
    }
}

impl Fault {
    /// How long it lasts at least.
    const fn lasts(self) -> Duration {
        match self {
            Self::Kill | Self::Stop | Self::Wipe | Self::SetBack => Duration::ZERO,
            Self::Freeze | Self::CutOff(_) => Duration::from_millis(2_500),
        }
    }
}

/// Puts keys of its own, deletes some and reads some, one after the other.
async fn work(number: u64, load: Arc<Load>, client: Client, seed: u64) -> OwnKeys {
    let mut keys = OwnKeys::default();
    let mut draw = SeedStream::new(seed);
    let mut turn = 0;
    while !load.is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let picked = keys.pick(draw.next_u64()).cloned();
        match (draw.below(4), picked) {
            (0, Some(key)) if !keys.is_deleted(&key) => {
                let told =
                    execute_within(REQUEST_MAX, &client, Command::Delete { key: key.clone() })
                        .await;
                note(&load, begun, &told).await;
                keys.delete(&key, &told);
            }
            (1, Some(key)) => {
                let told = execute_within(REQUEST_MAX, &client, get(name(&key))).await;
                if let Told::Done(CommandResult::Value(found), _) = told {
                    let found = found.map(|found| found.value);
                    let fits = keys.check(&key, found.as_ref());
                    fits.unwrap_or_else(|fault| panic!("a read: {fault}"));
                }
            }
            _ => {
                let key = format!("own.{number}.{turn}");
                turn += 1;
                let told =
                    execute_within(REQUEST_MAX, &client, put(key.clone(), key.clone())).await;
                note(&load, begun, &told).await;
                keys.put(Key::new(key).unwrap(), &told);
            }
        }
    }
    keys
}

async fn note(load: &Load, begun: Instant, told: &Told) {
    match told {
        Told::Done(..) => load.service.acknowledge(begun),
        // One that is refused at once is not to be asked in a hot loop.
        Told::NotDone | Told::Unknown(_) => tokio::time::sleep(REFUSED_PAUSE).await,
    }
}

fn name(key: &Key) -> String {
    String::from_utf8_lossy(key.as_bytes()).into_owned()
}

fn copy(from: &Path, to: &Path) {
    let copied = Shell::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn five_eventual_servers_lost_in_turn_hold_the_same_in_the_end() {
    let _turn = crate::turn();
    let setup = Setup { engine: "eventual", listed: 5, first: 1, quorum: 3 };
    let mut turmoil = Turmoil::begin("five servers", setup);
    let time = crate::setting("KV_TURMOIL_SECONDS").map_or(TIME, Duration::from_secs);
    let began = Instant::now();
    for (count, fault) in FAULTS.into_iter().cycle().enumerate() {
        if count >= FAULTS.len() && began.elapsed() >= time {
            break;
        }
        turmoil.lose(fault);
    }
    turmoil.end();
}

#[test]
fn server_1_is_not_needed_by_the_eventual_engine() {
    let _turn = crate::turn();
    let setup = Setup { engine: "eventual", listed: 5, first: 2, quorum: 3 };
    let mut turmoil = Turmoil::begin("without server 1", setup);
    for fault in [Fault::Kill, Fault::CutOff(Cut::BothWays), Fault::Wipe] {
        turmoil.lose(fault);
    }
    turmoil.end();
}

/// How long servers are lost at least.
const TIME: Duration = Duration::from_secs(30);

const REQUESTS: u64 = 64;

const REQUEST_MAX: Duration = Duration::from_secs(5);

const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// So many before a fault, and while it lasts.
const WRITES_BETWEEN: u64 = 500;
