//! `truc address`: send an accepted document to more recipients.

use std::path::PathBuf;

use prost::Message;

use super::{
    Connection, Failure, Output, files,
    send::print_sent,
    signing::{Keys, Recipients},
};
use crate::{
    client::{Client, Patience, send::address},
    proto::{Addressing, GetTimelineRequest},
};

/// Sends a document that was accepted before to more recipients. Who has it already does not get it twice.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Agency that sent it.
    #[arg(long, value_name = "AGENCY")]
    from: String,
    /// The document.
    #[arg(long, value_name = "ID")]
    document: String,
    /// Its revision.
    #[arg(long, default_value_t = 0)]
    revision: u64,
    #[command(flatten)]
    recipients: Recipients,
    #[command(flatten)]
    keys: Keys,
    /// Write the proof here (protobuf Receipt).
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let keys = self.keys.read()?;
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let (recipients, groups) = self.recipients.split();
        let addressing = Addressing {
            manifest_sha256: self.manifest_sha256(&client).await?,
            document_id: self.document,
            sender: self.from,
            revision: self.revision,
            recipients,
            groups,
            ..Addressing::default()
        };
        let sent = address(&client, &terms, addressing, &keys, &Patience::default()).await?;
        if let Some(path) = &self.receipt {
            files::replace(path, &sent.receipt.encode_to_vec())?;
        }
        print_sent(output, &sent);
        Ok(())
    }

    /// As the hub knows it: the addressing names the document whose manifest was accepted.
    async fn manifest_sha256(&self, client: &Client) -> Result<bytes::Bytes, Failure> {
        let request = GetTimelineRequest {
            document_id: self.document.clone(),
            sender: self.from.clone(),
            revision: self.revision,
            page_size: 1,
            ..GetTimelineRequest::default()
        };
        Ok(client.status().get_timeline(request).await?.into_inner().manifest_sha256)
    }
}
