//! A server that was away comes back while clients of the others go on.

use std::time::Instant;

use crate::cluster::{Cluster, until};
use crate::figures::{Rounds, head, millis};
use crate::load::Load;

/// Prints how long it took to come back into step, and what clients saw meanwhile.
pub(crate) fn run() {
    for consistency in ["linearizability", "eventual"] {
        head(&format!("{consistency}, 3 servers, W=2 R=2: server 3 was away for {MISSED} puts"));
        let mut cluster = Cluster::start(consistency);
        quiet(&cluster);
        come_back(&mut cluster, "comes back on its data", false);
        come_back(&mut cluster, "comes back without its data", true);
    }
}

/// What clients see of two servers when the third is away for good.
fn quiet(cluster: &Cluster) {
    let load = Load::through(cluster, &[1, 2]);
    load.wait_for_more(MISSED / 4);
    let _ = load.take();
    load.wait_for_more(MISSED / 4);
    let mut figures = Rounds::default();
    figures.add(load.take());
    figures.show("all are there");
}

fn come_back(cluster: &mut Cluster, what: &str, wiped: bool) {
    cluster.kill(AWAY);
    if wiped {
        cluster.wipe(AWAY);
    }
    let load = Load::through(cluster, &[1, 2]);
    load.wait_for_more(MISSED);
    let _ = load.take();
    let began = Instant::now();
    let before = load.count();
    cluster.start_server(AWAY);
    until("it is in step", || is_in_step(cluster).then_some(()));
    let (took, meanwhile) = (began.elapsed(), load.count() - before);
    let mut figures = Rounds::default();
    figures.add(load.take());
    figures.show(what);
    println!("{:<34} in step after {:.0} ms, {meanwhile} puts meanwhile", "", millis(took));
}

/// Whether the server serves and has all but the last moments' keys.
fn is_in_step(cluster: &Cluster) -> bool {
    let [Some(one), Some(other)] = [1, AWAY].map(|id| cluster.status(id)) else {
        return false;
    };
    if other.waiting.is_some() {
        return false;
    }
    let (one, other) = (one.positions, other.positions);
    match (one.applied, other.applied) {
        (Some(one), Some(other)) => other + STEP_MAX >= one,
        _ => other.keys.unwrap_or(0) + STEP_MAX >= one.keys.unwrap_or(0),
    }
}

const AWAY: u16 = 3;
const MISSED: u64 = 100_000;

/// Whoever lacks no more than so many entries, or keys, is in step.
const STEP_MAX: u64 = 1_000;
