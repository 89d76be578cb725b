//! Histories of simulated runs, as they are and in files.

mod files;
mod simulated;
