//! A server is lost, again and again.

use std::time::Duration;

use crate::cluster::{Cluster, IDS};
use crate::figures::{Rounds, head};
use crate::load::Load;

/// How a server is lost, for a while.
#[derive(Clone, Copy)]
enum Loss {
    /// None is lost.
    Quiet,
    Kill,
    Stop,
    /// It stays, and the next server is told to lead.
    HandOver,
    Freeze,
    CutOff,
}

/// Prints what clients saw of each kind of loss.
pub(crate) fn run() {
    let rounds = rounds();
    head("64 puts under way, 3 servers, W=2 R=2: a server is lost");
    let mut cluster = Cluster::start("linearizability");
    measure(&mut cluster, "no loss", rounds, Loss::Quiet, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, kill -9", rounds, Loss::Kill, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, SIGTERM", rounds, Loss::Stop, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, lead", rounds, Loss::HandOver, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, SIGSTOP for 4 s", rounds, Loss::Freeze, |sequencer| {
        sequencer
    });
    measure(&mut cluster, "sequencer, cut off for 4 s", rounds, Loss::CutOff, |sequencer| {
        sequencer
    });
    measure(&mut cluster, "follower, kill -9", rounds, Loss::Kill, after);
    drop(cluster);
    let mut cluster = Cluster::start("eventual");
    measure_any(&mut cluster, "eventual, no loss", rounds, Loss::Quiet);
    measure_any(&mut cluster, "eventual, kill -9", rounds, Loss::Kill);
}

/// The same of what goes by plan.
pub(crate) fn run_planned() {
    let rounds = rounds();
    head("64 puts under way, 3 servers, W=2 R=2: another server leads");
    let mut cluster = Cluster::start("linearizability");
    measure(&mut cluster, "no loss", rounds, Loss::Quiet, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, SIGTERM", rounds, Loss::Stop, |sequencer| sequencer);
    measure(&mut cluster, "sequencer, lead", rounds, Loss::HandOver, |sequencer| sequencer);
}

fn rounds() -> u32 {
    let rounds = std::env::var("KV_BENCH_ROUNDS").ok();
    rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Loses the server that `victim` chooses, given the sequencer.
fn measure(
    cluster: &mut Cluster,
    what: &str,
    rounds: u32,
    loss: Loss,
    victim: impl Fn(u16) -> u16,
) {
    let mut figures = Rounds::default();
    for _ in 0..rounds {
        let id = victim(cluster.sequencer());
        figures.add(lose(cluster, id, loss));
    }
    figures.show(what);
}

/// Loses one server after the other.
fn measure_any(cluster: &mut Cluster, what: &str, rounds: u32, loss: Loss) {
    let mut figures = Rounds::default();
    for (_, id) in (0..rounds).zip(IDS.into_iter().cycle()) {
        figures.add(lose(cluster, id, loss));
    }
    figures.show(what);
}

fn lose(cluster: &mut Cluster, id: u16, loss: Loss) -> (Duration, Duration) {
    let load = Load::start(cluster);
    std::thread::sleep(BEFORE);
    let _ = load.take();
    match loss {
        Loss::Quiet => {}
        Loss::Kill => cluster.kill(id),
        Loss::Stop => cluster.stop(id),
        Loss::HandOver => cluster.lead(after(id)),
        Loss::Freeze => cluster.freeze(id),
        Loss::CutOff => cluster.cut_off(id),
    }
    load.wait_until_served();
    std::thread::sleep(loss.lasts());
    let seen = load.take();
    match loss {
        Loss::Quiet | Loss::HandOver => {}
        Loss::Kill | Loss::Stop => cluster.start_server(id),
        Loss::Freeze => cluster.thaw(id),
        Loss::CutOff => cluster.heal(id),
    }
    cluster.wait_until_all_serve();
    seen
}

impl Loss {
    /// How long it lasts after service has resumed.
    const fn lasts(self) -> Duration {
        match self {
            Self::Quiet | Self::Kill | Self::Stop | Self::HandOver => Duration::from_millis(500),
            Self::Freeze | Self::CutOff => Duration::from_secs(4),
        }
    }
}

const fn after(sequencer: u16) -> u16 {
    sequencer % 3 + 1
}

const ROUNDS: u32 = 10;
const BEFORE: Duration = Duration::from_millis(500);
