//! The checker agrees with stateright's `LinearizabilityTester` on small generated histories: of a
//! register, with stateright's own specification, and of every command.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers may panic, and how many histories there were is worth a line"
)]

use std::fmt::Debug;

use kv_check::{Budget, Event, History, Process, Refusal, Seen, Verdict, linearizability};
use kv_core::{Batch, Check, SeedStream, parse_integer};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::calls::{append, delete, get, if_then, increment, put, put_command, value};

/// A specification, with what its calls are to our checker.
trait Model: SequentialSpec<Op: Clone + Debug, Ret: Clone + Debug> + Clone + Debug + Default {
    /// A call; `fresh` is a letter that no other call of the history was given.
    fn draw(stream: &mut SeedStream, fresh: char) -> Self::Op;
    /// Any state, to answer from as if the call had come at another time.
    fn astray(stream: &mut SeedStream, fresh: char) -> Self;
    fn batch(op: &Self::Op) -> Batch;
    fn end(op: &Self::Op, ret: &Self::Ret) -> Event;
}

/// A key that is put, deleted and read; `UNIQUE` if each value is put once.
#[derive(Clone, Debug, Default)]
struct PutAndGet<const UNIQUE: bool>(Register<Option<char>>);

impl<const UNIQUE: bool> SequentialSpec for PutAndGet<UNIQUE> {
    type Op = RegisterOp<Option<char>>;
    type Ret = RegisterRet<Option<char>>;

    fn invoke(&mut self, op: &Self::Op) -> Self::Ret {
        self.0.invoke(op)
    }
}

impl<const UNIQUE: bool> Model for PutAndGet<UNIQUE> {
    fn draw(stream: &mut SeedStream, fresh: char) -> Self::Op {
        match stream.below(8) {
            0..=3 => RegisterOp::Read,
            4 if !UNIQUE => RegisterOp::Write(None),
            _ => RegisterOp::Write(Some(if UNIQUE { fresh } else { letter(stream) })),
        }
    }

    fn astray(stream: &mut SeedStream, fresh: char) -> Self {
        let before = stream.below(u64::from(fresh) - u64::from('a') + 1);
        let letter = if UNIQUE { nth(before) } else { letter(stream) };
        Self(Register(Some(letter).filter(|_| stream.chance(800))))
    }

    fn batch(op: &Self::Op) -> Batch {
        match op {
            RegisterOp::Read => get("k"),
            RegisterOp::Write(None) => delete("k"),
            RegisterOp::Write(Some(letter)) => put("k", &letter.to_string()),
        }
    }

    fn end(_op: &Self::Op, ret: &Self::Ret) -> Event {
        let seen = match ret {
            RegisterRet::WriteOk => Seen::Written,
            RegisterRet::ReadOk(found) => {
                Seen::Value(found.map(|letter| value(&letter.to_string())))
            }
        };
        Event::Ok(vec![seen])
    }
}

/// A key with every command.
#[derive(Clone, Debug, Default)]
struct Everything(Option<String>);

#[derive(Clone, Debug)]
enum Op {
    Get,
    Put(char),
    Delete,
    Increment(i64),
    Append(char),
    Swap(char, char),
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Found(Option<String>),
    Written,
    Number(i64),
    Length(u64),
    Holds(Option<String>),
    NoNumber,
}

impl SequentialSpec for Everything {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        let held = self.0.clone();
        match op {
            Op::Get => Ret::Found(held),
            Op::Put(letter) => {
                self.0 = Some(letter.to_string());
                Ret::Written
            }
            Op::Delete => {
                self.0 = None;
                Ret::Written
            }
            Op::Increment(by) => {
                let number = held.as_ref().map_or(Some(0), |held| parse_integer(held.as_bytes()));
                let sum = number.map(|number| number + by);
                self.0 = sum.map(|sum| sum.to_string()).or(held);
                sum.map_or(Ret::NoNumber, Ret::Number)
            }
            Op::Append(letter) => {
                let longer = format!("{}{letter}", held.unwrap_or_default());
                self.0 = Some(longer.clone());
                Ret::Length(u64::try_from(longer.len()).unwrap())
            }
            Op::Swap(old, new) if held == Some(old.to_string()) => {
                self.0 = Some(new.to_string());
                Ret::Written
            }
            Op::Swap(..) => Ret::Holds(held),
        }
    }
}

impl Model for Everything {
    fn draw(stream: &mut SeedStream, _fresh: char) -> Op {
        match stream.below(10) {
            0..=2 => Op::Get,
            3 | 4 => Op::Put(letter(stream)),
            5 => Op::Delete,
            6 | 7 => Op::Increment(i64::try_from(stream.below(3)).unwrap() - 1),
            8 => Op::Append(letter(stream)),
            _ => Op::Swap(letter(stream), letter(stream)),
        }
    }

    fn astray(stream: &mut SeedStream, _fresh: char) -> Self {
        Self(stream.chance(700).then(|| letter(stream).to_string()))
    }

    fn batch(op: &Op) -> Batch {
        match op {
            Op::Get => get("k"),
            Op::Put(letter) => put("k", &letter.to_string()),
            Op::Delete => delete("k"),
            Op::Increment(by) => increment("k", *by),
            Op::Append(letter) => append("k", &letter.to_string()),
            Op::Swap(old, new) => {
                let check = Check::ValueIs(value(&old.to_string()));
                if_then("k", check, put_command("k", &new.to_string()))
            }
        }
    }

    fn end(_op: &Op, ret: &Ret) -> Event {
        let text = |text: &String| value(text);
        Event::Ok(vec![match ret {
            Ret::Found(found) => Seen::Value(found.as_ref().map(text)),
            Ret::Written => Seen::Written,
            Ret::Number(number) => Seen::Number(*number),
            Ret::Length(length) => Seen::Length(*length),
            Ret::Holds(found) => {
                let found = Some(found.as_ref().map(text));
                return Event::Fail(Refusal::Condition { index: 0, found });
            }
            Ret::NoNumber => return Event::Fail(Refusal::Command { index: 0 }),
        }])
    }
}

/// One of three numbers and a letter.
fn letter(stream: &mut SeedStream) -> char {
    ['1', '2', '3', 'x'][usize::try_from(stream.below(4)).unwrap()]
}

fn nth(number: u64) -> char {
    char::from(b'a' + u8::try_from(number).unwrap())
}

/// How a client of a generated history stands.
#[derive(Clone, Debug)]
enum Stands<M: Model> {
    Idle,
    Asks(M::Op),
    /// It took effect.
    Done(M::Op, M::Ret),
    /// Nobody knows how its call ended.
    Gone,
}

/// A random history, and what stateright says of it: most calls take effect at one moment between
/// begin and end, some bring what was not there, some never end.
fn generated<M: Model>(stream: &mut SeedStream) -> (History, bool) {
    let clients = 2 + stream.below(4);
    let mut tester = LinearizabilityTester::new(M::default());
    let mut stands = vec![Stands::<M>::Idle; usize::try_from(clients).unwrap()];
    let mut state = M::default();
    let mut events = Vec::new();
    for step in 0..6 + stream.below(14) {
        let client = stream.below(clients);
        let process = Process(client);
        let place = usize::try_from(client).unwrap();
        stands[place] = match stands[place].clone() {
            Stands::Gone => Stands::Gone,
            Stands::Idle => {
                let op = M::draw(stream, nth(step));
                tester.on_invoke(client, op.clone()).unwrap();
                events.push((process, Event::Invoke(M::batch(&op))));
                Stands::Asks(op)
            }
            Stands::Asks(op) if stream.chance(600) => {
                let ret = state.invoke(&op);
                Stands::Done(op, ret)
            }
            Stands::Asks(_) | Stands::Done(..) if stream.chance(80) => {
                if stream.chance(500) {
                    events.push((process, Event::Info));
                }
                Stands::Gone
            }
            Stands::Asks(op) => answer(stream, &mut tester, &mut events, client, &op, None, step),
            Stands::Done(op, ret) => {
                answer(stream, &mut tester, &mut events, client, &op, Some(ret), step)
            }
        };
    }
    (History { events }, tester.is_consistent())
}

fn answer<M: Model>(
    stream: &mut SeedStream,
    tester: &mut LinearizabilityTester<u64, M>,
    events: &mut Vec<(Process, Event)>,
    client: u64,
    op: &M::Op,
    right: Option<M::Ret>,
    step: u64,
) -> Stands<M> {
    // Whoever has no answer yet gets one that may be wrong.
    let ret = match right {
        Some(ret) if !stream.chance(60) => ret,
        _ => M::astray(stream, nth(step)).invoke(op),
    };
    tester.on_return(client, ret.clone()).unwrap();
    events.push((Process(client), M::end(op, &ret)));
    Stands::Idle
}

fn agrees<M: Model>(seed: u64) {
    let mut stream = SeedStream::new(seed);
    let mut counts = [0, 0];
    for _ in 0..HISTORIES {
        let (history, expected) = generated::<M>(&mut stream);
        let found = match linearizability(&history, Budget::default()).unwrap() {
            Verdict::Linearizable => true,
            Verdict::NotLinearizable(_) => false,
            undecided @ Verdict::Undecided { .. } => panic!("{undecided}: {history:#?}"),
        };
        assert_eq!(found, expected, "{history:#?}");
        counts[usize::from(expected)] += 1;
    }
    println!("{} are not linearizable, {} are", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > HISTORIES / 10), "{counts:?}");
}

#[test]
fn registers_whose_values_are_put_once() {
    agrees::<PutAndGet<true>>(1);
}

#[test]
fn registers_whose_values_are_put_often() {
    agrees::<PutAndGet<false>>(2);
}

#[test]
fn keys_with_every_command() {
    agrees::<Everything>(3);
}

const HISTORIES: u64 = 10_000;
