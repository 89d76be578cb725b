//! The third engine keeps the contract, and passes random schedules of what it survives.

use super::one_copy;

kv_sim::conformance_suite!(one_copy::OneCopy, one_copy::declaration());
