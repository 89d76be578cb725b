use proptest::prelude::*;

use kv_core::{Answer, CommandResult, Done, Served, Version};

use super::kept::{ANSWER_BYTES_MAX, written};
use super::*;

fn identity(session: u64, number: u64, acknowledged_below: u64) -> RequestIdentity {
    RequestIdentity { session: SessionId(session), number, acknowledged_below }
}

fn outcome(number: u64) -> Outcome {
    if number.is_multiple_of(2) {
        return written(number);
    }
    Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Length(number)]),
        version: Some(Version::Log(number)),
        served: Served::Linearizable,
    })
}

fn unclear(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Answered(Outcome::Unknown(Unknown { version: None, .. })))
}

#[test]
fn a_request_is_new_once_and_has_one_answer() {
    let mut sessions = Sessions::default();
    sessions.open(5, 0);
    assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::New);
    sessions.keep(&identity(5, 1, 1), 7, &outcome(7));
    assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::Answered(outcome(7)));
    assert_eq!(sessions.look_up(&identity(5, 2, 1), 0), Verdict::New);
}

#[test]
fn a_request_of_no_session_is_not_carried_out() {
    let expired = Verdict::Answered(Outcome::NotDone(NotDone::SessionExpired));
    assert_eq!(Sessions::default().look_up(&identity(5, 1, 1), 0), expired);
}

#[test]
fn what_was_given_up_never_takes_effect() {
    let mut sessions = Sessions::default();
    sessions.open(5, 0);
    assert_eq!(sessions.look_up(&identity(5, 9, 9), 0), Verdict::New);
    assert!(unclear(&sessions.look_up(&identity(5, 8, 1), 0)));
    assert!(unclear(&sessions.look_up(&identity(5, 9 + RequestIdentity::WINDOW, 1), 0)));
}

#[test]
fn an_answer_that_is_too_large_is_known_to_have_been_one() {
    let mut sessions = Sessions::default();
    sessions.open(5, 0);
    let results = vec![CommandResult::Written; ANSWER_BYTES_MAX];
    let Outcome::Done(done) = outcome(7) else { panic!() };
    let large = Outcome::Done(Done { answer: Answer::Results(results), ..done });
    sessions.keep(&identity(5, 1, 1), 7, &large);
    let version = Some(Version::Log(7));
    let unknown = Outcome::Unknown(Unknown { version, acks: 0, needed: 0 });
    assert_eq!(sessions.look_up(&identity(5, 1, 1), 0), Verdict::Answered(unknown));
}

#[test]
fn a_session_that_is_used_lasts_and_others_expire() {
    let mut sessions = Sessions::default();
    sessions.open(1, 0);
    sessions.open(2, 0);
    sessions.look_up(&identity(2, 1, 1), UNUSED_MS_MAX / 2);
    sessions.advance(UNUSED_MS_MAX - 2, UNUSED_MS_MAX - 1);
    assert_eq!(sessions.len(), 2);
    sessions.advance(UNUSED_MS_MAX - 1, UNUSED_MS_MAX);
    assert_eq!(sessions.by_id.keys().collect::<Vec<_>>(), [&SessionId(2)]);
}

#[test]
fn a_clock_that_is_set_forward_ends_no_session_that_is_in_use() {
    let mut sessions = Sessions::default();
    sessions.open(1, 0);
    sessions.open(2, 0);
    let jump = UNUSED_MS_MAX * 24;
    sessions.advance(0, jump);
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.look_up(&identity(2, 1, 1), jump), Verdict::New);
    // What was not used for the whole time in small steps ends all the same.
    let minutes = (jump..).step_by(60_000).take(60);
    minutes.clone().zip(minutes.skip(1)).for_each(|(from, to)| sessions.advance(from, to));
    assert_eq!(sessions.by_id.keys().collect::<Vec<_>>(), [&SessionId(2)]);
}

#[test]
fn a_session_with_many_answers_ends_no_other_one() {
    let mut sessions = Sessions::default();
    sessions.open(1, 0);
    sessions.open(2, 0);
    sessions.look_up(&identity(2, 1, 1), USE_NOTED_MS);
    let Outcome::Done(done) = outcome(7) else { panic!() };
    let large = Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Length(7); ANSWER_BYTES_MAX / 16]),
        ..done
    });
    for number in 1..=RequestIdentity::WINDOW {
        sessions.keep(&identity(2, number, 1), 7, &large);
    }
    assert_eq!(sessions.len(), 2);
    let verdict = |sessions: &mut Sessions, number| sessions.look_up(&identity(2, number, 1), 0);
    assert_eq!(verdict(&mut sessions, 1), Verdict::Answered(large));
    let unknown = Unknown { version: Some(Version::Log(7)), acks: 0, needed: 0 };
    let last = verdict(&mut sessions, RequestIdentity::WINDOW);
    assert_eq!(last, Verdict::Answered(Outcome::Unknown(unknown)));
}

#[test]
fn of_too_many_sessions_those_end_that_were_used_the_longest_ago() {
    let mut sessions = Sessions::default();
    let count = u64::try_from(SESSIONS_MAX).unwrap();
    (1..=count).for_each(|number| sessions.open(number, 0));
    sessions.look_up(&identity(1, 1, 1), USE_NOTED_MS);
    sessions.open(count + 1, USE_NOTED_MS);
    assert_eq!(sessions.len(), SESSIONS_MAX);
    let ids = [1, 2, 3].map(|id| sessions.by_id.contains_key(&SessionId(id)));
    assert_eq!(ids, [true, false, true]);
}

#[test]
fn a_view_copies_no_answers_and_shows_the_sessions_as_they_were() {
    let mut sessions = Sessions::default();
    (1..=3).for_each(|number| sessions.open(number, 0));
    (1..=3).for_each(|number| sessions.keep(&identity(number, 1, 1), 7, &outcome(7)));
    let (before, viewed) = (sessions.to_lines(), sessions.viewed());
    for (session, viewed) in sessions.by_id.values().zip(&viewed) {
        assert!(Arc::ptr_eq(&session.answers, &viewed.session.answers));
    }
    // Only what changes meanwhile is copied.
    sessions.look_up(&identity(1, 2, 2), USE_NOTED_MS);
    sessions.keep(&identity(2, 2, 1), 9, &outcome(9));
    let shared = sessions.by_id.values().zip(&viewed);
    let shared =
        shared.map(|(session, viewed)| Arc::ptr_eq(&session.answers, &viewed.session.answers));
    assert_eq!(shared.collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(viewed.iter().map(ViewedSession::to_line).collect::<Vec<_>>(), before);
    assert_ne!(sessions.to_lines(), before);
}

proptest! {
    /// A checkpoint holds all, and the account of bytes is right.
    #[test]
    fn sessions_survive_a_checkpoint(
        steps in proptest::collection::vec((0..4_u64, 1..12_u64, 1..12_u64, 0..5_000_u64), 0..60),
    ) {
        let mut sessions = Sessions::default();
        (0..3).for_each(|number| sessions.open(number, 0));
        for (place, (session, number, below, now)) in (10..).zip(steps) {
            let identity = identity(session, number, below);
            if sessions.look_up(&identity, now) == Verdict::New {
                sessions.keep(&identity, place, &outcome(place));
            }
            let mut counted = 0;
            for session in sessions.by_id.values() {
                let bytes: usize = session.answers.values().map(Answered::size_bytes).sum();
                prop_assert_eq!(bytes, session.answers_bytes);
                counted += bytes;
            }
            prop_assert_eq!(counted, sessions.answers_bytes);
            let mut restored = Sessions::default();
            for line in sessions.to_lines() {
                restored.restore(SessionLine::from_bytes(line).unwrap());
            }
            prop_assert_eq!(&restored, &sessions);
        }
    }
}
