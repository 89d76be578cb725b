//! The engine contract, clause by clause.
#![allow(clippy::panic, reason = "a test may fail by a panic")]

kv_sim::conformance_suite!(kv_eventual::EventualEngine);
