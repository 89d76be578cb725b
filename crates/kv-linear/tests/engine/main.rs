//! The linearizable engine, one file per behaviour. One program, so that what it makes of the
//! simulator is compiled once.

mod stand;
mod witness;

mod conformance;
mod local_cluster;
mod status;
