//! One sequencer for each epoch: elected, obeyed, replaced.

mod elections;
mod entries;
mod fetching;
mod hand_over;
mod promises;
mod replication;
