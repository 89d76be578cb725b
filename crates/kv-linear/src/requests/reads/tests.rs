use std::collections::BTreeMap;

use kv_core::Key;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn submit(reads: &mut Reads, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        reads.submit(RequestId(id), Operation::get(Key::new("k").unwrap()), SECOND);
    }
}

fn answered(reads: &mut Reads, applied: u64) -> Vec<u64> {
    let next = || reads.pop_granted(LogIndex(applied)).map(|(id, _)| id.0);
    let mut ids: Vec<u64> = std::iter::from_fn(next).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_read_is_answered_once_the_log_is_applied_as_far_as_its_question_says() {
    let mut reads = Reads::new();
    assert_eq!(reads.ask(), None);
    submit(&mut reads, [1, 2]);
    assert_eq!(reads.ask(), Some(1));
    submit(&mut reads, [3]);
    assert_eq!(reads.ask(), Some(2));
    assert_eq!(reads.ask(), Some(2), "nothing new came");
    reads.grant(1, LogIndex(5));
    assert_eq!(answered(&mut reads, 4), []);
    assert_eq!(answered(&mut reads, 5), [1, 2]);
    assert_eq!(answered(&mut reads, 9), []);
    reads.grant(2, LogIndex(9));
    assert_eq!(answered(&mut reads, 9), [3]);
    assert_eq!((reads.len(), reads.next_alarm(), reads.ask()), (0, None, None));
}

#[test]
fn the_answer_to_a_later_question_is_one_to_all_before_it() {
    let mut reads = Reads::new();
    submit(&mut reads, [1]);
    reads.ask();
    submit(&mut reads, [2]);
    reads.ask();
    reads.grant(2, LogIndex(7));
    assert_eq!(answered(&mut reads, 7), [1, 2]);
    assert!(!reads.is_asked());
}

#[test]
fn what_one_sequencer_did_not_answer_the_next_one_is_asked() {
    let mut reads = Reads::new();
    submit(&mut reads, [1, 2]);
    reads.ask();
    reads.cancel(RequestId(1));
    submit(&mut reads, [3]);
    reads.ask_again();
    assert_eq!(reads.ask(), Some(2));
    reads.grant(1, LogIndex(1));
    assert_eq!(answered(&mut reads, 1), [], "the answer to a former question is not for these");
    reads.grant(2, LogIndex(1));
    assert_eq!(answered(&mut reads, 1), [2, 3]);
}

#[test]
fn a_read_whose_time_is_up_is_taken_out_wherever_it_is() {
    let mut reads = Reads::new();
    submit(&mut reads, [1]);
    reads.ask();
    reads.grant(1, LogIndex(3));
    submit(&mut reads, [2]);
    assert_eq!(reads.pop_expired(SECOND / 2), None);
    assert_eq!(reads.pop_expired(SECOND), Some(RequestId(1)));
    assert_eq!(reads.pop_expired(SECOND), Some(RequestId(2)));
    assert_eq!(reads.pop_expired(SECOND), None);
    assert_eq!(answered(&mut reads, 3), []);
    assert_eq!(reads.settle_waiting(), []);
}

#[test]
fn reads_that_nobody_answers_leave_nothing_behind() {
    let mut reads = Reads::new();
    submit(&mut reads, 0..1_000);
    for id in 0..999 {
        reads.ask();
        reads.cancel(RequestId(id));
        submit(&mut reads, [1_000 + id]);
        reads.cancel(RequestId(1_000 + id));
    }
    let named: usize = reads.asked.iter().map(|(_, ids)| ids.len()).sum();
    assert!(named <= 2 * STALE_MAX, "{named}");
    assert!(reads.asked.len() <= 2 * STALE_MAX);
    assert!(reads.is_asked());
    reads.cancel(RequestId(999));
    assert!(!reads.is_asked(), "nobody is asked for nothing");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Submit,
    Ask,
    AskAgain,
    Grant { back: u64, index: u64 },
    Answer { applied: u64 },
    Cancel { id: u64 },
    Expire { id: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Submit),
        2 => Just(Act::Ask),
        1 => Just(Act::AskAgain),
        2 => (0..3_u64, 0..9_u64).prop_map(|(back, index)| Act::Grant { back, index }),
        2 => (0..9_u64).prop_map(|applied| Act::Answer { applied }),
        1 => (0..40_u64).prop_map(|id| Act::Cancel { id }),
        1 => (0..40_u64).prop_map(|id| Act::Expire { id }),
    ]
}

/// What is known of a pending read.
#[derive(Clone, Copy, Debug)]
enum Known {
    Waits,
    Asked(u64),
    Granted(u64),
}

fn check(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let (mut reads, mut model) = (Reads::new(), BTreeMap::<u64, Known>::new());
    let (mut next, mut last) = (0, 0);
    for act in acts {
        match act {
            Act::Submit => {
                let operation = Operation::get(Key::new("k").unwrap());
                reads.submit(RequestId(next), operation, Duration::from_secs(next));
                model.insert(next, Known::Waits);
                next += 1;
            }
            Act::Ask => {
                let has_waiting = model.values().any(|known| matches!(known, Known::Waits));
                let asked = reads.ask();
                last = last.max(asked.unwrap_or_default());
                prop_assert!(!has_waiting || asked == Some(last));
                for known in model.values_mut().filter(|known| matches!(known, Known::Waits)) {
                    *known = Known::Asked(last);
                }
            }
            Act::AskAgain => {
                reads.ask_again();
                for known in model.values_mut() {
                    if let Known::Asked(_) = known {
                        *known = Known::Waits;
                    }
                }
            }
            Act::Grant { back, index } => {
                let number = last.saturating_sub(back);
                reads.grant(number, LogIndex(index));
                for known in model.values_mut() {
                    if let Known::Asked(asked) = known
                        && *asked <= number
                    {
                        *known = Known::Granted(index);
                    }
                }
            }
            Act::Answer { applied } => {
                for id in answered(&mut reads, applied) {
                    let known = model.remove(&id);
                    let is_right = matches!(known, Some(Known::Granted(i)) if i <= applied);
                    prop_assert!(is_right, "{id} is {known:?} at {applied}");
                }
            }
            Act::Cancel { id } => {
                reads.cancel(RequestId(id));
                model.remove(&id);
            }
            Act::Expire { id } => {
                while reads.pop_expired(Duration::from_secs(id)).is_some() {}
                model.retain(|pending, _| *pending > id);
            }
        }
        prop_assert_eq!(reads.len(), model.len());
    }
    // Whatever is pending is answered in the end.
    reads.ask_again();
    let number = reads.ask().unwrap_or_default();
    reads.grant(number, LogIndex(9));
    prop_assert_eq!(answered(&mut reads, 9), model.into_keys().collect::<Vec<_>>());
    prop_assert_eq!((reads.len(), reads.is_asked(), reads.next_alarm()), (0, false, None));
    Ok(())
}

proptest! {
    #[test]
    fn a_read_is_answered_once_and_only_when_its_own_question_was_answered_and_enough_is_applied(
        acts in vec(act(), 0..120)
    ) {
        check(acts)?;
    }
}
