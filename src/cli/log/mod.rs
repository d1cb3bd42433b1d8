//! `truc log`: the keys behind the log's signatures.

mod witness_key;

use super::{Failure, Output};

/// The keys behind the log's signatures.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key with which a hub cosigns other logs.
    WitnessKey(witness_key::Args),
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::WitnessKey(args) => args.run(output),
        }
    }
}
