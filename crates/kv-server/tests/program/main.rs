//! The program, run as a person runs it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

mod configuration;
mod console;
mod dev;
mod full_output;
mod manual;
mod older_format;
mod other_boot;
mod refusal;
mod run;
