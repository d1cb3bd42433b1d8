//! `truc directory`: agencies, nodes and keys.

mod agency;
mod import;
mod key;
mod node;

use serde::Serialize;

use super::{Connection, Failure, Output};
use crate::{
    client::{Client, ClientError, Patience},
    proto::{ChangeRequest, DirectoryChange, directory_change::Change},
};

/// Shows and changes the directory. Everyone with a certificate may read it; registrars change agencies, security officers nodes
/// and keys, and every change is a leaf of the log.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(import::Args),
    List(agency::List),
    Show(agency::Show),
    Add(agency::Add),
    State(agency::State),
    /// Installations that act for agencies.
    #[command(subcommand)]
    Node(node::Command),
    /// Keys that sign for agencies.
    #[command(subcommand)]
    Key(key::Command),
}

#[derive(Serialize)]
struct Changed {
    index: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        match self.command {
            Command::Import(args) => args.run(&client, output).await,
            Command::List(args) => args.run(&client, output).await,
            Command::Show(args) => args.run(&client, output).await,
            Command::Add(args) => args.run(&client, output).await,
            Command::State(args) => args.run(&client, output).await,
            Command::Node(command) => command.run(&client, output).await,
            Command::Key(command) => command.run(&client, output).await,
        }
    }
}

/// Makes one change and tells its leaf. A change that changes nothing has the leaf that made it so.
async fn change(client: &Client, output: &Output, change: Change, reason: String) -> Result<(), Failure> {
    let terms = client.terms().await?;
    let request = ChangeRequest { change: Some(DirectoryChange { change: Some(change), reason }) };
    let patience = Patience::default();
    let answer = patience
        .call(client.directory(), request, |mut hub, request| async move { hub.change(request).await });
    let receipt = answer.await?.into_inner().receipt;
    let receipt = receipt.ok_or_else(|| ClientError::answer("the hub's answer has no receipt"))?;
    terms.check(&receipt)?;
    output.print(&Changed { index: receipt.index }, |changed| format!("done (log index {})", changed.index));
    Ok(())
}
