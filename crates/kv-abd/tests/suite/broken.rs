//! Each rule is broken in turn, and the suite notices it at its default size.

use kv_abd::{AbdEngine, Rule};
use kv_core::Broken;
use kv_sim::conformance::whole_suite;
use kv_sim::schedule::SCHEDULES;

use super::declaration;

#[test]
fn every_broken_rule_is_noticed() {
    for rule in Rule::ALL {
        let passed = Broken::during(rule, || whole_suite::<AbdEngine>(&declaration(), SCHEDULES));
        let Err(found) = passed else { panic!("{rule:?} was not noticed") };
        let found = found.to_string();
        println!("{rule:?}: {found}\n");
        if rule == Rule::ReadsWithoutWriteBack {
            let shown: String = found.lines().map(|line| format!("   {line}\n")).collect();
            let document = include_str!("../../../../docs/third-engine.md");
            let shown = shown.replace("   \n", "\n");
            assert!(document.contains(&shown), "docs/third-engine.md shows something else");
        }
    }
}
