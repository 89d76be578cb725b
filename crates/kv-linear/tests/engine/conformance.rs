//! The linearizable engine keeps the contract.

kv_sim::conformance_suite!(kv_linear::LinearEngine);
