//! Each rule is broken in turn, and the suite notices it at its default size.

use kv_abd::{AbdEngine, Rule, broken_by};
use kv_sim::conformance;
use kv_sim::schedule::{SCHEDULES, explore};

use super::declaration;

/// What the suite finds, clause by clause and then in its schedules.
fn finding() -> Option<String> {
    if let Err(failure) = conformance::every_clause::<AbdEngine>() {
        return Some(failure.to_string());
    }
    explore::<AbdEngine>(&declaration(), SCHEDULES).err().map(|smallest| smallest.to_string())
}

#[test]
fn every_broken_rule_is_noticed() {
    for rule in Rule::ALL {
        let found = broken_by(rule, finding);
        let found = found.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        println!("{rule:?}: {found}\n");
        if rule == Rule::ReadsWithoutWriteBack {
            let shown: String = found.lines().map(|line| format!("   {line}\n")).collect();
            let document = include_str!("../../../../docs/third-engine.md");
            let shown = shown.replace("   \n", "\n");
            assert!(document.contains(&shown), "docs/third-engine.md shows something else");
        }
    }
}
