//! A sequencer that starts on an older copy of its disk, and what followers tell it.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use kv_core::{ConsistencyEngine, Effect, HaltReason};
use kv_linear::{Body, Epoch, Forward, LogIndex, NeedStart};

use super::stand::{Given, MS, Server, first_life, generation, heartbeat, log, node, put};

fn told(sequencer: &mut Server, body: Body) -> Vec<Given> {
    let message = sequencer.of(first_life(21), body);
    sequencer.message(2, message)
}

fn ack(epoch: Epoch, durable: u64) -> Body {
    Body::Ack { epoch, durable: LogIndex(durable) }
}

fn nack(epoch: Epoch, last: u64) -> Body {
    Body::Nack { epoch, last: LogIndex(last) }
}

fn forward(epoch: Epoch) -> Body {
    Body::Forward(Forward { epoch, settled_below: 0, requests: Vec::new() })
}

fn need(epoch: Epoch) -> Body {
    let log_epoch = generation(0);
    Body::NeedStart(NeedStart { epoch, log_epoch, last: LogIndex(1), staged: LogIndex::ZERO })
}

#[test]
fn it_stops_as_soon_as_a_follower_shows_what_it_has_forgotten() {
    // The restart after the copy was made had the same generation, or later ones had others.
    let (same, later) = (generation(1), generation(2));
    for body in [ack(same, 2), nack(same, 2), ack(later, 0), nack(later, 0), forward(later)] {
        let mut sequencer = Server::restarted(log(&[put("a")]));
        let halt = Effect::Halt { reason: HaltReason::SetBack { peer: node(2) } };
        assert_eq!(told(&mut sequencer, body), [halt]);
        assert_eq!(sequencer.timeout(), []);
        assert_eq!(sequencer.engine.next_deadline(), None);
    }
    let mut sequencer = Server::restarted(log(&[put("a")]));
    assert!(matches!(told(&mut sequencer, need(later))[..], [Effect::Halt { .. }]));
}

#[test]
fn an_epoch_that_another_server_opened_is_none_that_it_has_forgotten() {
    let another = Epoch { round: 1, owner: node(3), generation: 0 };
    let mut sequencer = Server::restarted(log(&[put("a")]));
    for body in [ack(another, 2), nack(another, 2), need(another), forward(another)] {
        assert_eq!(told(&mut sequencer, body), []);
    }
    assert_eq!(sequencer.counter("stray_messages"), 4);
}

#[test]
fn a_follower_shows_a_sequencer_that_is_behind_the_later_epoch_and_not_at_each_message() {
    let mut follower = Server::follower(log(&[put("a")]));
    follower.told(heartbeat(generation(2), follower.life));
    follower.now.mono += MS * 1000;
    let behind = heartbeat(generation(1), follower.life);
    let need = NeedStart {
        epoch: generation(2),
        log_epoch: generation(0),
        last: LogIndex(1),
        staged: LogIndex::ZERO,
    };
    let shown = [follower.send(1, Body::NeedStart(need))];
    assert_eq!(follower.told(behind.clone()), shown);
    assert_eq!(follower.told(behind.clone()), []);
    follower.now.mono += MS * 1000;
    assert_eq!(follower.told(behind), shown);
}
