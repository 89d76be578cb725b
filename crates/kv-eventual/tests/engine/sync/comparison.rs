//! What a disk lost without a sign is found by comparing the records themselves.

use std::collections::VecDeque;
use std::time::Duration;

use crate::stand::{WALL_MS, config, incarnation, key, node, time, write};
use kv_core::{
    ConsistencyEngine, Counter, Effect, Effects, EngineConfig, HybridTime, Input, NodeId, Now,
    PersistSeq,
};
use kv_eventual::{Compare, Compared, EventualEngine, HashedRange, Message, Part, Record, Write};

/// Two servers whose disks and network take no time.
struct Pair {
    engines: [EventualEngine; 2],
    now: Duration,
    messages: u64,
}

impl Pair {
    /// Each has in its journal what makes it count, and these records.
    fn recovered(records: [Vec<Record>; 2]) -> Self {
        let mut numbers = 1_u16..;
        let engines = records.map(|records| {
            let config = configuration(numbers.next().unwrap());
            let own = incarnation(1, config.node.number().into());
            let cluster = config.cluster.clone();
            let first = [
                Record::Incarnation { node: config.node, incarnation: own, cluster },
                Record::ClockBound { below: time(0, 0) },
                Record::Standing { counts: true },
            ];
            let all = (1..).map(PersistSeq).zip(first.into_iter().chain(records));
            EventualEngine::recover(config, None, all).unwrap()
        });
        let mut pair = Self { engines, now: Duration::from_secs(100), messages: 0 };
        for (place, peer) in [(0, 2), (1, 1)] {
            let incarnation = pair.engines[1 - place].status().incarnation;
            pair.step(place, Input::PeerUp { peer: node(peer), incarnation });
        }
        pair
    }

    /// Takes an input, and all that follows from it at once.
    fn step(&mut self, place: usize, input: Input<Message>) {
        let mut waiting = VecDeque::from([(place, input)]);
        while let Some((place, input)) = waiting.pop_front() {
            let wall = Duration::from_millis(WALL_MS) + self.now;
            let mut out = Effects::new();
            self.engines[place].step(Now { mono: self.now, wall }, input, &mut out);
            for effect in out.drain() {
                match effect {
                    Effect::Persist { seq, .. } => {
                        waiting.push_back((place, Input::Persisted { up_to: seq }));
                    }
                    Effect::Send { to, message } => {
                        self.messages += 1;
                        let from = node(3 - to.number());
                        let to = usize::from(to.number() - 1);
                        waiting.push_back((to, Input::Message { from, message }));
                    }
                    other => panic!("nobody asked for it: {other:?}"),
                }
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.engines.iter().map(ConsistencyEngine::next_deadline);
            let next = due.enumerate().filter_map(|(place, at)| Some((at?, place))).min();
            let Some((at, place)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.step(place, Input::Timeout);
        }
        self.now = end;
    }

    fn counter(&self, place: usize, counter: Counter) -> u64 {
        self.engines[place].status().counter(counter).unwrap()
    }

    fn are_equal(&self) -> bool {
        self.engines[0].fingerprint() == self.engines[1].fingerprint()
    }
}

fn configuration(number: u16) -> EngineConfig {
    let mut config = config(2, 1, 1);
    config.node = NodeId::new(number).unwrap();
    config.seed = number.into();
    config.timing.anti_entropy = Duration::from_secs(1);
    config.timing.comparison = PERIOD;
    config
}

/// Server 1's `number`th write in its first incarnation.
fn put(number: u64) -> Write {
    let name = format!("k{number}");
    write((1, incarnation(1, 1)), number, stamp(number), &name, Some("v"))
}

/// So long ago that clocks do not matter.
fn stamp(number: u64) -> HybridTime {
    HybridTime::from_millis(WALL_MS - 1_000_000 + number)
}

fn all() -> Vec<Record> {
    (1..=KEYS).map(|number| Record::Write(put(number))).collect()
}

/// All, but that one write left nothing.
fn without(number: u64) -> Vec<Record> {
    let lost = Record::Superseded(put(number).entry.id());
    let mut records = all();
    records[usize::try_from(number - 1).unwrap()] = lost;
    records
}

#[test]
fn a_record_that_one_disk_lost_without_a_sign_is_taken_from_the_other() {
    for records in [[all(), without(7)], [without(7), all()]] {
        let mut pair = Pair::recovered(records);
        pair.run_for(PERIOD / 100);
        let lacks = |pair: &Pair| [0, 1].map(|place| pair.engines[place].status().positions.keys);
        assert!(lacks(&pair).contains(&Some(KEYS - 1)), "pulls do not find it");
        pair.run_for(3 * PERIOD);
        assert_eq!(lacks(&pair), [Some(KEYS); 2]);
        assert!(pair.are_equal());
        let mended = [0, 1].map(|place| pair.counter(place, Counter::RecordsMended));
        assert_eq!(mended.iter().sum::<u64>(), 1);
    }
}

#[test]
fn an_older_record_that_a_disk_fell_back_to_is_replaced() {
    let newer = write((1, incarnation(1, 1)), KEYS + 1, stamp(KEYS + 1), "k7", Some("newer"));
    let whole = [all(), vec![Record::Write(newer.clone())]].concat();
    let behind = [all(), vec![Record::Superseded(newer.entry.id())]].concat();
    let mut pair = Pair::recovered([whole, behind]);
    pair.run_for(3 * PERIOD);
    assert!(pair.are_equal());
    assert_eq!(pair.counter(1, Counter::RecordsMended), 1);
}

/// It cannot be told from one that was deleted, as long as a forgotten delete may be later.
#[test]
fn what_may_have_been_deleted_is_not_brought_back() {
    let forgotten = Record::Removed { floor: stamp(KEYS + 1), records: Vec::new() };
    let deleted = [without(7), vec![forgotten]].concat();
    for records in [[deleted.clone(), all()], [all(), deleted]] {
        let mut pair = Pair::recovered(records);
        pair.run_for(3 * PERIOD);
        assert!(!pair.are_equal());
        let counters = |counter| [0, 1].map(|place| pair.counter(place, counter));
        assert_eq!(counters(Counter::RecordsMended), [0, 0]);
        assert!(counters(Counter::RecordsLeftDiffering).iter().sum::<u64>() > 0);
    }
}

/// Else a server that was empty, and knows of a write only through a peer that has forgotten its
/// delete, would take the write from one that still holds it.
#[test]
fn what_a_peer_has_forgotten_is_forgotten_with_its_vector() {
    let forgotten = Record::Removed { floor: stamp(KEYS + 1), records: Vec::new() };
    let mut pair = Pair::recovered([[without(7), vec![forgotten]].concat(), Vec::new()]);
    pair.run_for(PERIOD / 100);
    assert!(pair.are_equal());
    let sender = pair.engines[0].status().incarnation;
    let message = Message { sender, wall_ms: WALL_MS, parts: vec![Part::Mend(put(7))] };
    pair.step(1, Input::Message { from: node(1), message });
    let counters = [Counter::RecordsMended, Counter::RecordsLeftDiffering];
    assert_eq!(counters.map(|counter| pair.counter(1, counter)), [0, 1]);
}

#[test]
fn servers_that_hold_the_same_compare_once_a_period_and_send_no_records() {
    let mut pair = Pair::recovered([all(), all()]);
    pair.run_for(10 * PERIOD);
    for place in [0, 1] {
        let comparisons = pair.counter(place, Counter::Comparisons);
        assert!((9..=10).contains(&comparisons), "{comparisons}");
        assert_eq!(pair.counter(place, Counter::RepairsSent), 0);
    }
}

#[test]
fn a_question_or_an_answer_that_is_none_is_dropped() {
    let mut pair = Pair::recovered([all(), all()]);
    pair.run_for(PERIOD / 100);
    let sender = pair.engines[1].status().incarnation;
    let message = |part| Message { sender, wall_ms: WALL_MS, parts: vec![part] };
    let ranges = [Some("b"), Some("a")].map(|end| HashedRange { up_to: end.map(key), hash: 0 });
    let compare = Compare { comparison: 1, number: 0, after: None, ranges: ranges.to_vec() };
    let compared = Compared {
        comparison: 1,
        number: 0,
        through: None,
        listings: Vec::new(),
        floor: HybridTime::ZERO,
    };
    let before = pair.messages;
    for (part, counter) in [
        (Part::Compare(compare), Counter::BadMessages),
        (Part::Compared(compared), Counter::StaleMessages),
    ] {
        let counted = pair.counter(0, counter);
        pair.step(0, Input::Message { from: node(2), message: message(part) });
        assert_eq!(pair.counter(0, counter), counted + 1);
    }
    assert_eq!(pair.messages, before, "they have no answer");
}

const KEYS: u64 = 600;

const PERIOD: Duration = Duration::from_secs(600);
