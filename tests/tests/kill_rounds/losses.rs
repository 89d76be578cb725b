//! A linearizable cluster loses one server after the other under load, its sequencer above all: it
//! continues by itself, and what was acknowledged is on every server in the end.
//!
//! `--nocapture` shows for each fault how long nothing was acknowledged.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use kv_tests::Cut;

use crate::cluster::{Cluster, Setup};
use crate::judgement::judge;
use crate::traffic::Traffic;

/// How a server is lost, for a while.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `kill -9`; it starts again on its data.
    Kill,
    /// `kill -9`; it starts again with an empty data directory.
    KillAndWipe,
    /// `SIGTERM`; it starts again on its data.
    Stop,
    /// `SIGSTOP`, later `SIGCONT`.
    Freeze,
    /// Its network to the other servers, but not to clients, is cut and later heals.
    CutOff(Cut),
}

/// A cluster under load.
struct Losses {
    title: &'static str,
    cluster: Cluster,
    traffic: Traffic,
    _turn: MutexGuard<'static, ()>,
}

impl Losses {
    fn begin(title: &'static str) -> Self {
        let turn = crate::turn();
        let seed = crate::seed();
        println!("{title}: the lots were drawn by KV_TEST_SEED={seed}");
        let cluster = Cluster::start(SETUP);
        let traffic = Traffic::start(&cluster, seed);
        Self { title, cluster, traffic, _turn: turn }
    }

    /// Loses the server that `victim` chooses, given the sequencer's id; waits until the others
    /// serve without it, and ends the fault.
    fn lose(&mut self, victim: impl FnOnce(u16) -> u16, fault: Fault) -> u16 {
        self.traffic.begin_phase();
        self.traffic.wait_for_more(WRITES_BETWEEN);
        let _ = self.traffic.service().take_longest_pause();
        let sequencer = self.cluster.sequencer();
        let id = victim(sequencer);
        let role = if sequencer == id { "the sequencer" } else { "a follower" };
        let what = format!("{}: {fault:?} of server {id}, {role}", self.title);
        let begun = Instant::now();
        self.inflict(id, fault);
        let without = Instant::now();
        while !self.traffic.service().has_served_since(without) {
            assert!(begun.elapsed() < RESUMED_MAX, "{what}: nothing is acknowledged without it");
            std::thread::sleep(Duration::from_millis(5));
        }
        let resumed = begun.elapsed();
        self.traffic.wait_for_more(WRITES_BETWEEN);
        assert!(!self.cluster.serves(id), "{what}: it serves while it is lost");
        std::thread::sleep(fault.lasts().saturating_sub(begun.elapsed()));
        let repaired = Instant::now();
        self.repair(id, fault);
        self.cluster.wait_until_all_serve();
        let returned = repaired.elapsed();
        let pause = self.traffic.service().take_longest_pause();
        println!(
            "{what}: writes without it after {resumed:.2?}, it serves again {returned:.2?} after \
             the fault's end; longest time without an acknowledgement {pause:.2?}"
        );
        id
    }

    fn inflict(&mut self, id: u16, fault: Fault) {
        match fault {
            Fault::Kill => self.cluster.kill(id),
            Fault::KillAndWipe => {
                self.cluster.kill(id);
                self.cluster.wipe(id);
            }
            Fault::Stop => self.cluster.stop(id),
            Fault::Freeze => self.cluster.freeze(id),
            Fault::CutOff(cut) => self.cluster.cut_off(id, cut),
        }
    }

    fn repair(&mut self, id: u16, fault: Fault) {
        match fault {
            Fault::Kill | Fault::KillAndWipe | Fault::Stop => self.cluster.restart(id),
            Fault::Freeze => self.cluster.thaw(id),
            Fault::CutOff(_) => self.cluster.heal(id),
        }
    }

    fn lose_sequencer(&mut self, fault: Fault) -> u16 {
        self.lose(|sequencer| sequencer, fault)
    }

    fn end(self) {
        self.traffic.wait_for_more(WRITES_BETWEEN);
        let events = self.traffic.stop(&self.cluster);
        self.cluster.wait_until_all_serve();
        let began = Instant::now();
        let held = self.cluster.held_by_all();
        println!("{}: all servers hold the same after {:.1?}", self.title, began.elapsed());
        let (title, calls) = (self.title, events.len() / 2);
        let began = Instant::now();
        let ends = judge(events, &held).unwrap_or_else(|fault| panic!("{title}: {fault}"));
        println!("{title}: {ends}; {calls} calls judged in {:.1?}", began.elapsed());
        // Requests outlast every fault, and their clients' sessions say how each ended.
        assert_eq!(ends.unknown, 0, "{title}: {ends}");
    }
}

impl Fault {
    /// How long it lasts at least, even where the others serve before.
    const fn lasts(self) -> Duration {
        match self {
            Self::Kill | Self::KillAndWipe | Self::Stop => Duration::ZERO,
            Self::Freeze => Duration::from_secs(5),
            Self::CutOff(_) => Duration::from_secs(4),
        }
    }
}

/// Another server than these.
fn other_than(ids: &[u16]) -> u16 {
    (1..=SETUP.listed).find(|id| !ids.contains(id)).unwrap()
}

#[test]
fn a_cluster_survives_the_loss_of_followers() {
    let mut losses = Losses::begin("followers lost");
    let cuts = [Cut::BothWays, Cut::Outgoing, Cut::Incoming, Cut::Refused].map(Fault::CutOff);
    for fault in [Fault::Kill, Fault::Stop, Fault::Freeze].into_iter().chain(cuts) {
        losses.lose(|sequencer| other_than(&[sequencer]), fault);
    }
    // The server that was wiped then has to hold every write, with the sequencer.
    let wiped = losses.lose(|sequencer| other_than(&[sequencer]), Fault::KillAndWipe);
    losses.lose(|sequencer| other_than(&[sequencer, wiped]), Fault::Kill);
    losses.end();
}

#[test]
fn a_sequencer_killed_ten_times_is_succeeded_each_time() {
    let mut losses = Losses::begin("sequencer killed");
    for _ in 0..10 {
        losses.lose_sequencer(Fault::Kill);
    }
    losses.end();
}

#[test]
fn a_sequencer_that_stood_still_does_no_harm_when_it_continues() {
    let mut losses = Losses::begin("sequencer frozen");
    losses.lose_sequencer(Fault::Freeze);
    losses.end();
}

#[test]
fn a_sequencer_cut_off_both_ways_is_succeeded_and_returns() {
    let mut losses = Losses::begin("sequencer cut off");
    losses.lose_sequencer(Fault::CutOff(Cut::BothWays));
    losses.end();
}

#[test]
fn a_sequencer_whose_messages_do_not_arrive_is_succeeded() {
    let mut losses = Losses::begin("sequencer not heard");
    losses.lose_sequencer(Fault::CutOff(Cut::Outgoing));
    losses.end();
}

#[test]
fn a_sequencer_that_receives_no_messages_is_succeeded() {
    let mut losses = Losses::begin("sequencer hears nothing");
    losses.lose_sequencer(Fault::CutOff(Cut::Incoming));
    losses.end();
}

#[test]
fn a_sequencer_whose_connections_are_closed_and_refused_is_succeeded() {
    let mut losses = Losses::begin("sequencer refused");
    losses.lose_sequencer(Fault::CutOff(Cut::Refused));
    losses.end();
}

#[test]
fn a_sequencer_that_is_told_to_stop_is_succeeded() {
    let mut losses = Losses::begin("sequencer stopped");
    losses.lose_sequencer(Fault::Stop);
    losses.end();
}

#[test]
fn a_sequencer_that_lost_its_data_recovers_through_the_others() {
    let mut losses = Losses::begin("sequencer wiped");
    let wiped = losses.lose_sequencer(Fault::KillAndWipe);
    // The server that was wiped then has to hold every write, with the one that is left.
    let other = |sequencer| if sequencer == wiped { other_than(&[wiped]) } else { sequencer };
    losses.lose(other, Fault::Kill);
    losses.end();
}

const SETUP: Setup = Setup { engine: "linearizability", listed: 3, first: 1, quorum: 2 };

/// How soon a write is acknowledged without the server that was lost.
const RESUMED_MAX: Duration = Duration::from_secs(10);

/// So many before a fault, and while it lasts.
const WRITES_BETWEEN: u64 = 200;
