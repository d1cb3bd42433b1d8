//! `truc audit`: what auditors do.

mod export;
mod filter;
mod row;
mod search;

use super::{Failure, Output};

/// Searches the log and takes evidence along. For auditors and operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Search(Box<search::Args>),
    Export(Box<export::Args>),
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Search(args) => args.run(output).await,
            Command::Export(args) => args.run(output).await,
        }
    }
}
