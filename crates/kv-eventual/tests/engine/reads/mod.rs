//! Reads at their coordinator.

mod atomic;
mod get;
mod scan;
mod session;
