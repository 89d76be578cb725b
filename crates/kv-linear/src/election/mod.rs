//! How another server takes the sequencer's place.
//!
//! Source: the change of views of Liskov & Cowling, *Viewstamped Replication Revisited* (2012), with
//! the logs compared as in Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 3.6,
//! and its pre-votes (section 9.6).

mod campaign;
mod fetching;
mod timer;
mod votes;

pub(crate) use campaign::Campaign;
pub(crate) use fetching::Part;
pub(crate) use timer::ElectionTimer;
