//! A cluster of real engines as a state machine for a model checker: at each step one message
//! arrives, one record reaches its disk, one deadline comes, one client calls, one server crashes or
//! starts, or one connection closes or opens. Messages have no order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kv_check::Process;
use kv_check::evidence::{Action, Call, End, Shown};
use kv_core::{
    Answer, ClusterConfig, Command, CommandResult, ConsistencyEngine, Effect, Effects,
    EngineConfig, Incarnation, Input, NodeId, Now, Operation, Outcome, PersistSeq, Quorum,
    RequestId, RequestOptions,
};
use stateright::{Model, Property};

use super::search::{ALL_DONE, NOTHING_WRONG};
use super::state::{Bounds, Checked, Flying, Laws, Server, State, Step, state_send};

/// A cluster that can be searched, [`ClusterModel::search`], or walked through at random,
/// [`ClusterModel::walk`]. It begins where it serves, with nothing in flight.
#[derive(Clone, Debug)]
pub struct ClusterModel<E: ConsistencyEngine> {
    pub(super) bounds: Bounds,
    laws: Laws<E>,
    config: ClusterConfig,
    recover: Recover<E>,
    /// What happens before the checking begins.
    prelude: fn(&Self, &mut State<E>),
}

/// Makes an engine from the records on its disk.
pub type Recover<E> = fn(EngineConfig, Vec<(PersistSeq, <E as ConsistencyEngine>::Record)>) -> E;

impl<E: Checked> ClusterModel<E> {
    /// A cluster of these bounds, with what must hold of it.
    ///
    /// # Panics
    /// If there is no such cluster.
    #[must_use]
    pub fn new(bounds: Bounds, laws: Laws<E>) -> Self {
        let recover = |config, records| E::recover(config, None, records).unwrap();
        Self::recovered_by(recover, bounds, laws)
    }

    /// The same with engines that are recovered in another way: broken by a rule, for instance. A
    /// search recovers them on threads of its own, a walk on the caller's.
    ///
    /// # Panics
    /// If there is no such cluster.
    #[must_use]
    pub fn recovered_by(recover: Recover<E>, bounds: Bounds, laws: Laws<E>) -> Self {
        let voters = (1..=bounds.nodes).map(|number| NodeId::new(number).unwrap());
        let (write, read) = (Quorum::Count(bounds.write), Quorum::Count(bounds.read));
        let config = ClusterConfig::new(voters, write, read).unwrap();
        Self { bounds, laws, config, recover, prelude: |_, _| {} }
    }

    fn recover(
        &self,
        place: usize,
        incarnation: u64,
        records: &[E::Record],
        now: Duration,
    ) -> Server<E> {
        let node = self.config.voters()[place];
        let seed = 1000 * u64::from(node.number()) + incarnation;
        let config = EngineConfig::seeded(node, self.config.clone(), seed);
        let numbered = (1..).map(PersistSeq).zip(records.iter().cloned());
        let engine = (self.recover)(config, numbered.collect());
        let records = records.to_vec();
        let (persisted, hash) = (records.len(), OnceLock::new());
        Server { engine, persisted, records, now, incarnation, is_up: true, hash }
    }

    /// The bounds.
    #[must_use]
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The same from the moment at which the first server is down and the others have noticed.
    #[must_use]
    pub fn without_the_first(mut self) -> Self {
        self.prelude = |model, state| {
            model.stop(state, 0);
            while let Some(step) = model.at_once(state) {
                model.take(state, &step);
            }
        };
        self
    }

    /// A cluster that serves, with nothing under way.
    fn founded(&self) -> State<E> {
        let places = 0..self.config.voters().len();
        let servers = places.clone().map(|place| Arc::new(self.recover(place, 0, &[], START)));
        let mut state = State {
            servers: servers.collect(),
            flying: BTreeMap::new(),
            calls: Vec::new(),
            begun: vec![false; self.bounds.calls.len()],
            moment: 0,
            timeouts: self.bounds.timeouts,
            losses: self.bounds.losses,
            copies: self.bounds.copies,
            crashes: self.bounds.crashes.clone(),
            outages: self.bounds.outages.clone(),
            cuts: self.bounds.cuts,
            cut: BTreeSet::new(),
            wrong: None,
        };
        for place in places.clone() {
            self.connect(&mut state, place);
        }
        for _ in 0..10_000 {
            while let Some(step) = self.at_once(&state) {
                self.take(&mut state, &step);
            }
            if state.servers.iter().all(|server| server.engine.status().waiting.is_none()) {
                return state;
            }
            let due = |server: &Arc<Server<E>>| server.engine.next_deadline();
            let next =
                places.clone().filter_map(|place| Some((due(&state.servers[place])?, place)));
            let (at, place) = next.min().unwrap();
            self.expire(&mut state, place, at);
        }
        panic!("the cluster does not serve");
    }

    /// A step that needs no client, no fault and no time.
    fn at_once(&self, state: &State<E>) -> Option<Step> {
        let mut flying = state.flying.iter();
        let is_up = |to| state.servers[self.place(to)].is_up;
        if let Some((hash, _)) = flying.find(|(_, flying)| is_up(flying.to)) {
            return Some(Step::Arrive(*hash));
        }
        let behind = state.servers.iter().position(|server| server.is_behind());
        behind.map(Step::Persist)
    }

    /// Tells a server and its peers of each other.
    fn connect(&self, state: &mut State<E>, place: usize) {
        let node = self.config.voters()[place];
        for (other, peer) in self.config.voters().iter().copied().enumerate() {
            if other != place && state.servers[other].is_up && !is_cut(&state.cut, place, other) {
                let incarnation = Incarnation::UNKNOWN;
                self.give(state, place, Input::PeerUp { peer, incarnation });
                self.give(state, other, Input::PeerUp { peer: node, incarnation });
            }
        }
    }

    pub(super) fn take(&self, state: &mut State<E>, step: &Step) {
        match step {
            Step::Call(number) => self.call(state, *number),
            Step::Arrive(hash) => {
                let flying = state.take(*hash);
                self.arrive(state, &flying);
            }
            Step::ArriveAndStay(hash) => {
                state.copies -= 1;
                let flying = state.flying[hash].clone();
                self.arrive(state, &flying);
            }
            Step::Lose(hash) => {
                state.losses -= 1;
                state.take(*hash);
            }
            Step::Persist(place) => {
                let server = Arc::make_mut(&mut state.servers[*place]);
                server.persisted += 1;
                let up_to = PersistSeq(u64::try_from(server.persisted).unwrap());
                self.give(state, *place, Input::Persisted { up_to });
            }
            Step::Timeout(place) => {
                state.timeouts -= 1;
                let at = state.servers[*place].engine.next_deadline().unwrap();
                self.expire(state, *place, at);
            }
            Step::Crash(place) => {
                let number = self.number(*place);
                state.crashes.retain(|crash| *crash != number);
                self.stop(state, *place);
                self.start(state, *place);
            }
            Step::Stop(place) => {
                let number = self.number(*place);
                state.outages.retain(|outage| *outage != number);
                self.stop(state, *place);
            }
            Step::Start(place) => self.start(state, *place),
            Step::Cut(one, other) => {
                state.cuts -= 1;
                state.cut.insert((*one, *other));
                for (place, other) in [(*one, *other), (*other, *one)] {
                    let peer = self.config.voters()[other];
                    self.give(state, place, Input::PeerDown { peer });
                }
            }
            Step::Mend(one, other) => {
                state.cut.remove(&(*one, *other));
                for (place, other) in [(*one, *other), (*other, *one)] {
                    let (peer, incarnation) = (self.config.voters()[other], Incarnation::UNKNOWN);
                    self.give(state, place, Input::PeerUp { peer, incarnation });
                }
            }
        }
    }

    fn expire(&self, state: &mut State<E>, place: usize, at: Duration) {
        let server = Arc::make_mut(&mut state.servers[place]);
        server.now = server.now.max(at);
        self.give(state, place, Input::Timeout);
    }

    fn call(&self, state: &mut State<E>, number: usize) {
        let (server, op) = self.bounds.calls[number].clone();
        state.begun[number] = true;
        let id = request(number);
        let begin = state.tick();
        let Operation::Batch(batch) = &op else { panic!("{op:?}") };
        let command = batch.single().unwrap();
        let action = match command {
            Command::Get { .. } => Action::Get,
            Command::Put { value, .. } => Action::Put(value.clone()),
            Command::Delete { .. } => Action::Delete,
            Command::Increment { .. }
            | Command::Append { .. }
            | Command::Expire { .. }
            | Command::TimeToLive { .. }
            | Command::Rewrite { .. }
            | Command::ExpireAt { .. }
            | Command::Expiry { .. } => panic!("{command:?}"),
        };
        let session = Process(id.0);
        let key = command.key().clone();
        let node = NodeId::new(server).unwrap();
        state.calls.push(Call { id, session, node, key, action, begin, held: None, end: None });
        let options = RequestOptions::default();
        self.give(state, usize::from(server) - 1, Input::Request { id, op, options });
    }

    fn arrive(&self, state: &mut State<E>, flying: &Flying<E::Message>) {
        let place = self.place(flying.to);
        let message = E::Message::clone(&flying.message);
        self.give(state, place, Input::Message { from: flying.from, message });
    }

    /// Ends a server's process.
    fn stop(&self, state: &mut State<E>, place: usize) {
        let server = Arc::make_mut(&mut state.servers[place]);
        server.is_up = false;
        server.records.truncate(server.persisted);
        server.hash = OnceLock::new();
        let moment = state.tick();
        for (number, (asked, _)) in self.bounds.calls.iter().enumerate() {
            let open = state.calls.iter_mut().find(|call| call.id == request(number));
            if let Some(call) = open.filter(|c| c.end.is_none() && usize::from(*asked) - 1 == place)
            {
                call.end = Some((moment, End::Unknown { version: None }));
            }
        }
        let peer = self.config.voters()[place];
        for other in (0..state.servers.len()).filter(|other| *other != place) {
            if state.servers[other].is_up && !is_cut(&state.cut, place, other) {
                self.give(state, other, Input::PeerDown { peer });
            }
        }
    }

    /// Starts a server again on what is on its disk.
    fn start(&self, state: &mut State<E>, place: usize) {
        let server = &state.servers[place];
        let started =
            self.recover(place, server.incarnation + 1, server.records_on_disk(), server.now);
        state.servers[place] = Arc::new(started);
        self.connect(state, place);
    }

    /// Steps a server, and again for a deadline that is due, and takes its effects.
    fn give(&self, state: &mut State<E>, place: usize, input: Input<E::Message>) {
        let mut effects = Effects::new();
        let server = Arc::make_mut(&mut state.servers[place]);
        let now = Now { mono: server.now, wall: WALL };
        server.engine.step(now, input, &mut effects);
        if server.engine.next_deadline().is_some_and(|due| due <= now.mono) {
            server.engine.step(now, Input::Timeout, &mut effects);
        }
        let from = self.config.voters()[place];
        let mut answers = Vec::new();
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Persist { record, .. } => server.records.push(record),
                Effect::Send { to, message } => {
                    if !is_cut(&state.cut, place, self.place(to)) {
                        state_send(&mut state.flying, from, to, message);
                    }
                }
                Effect::Reply { id, outcome } => answers.push((id, outcome)),
                Effect::BeginSnapshot { to } | Effect::EndSnapshot { peer: to } => {
                    panic!("a snapshot for {to}: the bounds are too large")
                }
                Effect::Halt { reason } => state.wrong = Some(reason.to_string()),
            }
        }
        server.hash = OnceLock::new();
        for (id, outcome) in answers {
            self.answer(state, place, (id, outcome));
        }
        state.wrong = state.wrong.take().or_else(|| (self.laws.servers)(state));
    }

    fn answer(&self, state: &mut State<E>, place: usize, (id, outcome): (RequestId, Outcome)) {
        let moment = state.tick();
        let Some(call) = state.calls.iter().position(|call| call.id == id) else {
            state.wrong = Some(format!("{id} was never asked"));
            return;
        };
        if state.calls[call].end.is_some() {
            state.wrong = Some(format!("{id} was answered before"));
            return;
        }
        let end = self.end(&outcome);
        state.calls[call].end = Some((moment, end));
        let found = (self.laws.answer)(state, &self.config, place, &state.calls[call]);
        state.wrong = state.wrong.take().or(found);
    }

    fn end(&self, outcome: &Outcome) -> End {
        match outcome {
            Outcome::NotDone(_) => End::NotDone,
            Outcome::Unknown(unknown) => End::Unknown { version: unknown.version },
            Outcome::Done(done) => {
                let Answer::Results(results) = &done.answer else { panic!("{done:?}") };
                match &results[0] {
                    CommandResult::Value(found) => {
                        let shown = found.as_ref().map(|found| Shown {
                            value: found.value.clone(),
                            version: found.version,
                        });
                        let quorum = self.config.read_quorum();
                        End::Read { shown, deleted: None, quorum }
                    }
                    CommandResult::Written => {
                        let (version, quorum) = (done.version.unwrap(), self.config.write_quorum());
                        End::Written { version, quorum }
                    }
                    CommandResult::Number(_)
                    | CommandResult::Length(_)
                    | CommandResult::Changed(_)
                    | CommandResult::TimeToLive(_)
                    | CommandResult::Expiry(_) => panic!("{done:?}"),
                }
            }
        }
    }

    fn place(&self, node: NodeId) -> usize {
        usize::from(node.number()) - 1
    }

    pub(super) fn number(&self, place: usize) -> u16 {
        self.config.voters()[place].number()
    }
}

impl<E: Checked> Model for ClusterModel<E> {
    type State = State<E>;
    type Action = Step;

    fn init_states(&self) -> Vec<State<E>> {
        let mut state = self.founded();
        (self.prelude)(self, &mut state);
        vec![state]
    }

    fn actions(&self, state: &State<E>, steps: &mut Vec<Step>) {
        let is_up = |number: u16| state.servers[usize::from(number) - 1].is_up;
        let calls = state.begun.iter().zip(&self.bounds.calls).enumerate();
        let calls = calls.filter(|(_, (begun, (server, _)))| !**begun && is_up(*server));
        steps.extend(calls.map(|(number, _)| Step::Call(number)));
        for (hash, flying) in &state.flying {
            if is_up(flying.to.number()) {
                steps.push(Step::Arrive(*hash));
                steps.extend((state.copies > 0).then_some(Step::ArriveAndStay(*hash)));
            }
            steps.extend((state.losses > 0).then_some(Step::Lose(*hash)));
        }
        for (place, server) in state.servers.iter().enumerate() {
            if !server.is_up {
                steps.push(Step::Start(place));
                continue;
            }
            steps.extend(server.is_behind().then_some(Step::Persist(place)));
            let may_expire = state.timeouts > 0 && server.engine.next_deadline().is_some();
            steps.extend(may_expire.then_some(Step::Timeout(place)));
            for other in (place + 1..state.servers.len()).filter(|_| state.cuts > 0) {
                let is_open = state.servers[other].is_up && !is_cut(&state.cut, place, other);
                steps.extend(is_open.then_some(Step::Cut(place, other)));
            }
        }
        let up = |numbers: &[u16]| -> Vec<usize> {
            let up = numbers.iter().filter(|number| is_up(**number));
            up.map(|number| usize::from(*number) - 1).collect()
        };
        steps.extend(up(&state.crashes).into_iter().map(Step::Crash));
        steps.extend(up(&state.outages).into_iter().map(Step::Stop));
        let both_up = |(one, other): &&(usize, usize)| {
            state.servers[*one].is_up && state.servers[*other].is_up
        };
        steps.extend(state.cut.iter().filter(both_up).map(|(one, other)| Step::Mend(*one, *other)));
    }

    fn next_state(&self, state: &State<E>, step: Step) -> Option<State<E>> {
        let mut next = state.clone();
        self.take(&mut next, &step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_WRONG, |_, state: &State<E>| state.wrong.is_none()),
            Property::sometimes(ALL_DONE, |_, state: &State<E>| state.is_all_done()),
        ]
    }
}

fn is_cut(cut: &BTreeSet<(usize, usize)>, one: usize, other: usize) -> bool {
    cut.contains(&(one.min(other), one.max(other)))
}

fn request(number: usize) -> RequestId {
    RequestId(u64::try_from(number).unwrap() + 1)
}

const START: Duration = Duration::from_secs(1);
const WALL: Duration = Duration::from_secs(1_000_000_000);
