//! A suite that cannot fail shows nothing: each way to break the third engine is caught by the
//! test of the clause that it breaks.

mod one_copy;

use kv_sim::conformance::{self, Failure};
use one_copy::{Mutation, OneCopy};

/// Expects a clause to fail for the mutation with a number, which must be the one named.
macro_rules! caught {
    ($($test:ident: $mutation:ident = $number:literal by $clause:ident,)*) => {$(
        #[test]
        fn $test() {
            assert_eq!(one_copy::ALL[$number], Mutation::$mutation);
            let failure: Failure = conformance::$clause::<OneCopy<$number>>().unwrap_err();
            println!("{}: {failure}", stringify!($mutation));
        }
    )*};
}

caught! {
    a_reply_before_the_disk: RepliesBeforePersisted = 1 by withholds_until_persisted,
    an_effect_taken_back: DropsAnEffect = 2 by only_appends_effects,
    a_panic_on_a_stranger: PanicsOnAStranger = 3 by survives_any_input,
    no_second_sending: NeverResends = 4 by retransmits_what_was_lost,
    a_deadline_that_stands: DeadlineStands = 5 by deadlines_move_on,
    a_second_reply: RepliesTwice = 6 by answers_once_and_honestly,
    a_false_not_done: CallsAnUnknownWriteNotDone = 7 by answers_once_and_honestly,
    no_reply_at_all: KeepsSilentAtTheTimeout = 8 by answers_once_and_honestly,
    a_hidden_input: CountsBesidesItsInputs = 9 by same_inputs_give_same_effects,
    a_record_forgotten: ForgetsARecord = 10 by acknowledged_writes_survive_a_crash,
    a_key_missing_in_the_checkpoint: CheckpointForgetsAKey = 11
        by a_checkpoint_stands_for_its_records,
    a_change_missing_in_a_checkpoint: CheckpointForgetsAKey = 11
        by checkpoints_sum_up_to_the_state,
    a_halt_without_cause: HaltsOnADuplicate = 12 by halts_never_without_cause,
    nothing_done_at_all: RefusesEverything = 15 by answers_once_and_honestly,
    a_page_without_end: DumpsEverythingAtOnce = 13 by dumps_come_in_pages,
}
