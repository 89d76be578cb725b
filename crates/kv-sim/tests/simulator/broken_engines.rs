//! A suite that cannot fail shows nothing: each way to break the third engine is caught by the
//! test of the clause that it breaks.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use kv_sim::conformance::{self, Failure};

use super::one_copy::{Mutation, OneCopy, broken_by};

/// Expects a clause to fail for a mutation.
macro_rules! caught {
    ($($test:ident: $mutation:ident by $clause:ident,)*) => {$(
        #[test]
        fn $test() {
            let run = conformance::$clause::<OneCopy>;
            let failure: Failure = broken_by(Mutation::$mutation, run).unwrap_err();
            println!("{}: {failure}", stringify!($mutation));
        }
    )*};
}

/// What a finding shows of the requests that it names, in its lines after the first.
#[test]
fn findings_show_their_requests() {
    let shown = |mutation, clause: fn() -> Result<(), Failure>| {
        let failure = broken_by(mutation, clause).unwrap_err().to_string();
        failure.split_once('\n').map(|(_, calls)| calls.to_owned()).unwrap_or(failure)
    };
    let once = conformance::answers_once_and_honestly::<OneCopy>;
    assert_eq!(
        shown(
            Mutation::ForgetsARecord,
            conformance::acknowledged_writes_survive_a_crash::<OneCopy>
        ),
        "  call 2 at server 1, 15.709111ms to 30.281298ms: put b\"k0\" b\"v0\": written as version 2\n  \
         call 3 at server 1, 3.030281298s to 3.030281298s: get b\"k0\": nothing"
    );
    assert_eq!(
        shown(Mutation::RepliesBeforePersisted, conformance::withholds_until_persisted::<OneCopy>),
        "  call 2 at server 1, 1s to 1s: put b\"a\" b\"11\": written as version 2"
    );
    assert_eq!(
        shown(Mutation::CallsAnUnknownWriteNotDone, once),
        "  call 24 at server 2, 1.884s to 3.002016032s: put b\"k0\" b\"v12\": not done: timed out: 0 of 1 \
         server answered; try again\n  call 44 at server 2, 3.372s to 3.737826769s: get b\"k0\": \
         b\"v12\" (version 13)"
    );
    assert_eq!(
        shown(Mutation::KeepsSilentAtTheTimeout, once),
        "  call 22 at server 3, 1.191s to the end: delete b\"k3\": no answer"
    );
    assert_eq!(
        shown(Mutation::NeverResends, conformance::retransmits_what_was_lost::<OneCopy>),
        "  call 6 at server 2, 104.062349ms to 20.104062349s: put b\"k\" b\"v2\": unknown: 0 of 1 servers \
         acknowledged"
    );
    let full = conformance::refuses_at_once_what_a_full_disk_cannot_keep::<OneCopy>;
    assert_eq!(
        shown(Mutation::WaitsForTheDisk, full),
        "  call 17 at server 1, 7.118846541s to the end: put b\"a\" b\"a\": no answer"
    );
}

caught! {
    a_reply_before_the_disk: RepliesBeforePersisted by withholds_until_persisted,
    an_effect_taken_back: DropsAnEffect by only_appends_effects,
    a_panic_on_a_stranger: PanicsOnAStranger by survives_any_input,
    no_second_sending: NeverResends by retransmits_what_was_lost,
    a_deadline_that_stands: DeadlineStands by deadlines_move_on,
    a_second_reply: RepliesTwice by answers_once_and_honestly,
    a_false_not_done: CallsAnUnknownWriteNotDone by answers_once_and_honestly,
    no_reply_at_all: KeepsSilentAtTheTimeout by answers_once_and_honestly,
    a_hidden_input: CountsBesidesItsInputs by same_inputs_give_same_effects,
    a_record_forgotten: ForgetsARecord by acknowledged_writes_survive_a_crash,
    a_key_missing_in_the_checkpoint: CheckpointForgetsAKey
        by a_checkpoint_stands_for_its_records,
    a_change_missing_in_a_checkpoint: CheckpointForgetsAKey
        by checkpoints_sum_up_to_the_state,
    a_halt_without_cause: HaltsOnADuplicate by halts_never_without_cause,
    nothing_done_at_all: RefusesEverything by answers_once_and_honestly,
    a_page_without_end: DumpsEverythingAtOnce by dumps_come_in_pages,
    a_write_on_a_full_disk: WaitsForTheDisk by refuses_at_once_what_a_full_disk_cannot_keep,
}
