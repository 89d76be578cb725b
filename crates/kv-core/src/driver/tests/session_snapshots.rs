//! Snapshots to sessions.

use super::*;
use crate::driver::session_snapshot::SESSION_SNAPSHOTS_MAX;

/// A driver whose snapshots have so many items, each a part.
fn with_items(count: u8) -> Core {
    let mut core = core(DriverConfig::MEMORY);
    hold_items(&mut core, count);
    core
}

/// The tag, the number and whether it is the last one of a session's next part.
fn next(core: &mut Core, session: SessionId) -> Option<(u64, u32, bool)> {
    let part = core.next_session_part(session)?;
    let SessionPart::Part { tag, part } = part else { panic!("{part:?}") };
    assert_eq!(part.metadata.is_empty(), part.number > 0, "it goes with the first part");
    Some((tag, part.number, part.is_last))
}

fn views(core: &Core) -> usize {
    core.engine().views.len()
}

const OVERLOADED: Result<(), NotDone> = Err(NotDone::Overloaded { limit: SESSION_SNAPSHOTS_MAX });

#[test]
fn a_session_is_given_each_part_once_and_the_view_is_closed_after_the_last() {
    let mut core = with_items(2);
    let [session, other] = [8, 8].map(|max| core.open_session(max));
    assert_eq!(core.begin_session_snapshot(session, 7), Ok(()));
    assert_eq!(core.next_session_part(other), None, "it did not ask");
    assert_eq!(next(&mut core, session), Some((7, 0, false)));
    assert_eq!(views(&core), 1);
    assert_eq!(next(&mut core, session), Some((7, 1, true)));
    assert_eq!(views(&core), 0);
    assert_eq!(core.next_session_part(session), None);
}

#[test]
fn the_snapshots_of_a_session_follow_each_other_under_different_names() {
    let mut core = with_items(1);
    let session = core.open_session(8);
    for tag in [7, 8] {
        assert_eq!(core.begin_session_snapshot(session, tag), Ok(()));
    }
    let mut names = Vec::new();
    while let Some(SessionPart::Part { tag, part }) = core.next_session_part(session) {
        names.push((tag, part.snapshot));
    }
    assert_eq!(names, [(7, 1), (8, 2)]);
}

#[test]
fn the_number_of_snapshots_to_sessions_is_bounded() {
    let mut core = with_items(1);
    let session = core.open_session(8);
    for tag in 0..SESSION_SNAPSHOTS_MAX {
        assert_eq!(core.begin_session_snapshot(session, tag), Ok(()));
    }
    assert_eq!(core.begin_session_snapshot(session, 9), OVERLOADED);
    assert_eq!(views(&core), 4);
    assert_eq!(next(&mut core, session), Some((0, 0, true)));
    assert_eq!(core.begin_session_snapshot(session, 9), Ok(()), "one has ended");
}

#[test]
fn a_snapshot_is_refused_where_the_engine_opens_no_view() {
    let mut core = with_items(1);
    core.engine_mut().opens_no_views = true;
    let session = core.open_session(8);
    assert_eq!(core.begin_session_snapshot(session, 7), OVERLOADED);
    assert_eq!(core.next_session_part(session), None);
}

#[test]
fn a_session_is_told_that_the_view_is_gone() {
    let mut core = with_items(3);
    let session = core.open_session(8);
    assert_eq!(core.begin_session_snapshot(session, 7), Ok(()));
    next(&mut core, session);
    core.engine_mut().views.clear();
    assert_eq!(core.next_session_part(session), Some(SessionPart::Gone { tag: 7 }));
    assert_eq!(core.next_session_part(session), None);
}

#[test]
fn a_session_that_is_closed_or_cancels_ends_its_snapshot_and_no_other() {
    for cancels in [true, false] {
        let mut core = with_items(3);
        let [session, other] = [8, 8].map(|max| core.open_session(max));
        for who in [session, other] {
            assert_eq!(core.begin_session_snapshot(who, 7), Ok(()));
        }
        next(&mut core, session);
        if cancels {
            assert_eq!(core.cancel(at(0), session, 8), None, "a name that it did not give");
            assert_eq!(views(&core), 2);
            assert_eq!(core.cancel(at(0), session, 7), None);
        } else {
            assert_eq!(core.close_session(at(0), session), []);
        }
        assert_eq!(views(&core), 1, "the view is closed");
        assert_eq!(core.next_session_part(session), None);
        assert_eq!(next(&mut core, other), Some((7, 0, false)));
    }
}
