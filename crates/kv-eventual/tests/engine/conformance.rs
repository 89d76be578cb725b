//! The engine contract, clause by clause.

kv_sim::conformance_suite!(kv_eventual::EventualEngine);
