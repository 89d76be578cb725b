//! How a sequencer gives its place to another server.

use kv_core::{
    Answer, CannotLead, ConsistencyEngine, Done, EngineConfig, Input, NotDone, Operation, Outcome,
    PersistSeq, RequestId, Role, Served, Shortage, Unknown, Version,
};
use kv_linear::{Body, Epoch, LinearEngine, Record};

use crate::stand::log::{extend, get, log, put};
use crate::stand::{
    Given, MS, Send, Server, TIMEOUT, Write, ack, cluster, disk, epoch, heartbeat, node, prepare,
    sent_to, written,
};

/// The epoch that a server asks for.
fn own(server: &Server, round: u32) -> Epoch {
    Epoch { round, owner: node(server.number), incarnation: server.incarnation }
}

#[test]
fn a_sequencer_that_is_rejected_asks_at_once_for_an_epoch_above() {
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let later = epoch(5, 3);
    let stepped_down = sequencer.hears(2, Body::Reject { promised: later });
    assert_eq!(stepped_down, [Write(Record::Promised { epoch: later })]);
    assert_eq!(sequencer.role(), Role::Follower);
    sequencer.persist_all();
    let epoch = own(&sequencer, 6);
    assert_eq!(sequencer.timeout(), [2, 3].map(|peer| Send(peer, Body::PreVote { epoch })));
    let mut sequencer = Server::sequencer(&log(&[(crate::stand::epoch(0, 1), "")]));
    let own_epoch = sequencer.epoch();
    assert_eq!(sequencer.hears(2, Body::Reject { promised: own_epoch }), []);
    assert_eq!(sequencer.role(), Role::Sequencer);
}

#[test]
fn a_follower_that_is_to_lead_asks_for_promises_without_pre_votes() {
    let base = log(&[(epoch(0, 1), "")]);
    let mut server = Server::follower(&base);
    assert_eq!(server.hears(3, Body::Lead { epoch: epoch(0, 1) }), []);
    assert_eq!(server.told(Body::Lead { epoch: epoch(1, 1) }), []);
    let effects = server.told(Body::Lead { epoch: epoch(0, 1) });
    let epoch = own(&server, 1);
    let asked = [1, 3].map(|peer| Send(peer, Body::EpochRequest { epoch }));
    assert_eq!(effects.first(), Some(&Write(Record::Promised { epoch })));
    assert_eq!(effects.get(1..), Some(&asked[..]));
}

#[test]
fn a_sequencer_whose_disk_is_full_hands_over_once_to_the_follower_that_has_the_most() {
    let full = || Input::DiskShort { shortage: Shortage::Space };
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 1));
    sequencer.hears(3, ack(epoch, 2));
    let lead = |effects: &[Given]| {
        effects.iter().filter(|effect| matches!(effect, Send(_, Body::Lead { .. }))).count()
    };
    sequencer.step(full());
    let effects = sequencer.timeout();
    assert!(sent_to(&effects, 3).contains(&Body::Lead { epoch }));
    assert_eq!(lead(&effects), 1);
    sequencer.step(full());
    assert_eq!(lead(&sequencer.timeout()), 0);
    // Again, in case that it was lost.
    assert_eq!(lead(&sequencer.timeout_after(MS * 100)), 1);
}

/// A sequencer of five whose followers have its log, and which of them it asks to lead.
fn sequencer_of_five() -> (Server, impl Fn(&[Given]) -> Vec<u16>) {
    let mut sequencer = Server::sequencer_of(&cluster(5, 3, 3), &log(&[(epoch(0, 1), "")]));
    let epoch = sequencer.epoch();
    for peer in 2..=5 {
        sequencer.hears(peer, ack(epoch, 2));
    }
    sequencer.timeout();
    let asks =
        move |effects: &[Given], peer| sent_to(effects, peer).contains(&Body::Lead { epoch });
    (sequencer, move |effects| (2..=5).filter(|peer| asks(effects, *peer)).collect())
}

/// What follows when a server does not want to lead.
fn declined(sequencer: &mut Server, by: u16) -> Vec<Given> {
    let (epoch, reason) = (sequencer.epoch(), Some(CannotLead::Unfit { node: node(by) }));
    sequencer.hears(by, Body::RefuseLead { epoch, node: node(by), reason });
    sequencer.timeout()
}

#[test]
fn one_that_declines_to_lead_is_asked_again_after_all_others() {
    let (mut sequencer, asked) = sequencer_of_five();
    sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    let mut effects = sequencer.timeout();
    for peer in [2, 3, 4, 5] {
        assert_eq!(asked(&effects), [peer]);
        effects = declined(&mut sequencer, peer);
    }
    assert_eq!(asked(&effects), Vec::<u16>::new(), "not at once");
    assert_eq!(asked(&sequencer.timeout_after(MS * 1_000)), [2]);
}

#[test]
fn one_that_stops_asks_each_of_the_others_once() {
    let (mut sequencer, asked) = sequencer_of_five();
    sequencer.step(Input::Stop);
    let mut effects = sequencer.timeout();
    for peer in [2, 3, 4, 5] {
        assert_eq!(asked(&effects), [peer]);
        assert!(!sequencer.engine.may_stop());
        effects = declined(&mut sequencer, peer);
    }
    assert_eq!(asked(&effects), Vec::<u16>::new());
    assert!(sequencer.engine.may_stop());
}

/// A sequencer of three whose followers have its log and have just spoken.
fn settled() -> Server {
    let mut sequencer = Server::settled_sequencer(&log(&[(epoch(0, 1), "")]));
    sequencer.timeout();
    sequencer
}

fn lead_by(number: u16) -> Operation {
    Operation::Lead { node: node(number) }
}

fn refused(id: u64, why: CannotLead) -> Given {
    Given::Reply(id, Outcome::NotDone(NotDone::CannotLead(why)))
}

fn unknown(id: u64) -> Given {
    let unknown = Unknown { version: None, acks: 0, needed: 2 };
    Given::Reply(id, Outcome::Unknown(unknown))
}

fn led(id: u64) -> Given {
    let (answer, version) = (Answer::Results(Vec::new()), Some(Version::Log(0)));
    let served = Served::Linearizable;
    Given::Reply(id, Outcome::Done(Done { answer, version, served }))
}

#[test]
fn a_sequencer_that_hands_over_sequences_nothing_until_the_next_one_takes_over() {
    let mut sequencer = settled();
    let own = sequencer.epoch();
    sequencer.request(1, lead_by(2));
    assert_eq!(sent_to(&sequencer.timeout(), 2), [Body::Lead { epoch: own }]);
    sequencer.request(2, put("a"));
    assert_eq!(written(&sequencer.timeout()), []);
    // The other one asks for promises; what waits goes to it.
    let next = epoch(1, 2);
    sequencer.hears(2, Body::EpochRequest { epoch: next });
    assert_eq!(sequencer.role(), Role::Follower);
    sequencer.persist_all();
    let base = log(&[(epoch(0, 1), ""), (own, "")]);
    let opened = extend(&base, &[(next, "")]);
    sequencer.hears(2, prepare(next, &opened, 2, 0));
    sequencer.persist_all();
    assert!(sent_to(&sequencer.timeout(), 2).iter().any(|body| matches!(body, Body::Forward(_))));
    assert!(sequencer.hears(2, heartbeat(next, &opened, 3)).contains(&led(1)));
}

#[test]
fn a_sequencer_goes_on_if_the_one_that_shall_lead_does_not() {
    let mut sequencer = settled();
    let own = sequencer.epoch();
    sequencer.request(1, lead_by(2));
    sequencer.request(2, put("a"));
    sequencer.timeout();
    let unfit = CannotLead::Unfit { node: node(2) };
    let refuse = Body::RefuseLead { epoch: own, node: node(2), reason: Some(unfit) };
    assert_eq!(sequencer.hears(2, refuse), [refused(1, unfit)]);
    assert_eq!(written(&sequencer.timeout()).len(), 1);
    // One that was told and says nothing may still take over.
    let mut sequencer = settled();
    sequencer.request(1, lead_by(2));
    sequencer.timeout();
    sequencer.request(2, put("a"));
    for peer in [2, 3] {
        sequencer.now.mono += MS * 500;
        sequencer.hears(peer, ack(own, 2));
    }
    let effects = sequencer.timeout();
    assert!(effects.contains(&unknown(1)), "{effects:?}");
    assert_eq!(written(&effects).len(), 1);
    // One whose connection closes is not waited for.
    let mut sequencer = settled();
    sequencer.request(1, lead_by(2));
    sequencer.timeout();
    sequencer.peer_down(2);
    assert!(sequencer.timeout().contains(&refused(1, unfit)));
}

#[test]
fn one_that_is_far_behind_catches_up_while_the_sequencer_goes_on() {
    let long = log(&vec![(epoch(0, 1), "a"); 100]);
    let mut sequencer = Server::sequencer(&long);
    let own = sequencer.epoch();
    sequencer.hears(3, ack(own, 101));
    sequencer.hears(2, ack(own, 10));
    sequencer.timeout();
    sequencer.request(1, lead_by(2));
    sequencer.request(2, put("a"));
    assert_eq!(written(&sequencer.timeout()).len(), 1);
    sequencer.hears(2, ack(own, 90));
    sequencer.timeout();
    sequencer.request(3, put("b"));
    assert_eq!(written(&sequencer.timeout()), []);
    let told = |effects: &[Given]| sent_to(effects, 2).contains(&Body::Lead { epoch: own });
    sequencer.persist_all();
    sequencer.hears(2, ack(own, 101));
    assert!(!told(&sequencer.timeout()));
    sequencer.hears(2, ack(own, 102));
    assert!(told(&sequencer.timeout()));
    // It never catches up.
    let mut sequencer = Server::sequencer(&long);
    sequencer.hears(3, ack(sequencer.epoch(), 101));
    sequencer.request(1, lead_by(2));
    sequencer.timeout();
    let behind = CannotLead::Behind { node: node(2) };
    assert!(sequencer.timeout_after(TIMEOUT).contains(&refused(1, behind)));
}

#[test]
fn a_change_of_the_sequencer_that_cannot_be_is_refused_at_once() {
    let reply = |mut server: Server, number| server.request(1, lead_by(number));
    assert_eq!(reply(settled(), 9), [refused(1, CannotLead::NotInCluster { node: node(9) })]);
    let mut alone = settled();
    alone.peer_down(2);
    let unfit = CannotLead::Unfit { node: node(2) };
    assert_eq!(alone.request(1, lead_by(2)), [refused(1, unfit)]);
    let mut busy = settled();
    busy.request(2, lead_by(3));
    let reason = CannotLead::Busy { node: node(3) };
    assert_eq!(busy.request(1, lead_by(2)), [refused(1, reason)]);
    let base = log(&[(epoch(0, 1), "")]);
    let one = Server::sequencer_of(&cluster(3, 1, 2), &base);
    assert_eq!(reply(one, 2), [refused(1, CannotLead::NoSuccessor)]);
    let mut few = Server::sequencer_of(&cluster(5, 3, 3), &base);
    few.peer_down(3);
    few.peer_down(4);
    few.peer_down(5);
    assert_eq!(few.request(1, lead_by(2)), [refused(1, CannotLead::TooFew { more: 1 })]);
    // It leads already.
    let mut leads = settled();
    assert_eq!(leads.request(1, lead_by(1)), [led(1)]);
}

#[test]
fn a_follower_asks_the_sequencer_and_tells_its_client_what_comes_of_it() {
    let base = log(&[(epoch(0, 1), "")]);
    let asking = || {
        let mut follower = Server::follower(&base);
        follower.timeout();
        follower.request(1, lead_by(2));
        let ask = Body::AskLead { epoch: epoch(0, 1), node: node(2) };
        assert_eq!(follower.timeout(), [Send(1, ask.clone())]);
        assert_eq!(follower.timeout_after(MS * 100), [Send(1, ask)]);
        follower
    };
    let refuse = |reason| Body::RefuseLead { epoch: epoch(0, 1), node: node(2), reason };
    let behind = CannotLead::Behind { node: node(2) };
    assert_eq!(asking().told(refuse(Some(behind))), [refused(1, behind)]);
    assert_eq!(asking().told(refuse(None)), [unknown(1)]);
    let mut follower = asking();
    follower.now.mono += MS * 60_000;
    assert!(follower.timeout().contains(&unknown(1)));
    let mut follower = asking();
    follower.step(Input::Cancel { id: RequestId(1) });
    assert_eq!(follower.told(refuse(None)), []);
    // The sequencer says why not, or does it.
    let mut sequencer = settled();
    let own = sequencer.epoch();
    let ask = |number| Body::AskLead { epoch: own, node: node(number) };
    sequencer.hears(3, ask(2));
    assert_eq!(sent_to(&sequencer.timeout(), 2), [Body::Lead { epoch: own }]);
    let busy = Some(CannotLead::Busy { node: node(2) });
    let told = Body::RefuseLead { epoch: own, node: node(3), reason: busy };
    assert_eq!(sequencer.hears(2, ask(3)), [Send(2, told)]);
}

#[test]
fn a_server_that_is_about_to_stop_hands_over_and_does_not_stand() {
    let mut sequencer = settled();
    assert!(sequencer.engine.may_stop());
    sequencer.step(Input::Stop);
    assert!(!sequencer.engine.may_stop());
    let own = sequencer.epoch();
    let effects = sequencer.timeout();
    let told = [2, 3].map(|peer| sent_to(&effects, peer).contains(&Body::Lead { epoch: own }));
    assert!(told.contains(&true), "{effects:?}");
    let next = epoch(1, 2);
    sequencer.hears(2, Body::EpochRequest { epoch: next });
    sequencer.persist_all();
    assert!(!sequencer.engine.may_stop(), "the next one may lack its promise");
    sequencer.hears(2, heartbeat(next, &log(&[(epoch(0, 1), "")]), 0));
    assert!(sequencer.engine.may_stop());
    let asks = |effects: Vec<Given>| {
        effects.iter().any(|effect| matches!(effect, Send(_, Body::PreVote { .. })))
    };
    assert!(!asks(sequencer.timeout_after(TIMEOUT * 2)));
    // Where the others could not work without it, it just stops.
    let mut sequencer = settled();
    sequencer.peer_down(3);
    sequencer.step(Input::Stop);
    assert!(sequencer.engine.may_stop());
    let mut follower = Server::follower(&log(&[(epoch(0, 1), "")]));
    follower.step(Input::Stop);
    assert!(follower.engine.may_stop());
}

#[test]
fn the_first_server_asks_for_the_lead_by_itself_where_that_is_wanted() {
    let (config, base) = (cluster(3, 2, 2), log(&[(epoch(1, 3), "")]));
    let asked = |hand_back| {
        let records = disk(1, &config, epoch(1, 3), &base);
        let engine_config =
            EngineConfig { hand_back, ..EngineConfig::seeded(node(1), config.clone(), 9) };
        let mut server = Server::recover(1, &config, records.clone());
        let numbered = (1..).map(PersistSeq).zip(records);
        server.engine = LinearEngine::recover(engine_config, None, numbered).unwrap();
        server.peer_up(2);
        server.peer_up(3);
        server.persist_all();
        let mut effects = Vec::new();
        for _ in 0..11 {
            server.hears(3, heartbeat(epoch(1, 3), &base, 1));
            effects.extend(server.timeout_after(MS * 100));
        }
        let ask = Body::AskLead { epoch: epoch(1, 3), node: node(1) };
        effects.iter().filter(|effect| **effect == Send(3, ask.clone())).count()
    };
    assert_eq!((asked(true), asked(false)), (1, 0));
}

#[test]
fn a_sequencer_that_the_others_could_not_replace_keeps_its_part_on_a_full_disk() {
    let mut sequencer = Server::settled_sequencer(&log(&[(epoch(0, 1), "")]));
    sequencer.peer_down(3);
    let effects = sequencer.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(effects, []);
    sequencer.timeout();
    assert_eq!(sequencer.role(), Role::Sequencer);
    // It reads on.
    assert_eq!(sequencer.request(1, get()), []);
    assert!(matches!(sequencer.request(2, put("a")).as_slice(), [Given::Reply(2, _)]));
}

#[test]
fn a_server_with_a_full_disk_does_not_stand() {
    let mut server = Server::follower(&log(&[(epoch(0, 1), "")]));
    server.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(server.timeout_after(TIMEOUT * 2), []);
    let unfit = Some(CannotLead::Unfit { node: node(2) });
    let refuse = Body::RefuseLead { epoch: epoch(0, 1), node: node(2), reason: unfit };
    assert_eq!(server.told(Body::Lead { epoch: epoch(0, 1) }), [Send(1, refuse)]);
}

#[test]
fn there_is_no_round_after_the_last() {
    let last = Epoch { round: Epoch::ROUND_MAX, ..epoch(0, 1) };
    let mut server = Server::member(2, last, &[]);
    assert_eq!(server.timeout_after(TIMEOUT * 2), []);
}
