//! A run in which nothing is drawn: clients and faults come from what was noted of another one.

use std::collections::BTreeMap;

use kv_check::{Process, Request, RequestState};
use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Condition, ConsistencyEngine, Key, NodeId,
    Operation, Outcome, RequestId, RequestOptions, SessionId, Value, Version,
};

use super::{Simulation, SimulationFailure};
use crate::client::seen::Seen;
use crate::cluster::Cluster;
use crate::scenario::acts::{Act, Name};
use crate::scenario::script::Scenario;

impl<E: ConsistencyEngine> Simulation<E> {
    /// Does what the scenario says, ends all faults, and judges as [`run`](Self::run) does, but that
    /// little may happen.
    pub(crate) fn replay(&mut self, scenario: &Scenario) -> Result<(), SimulationFailure> {
        self.players = Some(Players::new(scenario.late_cancels.clone()));
        for act in &scenario.acts {
            self.act_again(act)?;
            self.chaos.replace_halted(&mut self.cluster)?;
        }
        self.finish().map(|_| ())
    }

    fn act_again(&mut self, act: &Act) -> Result<(), SimulationFailure> {
        let cluster = &mut self.cluster;
        match act {
            Act::Wait { time } => {
                if let Some(players) = &mut self.players {
                    players.settle(cluster);
                }
                cluster.run_for(*time)?;
                self.chaos.watch(&self.cluster);
            }
            Act::Ask { client, server, op, options, names } => {
                if let Some(players) = &mut self.players {
                    let asked = (*server, op.clone(), options.clone());
                    self.asked.extend(players.ask(cluster, *client, asked, names));
                }
            }
            Act::Cancel { client } => {
                if let Some(players) = &mut self.players {
                    players.cancel(cluster, *client);
                }
            }
            Act::Begin { fault, injection } => {
                self.chaos.begin_again(cluster, *fault, injection)?;
            }
            Act::End { fault } => self.chaos.end_again(cluster, *fault)?,
            Act::EndAll => self.chaos.end_all(cluster)?,
        }
        Ok(())
    }
}

/// Clients that ask what those of another run asked. Where answers differ from those that were given
/// there, they leave out what no client would ask then: a call in a session that they do not have or
/// that has one open, and a write again that may have taken effect.
#[derive(Clone, Debug)]
pub(crate) struct Players {
    players: BTreeMap<u64, Player>,
    /// The last process that was named.
    processes: u64,
    /// Cancels after the last call: at which look, and whose.
    late_cancels: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Player {
    process: Process,
    open: Option<RequestId>,
    seen: Seen,
    session: Option<SessionId>,
    last: Option<Last>,
}

/// The last call of a client.
#[derive(Clone, Debug)]
struct Last {
    op: Operation,
    /// Its number in the session.
    number: Option<u64>,
    stands: Stands,
    /// An earlier copy of it may have taken effect.
    unclear: bool,
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It is open, or nobody knows how it ended.
    Unknown,
    /// It was carried out, or refused for what the state is.
    CarriedOut,
    /// It has no effect.
    NotDone,
}

impl Players {
    const fn new(late_cancels: Vec<(u64, u64)>) -> Self {
        Self { players: BTreeMap::new(), processes: FIRST_PROCESS, late_cancels }
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn are_idle(&self) -> bool {
        self.players.values().all(|player| player.open.is_none())
    }

    /// Has everybody look at what came, for the `look`th time since no new calls are made.
    pub(crate) fn look<E: ConsistencyEngine>(&mut self, cluster: &mut Cluster<E>, look: u64) {
        let cancels = self.late_cancels.iter().filter(|(at, _)| *at == look);
        let cancels: Vec<u64> = cancels.map(|(_, client)| *client).collect();
        self.settle(cluster);
        for client in cancels {
            self.cancel(cluster, client);
        }
    }

    /// Has everybody take the answer that is there, if there is one.
    fn settle<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>) {
        self.players.values_mut().for_each(|player| player.settle(cluster));
    }

    fn cancel<E: ConsistencyEngine>(&mut self, cluster: &mut Cluster<E>, client: u64) {
        self.processes += 1;
        let process = Process(self.processes);
        if let Some(player) = self.players.get_mut(&client)
            && let Some(id) = player.open.take()
        {
            cluster.cancel(id);
            player.process = process;
        }
    }

    /// Makes a call, if a client could make it now; which request it is, and whose.
    fn ask<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        client: u64,
        (server, op, mut options): (NodeId, Operation, RequestOptions),
        names: &[Name],
    ) -> Option<(RequestId, Process)> {
        let player = self.players.entry(client).or_insert_with(|| Player::new(client));
        player.settle(cluster);
        let is_busy = player.open.is_some();
        if op == Operation::OpenSession {
            if !is_busy {
                player.open = Some(cluster.submit(server, op, options));
            }
            return None;
        }
        let number = options.identity.map(|identity| identity.number);
        let is_copy = number.is_some()
            && player.last.as_ref().is_some_and(|last| last.number == number && last.op == op);
        if !player.may_ask(&op, number, is_copy) {
            return None;
        }
        if let Some(identity) = &mut options.identity {
            identity.session = player.session.filter(|_| !is_busy)?;
        }
        let asked = with_versions_of(cluster, &op, names)?;
        let stands = player.last.as_ref().map(|last| last.stands);
        if !is_copy && (is_busy || stands == Some(Stands::Unknown)) {
            self.processes += 1;
            player.process = Process(self.processes);
        }
        let unclear = is_copy
            && player.last.as_ref().is_some_and(|it| it.unclear || it.stands == Stands::Unknown);
        options.seen = player.seen.of(&asked, options.seen.is_some());
        let id = cluster.submit(server, asked, options);
        player.open = Some(id);
        player.last = Some(Last { op, number, stands: Stands::Unknown, unclear });
        Some((id, player.process))
    }
}

impl Player {
    fn new(client: u64) -> Self {
        let seen = Seen::default();
        Self { process: Process(client), open: None, seen, session: None, last: None }
    }

    /// Whether a client whose last call stands as it does would make this one.
    fn may_ask(&self, op: &Operation, number: Option<u64>, is_copy: bool) -> bool {
        let Some(last) = &self.last else {
            return true;
        };
        if is_copy {
            return last.stands != Stands::CarriedOut;
        }
        let is_late = last.number.zip(number).is_some_and(|(last, number)| last >= number);
        let is_again = last.op == *op && puts_a_value(op);
        !(is_late || (is_again && !last.is_not_done()))
    }

    /// Takes the answer to the open call, if there is one from before this moment.
    fn settle<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>) {
        let Some(request) = self.open.and_then(|id| cluster.request(id)) else {
            return;
        };
        if request.op == Operation::OpenSession {
            if request.has_ended() {
                self.open = None;
                if let Some(Outcome::Done(done)) = request.outcome()
                    && let Some(Version::Log(number)) = done.version
                {
                    self.session = Some(SessionId(number));
                    if let Some(last) = &mut self.last {
                        last.number = None;
                    }
                }
            }
            return;
        }
        if request.ended_at().is_none_or(|at| at >= cluster.now()) {
            return;
        }
        self.open = None;
        if let Some(Outcome::Done(done)) = request.outcome() {
            self.seen.learn(&request.op, done);
        }
        if let Some(last) = &mut self.last {
            last.stands = stands(request, last.unclear);
        }
    }
}

impl Last {
    /// Whether nothing of it has taken effect, or ever will.
    fn is_not_done(&self) -> bool {
        self.stands == Stands::NotDone
    }
}

/// Whether the operation writes a value that no other one does.
fn puts_a_value(op: &Operation) -> bool {
    let Operation::Batch(batch) = op else {
        return false;
    };
    let puts = |it: &Command| matches!(it, Command::Put { .. } | Command::Append { .. });
    batch.commands().iter().any(puts)
}

/// How a request stands of which earlier copies may have taken effect.
fn stands(request: &Request, unclear: bool) -> Stands {
    match &request.state {
        RequestState::Replied { outcome: Outcome::Done(_), .. } => Stands::CarriedOut,
        RequestState::Replied { outcome: Outcome::NotDone(reason), .. }
            if request.options.identity.is_some() && reason.is_of_the_state() =>
        {
            Stands::NotDone
        }
        RequestState::Replied { outcome: Outcome::NotDone(_), .. } | RequestState::Refused
            if !unclear =>
        {
            Stands::NotDone
        }
        RequestState::Replied { .. }
        | RequestState::Refused
        | RequestState::Waiting
        | RequestState::Lost { .. } => Stands::Unknown,
    }
}

/// An operation with the versions that its conditions name as this run has them; `None` where it has
/// none of a value.
fn with_versions_of<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    op: &Operation,
    names: &[Name],
) -> Option<Operation> {
    let Operation::Batch(batch) = op else {
        return Some(op.clone());
    };
    if names.is_empty() {
        return Some(op.clone());
    }
    let resolved = batch.conditions().iter().map(|Condition { key, check }| {
        let name = names.iter().find(|name| {
            name.key == *key && matches!(check, Check::VersionIs(at) if *at == name.version)
        });
        let check = match name {
            None => check.clone(),
            Some(name) => Check::VersionIs(version_of(cluster, key, &name.value)?),
        };
        Some(Condition { key: key.clone(), check })
    });
    let conditions = resolved.collect::<Option<Vec<_>>>()?;
    Batch::new(conditions, batch.commands().to_vec()).ok().map(Operation::Batch)
}

/// The version under which some answer shows a value of a key.
fn version_of<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    key: &Key,
    value: &Value,
) -> Option<Version> {
    let of =
        |found: (&Key, &Value, Version)| (found.0 == key && found.1 == value).then_some(found.2);
    cluster.requests().find_map(|(_, request)| shown(request).into_iter().find_map(of))
}

/// What an answer says of keys, values and versions.
pub(crate) fn shown(request: &Request) -> Vec<(&Key, &Value, Version)> {
    let (Operation::Batch(batch), Some(Outcome::Done(done))) = (&request.op, request.outcome())
    else {
        return Vec::new();
    };
    let Answer::Results(results) = &done.answer else {
        return Vec::new();
    };
    let both = batch.commands().iter().zip(results);
    let shown = both.filter_map(|(command, result)| match (command, result) {
        (Command::Get { key }, CommandResult::Value(Some(found))) => {
            Some((key, &found.value, found.version))
        }
        (Command::Put { key, value, .. }, CommandResult::Written) => {
            Some((key, value, done.version?))
        }
        _ => None,
    });
    shown.collect()
}

/// Clients have the processes below this one to begin with.
const FIRST_PROCESS: u64 = 100;
