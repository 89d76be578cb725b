//! The simulator and its command, one file per subject. One program, so that what the
//! engines make of the simulator is compiled once.

#[allow(dead_code, reason = "the command's screen shows more of it")]
#[path = "../../src/bin/kv-sim/engines.rs"]
mod engines;

#[path = "../one_copy/mod.rs"]
mod one_copy;

mod back_pressure;
mod broken_engines;
#[cfg(feature = "program")]
mod command;
mod conformance;
mod determinism;
mod evidence;
mod findings;
mod histories;
mod scenarios;
mod schedules;
mod sweep;
