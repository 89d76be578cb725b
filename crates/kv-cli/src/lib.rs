//! What the programs `kv-server` and `kv-client` share.
//!
//! Read [`output`] first: everything that either program prints on its standard output goes through
//! it, so that no output is lost without a word. [`environment`] reads the `KV_*` variables, [`cluster_name`]
//! and [`proposing`] values of options, and [`suggestion`] finds the word that was meant.

pub mod cluster_name;
pub mod environment;
pub mod output;
pub mod proposing;
pub mod suggestion;
