//! A cluster of real engines as a state machine for a model checker: at each step one message
//! arrives, one record reaches its disk, one deadline comes, one client calls, or one server
//! crashes. Messages have no order.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use kv_check::Process;
use kv_check::evidence::{Action, Call, End, Shown};
use kv_core::{
    Answer, ClusterConfig, CommandResult, ConsistencyEngine, Effect, Effects, EngineConfig,
    Incarnation, Input, NodeId, Now, Operation, Outcome, PersistSeq, Quorum, RequestId,
    RequestOptions, Wire, digest,
};
use stateright::{Model, Property};

/// An engine that can be model checked, with what must hold of it.
pub trait Checked:
    ConsistencyEngine<Message: Send + Sync, Record: Send + Sync> + Clone + Debug + Send + Sync + 'static
{
    /// What is wrong after a client was answered, if something is.
    fn judge_answer(state: &State<Self>, config: &ClusterConfig, call: &Call) -> Option<String>;

    /// What is wrong between any two steps, if something is.
    fn judge_servers(state: &State<Self>) -> Option<String>;
}

/// How large a model is.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub nodes: u16,
    pub write: u16,
    pub read: u16,
    /// What clients ask of which server; each is a session, and may begin at any time.
    pub calls: Vec<(u16, Operation)>,
    /// How many deadlines come before what they wait for.
    pub timeouts: u8,
    /// How many messages are lost.
    pub losses: u8,
    /// How many messages arrive once more.
    pub copies: u8,
    /// Servers that crash and lose what is not on disk; each once at most.
    pub crashes: Vec<u16>,
}

pub struct ClusterModel<E: ConsistencyEngine> {
    pub bounds: Bounds,
    config: ClusterConfig,
    recover: Recover<E>,
}

/// Makes an engine from the records on its disk.
pub type Recover<E> = fn(EngineConfig, Vec<(PersistSeq, <E as ConsistencyEngine>::Record)>) -> E;

/// One server, with the hash of all that it is.
#[derive(Clone, Debug)]
pub struct Server<E: ConsistencyEngine> {
    pub engine: E,
    records: Vec<E::Record>,
    persisted: usize,
    now: Duration,
    incarnation: u64,
    hash: u64,
}

/// A message under way.
#[derive(Clone, Debug)]
struct Flying<M> {
    from: NodeId,
    to: NodeId,
    message: Arc<M>,
    copies: u8,
}

#[derive(Clone, Debug)]
pub struct State<E: ConsistencyEngine> {
    pub servers: Vec<Arc<Server<E>>>,
    flying: BTreeMap<u64, Flying<E::Message>>,
    /// What clients saw; its moments are numbers, a second each.
    pub calls: Vec<Call>,
    begun: Vec<bool>,
    moment: u64,
    timeouts: u8,
    losses: u8,
    copies: u8,
    crashes: Vec<u16>,
    pub wrong: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Call(usize),
    Arrive(u64),
    ArriveAndStay(u64),
    Lose(u64),
    Persist(usize),
    Timeout(usize),
    Crash(usize),
}

impl<E: Checked> ClusterModel<E> {
    pub fn new(bounds: Bounds, recover: Recover<E>) -> Self {
        let voters = (1..=bounds.nodes).map(|number| NodeId::new(number).unwrap());
        let (write, read) = (Quorum::Count(bounds.write), Quorum::Count(bounds.read));
        let config = ClusterConfig::new(voters, write, read).unwrap();
        Self { bounds, config, recover }
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
        let config = EngineConfig::new(node, self.config.clone(), seed);
        let numbered = (1..).map(PersistSeq).zip(records.iter().cloned());
        let engine = (self.recover)(config, numbered.collect());
        let records = records.to_vec();
        Server { engine, persisted: records.len(), records, now, incarnation, hash: 0 }
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
        if let Some(hash) = state.flying.keys().next() {
            return Some(Step::Arrive(*hash));
        }
        let behind = state.servers.iter().position(|server| server.is_behind());
        behind.map(Step::Persist)
    }

    /// Tells a server and its peers of each other.
    fn connect(&self, state: &mut State<E>, place: usize) {
        let node = self.config.voters()[place];
        for (other, peer) in self.config.voters().iter().copied().enumerate() {
            if other != place {
                let incarnation = Incarnation::UNKNOWN;
                self.give(state, place, Input::PeerUp { peer, incarnation });
                self.give(state, other, Input::PeerUp { peer: node, incarnation });
            }
        }
    }

    fn take(&self, state: &mut State<E>, step: &Step) {
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
            Step::Crash(place) => self.crash(state, *place),
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
            kv_core::Command::Get { .. } => Action::Get,
            kv_core::Command::Put { value, .. } => Action::Put(value.clone()),
            other => panic!("{other:?}"),
        };
        let session = Process(id.0);
        let key = command.key().clone();
        state.calls.push(Call { id, session, key, action, begin, held: None, end: None });
        let options = RequestOptions::default();
        self.give(state, usize::from(server) - 1, Input::Request { id, op, options });
    }

    fn arrive(&self, state: &mut State<E>, flying: &Flying<E::Message>) {
        let place = self.place(flying.to);
        let message = E::Message::clone(&flying.message);
        self.give(state, place, Input::Message { from: flying.from, message });
    }

    /// Ends a server's process and starts it again on what is on its disk.
    fn crash(&self, state: &mut State<E>, place: usize) {
        let server = &state.servers[place];
        let number = u16::try_from(place + 1).unwrap();
        state.crashes.retain(|crash| *crash != number);
        let kept = &server.records[..server.persisted];
        let started = self.recover(place, server.incarnation + 1, kept, server.now);
        state.servers[place] = Arc::new(started);
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
            self.give(state, other, Input::PeerDown { peer });
        }
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
                Effect::Send { to, message } => state_send(&mut state.flying, from, to, message),
                Effect::Reply { id, outcome } => answers.push((id, outcome)),
                Effect::BeginSnapshot { to } | Effect::EndSnapshot { peer: to } => {
                    panic!("a snapshot for {to}: the bounds are too large")
                }
                Effect::Halt { reason } => state.wrong = Some(reason.to_string()),
            }
        }
        server.hash = server.digest();
        for (id, outcome) in answers {
            self.answer(state, id, outcome);
        }
        state.wrong = state.wrong.take().or_else(|| E::judge_servers(state));
    }

    fn answer(&self, state: &mut State<E>, id: RequestId, outcome: Outcome) {
        let moment = state.tick();
        let Some(place) = state.calls.iter().position(|call| call.id == id) else {
            state.wrong = Some(format!("{id} was never asked"));
            return;
        };
        if state.calls[place].end.is_some() {
            state.wrong = Some(format!("{id} was answered before"));
            return;
        }
        let end = self.end(&outcome);
        state.calls[place].end = Some((moment, end));
        let found = E::judge_answer(state, &self.config, &state.calls[place]);
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
                        End::Read { shown, quorum: self.config.read_quorum() }
                    }
                    CommandResult::Written => {
                        let (version, quorum) = (done.version.unwrap(), self.config.write_quorum());
                        End::Written { version, quorum }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn place(&self, node: NodeId) -> usize {
        usize::from(node.number()) - 1
    }
}

impl<E: Checked> Model for ClusterModel<E> {
    type State = State<E>;
    type Action = Step;

    fn init_states(&self) -> Vec<State<E>> {
        vec![self.founded()]
    }

    fn actions(&self, state: &State<E>, steps: &mut Vec<Step>) {
        let calls = state.begun.iter().enumerate().filter(|(_, begun)| !**begun);
        steps.extend(calls.map(|(number, _)| Step::Call(number)));
        for hash in state.flying.keys() {
            steps.push(Step::Arrive(*hash));
            steps.extend((state.copies > 0).then_some(Step::ArriveAndStay(*hash)));
            steps.extend((state.losses > 0).then_some(Step::Lose(*hash)));
        }
        for (place, server) in state.servers.iter().enumerate() {
            steps.extend(server.is_behind().then_some(Step::Persist(place)));
            let may_expire = state.timeouts > 0 && server.engine.next_deadline().is_some();
            steps.extend(may_expire.then_some(Step::Timeout(place)));
        }
        steps.extend(state.crashes.iter().map(|number| Step::Crash(usize::from(*number) - 1)));
    }

    fn next_state(&self, state: &State<E>, step: Step) -> Option<State<E>> {
        let mut next = state.clone();
        self.take(&mut next, &step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_WRONG, |_, state: &State<E>| state.wrong.is_none()),
            Property::sometimes(ALL_DONE, |_, state: &State<E>| {
                let done = state.calls.iter().filter(|call| {
                    matches!(call.end, Some((_, End::Read { .. } | End::Written { .. })))
                });
                done.count() == state.begun.len()
            }),
        ]
    }
}

impl<E: ConsistencyEngine + Debug> Server<E> {
    pub fn records_on_disk(&self) -> &[E::Record] {
        &self.records[..self.persisted]
    }

    fn is_behind(&self) -> bool {
        self.persisted < self.records.len()
    }

    /// A hash of everything that decides what the server does from here on.
    ///
    /// `ConsistencyEngine::fingerprint` leaves out what is volatile, so the engine's `Debug` form
    /// is hashed instead, without the counters, which decide nothing.
    fn digest(&self) -> u64 {
        let text = format!("{:?}", self.engine);
        let text = match text.split_once("counters: Counters {") {
            Some((before, after)) => {
                format!("{before}{}", after.split_once('}').map_or("", |(_, rest)| rest))
            }
            None => text,
        };
        let records: Vec<_> = self.records.iter().map(Wire::to_bytes).collect();
        let numbers =
            (u64::try_from(self.persisted).unwrap(), self.incarnation, digest(text.as_bytes()));
        digest(&(numbers, self.now, records).to_bytes())
    }
}

impl<E: ConsistencyEngine> State<E> {
    fn tick(&mut self) -> Duration {
        self.moment += 1;
        Duration::from_secs(self.moment)
    }

    fn take(&mut self, hash: u64) -> Flying<E::Message> {
        let flying = self.flying.get_mut(&hash).unwrap();
        flying.copies -= 1;
        let taken = flying.clone();
        if taken.copies == 0 {
            self.flying.remove(&hash);
        }
        taken
    }
}

impl<E: ConsistencyEngine> Hash for State<E> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.servers.iter().for_each(|server| server.hash.hash(hasher));
        for (hash, flying) in &self.flying {
            (hash, flying.copies).hash(hasher);
        }
        format!("{:?}", self.calls).hash(hasher);
        (&self.begun, self.timeouts, self.losses, self.copies, &self.crashes).hash(hasher);
        self.wrong.hash(hasher);
    }
}

impl<E: ConsistencyEngine> PartialEq for State<E> {
    fn eq(&self, other: &Self) -> bool {
        let hash = |state: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

fn state_send<M: Wire>(
    flying: &mut BTreeMap<u64, Flying<M>>,
    from: NodeId,
    to: NodeId,
    message: M,
) {
    let hash = digest(&(from, to, message.to_bytes()).to_bytes());
    let message = Arc::new(message);
    flying.entry(hash).or_insert(Flying { from, to, message, copies: 0 }).copies += 1;
}

fn request(number: usize) -> RequestId {
    RequestId(u64::try_from(number).unwrap() + 1)
}

const START: Duration = Duration::from_secs(1);
const WALL: Duration = Duration::from_secs(1_000_000_000);

/// The properties.
pub const NOTHING_WRONG: &str = "nothing is wrong";
pub const ALL_DONE: &str = "all calls are done";
