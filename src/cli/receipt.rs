//! `truc receipt`: the proofs of all that happened to a document, as files.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Connection, Exit, Failure, Output,
    receipt_files::{self, Written},
};
use crate::{
    client::{
        Client,
        timeline::{Timeline, Wanted},
    },
    proto::GetCheckpointRequest,
    tlog::note::Verifier,
};

/// Fetches the proofs of a document's events, verifies them, and writes them as files that anyone can check offline.
///
/// For each event NAME.evidence (the log's exact leaf) and NAME.tlog-proof (C2SP tlog-proof), and once hub.vkey.
/// To run it again adds what is new.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Document id, as its sender named it.
    #[arg(value_name = "ID")]
    id: String,
    /// Sending agency; needed only where two agencies use the same id.
    #[arg(long, value_name = "AGENCY", default_value = "")]
    sender: String,
    /// Revision of the document.
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// Folder for the files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Saved {
    document_id: String,
    sender: String,
    revision: u64,
    vkey: PathBuf,
    receipts: Vec<Written>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let verifier = self.verifier(&client).await?;
        let wanted = Wanted { document_id: self.id, sender: self.sender, revision: self.revision };
        let mut timeline = Timeline::new(&client, wanted);
        let first = timeline.next().await?.unwrap_or_default();
        let mut saved = Saved {
            document_id: first.document_id.clone(),
            sender: first.sender.clone(),
            revision: first.revision,
            vkey: receipt_files::write_vkey(&self.out, &verifier)?,
            receipts: Vec::new(),
        };
        let mut page = Some(first);
        while let Some(events) = page.map(|page| page.events) {
            for receipt in &events {
                saved.receipts.push(receipt_files::write(&self.out, receipt, &verifier)?);
            }
            page = timeline.next().await?;
        }
        output.print(&saved, |saved| {
            format!(
                "{} proofs of {} from {} are in {}, each verified with {verifier}.\n\
                 Check them again at any time, anywhere: truc verify {}",
                saved.receipts.len(),
                saved.document_id,
                saved.sender,
                self.out.display(),
                self.out.display(),
            )
        });
        Ok(())
    }

    /// The hub's key: the one that we know, else the one that it names.
    async fn verifier(&self, client: &Client) -> Result<Verifier, Failure> {
        if let Some(known) = &self.vkey {
            return receipt_files::read_vkey(known);
        }
        let answer = client.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
        Verifier::parse(&answer.verifier_key)
            .map_err(|error| Failure::new(Exit::Refused, format!("the hub's verifier key: {error}")))
    }
}
