//! Runs an engine in simulated clusters that go wrong, one seed or many, and judges histories.

mod args;
#[cfg(feature = "mutations")]
mod breaking;
mod engines;
mod judging;
#[cfg(feature = "mutations")]
mod mutation;

use std::process::ExitCode;

use clap::Parser;
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::Declaration;
use kv_sim::command::{self, Subject, check_out, complain, is_cut_off};

use args::{Args, Engine};
use engines::Holder;
use judging::Judged;

fn main() -> ExitCode {
    let args = Args::parse();
    let code = if args.history.is_empty() {
        run(&args)
    } else {
        match judging::run(&args) {
            Judged::Yes => PASSED,
            Judged::No => FAILED,
            Judged::Undecided => UNDECIDED,
            Judged::Unreadable => USAGE,
        }
    };
    // Whoever reads nothing but the exit code must not take half an output for all of it.
    ExitCode::from(if is_cut_off() { code.max(FAILED) } else { code })
}

/// Runs seeds; the exit code.
fn run(args: &Args) -> u8 {
    if let Some(name) = &args.mutation {
        return run_broken(args, name);
    }
    let Some(engine) = args.engine else {
        return USAGE;
    };
    if let Err(error) = check_out(&args.sweep) {
        return complain_of_out(args, &error);
    }
    let passed = match engine {
        Engine::Eventual => run_seeds::<EventualEngine>(args, &engines::eventual()),
        Engine::Linearizable => run_seeds::<LinearEngine>(args, &engines::linearizable()),
    };
    code_of(passed)
}

fn run_seeds<E: Holder>(args: &Args, declaration: &Declaration) -> std::io::Result<bool> {
    let subject = Subject {
        declaration,
        probe: Some(E::probe()),
        sometimes: E::SOMETIMES,
        again: args.again(),
    };
    command::run(&args.sweep, &subject, |_| {})
}

#[cfg(feature = "mutations")]
fn run_broken(args: &Args, name: &str) -> u8 {
    if name == "list" {
        return breaking::list(args.engine);
    }
    let Some(engine) = args.engine else {
        let missing = clap::error::ErrorKind::MissingRequiredArgument;
        <Args as clap::CommandFactory>::command()
            .error(missing, "--mutation NAME needs --engine")
            .exit()
    };
    if let Err(error) = check_out(&args.sweep) {
        return complain_of_out(args, &error);
    }
    let passed = match engine {
        Engine::Eventual => breaking::run::<mutation::Eventual>(args, name, &engines::eventual()),
        Engine::Linearizable => {
            breaking::run::<mutation::Linear>(args, name, &engines::linearizable())
        }
    };
    passed.map_or(USAGE, code_of)
}

#[cfg(not(feature = "mutations"))]
fn run_broken(args: &Args, name: &str) -> u8 {
    let engine = args.engine.map(|engine| format!("--engine {engine} ")).unwrap_or_default();
    complain(format_args!(
        "this build breaks no rules; use\n\
         cargo run --release -p kv-sim --features mutations -- {engine}--mutation {name}"
    ));
    USAGE
}

fn code_of(passed: std::io::Result<bool>) -> u8 {
    match passed {
        Ok(true) => PASSED,
        Ok(false) => FAILED,
        Err(error) => {
            complain(format_args!("{error}"));
            FAILED
        }
    }
}

fn complain_of_out(args: &Args, error: &std::io::Error) -> u8 {
    let folder = args.sweep.out.display();
    complain(format_args!(
        "cannot write histories into {folder}: {error}; --out names another folder"
    ));
    USAGE
}

const PASSED: u8 = 0;
const FAILED: u8 = 1;

/// The exit code for wrong usage, as that of the argument parser.
const USAGE: u8 = 2;
const UNDECIDED: u8 = 3;
