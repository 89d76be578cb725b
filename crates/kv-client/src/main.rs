//! The command line client; all of it is in [`kv_client::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kv_client::cli::main()
}
