//! A suite that cannot fail shows nothing: each way to break the third engine is caught by the
//! test of the clause that it breaks.

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
