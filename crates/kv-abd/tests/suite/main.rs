//! The suite that every engine passes, with what this one says of itself; and that it notices each
//! rule which is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod broken;
mod declaration;
mod model;
mod real_servers;
mod seeds;

use declaration::declaration;

kv_sim::conformance_suite!(kv_abd::AbdEngine, declaration());
