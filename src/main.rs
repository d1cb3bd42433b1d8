//! The `truc` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    truc::cli::main()
}
