//! `truc audit`: what auditors ask, prove and keep.

mod mirror;
mod trust;

use super::{Failure, Output};

/// Checks the log with keys that you trust, and with nothing else.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Mirror(mirror::Args),
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Mirror(args) => args.run(output).await,
        }
    }
}
