//! What the programs `kv-server` and `kv-client` share.
//!
//! Read [`output`] first: everything that either program prints on its standard output goes through
//! it, so that no output is lost without a word. [`environment`] reads the `KV_*` variables, and
//! [`suggestion`] finds the word that was meant.

pub mod environment;
pub mod output;
pub mod suggestion;
