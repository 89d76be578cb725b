//! The checker's verdicts on keys that transactions tie together, against a search by brute force.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers may panic, and how many histories there were is worth a line"
)]

use std::collections::{BTreeMap, BTreeSet};

use kv_check::{Budget, Event, History, Process, Refusal, Seen, Verdict, linearizability};
use kv_core::{Batch, Check, Command, Condition, Key, SeedStream, Value};

use super::calls::{append, delete, found, get, key, put, put_command, text, value};

type State = BTreeMap<Key, Value>;

/// What a call brings in a state, and what it leaves.
fn carry_out(call: &Batch, state: &mut State) -> Event {
    for (index, condition) in call.conditions().iter().enumerate() {
        let held = state.get(&condition.key);
        let holds = match &condition.check {
            Check::Absent => held.is_none(),
            Check::Present => held.is_some(),
            Check::ValueIs(wanted) => held == Some(wanted),
            other @ (Check::VersionIs(_) | Check::ExpiryIs(_)) => panic!("not drawn: {other:?}"),
        };
        if !holds {
            return Event::Fail(Refusal::Condition { index, found: Some(held.cloned()) });
        }
    }
    let seen = call.commands().iter().map(|command| match command {
        Command::Get { key } => Seen::Value(state.get(key).cloned()),
        Command::Put { key, value, .. } => {
            state.insert(key.clone(), value.clone());
            Seen::Written
        }
        Command::Delete { key } => {
            state.remove(key);
            Seen::Written
        }
        Command::Append { key, suffix } => {
            let longer = state.get(key).map(text).unwrap_or_default() + &text(suffix);
            state.insert(key.clone(), value(&longer));
            Seen::Length(u64::try_from(longer.len()).unwrap())
        }
        other @ (Command::Increment { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. }) => panic!("not drawn: {other:?}"),
    });
    Event::Ok(seen.collect())
}

/// Whether a call that brings `brings` can have ended as it did; one without an end took effect.
fn ends_so(brings: &Event, end: Option<&Event>) -> bool {
    match (brings, end) {
        (Event::Ok(_), None) => true,
        (Event::Ok(seen), Some(Event::Ok(told))) => {
            seen.len() == told.len()
                && seen.iter().zip(told).all(|(a, b)| a == b || *b == Seen::Unnoted)
        }
        (
            Event::Fail(Refusal::Condition { index, found }),
            Some(Event::Fail(Refusal::Condition { index: failed, found: told })),
        ) => index == failed && (told.is_none() || told == found),
        _ => false,
    }
}

/// One call for the search by brute force.
struct Plain {
    call: Batch,
    invoked: usize,
    returned: Option<usize>,
    end: Option<Event>,
}

fn plain(history: &History) -> Vec<Plain> {
    let mut calls: Vec<Plain> = Vec::new();
    let mut open = BTreeMap::new();
    for (at, (process, event)) in history.events.iter().enumerate() {
        if let Event::Invoke(call) = event {
            open.insert(*process, calls.len());
            let call = call.clone();
            calls.push(Plain { call, invoked: at, returned: None, end: None });
        } else if *event != Event::Info {
            let call = &mut calls[open[process]];
            (call.returned, call.end) = (Some(at), Some(event.clone()));
        }
    }
    calls
}

/// Tries every order of the calls; all that it knows is where it has been.
fn has_order(
    calls: &[Plain],
    done: u64,
    state: &State,
    visited: &mut BTreeSet<(u64, State)>,
) -> bool {
    let left: Vec<usize> = (0..calls.len()).filter(|n| done & (1 << n) == 0).collect();
    let Some(first_end) = left.iter().filter_map(|n| calls[*n].returned).min() else {
        return true;
    };
    if !visited.insert((done, state.clone())) {
        return false;
    }
    left.iter().filter(|n| calls[**n].invoked < first_end).any(|n| {
        let mut after = state.clone();
        let brings = carry_out(&calls[*n].call, &mut after);
        ends_so(&brings, calls[*n].end.as_ref())
            && has_order(calls, done | (1 << n), &after, visited)
    })
}

/// Whether brute force finds an order.
fn is_right(calls: &[Plain]) -> bool {
    has_order(calls, 0, &State::new(), &mut BTreeSet::new())
}

/// What random histories are like.
struct Taste {
    keys: u64,
    values: u64,
    clients: u64,
    steps: u64,
    /// Per mille of the calls on several keys or with conditions.
    transactions: u64,
    /// Per mille of the turns in which a call that took effect ends.
    ends: u64,
    /// Per mille of the calls whose end is lost.
    lost: u64,
    /// Per mille of the ends that tell of an older state.
    astray: u64,
    appends: bool,
}

impl Taste {
    fn draw(stream: &mut SeedStream) -> Self {
        Self {
            keys: 1 + stream.below(3),
            values: 1 + stream.below(4),
            clients: 2 + stream.below(6),
            steps: 20 + stream.below(60),
            transactions: [100, 300, 600][pick(stream, 3)],
            ends: [100, 300, 900][pick(stream, 3)],
            lost: [0, 10, 60][pick(stream, 3)],
            astray: [0, 100, 400][pick(stream, 3)],
            appends: stream.chance(100),
        }
    }

    fn name(&self, stream: &mut SeedStream) -> &'static str {
        ["a", "b", "c"][pick(stream, self.keys)]
    }

    fn text(&self, stream: &mut SeedStream) -> String {
        stream.below(self.values).to_string()
    }

    fn call(&self, stream: &mut SeedStream) -> Batch {
        let (name, text) = (self.name(stream), self.text(stream));
        if !stream.chance(self.transactions) {
            return match stream.below(10) {
                0..=4 => put(name, &text),
                5 => delete(name),
                _ if self.appends && stream.chance(200) => append(name, &text),
                _ => get(name),
            };
        }
        let conditions = (0..stream.below(3)).map(|_| self.condition(stream)).collect();
        let commands = (0..1 + stream.below(3)).map(|_| self.command(stream)).collect();
        Batch::new(conditions, commands).unwrap()
    }

    fn condition(&self, stream: &mut SeedStream) -> Condition {
        let check = match stream.below(4) {
            0 => Check::Absent,
            1 => Check::Present,
            _ => Check::ValueIs(value(&self.text(stream))),
        };
        Condition { key: key(self.name(stream)), check }
    }

    fn command(&self, stream: &mut SeedStream) -> Command {
        let name = self.name(stream);
        match stream.below(6) {
            0..=2 => Command::Get { key: key(name) },
            3 => Command::Delete { key: key(name) },
            _ => put_command(name, &self.text(stream)),
        }
    }
}

fn pick(stream: &mut SeedStream, count: u64) -> usize {
    usize::try_from(stream.below(count)).unwrap()
}

/// How a client of a generated history stands.
enum Stands {
    Idle,
    Asks(Batch),
    Done(Batch, Event),
}

/// A random history: each call takes effect at one moment between begin and end, unless its end
/// tells of an older state.
fn random(stream: &mut SeedStream) -> History {
    let taste = Taste::draw(stream);
    let mut clients: Vec<(u64, Stands)> = (0..taste.clients).map(|n| (n, Stands::Idle)).collect();
    let mut states = vec![State::new()];
    let mut events = Vec::new();
    let (mut begun, mut fresh) = (0, taste.clients);
    for _ in 0..taste.steps {
        let place = pick(stream, taste.clients);
        let (client, stands) = &mut clients[place];
        let process = Process(*client);
        *stands = match std::mem::replace(stands, Stands::Idle) {
            Stands::Idle if begun < CALLS_MAX => {
                begun += 1;
                let call = taste.call(stream);
                events.push((process, Event::Invoke(call.clone())));
                Stands::Asks(call)
            }
            Stands::Idle => Stands::Idle,
            Stands::Asks(_) | Stands::Done(..) if stream.chance(taste.lost) => {
                events.push((process, Event::Info));
                (*client, fresh) = (fresh, fresh + 1);
                Stands::Idle
            }
            Stands::Asks(call) => {
                let mut state = states.last().unwrap().clone();
                let mut end = carry_out(&call, &mut state);
                states.push(state);
                if stream.chance(taste.astray) {
                    let mut older =
                        states[pick(stream, u64::try_from(states.len()).unwrap())].clone();
                    end = carry_out(&call, &mut older);
                }
                Stands::Done(call, end)
            }
            Stands::Done(call, end) if !stream.chance(taste.ends) => Stands::Done(call, end),
            Stands::Done(_, end) => {
                events.push((process, told(end, stream)));
                Stands::Idle
            }
        };
    }
    for (client, stands) in clients {
        if let Stands::Done(_, end) = stands {
            events.push((Process(client), told(end, stream)));
        }
    }
    History { events }
}

/// An end as a client may tell it: not always all of it.
fn told(mut end: Event, stream: &mut SeedStream) -> Event {
    match &mut end {
        Event::Fail(Refusal::Condition { found, .. }) if stream.chance(400) => *found = None,
        Event::Ok(seen) => {
            for seen in seen.iter_mut().filter(|_| stream.chance(60)) {
                *seen = Seen::Unnoted;
            }
        }
        Event::Fail(_) | Event::Info | Event::Invoke(_) => {}
    }
    end
}

/// Whether the checker finds an order; if it finds none, its counterexample must have none either.
fn is_linearizable(history: &History) -> bool {
    let smallest = match linearizability(history, Budget::default()).unwrap() {
        Verdict::Linearizable => return true,
        Verdict::NotLinearizable(smallest) => smallest,
        undecided @ Verdict::Undecided { .. } => panic!("{undecided}: {history:#?}"),
    };
    let calls = smallest.calls.iter().map(|call| Plain {
        call: call.batch.clone(),
        invoked: call.invoked,
        returned: call.returned,
        end: call.end.clone().map(|end| match end {
            Ok(seen) => Event::Ok(seen),
            Err(refusal) => Event::Fail(refusal),
        }),
    });
    let calls: Vec<Plain> = calls.collect();
    assert!(!is_right(&calls), "{history:#?}\n{smallest}");
    false
}

#[test]
fn verdicts_and_counterexamples_agree_with_a_search_by_brute_force() {
    let mut stream = SeedStream::new(21);
    let mut counts = [0, 0];
    for _ in 0..HISTORIES {
        let history = random(&mut stream);
        let expected = is_right(&plain(&history));
        assert_eq!(is_linearizable(&history), expected, "{history:#?}");
        counts[usize::from(expected)] += 1;
    }
    println!("{} are not linearizable, {} are", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > HISTORIES / 20), "{counts:?}");
}

/// A call that ties four keys together, and its end.
fn tie() -> [(Process, Event); 2] {
    let commands = NAMES.map(|name| put_command(name, ""));
    let call = Batch::new(Vec::new(), commands.to_vec()).unwrap();
    let end = Event::Ok(vec![Seen::Written; NAMES.len()]);
    [(Process(1_000), Event::Invoke(call)), (Process(1_000), end)]
}

#[test]
fn keys_that_the_awaited_call_has_no_tie_to_are_looked_at_later() {
    let mut events = tie().to_vec();
    let clients: Vec<(u64, &str)> = (0..).zip(NAMES.iter().flat_map(|name| [*name; 6])).collect();
    for (client, name) in &clients {
        events.push((Process(*client), Event::Invoke(append(name, &format!("<{client}>")))));
    }
    for (client, _) in &clients {
        events.push((Process(*client), Event::Ok(vec![Seen::Unnoted])));
        if *client == 5 {
            events.push((Process(1_000), Event::Invoke(get("a"))));
            events.push((Process(1_000), found("impossible")));
        }
    }
    let few = Budget { steps_max: 200_000, ..Budget::default() };
    let verdict = linearizability(&History { events }, few).unwrap();
    assert!(matches!(verdict, Verdict::NotLinearizable(_)), "{verdict}");
}

/// A call of [`fault`], with its end once it took effect.
struct Call {
    client: u64,
    batch: Batch,
    end: Option<Event>,
}

/// What clients see while a fault lasts: eight calls are open at once that end soon, and one call in
/// sixteen ends with the fault. Each value is put once.
fn fault(seed: u64) -> History {
    let mut stream = SeedStream::new(seed);
    let mut events = tie().to_vec();
    let mut state: State = NAMES.iter().map(|name| (key(name), Value::default())).collect();
    let (mut quick, mut slow): (Vec<Call>, Vec<Call>) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let place = pick(&mut stream, 8);
        match quick.get_mut(place) {
            Some(call) if call.end.is_none() => call.take_effect(&mut state),
            Some(_) => {
                let Call { client, end, .. } = quick.swap_remove(place);
                events.push((Process(client), end.unwrap()));
            }
            None => {
                let name = NAMES[pick(&mut stream, 4)];
                let batch = match stream.below(20) {
                    0..=9 => put(name, &turn.to_string()),
                    10 => delete(name),
                    _ => get(name),
                };
                events.push((Process(turn), Event::Invoke(batch.clone())));
                let calls = if stream.below(16) == 0 { &mut slow } else { &mut quick };
                calls.push(Call { client: turn, batch, end: None });
            }
        }
        if let Some(call) = slow.get_mut(pick(&mut stream, 200)) {
            call.take_effect(&mut state);
        }
    }
    for mut call in quick.into_iter().chain(slow) {
        call.take_effect(&mut state);
        events.push((Process(call.client), call.end.unwrap()));
    }
    History { events }
}

impl Call {
    fn take_effect(&mut self, state: &mut State) {
        self.end = self.end.take().or_else(|| Some(carry_out(&self.batch, state)));
    }
}

#[test]
fn many_open_calls_on_tied_keys_are_told_apart_by_later_reads() {
    let few = Budget { steps_max: 100_000, ..Budget::default() };
    for seed in 0..12 {
        let mut history = fault(seed);
        assert_eq!(linearizability(&history, few), Ok(Verdict::Linearizable), "{seed}");
        for end in [found("new"), found("")] {
            history.events.push((Process(1_000), Event::Invoke(get("a"))));
            history.events.push((Process(1_000), end));
        }
        let put = (Process(1_001), Event::Invoke(put("a", "new")));
        history.events.insert(2, put);
        let verdict = linearizability(&history, few).unwrap();
        assert!(matches!(verdict, Verdict::NotLinearizable(_)), "{seed}: {verdict}");
    }
}

/// So that the search without foresight runs out of steps.
const TURNS: u64 = 800;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

const HISTORIES: u64 = 10_000;

/// So that brute force comes to an end.
const CALLS_MAX: u64 = 14;
