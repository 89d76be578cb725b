//! The third engine keeps the contract.

mod one_copy;

kv_sim::conformance_suite!(one_copy::OneCopy);
