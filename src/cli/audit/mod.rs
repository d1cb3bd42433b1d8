//! `truc audit`: what auditors ask the hub for, to check it without the hub.

mod bundle;
mod proof;

use super::{Connection, Failure, Output};

/// Proofs and evidence for auditors.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Proof(proof::Args),
    Bundle(bundle::Args),
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        match self.command {
            Command::Proof(args) => args.run(&client, output).await,
            Command::Bundle(args) => args.run(&client, output).await,
        }
    }
}
