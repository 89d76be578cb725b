//! Runs an engine in simulated clusters that go wrong, one seed or many.

mod args;
#[cfg(feature = "mutations")]
mod breaking;
mod engines;
#[cfg(feature = "mutations")]
mod mutation;
mod screen;
mod stopwatch;
mod sweep;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_storage::Broken;

use args::{Args, Engine};

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match (&args.mutation, args.engine) {
        (Some(name), _) => run_broken(&args, name),
        (None, Engine::Eventual) => {
            sweep::run::<EventualEngine>(&args, &engines::eventual(), Broken::NONE)
        }
        (None, Engine::Linearizable) => {
            sweep::run::<LinearEngine>(&args, &engines::linearizable(), Broken::NONE)
        }
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

#[cfg(feature = "mutations")]
fn run_broken(args: &Args, name: &str) -> io::Result<bool> {
    match args.engine {
        Engine::Eventual => breaking::run::<mutation::Eventual>(args, name, &engines::eventual()),
        Engine::Linearizable => {
            breaking::run::<mutation::Linear>(args, name, &engines::linearizable())
        }
    }
}

#[cfg(not(feature = "mutations"))]
fn run_broken(args: &Args, name: &str) -> io::Result<bool> {
    screen::complain(format_args!(
        "this build breaks no rules; use\n\
         cargo run --release -p kv-sim --features mutations -- --engine {} --mutation {name}",
        args.engine
    ));
    std::process::exit(USAGE)
}

/// The exit code for wrong usage, as that of the argument parser.
#[cfg(not(feature = "mutations"))]
const USAGE: i32 = 2;
