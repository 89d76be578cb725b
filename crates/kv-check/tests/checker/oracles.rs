//! Each oracle passes what it should and names the calls that break its rule, on evidence written
//! by hand.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers may panic"
)]

use std::time::Duration;

use kv_check::Process;
use kv_check::evidence::{Action, Call, End, Evidence, KeptWrite, Loss, Rest, Shown};
use kv_check::oracle::{
    Guarantee, OracleFinding, Order, Promise, judge_all, sequential_consistency,
};
use kv_core::{HybridTime, Incarnation, Key, NodeId, RequestId, Value, Version};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

/// A call of a session on key `k` from one second to another; it gets the next number.
struct Script(Evidence);

impl Script {
    fn new() -> Self {
        Self(Evidence { nodes: 3, ..Evidence::default() })
    }

    fn call(
        mut self,
        session: u64,
        key_name: &str,
        action: Action,
        times: (u64, u64),
        end: End,
    ) -> Self {
        let id = RequestId(u64::try_from(self.0.calls.len()).unwrap() + 1);
        let (begin, end_at) = times;
        let end = Some((Duration::from_secs(end_at), end));
        let begin = Duration::from_secs(begin);
        let session = Process(session);
        let (node, key) = (node(2), key(key_name));
        self.0.calls.push(Call { id, session, node, key, action, begin, held: None, end });
        self
    }

    fn put(self, session: u64, name: &str, version: u64, times: (u64, u64)) -> Self {
        let end = End::Written { version: Version::Log(version), quorum: 2 };
        self.call(session, name, Action::Put(value(version)), times, end)
    }

    fn delete(self, session: u64, name: &str, version: u64, times: (u64, u64)) -> Self {
        let end = End::Written { version: Version::Log(version), quorum: 2 };
        self.call(session, name, Action::Delete, times, end)
    }

    /// A read that shows the put of a version; 0 for a missing key.
    fn get(self, session: u64, name: &str, version: u64, times: (u64, u64)) -> Self {
        let shown =
            (version > 0).then(|| Shown { value: value(version), version: Version::Log(version) });
        self.call(session, name, Action::Get, times, End::Read { shown, deleted: None, quorum: 2 })
    }

    fn put_that_ends(self, version: u64, times: (u64, u64), end: End) -> Self {
        self.call(9, "k", Action::Put(value(version)), times, end)
    }

    fn at_rest(mut self, shown: [u64; 3]) -> Self {
        let mut rest = Rest::default();
        for (number, version) in (1..).zip(shown) {
            rest.fingerprints.insert(node(number), version);
            let version = (version > 0).then_some(Version::Log(version));
            rest.shown.insert((node(number), key("k")), version);
        }
        self.0.rest = Some(rest);
        self
    }

    fn judge(&self, promise: Promise) -> Result<(), OracleFinding> {
        promise.judge(&self.0)
    }
}

/// The put of a version puts this.
fn value(version: u64) -> Value {
    Value::new(format!("v{version}")).unwrap()
}

/// What the batch of the call before does to another key.
fn same_batch(mut script: Script) -> Script {
    let calls = &mut script.0.calls;
    let first = calls.len() - 2;
    calls[first + 1].id = calls[first].id;
    script
}

#[test]
fn a_new_version_is_above_what_its_server_held() {
    let written = |held: Option<u64>| {
        let mut script = Script::new().put(1, "k", 5, (0, 1));
        script.0.calls[0].held = held.map(Version::Log);
        script.judge(Promise::VersionsAdvance)
    };
    assert_eq!(written(None), Ok(()));
    assert_eq!(written(Some(4)), Ok(()));
    for held in [5, 6] {
        let expected = OracleFinding::BornSuperseded {
            write: RequestId(1),
            key: key("k"),
            version: Version::Log(5),
            held: Version::Log(held),
        };
        assert_eq!(written(Some(held)), Err(expected));
    }
    let script = Script::new().put(1, "k", 5, (0, 1)).get(1, "j", 5, (2, 3));
    assert_eq!(Promise::VersionsAdvance.keys_judged(&script.0), 0);
    assert_eq!(Promise::QuorumVisibility.keys_judged(&script.0), 2);
}

#[test]
fn the_stamps_of_one_server_rise() {
    let put = |script: Script, (at, millis): (u16, u64), times| {
        let time = HybridTime::from_millis(millis);
        let version = Version::Stamp { time, origin: node(at), incarnation: Incarnation(1) };
        let action = Action::Put(value(millis));
        script.call(1, "k", action, times, End::Written { version, quorum: 2 })
    };
    let after = |second, times| {
        let script = put(Script::new(), (1, 4), (0, 5));
        let script = put(script, (1, 7), (0, 2));
        put(script, second, times).judge(Promise::StampsRise)
    };
    assert_eq!(after((1, 8), (3, 4)), Ok(()));
    // Another server's, and one that began before the other was acknowledged.
    assert_eq!(after((2, 7), (3, 4)), Ok(()));
    assert_eq!(after((1, 6), (2, 4)), Ok(()));
    for millis in [6, 7] {
        let fell = after((1, millis), (6, 9)).unwrap_err();
        let expected = (RequestId(3), RequestId(2));
        let OracleFinding::StampFell { write, before, .. } = fell else {
            panic!("{fell}");
        };
        assert_eq!((write, before), expected);
    }
}

/// A write of server 1 by incarnation, number and stamp, as the servers in `by` keep it.
fn kept(incarnation: u64, (seq, millis): (u64, u64), by: &[u16]) -> Vec<(KeptWrite, NodeId)> {
    let write = KeptWrite {
        origin: node(1),
        incarnation: Incarnation(incarnation << 32),
        seq,
        time: HybridTime::from_millis(millis),
        key: key("k"),
        content: millis,
    };
    by.iter().map(|by| (write.clone(), node(*by))).collect()
}

fn evidence_of(kept: Vec<(KeptWrite, NodeId)>) -> Evidence {
    Evidence { nodes: 3, kept: kept.into_iter().collect(), ..Evidence::default() }
}

#[test]
fn a_name_is_given_to_one_write() {
    let judge = |second| {
        let first = kept(1, (1, 5), &[1, 2, 3]);
        Promise::UniqueNames.judge(&evidence_of([first, second].concat()))
    };
    assert_eq!(judge(kept(1, (2, 6), &[1])), Ok(()));
    assert_eq!(judge(kept(2, (1, 6), &[1])), Ok(()));
    // Forgotten by its coordinator and kept by another, or the other way round.
    for by in [1, 2] {
        let expected = OracleFinding::NameTwice {
            origin: node(1),
            incarnation: Incarnation(1 << 32),
            seq: 1,
            times: [5, 6].map(HybridTime::from_millis),
            keys: ["k", "k"].map(key),
        };
        assert_eq!(judge(kept(1, (1, 6), &[by])), Err(expected));
    }
    let mut other = evidence_of(kept(1, (1, 5), &[1]));
    let (mut write, by) = other.kept.first().unwrap().clone();
    write.content = 0;
    other.kept.insert((write, by));
    assert!(Promise::UniqueNames.judge(&other).is_err());
    assert_eq!(Promise::UniqueNames.keys_judged(&other), 1);
}

#[test]
fn what_another_server_has_is_stamped_below_all_that_comes_later() {
    let judge = |first: &[u16], later: (u64, (u64, u64))| {
        let kept = [kept(1, (7, 5), first), kept(later.0, later.1, &[1, 2])].concat();
        Promise::SentStampsRise.judge(&evidence_of(kept))
    };
    for by in [&[2][..], &[1, 3]] {
        assert_eq!(judge(by, (2, (1, 6))), Ok(()));
        for millis in [4, 5] {
            let stamp = HybridTime::from_millis;
            let expected = OracleFinding::SentStampReached {
                origin: node(1),
                sent: (Incarnation(1 << 32), 7, stamp(5)),
                later: (Incarnation(2 << 32), 1, stamp(millis)),
            };
            assert_eq!(judge(by, (2, (1, millis))), Err(expected));
            assert!(judge(by, (1, (8, millis))).is_err());
        }
    }
    // What nobody else has may never have been sent.
    assert_eq!(judge(&[1], (2, (1, 4))), Ok(()));
}

#[test]
fn a_batch_writes_several_keys_under_one_version() {
    let two = || Script::new().put(1, "k", 5, (0, 1)).put(1, "j", 5, (0, 1));
    for promise in [Promise::UniqueVersions, Promise::VersionOrder] {
        assert!(two().judge(promise).is_err(), "{promise:?}");
        assert_eq!(same_batch(two()).judge(promise), Ok(()));
    }
    let mut other = same_batch(two()).get(2, "k", 5, (2, 3));
    assert_eq!(other.judge(Promise::UniqueVersions), Ok(()));
    if let Some((_, End::Read { shown: Some(shown), .. })) = &mut other.0.calls[2].end {
        shown.value = value(6);
    }
    assert!(other.judge(Promise::UniqueVersions).is_err());
}

#[test]
fn what_was_computed_is_not_known_to_whoever_asked_for_it() {
    let end = End::Written { version: Version::Log(5), quorum: 2 };
    let script = Script::new().call(1, "k", Action::Change, (0, 1), end).get(1, "k", 5, (2, 3));
    for promise in [Promise::HonestRefusals, Promise::UniqueVersions, Promise::VersionOrder] {
        assert_eq!(script.judge(promise), Ok(()));
    }
    assert_eq!(Promise::HonestRefusals.keys_judged(&script.0), 0);
    let stale = script.get(1, "k", 4, (4, 5));
    assert!(stale.judge(Promise::ReadYourWrites).is_err());
}

#[test]
fn a_read_after_an_acknowledged_write_shows_it_or_a_greater_version() {
    let stale = |read: (u64, (u64, u64))| {
        let script = Script::new().put(1, "k", 5, (0, 1)).put(2, "k", 7, (2, 4));
        script.get(3, "k", read.0, read.1).judge(Promise::QuorumVisibility)
    };
    assert_eq!(stale((7, (5, 6))), Ok(()));
    assert_eq!(stale((8, (5, 6))), Ok(()));
    // The second write is not acknowledged when this read begins.
    assert_eq!(stale((5, (3, 6))), Ok(()));
    let missing = stale((0, (5, 6))).unwrap_err();
    assert!(matches!(missing, OracleFinding::Stale { shown: None, .. }), "{missing}");
    let expected = OracleFinding::Stale {
        read: RequestId(3),
        write: RequestId(2),
        key: key("k"),
        shown: Some(Version::Log(5)),
        version: Version::Log(7),
    };
    assert_eq!(stale((5, (5, 6))), Err(expected));
}

#[test]
fn quorums_that_need_not_meet_promise_nothing() {
    let read = End::Read { shown: None, deleted: None, quorum: 1 };
    let script = Script::new().put(1, "k", 5, (0, 1));
    let script = script.call(2, "k", Action::Get, (2, 3), read);
    assert_eq!(script.judge(Promise::QuorumVisibility), Ok(()));
    let all = End::Read { shown: None, deleted: None, quorum: 2 };
    let script = Script::new().put(1, "k", 5, (0, 1)).call(2, "k", Action::Get, (2, 3), all);
    assert!(script.judge(Promise::QuorumVisibility).is_err());
}

#[test]
fn a_lost_disk_excuses_a_read_where_nobody_can_know_what_it_held() {
    let with = |lost: &[u16], (is_set_back, has_strangers): (bool, bool), write_quorum| {
        let noticed = None;
        let mut script = Script::new().put(1, "k", 5, (20, 21)).get(3, "k", 0, (30, 31));
        let at = Duration::from_secs(25);
        let losses =
            lost.iter().map(|id| Loss { at, node: node(*id), is_set_back, noticed, has_strangers });
        script.0.losses = losses.collect();
        script.0.write_quorum = write_quorum;
        script.judge(Promise::QuorumVisibility)
    };
    let sound = (false, false);
    assert!(with(&[], sound, 2).is_err());
    assert!(with(&[1], sound, 2).is_err(), "one disk less than W keeps the write");
    assert_eq!(with(&[1, 2], sound, 2), Ok(()));
    assert_eq!(with(&[1], sound, 1), Ok(()), "servers make up for a loss by their own W");
    assert_eq!(with(&[1], (true, false), 2), Ok(()));
    assert_eq!(with(&[1], (false, true), 2), Ok(()));
}

#[test]
fn a_server_that_knows_that_it_was_set_back_excuses_no_read() {
    let with = |noticed: Option<u64>, lost: &[u16]| {
        let mut script = Script::new().put(1, "k", 5, (20, 21)).get(3, "k", 0, (30, 31));
        let at = Duration::from_secs(25);
        let loss = |id: &u16| Loss {
            at,
            node: node(*id),
            is_set_back: true,
            noticed: noticed.map(Duration::from_secs),
            has_strangers: false,
        };
        script.0.losses = lost.iter().map(loss).collect();
        script.0.write_quorum = 2;
        script.judge(Promise::QuorumVisibility)
    };
    assert!(with(Some(30), &[1]).is_err());
    assert_eq!(with(Some(31), &[1]), Ok(()), "the read may have begun before");
    assert_eq!(with(None, &[1]), Ok(()));
    assert_eq!(with(Some(30), &[1, 2]), Ok(()), "each may have taken the other for sound");
}

#[test]
fn a_missing_key_is_newer_where_a_newer_delete_may_have_been() {
    let with = |delete: End, times| {
        let script = Script::new().put(1, "k", 5, (0, 1));
        let script = script.call(2, "k", Action::Delete, times, delete);
        script.get(3, "k", 0, (2, 3)).judge(Promise::QuorumVisibility)
    };
    let written = |version| End::Written { version: Version::Log(version), quorum: 2 };
    assert_eq!(with(written(6), (0, 9)), Ok(()));
    assert_eq!(with(End::Unknown { version: None }, (0, 9)), Ok(()));
    assert!(with(written(4), (0, 1)).is_err());
    assert!(with(End::NotDone, (0, 1)).is_err());
    assert!(with(written(6), (4, 9)).is_err(), "it began after the read");
}

#[test]
fn a_version_names_one_write() {
    let good = Script::new().put(1, "k", 5, (0, 1)).get(2, "k", 5, (2, 3)).put(1, "l", 6, (4, 5));
    assert_eq!(good.judge(Promise::UniqueVersions), Ok(()));
    let twice = Script::new().put(1, "k", 5, (0, 1)).put(2, "l", 5, (2, 3));
    let keys = [key("k"), key("l")];
    let expected = OracleFinding::VersionTwice { version: Version::Log(5), keys };
    assert_eq!(twice.judge(Promise::UniqueVersions), Err(expected));
    let deleted = Script::new().put(1, "k", 5, (0, 1)).delete(2, "k", 5, (2, 3));
    assert!(deleted.judge(Promise::UniqueVersions).is_err());
    let unknown = End::Unknown { version: Some(Version::Log(5)) };
    let unknown = Script::new().put_that_ends(4, (0, 1), unknown).put(1, "k", 5, (2, 3));
    assert!(unknown.judge(Promise::UniqueVersions).is_err());
}

#[test]
fn what_was_refused_or_never_put_is_not_shown() {
    let put = |end| Script::new().put_that_ends(5, (0, 1), end).get(1, "k", 5, (2, 3));
    let unknown = End::Unknown { version: None };
    assert_eq!(put(unknown).judge(Promise::HonestRefusals), Ok(()));
    let shown = OracleFinding::RefusedShown { read: RequestId(2), write: RequestId(1) };
    assert_eq!(put(End::NotDone).judge(Promise::HonestRefusals), Err(shown));
    let invented = Script::new().get(1, "k", 5, (2, 3)).judge(Promise::HonestRefusals);
    let expected = OracleFinding::Invented { read: RequestId(1), value: value(5) };
    assert_eq!(invented, Err(expected));
}

#[test]
fn a_session_reads_its_own_writes() {
    let other = Script::new().put(1, "k", 5, (0, 1)).get(2, "k", 0, (2, 3));
    assert_eq!(other.judge(Promise::ReadYourWrites), Ok(()));
    let greater = Script::new().put(1, "k", 5, (0, 1)).get(1, "k", 6, (2, 3));
    assert_eq!(greater.judge(Promise::ReadYourWrites), Ok(()));
    let own = Script::new().put(1, "k", 5, (0, 1)).get(1, "k", 4, (2, 3));
    let expected = OracleFinding::SessionWentBack {
        guarantee: Guarantee::ReadYourWrites,
        read: RequestId(2),
        before: RequestId(1),
        key: key("k"),
        shown: Some(Version::Log(4)),
        known: Version::Log(5),
    };
    assert_eq!(own.judge(Promise::ReadYourWrites), Err(expected));
    assert_eq!(own.judge(Promise::MonotonicReads), Ok(()), "another rule's business");
}

#[test]
fn the_reads_of_a_session_do_not_go_back() {
    let reads =
        |first, second| Script::new().get(1, "k", first, (0, 1)).get(1, "k", second, (2, 3));
    assert_eq!(reads(5, 5).judge(Promise::MonotonicReads), Ok(()));
    assert_eq!(reads(5, 6).judge(Promise::MonotonicReads), Ok(()));
    assert!(reads(6, 5).judge(Promise::MonotonicReads).is_err());
    assert!(reads(6, 0).judge(Promise::MonotonicReads).is_err());
    assert_eq!(reads(6, 5).judge(Promise::ReadYourWrites), Ok(()));
    let deleted = Script::new().get(1, "k", 6, (0, 1)).delete(2, "k", 7, (0, 2));
    assert_eq!(deleted.get(1, "k", 0, (2, 3)).judge(Promise::MonotonicReads), Ok(()));
    let missing = || {
        let deleted = Some(Version::Log(7));
        let end = End::Read { shown: None, deleted, quorum: 2 };
        Script::new().delete(2, "k", 7, (0, 1)).call(1, "k", Action::Get, (2, 3), end)
    };
    assert_eq!(missing().get(1, "k", 8, (4, 5)).judge(Promise::MonotonicReads), Ok(()));
    assert!(missing().get(1, "k", 6, (4, 5)).judge(Promise::MonotonicReads).is_err());
}

#[test]
fn the_writes_of_a_session_come_after_what_it_has_seen() {
    let writes =
        |first, second| Script::new().put(1, "k", first, (0, 1)).put(1, "k", second, (2, 3));
    assert_eq!(writes(5, 6).judge(Promise::MonotonicWrites), Ok(()));
    let expected = OracleFinding::WriteBehindSession {
        write: RequestId(2),
        before: RequestId(1),
        key: key("k"),
        version: Version::Log(5),
        known: Version::Log(6),
    };
    assert_eq!(writes(6, 5).judge(Promise::MonotonicWrites), Err(expected));
    let after_read = Script::new().get(1, "k", 6, (0, 1)).put(1, "k", 5, (2, 3));
    assert!(after_read.judge(Promise::MonotonicWrites).is_err());
    assert!(writes(5, 5).judge(Promise::MonotonicWrites).is_err(), "one version names two");
    let of_another = Script::new().put(1, "k", 6, (0, 1)).put(2, "k", 5, (2, 3));
    assert_eq!(of_another.judge(Promise::MonotonicWrites), Ok(()));
    let of_another_key = Script::new().put(1, "k", 6, (0, 1)).put(1, "l", 5, (2, 3));
    assert_eq!(of_another_key.judge(Promise::MonotonicWrites), Ok(()));
}

#[test]
fn one_order_of_all_sessions_need_not_follow_the_clock() {
    // The read begins after the write has ended, and may still come before it.
    let late = Script::new().put(1, "k", 5, (0, 1)).get(2, "k", 0, (2, 3)).get(2, "k", 5, (4, 5));
    assert_eq!(late.judge(Promise::SequentialConsistency), Ok(()));
    // Two readers see two writes in different orders.
    let writes = Script::new().put(1, "k", 5, (0, 1)).put(2, "k", 6, (0, 1));
    let one = writes.get(3, "k", 5, (2, 3)).get(3, "k", 6, (4, 5));
    let crossed = one.get(4, "k", 6, (2, 3)).get(4, "k", 5, (4, 5));
    assert_eq!(crossed.judge(Promise::SequentialConsistency), Err(OracleFinding::NoOrder));
}

#[test]
fn keys_that_are_consistent_one_by_one_need_not_be_together() {
    let of = |script: Script, first: &str, second: &str, session| {
        script.put(session, first, session, (0, 1)).get(session, second, 0, (2, 3))
    };
    let together = of(of(Script::new(), "x", "y", 1), "y", "x", 2);
    assert_eq!(together.judge(Promise::SequentialConsistency), Err(OracleFinding::NoOrder));
    let one_key = Script::new().put(1, "x", 1, (0, 1)).get(2, "x", 0, (2, 3));
    assert_eq!(one_key.judge(Promise::SequentialConsistency), Ok(()));
}

#[test]
fn an_unknown_write_takes_its_place_or_none() {
    let unknown = || End::Unknown { version: None };
    let script = || Script::new().put(1, "k", 5, (0, 1)).put_that_ends(6, (0, 1), unknown());
    for seen in [5, 6] {
        let seen = script().get(1, "k", seen, (2, 3));
        assert_eq!(seen.judge(Promise::SequentialConsistency), Ok(()));
    }
    let gone_back = script().get(1, "k", 6, (2, 3)).get(1, "k", 5, (4, 5));
    assert_eq!(gone_back.judge(Promise::SequentialConsistency), Err(OracleFinding::NoOrder));
    let refused = Script::new().put_that_ends(6, (0, 1), End::NotDone).get(1, "k", 6, (2, 3));
    assert_eq!(refused.judge(Promise::SequentialConsistency), Err(OracleFinding::NoOrder));
}

#[test]
fn a_search_that_was_cut_short_is_undecided() {
    let mut script = Script::new();
    for session in 1..=8 {
        script = script.put(session, "k", session, (0, 1)).get(session, "k", 99, (2, 3));
    }
    assert_eq!(sequential_consistency(&script.0, 10), Order::Undecided);
}

#[test]
fn a_session_goes_forward_in_the_order_of_the_versions() {
    let writes = || {
        let script = Script::new().put(1, "a", 1, (0, 1)).put(1, "b", 2, (2, 3));
        script.put(1, "a", 3, (4, 5)).delete(1, "b", 4, (6, 7))
    };
    let fits = |script: Script| script.judge(Promise::VersionOrder);
    // Reads may be late, as long as they do not go back.
    let late = writes().get(2, "a", 1, (8, 9)).get(2, "b", 2, (10, 11)).get(2, "a", 3, (12, 13));
    assert_eq!(fits(late.get(2, "b", 2, (14, 15)).get(2, "b", 0, (16, 17))), Ok(()));
    assert_eq!(fits(writes().get(2, "b", 0, (8, 9)).get(2, "b", 2, (10, 11))), Ok(()));

    let out_of_order = |script: Script, call, before, known| {
        let finding = fits(script).unwrap_err();
        let OracleFinding::OutOfVersionOrder { call: found, before: other, known: upto, .. } =
            finding
        else {
            panic!("{finding}");
        };
        assert_eq!((found, other, upto), (RequestId(call), RequestId(before), Version::Log(known)));
    };
    // No rule about one key alone is broken by these two.
    let over_two_keys = writes().get(2, "a", 3, (8, 9)).get(2, "b", 0, (10, 11));
    out_of_order(over_two_keys.get(2, "b", 2, (12, 13)), 7, 6, 4);
    let missing_again = writes().get(2, "b", 2, (8, 9)).get(2, "a", 0, (10, 11));
    out_of_order(missing_again, 6, 5, 2);
    let own_write_is_older = writes().get(2, "a", 3, (8, 9)).put(2, "c", 2, (10, 11));
    out_of_order(own_write_is_older, 6, 5, 3);
    // A delete of unknown outcome may be what makes the key missing.
    let perhaps = writes().call(3, "a", Action::Delete, (0, 20), End::Unknown { version: None });
    assert_eq!(fits(perhaps.get(2, "b", 2, (8, 9)).get(2, "a", 0, (10, 11))), Ok(()));
}

#[test]
fn at_rest_servers_agree_on_what_was_acknowledged_or_newer() {
    let put = || Script::new().put(1, "k", 5, (0, 1));
    let all = [Promise::Convergence, Promise::AcknowledgedWritesKept, Promise::DeletesStay];
    assert_eq!(judge_all(&put().at_rest([5, 5, 5]).0, &all), Ok(()));
    assert_eq!(judge_all(&put().at_rest([6, 6, 6]).0, &all), Ok(()));
    let differ = judge_all(&put().at_rest([5, 5, 6]).0, &all).unwrap_err();
    assert_eq!(differ.promise, Promise::Convergence);
    for lost in [[4, 4, 4], [0, 0, 0]] {
        let broken = judge_all(&put().at_rest(lost).0, &all).unwrap_err();
        assert_eq!(broken.promise, Promise::AcknowledgedWritesKept, "{broken}");
    }
    let nothing = put().judge(Promise::Convergence);
    assert_eq!(nothing, Err(OracleFinding::NotAtRest));
}

/// What nobody was asked for cannot be told from what is lost.
#[test]
fn a_key_that_was_not_read_at_every_server_is_no_verdict() {
    let not_read = |script: Script, left_out: &[u16], promise: Promise| {
        let mut script = script.at_rest([5, 5, 5]);
        let rest = script.0.rest.as_mut().unwrap();
        rest.shown.retain(|(node, _), _| !left_out.contains(&node.number()));
        script.judge(promise)
    };
    let expected =
        |answered| Err(OracleFinding::NotReadAtRest { key: key("k"), answered, nodes: 3 });
    let put = || Script::new().put(1, "k", 5, (0, 1));
    assert_eq!(not_read(put(), &[], Promise::AcknowledgedWritesKept), Ok(()));
    assert_eq!(not_read(put(), &[3], Promise::AcknowledgedWritesKept), expected(2));
    assert_eq!(not_read(put(), &[1, 2, 3], Promise::AcknowledgedWritesKept), expected(0));
    let deleted = || Script::new().delete(1, "k", 4, (0, 1));
    assert_eq!(not_read(deleted(), &[2], Promise::DeletesStay), expected(2));
    assert_eq!(not_read(Script::new(), &[1, 2, 3], Promise::AcknowledgedWritesKept), Ok(()));
}

#[test]
fn a_deleted_key_stays_away() {
    let deleted = || Script::new().put(1, "k", 5, (0, 1)).delete(1, "k", 6, (2, 3));
    assert_eq!(deleted().at_rest([0, 0, 0]).judge(Promise::DeletesStay), Ok(()));
    assert_eq!(deleted().at_rest([7, 7, 7]).judge(Promise::DeletesStay), Ok(()));
    let expected = OracleFinding::Resurrected {
        node: node(1),
        delete: RequestId(2),
        key: key("k"),
        shown: Version::Log(5),
        version: Version::Log(6),
    };
    assert_eq!(deleted().at_rest([5, 5, 5]).judge(Promise::DeletesStay), Err(expected));
}

#[test]
fn a_broken_promise_shows_its_calls_in_full_and_who_put_what_was_read() {
    let text = |script: Script, promise| judge_all(&script.0, &[promise]).unwrap_err().to_string();
    let writes = || Script::new().put(1, "k", 4, (0, 1)).put(2, "k", 5, (2, 3));
    assert_eq!(
        text(writes().get(3, "k", 4, (4, 6)), Promise::QuorumVisibility),
        "QuorumVisibility: read 3 of b\"k\" shows 4 after write 2 of 5 was acknowledged\n  \
         call 2 of client 2 at server 2, 2s to 3s: put b\"k\" b\"v5\": written as version 5\n  \
         call 3 of client 3 at server 2, 4s to 6s: get b\"k\": b\"v4\" (version 4), \
         put by call 1 of client 1 at 0ns"
    );
    assert_eq!(
        text(writes().get(3, "k", 9, (4, 6)), Promise::HonestRefusals),
        "HonestRefusals: read 3 shows b\"v9\", which nobody put\n  \
         call 3 of client 3 at server 2, 4s to 6s: get b\"k\": b\"v9\" (version 9), nobody put it"
    );
    let kept = [kept(1, (7, 5), &[2]), kept(2, (1, 4), &[1])].concat();
    assert_eq!(
        judge_all(&evidence_of(kept), &[Promise::SentStampsRise]).unwrap_err().to_string(),
        "SentStampsRise: server 1 made write 1 of incarnation 2-00000000 after write 7 of incarnation \
         1-00000000, which another server has, and stamped it 4.0, which is not after 5.0"
    );
}
