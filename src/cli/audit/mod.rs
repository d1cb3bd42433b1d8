//! `truc audit`: what auditors ask the hub for, keep, and check without it.

mod bundle;
mod checkpoint;
mod complete;
mod consistency;
pub mod export;
mod filter;
mod mirror;
mod proof;
pub mod row;
mod search;
pub mod sink;
pub mod trust;

use super::{Connection, Failure, Output};

/// Proofs and evidence for auditors.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Proves that one leaf is in a later checkpoint.
    ///
    /// Writes NAME.tlog-proof (C2SP tlog-proof@v1), NAME.evidence (the exact leaf), NAME.receipt (protobuf) and hub.vkey.
    /// Check them anywhere: truc verify NAME.tlog-proof
    Proof(Asked<proof::Args>),
    /// Fetches all that proves what happened to one document, verifies it, and writes it as one file.
    ///
    /// Check it anywhere, without the hub: truc verify FILE.docproof --trust KEYS
    Bundle(Asked<bundle::Args>),
    /// Proves that an agency was given everything of some days, or names the exact gap.
    ///
    /// Reads the hub's daily digests and the agency's evidence, verifies them here, and says "complete, proven" (exit code 0)
    /// or what is missing (1). Days are those of Vietnam (UTC+7). A node may ask for its own agencies.
    Complete(Asked<complete::Args>),
    Checkpoint(Asked<checkpoint::Args>),
    Consistency(Asked<consistency::Args>),
    Mirror(mirror::Args),
    Search(Box<search::Args>),
    Export(Box<export::Args>),
}

#[derive(Debug, clap::Args)]
struct Asked<T: clap::Args> {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    what: T,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Proof(Asked { connection, what }) => what.run(&connection.client().await?, output).await,
            Command::Bundle(Asked { connection, what }) => {
                what.run(&connection.client().await?, output).await
            }
            Command::Complete(Asked { connection, what }) => {
                what.run(&connection.client().await?, output).await
            }
            Command::Checkpoint(Asked { connection, what }) => {
                what.run(&connection.client().await?, output).await
            }
            Command::Consistency(Asked { connection, what }) => {
                what.run(&connection.client().await?, output).await
            }
            Command::Mirror(args) => args.run(output).await,
            Command::Search(args) => args.run(output).await,
            Command::Export(args) => args.run(output).await,
        }
    }
}
