//! What comes of the effects of an engine, and in which order.

use super::*;

fn message(to: u16, message: u64) -> Output<u64, u64> {
    Output::Send { to: peer(to), frame: PeerFrame::Message(message) }
}

fn halt() -> Effect<u64, u64> {
    Effect::Halt { reason: HaltReason::SetBack { peer: peer(2) } }
}

#[test]
fn records_of_a_turn_are_one_batch_and_come_before_sends_and_replies() {
    let mut core = core(durable(CheckpointPolicy::default()));
    let session = core.open_session(8);
    let id = request(&mut core, session, 7);
    core.engine_mut().effects = vec![reply(id), send(2, 20), persist(1)];
    core.on_frame(at(1), peer(2), PeerFrame::Message(0));
    core.engine_mut().effects = vec![send(3, 30), persist(2)];
    core.on_frame(at(1), peer(3), PeerFrame::Message(0));
    let reply = Reply { session, tag: 7, request: id, outcome: outcome() };
    let expected = [
        Output::Persist(vec![(PersistSeq(1), 1), (PersistSeq(2), 2)]),
        message(2, 20),
        message(3, 30),
        Output::Reply(reply),
    ];
    assert_eq!(turn(&mut core, at(1)), expected);
}

#[test]
fn an_engine_with_a_disk_is_told_of_records_once_they_are_on_it() {
    let mut core = core(durable(CheckpointPolicy::default()));
    step(&mut core, at(1), [persist(1)]);
    let persisted = Input::Persisted { up_to: PersistSeq(1) };
    assert!(!core.engine().inputs.contains(&persisted));
    assert_eq!(core.persisted(), PersistSeq(0));
    core.on_persisted(at(2), PersistSeq(1));
    assert_eq!(core.engine().inputs.last(), Some(&persisted));
    assert_eq!(core.persisted(), PersistSeq(1));
}

#[test]
fn an_engine_without_a_disk_is_told_at_once_that_its_records_are_persisted() {
    let mut core = core(DriverConfig::MEMORY);
    let outputs = step(&mut core, at(1), [persist(1), persist(2), send(2, 20)]);
    assert_eq!(outputs, [message(2, 20)]);
    let persisted = Input::Persisted { up_to: PersistSeq(2) };
    assert_eq!(core.engine().inputs.last(), Some(&persisted));
}

#[test]
fn frames_to_a_peer_that_is_down_or_congested_are_dropped_and_counted() {
    let mut core = core(DriverConfig::MEMORY);
    core.on_peer_down(at(0), peer(2));
    core.set_congested(peer(3), true);
    let outputs = step(&mut core, at(1), [send(2, 20), send(3, 30), send(9, 90)]);
    assert_eq!(outputs, []);
    assert_eq!(core.counters().messages_dropped, 3);

    core.on_peer_up(at(2), peer(2), Incarnation(1));
    core.set_congested(peer(3), false);
    let outputs = step(&mut core, at(2), [send(2, 21), send(3, 31)]);
    assert_eq!(outputs, [message(2, 21), message(3, 31)]);
    assert_eq!(core.counters().messages_dropped, 3);
}

#[test]
fn a_new_connection_is_not_congested() {
    let mut core = core(DriverConfig::MEMORY);
    core.set_congested(peer(3), true);
    core.on_peer_up(at(0), peer(3), Incarnation(1));
    assert_eq!(step(&mut core, at(1), [send(3, 30)]), [message(3, 30)]);
}

#[test]
fn an_engine_is_told_once_that_the_disk_is_short_and_once_that_it_has_room() {
    let mut core = core(durable(CheckpointPolicy::default()));
    core.engine_mut().inputs.clear();
    let shortage = Shortage::Space;
    for shortage in [None, Some(shortage), Some(shortage), None, None] {
        core.on_room(at(1), shortage);
        assert_eq!(core.shortage(), shortage);
    }
    assert_eq!(core.engine().inputs, [Input::DiskShort { shortage }, Input::DiskRoom]);
}

#[test]
fn a_status_says_that_the_disk_is_full() {
    let mut core = core(durable(CheckpointPolicy::default()));
    core.on_room(at(1), Some(Shortage::Space));
    assert_eq!(core.status().waiting, Some(Waiting::DiskFull { node: peer(1) }));
}

#[test]
fn an_engine_gets_a_timeout_at_its_deadline_and_not_before() {
    let mut core = core(DriverConfig::MEMORY);
    core.engine_mut().deadline = Some(at(50).mono);
    core.engine_mut().inputs.clear();
    assert_eq!(core.next_deadline(), Some(at(50).mono));
    turn(&mut core, at(49));
    assert_eq!(core.engine().inputs, []);
    core.engine_mut().effects = vec![send(2, 20)];
    assert_eq!(turn(&mut core, at(50)), [message(2, 20)]);
    assert_eq!(core.engine().inputs, [Input::Timeout]);
    assert_eq!(core.next_deadline(), None);
}

#[test]
fn the_next_deadline_is_the_first_of_the_engines_the_disks_a_snapshots_and_that_of_stopping() {
    let mut core = core(durable(CheckpointPolicy::default()));
    assert_eq!(core.next_deadline(), None);
    core.stop(at(9_000));
    assert_eq!(core.next_deadline(), Some(at(10_000).mono), "of stopping");
    persist_through(&mut core, at(5_000), 1);
    settle(&mut core, at(5_000));
    assert_eq!(core.next_deadline(), Some(at(6_000).mono), "looks at the journal each second");
    step(&mut core, at(4_500), [Effect::BeginSnapshot { to: peer(2) }]);
    assert_eq!(core.next_deadline(), Some(at(5_500).mono), "sends the part again");
    core.engine_mut().deadline = Some(at(5_100).mono);
    assert_eq!(core.next_deadline(), Some(at(5_100).mono), "the engine's");
    core.on_changes_taken();
    assert_eq!(core.next_deadline(), Some(at(5_100).mono), "no checkpoint is under way");
}

#[test]
fn a_halt_comes_last_and_nothing_after_it() {
    let mut core = core(durable(CheckpointPolicy::default()));
    let session = core.open_session(8);
    let id = request(&mut core, session, 7);
    let outputs = step(&mut core, at(1), [persist(1), send(2, 20), halt(), send(2, 21), reply(id)]);
    let reason = HaltReason::SetBack { peer: peer(2) };
    let records = vec![(PersistSeq(1), 1)];
    assert_eq!(outputs, [Output::Persist(records), message(2, 20), Output::Halt(reason)]);
    assert_eq!(core.halted(), Some(reason));
    core.engine_mut().inputs.clear();
    core.engine_mut().deadline = Some(at(2).mono);

    core.on_persisted(at(3), PersistSeq(1));
    core.on_peer_down(at(3), peer(2));
    core.stop(at(3));
    request(&mut core, session, 8);
    assert_eq!(core.next_deadline(), None);
    assert_eq!(turn(&mut core, at(3)), []);
    assert_eq!(turn(&mut core, at(3)), []);
    assert_eq!(core.engine().inputs, []);
}
