//! Clauses 6 and 9: replies are honest and in time, and nothing halts without cause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_check::{Request, RequestState};
use kv_core::{
    Answer, Command, CommandResult, ConsistencyEngine, Dump, Key, NodeId, Operation, Outcome,
    RequestId, RequestOptions, Value,
};

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds, settle};
use crate::cluster::Cluster;

/// Clause 6: at most one reply for a request, under loss, partitions, crashes and pauses; a reply
/// by the timeout, and 200 ms more, where the server was never down; a write that was called "not
/// done" is never read; and what is read was written.
///
/// At least 500 of the 3,600 requests must be done, so that there is something to look at.
/// Deletes carry no mark, so that a false "not done" of a delete is not seen here.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn answers_once_and_honestly<E: ConsistencyEngine>() -> Result<(), Failure> {
    let bound = 500;
    let mut done = 0;
    for seed in seeds(60) {
        let scenario = Scenario { seed, requests: 60, process_faults: seed % 2 == 0, tapes: false };
        let mut cluster = scenario.cluster::<E>()?;
        scenario.disturb(&mut cluster)?;
        settle(&mut cluster)?;
        if !scenario.process_faults {
            in_time(&cluster, seed)?;
        }
        all_are_answered(&cluster, seed)?;
        let outcomes = cluster.requests().filter_map(|(_, request)| request.outcome());
        done += outcomes.filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
        read_everything(&mut cluster)?;
        honest(&cluster, seed)?;
    }
    if done < bound {
        return Err(Finding::TooLittleDone { done, bound }.of(6, 0));
    }
    Ok(())
}

/// Clause 9: an engine does not halt as long as every engine keeps its contract, whatever
/// networks, disks, clocks and processes do.
///
/// That it does halt where a peer reveals a broken invariant is for each engine to test, since
/// what can be broken is its own.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn halts_never_without_cause<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(40) {
        let scenario = Scenario { seed, requests: 60, process_faults: true, tapes: false };
        let cluster = scenario.run::<E>()?;
        if let Some((node, reason)) = cluster.halted().next() {
            return Err(Finding::Halted { node, reason }.of(9, seed));
        }
    }
    Ok(())
}

fn in_time<E: ConsistencyEngine>(cluster: &Cluster<E>, seed: u64) -> Result<(), Failure> {
    for (id, request) in cluster.requests() {
        if let RequestState::Replied { at, .. } = request.state {
            let due = request.invoked_at + request.options.timeout;
            let late = at.saturating_sub(due);
            if late > SLACK {
                let calls = cluster.named([id]);
                return Err(Finding::NoAnswer { id, late }.shown_by(6, seed, calls));
            }
        }
    }
    Ok(())
}

fn all_are_answered<E: ConsistencyEngine>(cluster: &Cluster<E>, seed: u64) -> Result<(), Failure> {
    let waiting = cluster.requests().find(|(_, request)| {
        !request.has_ended() && !request.cancelled && cluster.is_running(request.node)
    });
    match waiting {
        Some((id, request)) => {
            let late = cluster.now() - request.invoked_at - request.options.timeout;
            let calls = cluster.named([id]);
            Err(Finding::NoAnswer { id, late }.shown_by(6, seed, calls))
        }
        None => Ok(()),
    }
}

/// Has every server show all that it holds, and reads every key at every server.
fn read_everything<E: ConsistencyEngine>(cluster: &mut Cluster<E>) -> Result<(), Failure> {
    let nodes: Vec<NodeId> = cluster.nodes().collect();
    let keys: BTreeSet<Key> =
        cluster.requests().flat_map(|(_, r)| writes(&r.op)).map(|(k, _)| k).collect();
    for node in nodes {
        let dump = Dump { after: None, limit: 1000 };
        cluster.submit(node, Operation::Dump(dump), RequestOptions::default());
        for key in &keys {
            cluster.submit(node, Operation::get(key.clone()), RequestOptions::default());
        }
    }
    cluster.run_for(Duration::from_secs(6))?;
    Ok(())
}

/// No value of a write that was called not done is read, and none that nobody wrote.
fn honest<E: ConsistencyEngine>(cluster: &Cluster<E>, seed: u64) -> Result<(), Failure> {
    let mut refused: BTreeMap<(Key, Value), RequestId> = BTreeMap::new();
    let mut possible: BTreeSet<(Key, Value)> = BTreeSet::new();
    let mut appended: BTreeSet<Key> = BTreeSet::new();
    for (id, request) in cluster.requests() {
        appended.extend(computed_keys(&request.op));
        for write in writes(&request.op) {
            if is_not_done(request) {
                refused.insert(write, id);
            } else {
                possible.insert(write);
            }
        }
    }
    for (id, request) in cluster.requests() {
        for read in reads(request) {
            if let Some(&write) = refused.get(&read) {
                let calls = cluster.named([write, id]);
                return Err(Finding::NotDoneTookEffect { id: write }.shown_by(6, seed, calls));
            }
            if !possible.contains(&read) && !appended.contains(&read.0) {
                let calls = cluster.named([id]);
                return Err(Finding::Invented { id }.shown_by(6, seed, calls));
            }
        }
    }
    Ok(())
}

const fn is_not_done(request: &Request) -> bool {
    match &request.state {
        RequestState::Replied { outcome, .. } => matches!(outcome, Outcome::NotDone(_)),
        RequestState::Refused => true,
        RequestState::Waiting | RequestState::Lost { .. } => false,
    }
}

/// What an operation puts.
fn writes(op: &Operation) -> Vec<(Key, Value)> {
    let puts = commands(op).iter().filter_map(|command| match command {
        Command::Put { key, value, .. } | Command::Rewrite { key, value } => {
            Some((key.clone(), value.clone()))
        }
        Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => None,
    });
    puts.collect()
}

/// The keys whose values an operation computes from older ones.
fn computed_keys(op: &Operation) -> Vec<Key> {
    let computed =
        |command: &&Command| matches!(command, Command::Increment { .. } | Command::Append { .. });
    let commands = commands(op).iter().filter(computed);
    commands.map(|command| command.key().clone()).collect()
}

fn commands(op: &Operation) -> &[Command] {
    match op {
        Operation::Batch(batch) => batch.commands(),
        Operation::Scan(_)
        | Operation::Dump(_)
        | Operation::OpenSession
        | Operation::Lead { .. } => &[],
    }
}

/// The keys and values that a request was answered with.
fn reads(request: &Request) -> Vec<(Key, Value)> {
    let Some(Outcome::Done(done)) = request.outcome() else {
        return Vec::new();
    };
    match &done.answer {
        Answer::Page(page) => {
            let entries = page.entries.iter();
            entries.map(|(key, found)| (key.clone(), found.value.clone())).collect()
        }
        Answer::Results(results) => {
            let pairs = commands(&request.op).iter().zip(results);
            let found = pairs.filter_map(|(command, result)| match result {
                CommandResult::Value(Some(found)) => {
                    Some((command.key().clone(), found.value.clone()))
                }
                CommandResult::Value(None)
                | CommandResult::Written
                | CommandResult::Number(_)
                | CommandResult::Length(_)
                | CommandResult::Changed(_)
                | CommandResult::TimeToLive(_)
                | CommandResult::Expiry(_) => None,
            });
            found.collect()
        }
    }
}

const SLACK: Duration = Duration::from_millis(200);
