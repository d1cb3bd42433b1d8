//! `truc log`: the keys behind the log's signatures.

mod keys;
mod rotate;
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
    /// Hand the log over to a new key, while the hub does not run.
    Rotate(rotate::Args),
    /// Fetch the proofs of all changes of the log's key, for those who know only an older one.
    Keys(keys::Args),
    /// Make a key with which a hub cosigns other logs.
    WitnessKey(witness_key::Args),
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Rotate(args) => args.run(output).await,
            Command::Keys(args) => args.run(output).await,
            Command::WitnessKey(args) => args.run(output),
        }
    }
}
