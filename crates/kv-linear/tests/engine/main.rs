//! The linearizable engine, one file per behaviour. One program, so that what it makes of the
//! simulator is compiled once.

mod stand;
mod witness;

mod conformance;
mod forwarding;
mod local_cluster;
mod membership;
mod need_start;
mod restart;
mod set_back;
mod simulation;
mod start_epoch;
mod status;
mod steps;
mod wire;
