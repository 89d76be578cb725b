//! The history of a run that is written and read back is the same, and is judged the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use kv_check::{Budget, Event, History, Verdict, linearizability};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::{Simulation, SimulationFailure};

use crate::engines;
use crate::one_copy::{self, Mutation, OneCopy, broken_by};

fn read_back(history: &History) -> History {
    let mut out = Vec::new();
    history.write_json_lines(&mut out).unwrap();
    History::read_json_lines(&String::from_utf8(out).unwrap()).unwrap()
}

fn judge(history: &History) -> Verdict {
    linearizability(history, Budget::default()).unwrap()
}

#[test]
fn the_history_of_a_run_that_passes_is_judged_yes_from_its_file() {
    for seed in 1..4 {
        let mut run = Simulation::<LinearEngine>::new(seed, &engines::linearizable()).unwrap();
        run.run().unwrap();
        let history = run.history();
        let back = read_back(&history);
        assert_eq!(back, history);
        assert_eq!(judge(&back), Verdict::Linearizable);
    }
    let mut run = Simulation::<EventualEngine>::new(1, &engines::eventual()).unwrap();
    run.run().unwrap();
    assert_eq!(read_back(&run.history()), run.history());
}

/// The calls of the message are in the file, with the same names.
#[test]
fn the_history_of_a_run_that_fails_shows_its_violation_from_its_file() {
    let shown = |seed| {
        let mut run = Simulation::<OneCopy>::new(seed, &one_copy::declaration()).unwrap();
        match run.run() {
            Err(SimulationFailure::NotLinearizable { counterexample, .. }) => {
                Some((run.history(), *counterexample))
            }
            _ => None,
        }
    };
    let shown = broken_by(Mutation::ExecutesADuplicateAgain, || (1..100).find_map(shown));
    let Some((history, told)) = shown else {
        panic!("no seed shows it");
    };
    let Verdict::NotLinearizable(found) = judge(&read_back(&history)) else {
        panic!("the file does not show the violation");
    };
    assert_eq!(found, told);
    for call in &told.calls {
        let begin = (call.process, Event::Invoke(call.batch.clone()));
        assert!(history.events.contains(&begin), "{call}");
    }
}
