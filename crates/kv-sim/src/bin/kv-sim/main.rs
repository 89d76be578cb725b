//! Runs an engine in simulated clusters that go wrong, one seed or many.

mod args;
mod engines;
mod screen;
mod stopwatch;
mod sweep;

use std::process::ExitCode;

use clap::Parser;
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;

use args::{Args, Engine};

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match args.engine {
        Engine::Eventual => sweep::run::<EventualEngine>(&args, &engines::eventual()),
        Engine::Linearizable => sweep::run::<LinearEngine>(&args, &engines::linearizable()),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen::complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}
