//! The checkers' verdicts, one file per subject.

#[path = "../calls/mod.rs"]
mod calls;

mod history_files;
mod linearizability;
mod oracles;
mod stateright_agreement;
mod tied_keys;
