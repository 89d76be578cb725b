//! The checker's verdicts: on small histories with every operation, against a search by brute
//! force, and within its budget.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test's helpers may panic"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::{
    Bound, Budget, Event, History, HistoryError, Process, Refusal, Seen, Verdict, linearizability,
    linearizability_until,
};
use kv_core::{Batch, Check, Command, Condition, ExpiryMs, KeyExpiry, SeedStream, Value, Version};

use super::calls::{
    append, concurrent, delete, found, get, history, if_then, increment, key, nothing, on_keys,
    one, put, put_command, text, value, written,
};

/// Calls one after the other.
fn in_turn(calls: Vec<(Batch, Event)>) -> History {
    let events = calls.into_iter();
    history(events.flat_map(|(call, end)| [(0, Event::Invoke(call)), (0, end)]).collect())
}

fn judge(history: &History) -> Verdict {
    linearizability(history, Budget::default()).unwrap()
}

fn is_linearizable(history: &History) -> bool {
    match judge(history) {
        Verdict::Linearizable => true,
        Verdict::NotLinearizable(_) => false,
        undecided @ Verdict::Undecided { .. } => panic!("{undecided}"),
    }
}

#[test]
fn a_key_that_was_put_for_a_time_may_vanish_once() {
    let put_for = |text: &str| {
        let time_to_live = Some(Duration::from_secs(1));
        one(Command::Put { key: key("k"), value: value(text), time_to_live })
    };
    let (put_1, put_2) = ((put_for("1"), written()), (put_for("2"), written()));
    let persist = one(Command::Expire { key: key("k"), time_to_live: None });
    let persist = (persist, Event::Ok(vec![Seen::Unnoted]));
    let (there, gone) = ((get("k"), found("1")), (get("k"), nothing()));
    let number = |number| Event::Ok(vec![Seen::Number(number)]);
    let cases = [
        (vec![put_1.clone(), there.clone(), gone.clone(), gone.clone()], true),
        (vec![put_1.clone(), gone.clone(), there.clone()], false),
        (vec![put_1.clone(), gone.clone(), put_2.clone(), (get("k"), found("2"))], true),
        (vec![put_1.clone(), put_2.clone(), gone.clone(), there.clone()], false),
        (vec![put_1.clone(), (increment("k", 4), number(4))], true),
        (vec![put_1.clone(), (increment("k", 4), number(5))], true),
        (vec![put_1.clone(), (put("k", "2"), written()), gone.clone()], false),
        (vec![(put("k", "1"), written()), persist, there, gone], false),
    ];
    for (calls, expected) in cases {
        assert_eq!(is_linearizable(&in_turn(calls.clone())), expected, "{calls:?}");
    }
}

#[test]
fn when_a_key_expires_is_a_part_of_what_it_holds() {
    let expire_at = |at| {
        let expire = Command::ExpireAt { key: key("k"), expiry: ExpiryMs(at) };
        (one(expire), Event::Ok(vec![Seen::Unnoted]))
    };
    let expiry =
        |expiry| (one(Command::Expiry { key: key("k") }), Event::Ok(vec![Seen::Expiry(expiry)]));
    let at = |at| expiry(KeyExpiry::At(ExpiryMs(at)));
    let rewrite =
        |text: &str| (one(Command::Rewrite { key: key("k"), value: value(text) }), written());
    let put = |text: &str| (put("k", text), written());
    let add = (increment("k", 1), Event::Ok(vec![Seen::Number(2)]));
    let only_if = |at: Option<u64>, text: &str| {
        if_then("k", Check::ExpiryIs(at.map(ExpiryMs)), put_command("k", text))
    };
    let refused = || Event::Fail(Refusal::Condition { index: 0, found: None });
    let gone = || expiry(KeyExpiry::Missing);
    let never = || expiry(KeyExpiry::Never);
    let cases = [
        (vec![gone(), put("1"), never(), expire_at(7), at(7)], true),
        (vec![put("1"), expire_at(7), at(8)], false),
        (vec![put("1"), expire_at(7), never()], false),
        (vec![put("1"), expire_at(7), rewrite("2"), at(7)], true),
        (vec![put("1"), expire_at(7), rewrite("2"), never()], false),
        (vec![put("1"), expire_at(7), add.clone(), at(7)], true),
        (vec![put("1"), expire_at(7), add, never()], false),
        (vec![put("1"), expire_at(7), put("2"), never()], true),
        (vec![put("1"), expire_at(7), put("2"), at(7)], false),
        (vec![put("1"), (only_if(None, "2"), written())], true),
        (vec![put("1"), (only_if(None, "2"), refused())], false),
        (vec![put("1"), expire_at(7), (only_if(Some(7), "2"), written())], true),
        (vec![put("1"), expire_at(7), (only_if(Some(8), "2"), written())], false),
        (vec![put("1"), expire_at(7), (only_if(Some(8), "2"), refused())], true),
        (vec![(only_if(None, "2"), refused())], true),
    ];
    for (calls, expected) in cases {
        assert_eq!(is_linearizable(&in_turn(calls.clone())), expected, "{calls:?}");
    }
}

#[test]
fn calls_in_turn_are_judged_by_what_they_bring() {
    let number = |number| Event::Ok(vec![Seen::Number(number)]);
    let length = |length| Event::Ok(vec![Seen::Length(length)]);
    let refused = |text: &str| {
        let found = Some(Some(value(text)));
        Event::Fail(Refusal::Condition { index: 0, found })
    };
    let swap =
        |old: &str, new: &str| if_then("k", Check::ValueIs(value(old)), put_command("k", new));
    let no_number = Event::Fail(Refusal::Command { index: 0 });
    let cases: Vec<(Vec<(Batch, Event)>, bool)> = vec![
        (vec![(get("k"), nothing())], true),
        (vec![(get("k"), found("1"))], false),
        (vec![(put("k", "1"), written()), (get("k"), found("1"))], true),
        (vec![(put("k", "1"), written()), (get("k"), nothing())], false),
        (vec![(put("k", "1"), written()), (delete("k"), written()), (get("k"), nothing())], true),
        (vec![(put("k", "1"), written()), (delete("k"), written()), (get("k"), found("1"))], false),
        (vec![(increment("k", 3), number(3)), (increment("k", 4), number(7))], true),
        (vec![(increment("k", 3), number(3)), (increment("k", 4), number(4))], false),
        (vec![(increment("k", 3), number(3)), (get("k"), found("3"))], true),
        (vec![(put("k", "x"), written()), (increment("k", 1), no_number.clone())], true),
        (vec![(put("k", "5"), written()), (increment("k", 1), no_number)], false),
        (
            vec![
                (append("k", "ab"), length(2)),
                (append("k", "c"), length(3)),
                (get("k"), found("abc")),
            ],
            true,
        ),
        (vec![(append("k", "ab"), length(2)), (append("k", "c"), length(1))], false),
        (
            vec![(put("k", "1"), written()), (swap("1", "2"), written()), (get("k"), found("2"))],
            true,
        ),
        (vec![(put("k", "3"), written()), (swap("1", "2"), written())], false),
        (vec![(put("k", "3"), written()), (swap("1", "2"), refused("3"))], true),
        (vec![(put("k", "1"), written()), (swap("1", "2"), refused("3"))], false),
        (vec![(put("k", "3"), written()), (swap("1", "2"), refused("4"))], false),
        (vec![(if_then("k", Check::Absent, put_command("k", "1")), written())], true),
        (vec![(if_then("k", Check::Present, put_command("k", "1")), written())], false),
        (vec![(put("k", "1"), Event::Fail(Refusal::NeverTried)), (get("k"), nothing())], true),
        (vec![(put("k", "1"), Event::Fail(Refusal::NeverTried)), (get("k"), found("1"))], false),
        (vec![(append("k", "a"), Event::Ok(vec![Seen::Unnoted])), (get("k"), found("a"))], true),
    ];
    for (calls, expected) in cases {
        let history = in_turn(calls);
        assert_eq!(is_linearizable(&history), expected, "{history:#?}");
    }
}

#[test]
fn an_unknown_write_takes_effect_late_or_never_but_not_early_and_not_twice() {
    let ends = |reads: &[Event]| {
        let mut events = vec![
            (1, Event::Invoke(put("k", "old"))),
            (1, written()),
            (2, Event::Invoke(put("k", "new"))),
            (2, Event::Info),
        ];
        for read in reads {
            events.push((3, Event::Invoke(get("k"))));
            events.push((3, read.clone()));
        }
        is_linearizable(&history(events))
    };
    assert!(ends(&[found("old"), found("old")]));
    assert!(ends(&[found("old"), found("new")]));
    assert!(ends(&[found("new"), found("new")]));
    assert!(!ends(&[found("new"), found("old")]));
    let early = vec![
        (3, Event::Invoke(get("k"))),
        (3, found("new")),
        (2, Event::Invoke(put("k", "new"))),
        (2, Event::Info),
    ];
    assert!(!is_linearizable(&history(early)));
}

#[test]
fn an_unknown_write_may_be_what_made_a_condition_fail() {
    let swap = if_then("k", Check::ValueIs(value("1")), put_command("other", "3"));
    let found = None;
    let refused = Event::Fail(Refusal::Condition { index: 0, found });
    let mut events = vec![
        (1, Event::Invoke(put("k", "1"))),
        (1, written()),
        (2, Event::Invoke(put("k", "2"))),
        (2, Event::Info),
        (1, Event::Invoke(swap)),
        (1, refused),
    ];
    assert!(is_linearizable(&history(events.clone())));
    events.drain(2..4);
    assert!(!is_linearizable(&history(events)));
}

#[test]
fn a_call_on_two_keys_binds_them_together() {
    let both = |a: &str, b: &str| {
        Batch::new(vec![], vec![put_command("a", a), put_command("b", b)]).unwrap()
    };
    let twice = Event::Ok(vec![Seen::Written, Seen::Written]);
    let half_seen = in_turn(vec![
        (both("1", "1"), twice.clone()),
        (get("a"), found("1")),
        (get("b"), nothing()),
    ]);
    assert!(!is_linearizable(&half_seen));
    let swapped = |first: (&str, &str), then: (&str, &str)| {
        history(vec![
            (1, Event::Invoke(both("1", "1"))),
            (2, Event::Invoke(get(first.0))),
            (2, if first.1.is_empty() { nothing() } else { found(first.1) }),
            (2, Event::Invoke(get(then.0))),
            (2, if then.1.is_empty() { nothing() } else { found(then.1) }),
            (1, twice.clone()),
        ])
    };
    assert!(is_linearizable(&swapped(("a", ""), ("b", "1"))));
    assert!(!is_linearizable(&swapped(("a", "1"), ("b", ""))));
}

#[test]
fn what_is_no_history_is_refused_with_its_place() {
    let twice = history(vec![(1, Event::Invoke(get("k"))), (1, Event::Invoke(get("k")))]);
    let end = history(vec![(1, nothing())]);
    let retired =
        history(vec![(1, Event::Invoke(get("k"))), (1, Event::Info), (1, Event::Invoke(get("k")))]);
    let process = Process(1);
    for (history, index) in [(twice, 1), (end, 0), (retired, 2)] {
        let verdict = linearizability(&history, Budget::default());
        assert_eq!(verdict, Err(HistoryError::Order { index, process }));
    }
    let check = Check::VersionIs(Version::Log(1));
    let versions = in_turn(vec![(if_then("k", check, put_command("k", "1")), written())]);
    let verdict = linearizability(&versions, Budget::default());
    assert_eq!(verdict, Err(HistoryError::Version { index: 0 }));
}

#[test]
fn a_counterexample_is_small_and_fails_by_itself() {
    let mut events = Vec::new();
    for n in 0..200 {
        let text = n.to_string();
        events.push((n % 3, Event::Invoke(put("k", &text))));
        events.push((9, Event::Invoke(get("k"))));
        events.push((n % 3, written()));
        let seen = if n == 150 { 140 } else { n };
        events.push((9, found(&seen.to_string())));
    }
    let Verdict::NotLinearizable(smallest) = judge(&history(events)) else {
        panic!("a stale read passes");
    };
    assert!(smallest.calls.len() <= 3, "{smallest}");
    let text = smallest.to_string();
    assert!(text.contains("get b\"k\" -> b\"140\""), "{text}");
}

#[test]
fn an_exhausted_budget_is_no_verdict() {
    let budget = Budget { steps_max: 5, ..Budget::default() };
    let verdict = linearizability(&concurrent(3, 4, 20), budget).unwrap();
    assert_eq!(verdict, Verdict::Undecided { key: key("k0"), bound: Bound::Steps });
}

/// Transactions tie keys together; a violation that one key shows is told by that key's calls.
#[test]
fn a_counterexample_among_transactions_is_small() {
    let both = |n: u64| {
        let commands = vec![put_command("a", &format!("a{n}")), put_command("b", &format!("b{n}"))];
        let before = value(&format!("b{}", n - 1));
        let condition = Condition { key: key("b"), check: Check::ValueIs(before) };
        Batch::new(vec![condition], commands).unwrap()
    };
    let twice = Event::Ok(vec![Seen::Written, Seen::Written]);
    let mut calls = vec![(put("b", "b0"), written())];
    calls.extend((1..20).map(|n| (both(n), twice.clone())));
    assert!(is_linearizable(&in_turn(calls.clone())));
    calls.push((get("a"), found("a18")));
    let Verdict::NotLinearizable(smallest) = judge(&in_turn(calls)) else {
        panic!("a stale read passes");
    };
    assert!(smallest.calls.len() <= 3, "{smallest}");
    assert_eq!(smallest.keys, [key("a")]);
    assert!(
        smallest.to_string().contains("if b\"b\" is b\"b18\" put b\"a\" b\"a19\""),
        "{smallest}"
    );
}

/// `clients` appends to one key that all overlap, and a read of what none of them can leave.
fn hard(name: &str, clients: u64) -> Vec<(u64, Event)> {
    let letter = |client| char::from(b'a' + u8::try_from(client).unwrap()).to_string();
    let mut events: Vec<_> =
        (0..clients).map(|client| (client, Event::Invoke(append(name, &letter(client))))).collect();
    events.extend((0..clients).map(|client| (client, Event::Ok(vec![Seen::Unnoted]))));
    events.push((100, Event::Invoke(get(name))));
    events.push((100, found("impossible")));
    events
}

/// A write that the next read does not show.
fn lost_write(name: &str) -> Vec<(u64, Event)> {
    let calls = [Event::Invoke(put(name, "1")), written(), Event::Invoke(get(name)), nothing()];
    calls.into_iter().map(|event| (200, event)).collect()
}

#[test]
fn what_is_too_hard_is_undecided_within_bounded_memory() {
    let budget = Budget { memory_bytes_max: 16 << 20, ..Budget::default() };
    let verdict = linearizability(&history(hard("a", 24)), budget).unwrap();
    assert_eq!(verdict, Verdict::Undecided { key: key("a"), bound: Bound::Memory });
    let budget = Budget { steps_max: 100_000, ..Budget::default() };
    let verdict = linearizability(&history(hard("a", 24)), budget).unwrap();
    assert_eq!(verdict, Verdict::Undecided { key: key("a"), bound: Bound::Steps });
    assert!(verdict.to_string().contains("ran out of steps"), "{verdict}");
}

#[test]
fn many_values_that_may_have_expired_unseen_are_no_hard_case() {
    let time_to_live = Some(Duration::from_secs(1));
    let put_for =
        |text: &str| one(Command::Put { key: key("k"), value: value(text), time_to_live });
    let calls = (0..60).map(|n| (put_for(&n.to_string()), written()));
    let lost: Vec<_> = calls.chain([(get("k"), nothing()), (get("k"), found("0"))]).collect();
    assert!(!is_linearizable(&in_turn(lost)));
}

#[test]
fn a_check_ends_when_its_time_is_over() {
    let (looks_max, mut looks) = (5, 0);
    let mut is_over = || {
        looks += 1;
        looks == looks_max
    };
    let hard = history(hard("a", 24));
    let verdict = linearizability_until(&hard, Budget::default(), &mut is_over).unwrap();
    assert_eq!(verdict, Verdict::Undecided { key: key("a"), bound: Bound::Time });
    assert_eq!(looks, looks_max);
}

#[test]
fn a_key_that_is_too_hard_hides_no_violation_of_another() {
    // It is the shorter one, so that it comes first.
    let mut events = hard("a", 24);
    for _ in 0..50 {
        events.extend(lost_write("z").drain(..2));
    }
    events.extend(lost_write("z").drain(2..));
    let history = history(events);
    let is_no = |verdict| {
        let Verdict::NotLinearizable(smallest) = verdict else {
            return false;
        };
        smallest.keys == [key("z")]
    };
    let budget = Budget { steps_max: 100_000, ..Budget::default() };
    assert!(is_no(linearizability(&history, budget).unwrap()));
    assert!(is_no(linearizability_until(&history, Budget::default(), &mut || true).unwrap()));
}

#[test]
fn a_key_that_needs_more_than_its_share_gets_what_the_others_left() {
    let many = concurrent(3, 8, 2_000);
    let Some(budget) = (12..40).map(steps).find(|budget| decides(&many, *budget)) else {
        panic!("it is never decided");
    };
    let mut events = many.events;
    for n in 0..100 {
        let name = format!("z{n}");
        events.push((Process(1_000), Event::Invoke(get(&name))));
        events.push((Process(1_000), nothing()));
    }
    // Without the short keys' rest it had a hundredth.
    let budget = Budget { steps_max: 2 * budget.steps_max, ..budget };
    assert!(decides(&History { events }, budget));
}

fn steps(exponent: u32) -> Budget {
    Budget { steps_max: 1 << exponent, ..Budget::default() }
}

fn decides(history: &History, budget: Budget) -> bool {
    linearizability(history, budget).unwrap() == Verdict::Linearizable
}

/// Puts of many clients that all overlap, and then reads.
fn many_clients(clients: u64, reads: &[&str]) -> History {
    let put = |client| (client, Event::Invoke(put("k", &format!("v{client}"))));
    let mut events: Vec<_> = (0..clients).map(put).collect();
    events.extend((0..clients).map(|client| (client, written())));
    for read in reads {
        events.push((clients, Event::Invoke(get("k"))));
        events.push((clients, found(read)));
    }
    history(events)
}

#[test]
fn overlapping_writes_of_many_clients_are_told_apart_by_later_reads() {
    let few = Budget { steps_max: 500_000, ..Budget::default() };
    for clients in [24, 400] {
        assert!(decides(&many_clients(clients, &["v3", "v3"]), few), "{clients}");
        let changing = many_clients(clients, &["v3", "v4"]);
        let verdict = linearizability(&changing, few).unwrap();
        let Verdict::NotLinearizable(smallest) = &verdict else {
            panic!("{clients}: {verdict}");
        };
        assert!(smallest.calls.len() <= 4, "{smallest}");
    }
}

#[test]
fn long_histories_are_judged_in_few_steps() {
    for (history, calls, what) in [
        (concurrent(1, 8, 40_000), 40_000, "8 clients on one key"),
        (on_keys(2, 8, 100_000, 1_000), 100_000, "1,000 keys"),
    ] {
        let budget = Budget { steps_max: 20 * calls, ..Budget::default() };
        assert_eq!(linearizability(&history, budget), Ok(Verdict::Linearizable), "{what}");
    }
}

/// A random small history: calls with random ends, right or wrong.
fn random(stream: &mut SeedStream) -> History {
    let mut open: BTreeMap<u64, Batch> = BTreeMap::new();
    let mut events = Vec::new();
    let mut fresh = 3;
    let clients: Vec<u64> = vec![0, 1, 2];
    let mut names = clients.clone();
    for _ in 0..3 + stream.below(9) {
        let place = usize::try_from(stream.below(3)).unwrap();
        let client = names[place];
        let text = stream.below(3).to_string();
        let Some(call) = open.remove(&client) else {
            let call = match stream.below(8) {
                0..=2 => get("k"),
                3..=4 => put("k", &text),
                5 => delete("k"),
                6 => if_then("k", Check::ValueIs(value(&text)), put_command("k", "2")),
                _ => append("k", &text),
            };
            events.push((client, Event::Invoke(call.clone())));
            open.insert(client, call);
            continue;
        };
        let end = match (call.commands().first().unwrap(), stream.below(8)) {
            (_, 0) => {
                names[place] = fresh;
                fresh += 1;
                Event::Info
            }
            (_, 1) => Event::Fail(Refusal::NeverTried),
            (_, 2) if !call.conditions().is_empty() => Event::Fail(Refusal::Condition {
                index: 0,
                found: stream.chance(500).then(|| Some(value(&text))),
            }),
            (Command::Get { .. }, 3) => nothing(),
            (Command::Get { .. }, _) => found(&text),
            (Command::Append { .. }, _) => Event::Ok(vec![Seen::Length(1 + stream.below(2))]),
            _ => written(),
        };
        events.push((client, end));
    }
    history(events)
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

/// Tries every order of the calls, without any thought.
fn has_order(calls: &[Plain], done: &mut Vec<usize>, state: Option<&str>) -> bool {
    let left: Vec<usize> = (0..calls.len()).filter(|n| !done.contains(n)).collect();
    if left.iter().all(|n| calls[*n].returned.is_none()) {
        return true;
    }
    let first_end = left.iter().filter_map(|n| calls[*n].returned).min();
    left.iter().any(|n| {
        let call = &calls[*n];
        if first_end.is_some_and(|end| end < call.invoked) {
            return false;
        }
        let Some(after) = plain_effect(call, state) else {
            return false;
        };
        done.push(*n);
        let found = has_order(calls, done, after.as_deref());
        done.pop();
        found
    })
}

/// What the key holds after a call, if it can end as it did.
fn plain_effect(plain: &Plain, state: Option<&str>) -> Option<Option<String>> {
    let same = state.map(str::to_owned);
    let end = plain.end.as_ref();
    let holds = plain.call.conditions().iter().all(|condition| match &condition.check {
        Check::ValueIs(wanted) => state == Some(text(wanted).as_str()),
        other => panic!("not generated: {other:?}"),
    });
    match end {
        Some(Event::Fail(Refusal::NeverTried)) => return Some(same),
        Some(Event::Fail(Refusal::Condition { found: told, .. })) => {
            let told = told.as_ref().is_none_or(|told| told.as_ref().map(text) == same);
            return (!holds && told).then_some(same);
        }
        _ if !holds => return None,
        _ => {}
    }
    let (after, seen) = match plain.call.single().or(plain.call.commands().first()).unwrap() {
        Command::Get { .. } => {
            let seen = state.map(|text| Value::new(text.to_owned()).unwrap());
            (same, Seen::Value(seen))
        }
        Command::Put { value, .. } => (Some(text(value)), Seen::Written),
        Command::Delete { .. } => (None, Seen::Written),
        Command::Append { suffix, .. } => {
            let after = format!("{}{}", state.unwrap_or_default(), text(suffix));
            let length = u64::try_from(after.len()).unwrap();
            (Some(after), Seen::Length(length))
        }
        Command::Increment { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => unreachable!(),
    };
    let matches = end.is_none_or(|end| *end == Event::Ok(vec![seen]));
    matches.then_some(after)
}

#[test]
fn verdicts_agree_with_a_search_by_brute_force() {
    let mut stream = SeedStream::new(11);
    let mut counts = [0, 0];
    for _ in 0..20_000 {
        let history = random(&mut stream);
        let expected = has_order(&plain(&history), &mut Vec::new(), None);
        assert_eq!(is_linearizable(&history), expected, "{history:#?}");
        counts[usize::from(expected)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 3_000), "{counts:?}");
}

#[test]
fn counterexamples_of_random_histories_have_no_order_either() {
    let mut stream = SeedStream::new(12);
    let mut judged = 0;
    for _ in 0..5_000 {
        let history = random(&mut stream);
        let Verdict::NotLinearizable(smallest) = judge(&history) else {
            continue;
        };
        judged += 1;
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
        assert!(!has_order(&calls, &mut Vec::new(), None), "{history:#?}\n{smallest}");
    }
    assert!(judged > 500, "{judged}");
}
