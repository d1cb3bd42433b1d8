//! The `truc` binary.

use std::process::ExitCode;

/// Many small messages are made on one thread and dropped on another, which the C library's allocator does slowly.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    truc::cli::main()
}
