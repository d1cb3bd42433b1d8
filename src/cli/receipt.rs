//! `truc receipt`: the proofs of all that happened to a document, as files.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Connection, Failure, Output,
    receipt_files::{self, Written},
};
use crate::{
    client::{ClientError, Patience, timeline},
    proto::{GetProofRequest, GetTimelineRequest},
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
    /// In the newest checkpoint that witnesses cosigned, with their lines, for `truc verify --policy`. For auditors and
    /// operators; into a folder of its own.
    #[arg(long)]
    cosigned: bool,
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
        let mut terms = client.terms().await?;
        if let Some(known) = &self.vkey {
            terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
        }
        let request = GetTimelineRequest {
            document_id: self.id,
            sender: self.sender,
            revision: self.revision,
            ..GetTimelineRequest::default()
        };
        let vkey = receipt_files::write_keys(&self.out, &terms)?;
        let (mut receipts, mut failure, mut leaves) = (Vec::new(), None, Vec::new());
        let write = |event: timeline::Event| {
            if self.cosigned {
                leaves.push(event.receipt.index);
                return true;
            }
            let written = receipt_files::write(&self.out, &event.receipt, &terms.keys);
            written.map(|written| receipts.push(written)).map_err(|error| failure = Some(error)).is_ok()
        };
        let document = timeline::read(&client, &terms, request, &Patience::default(), write).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        for index in leaves {
            let request = GetProofRequest { index, cosigned: true, ..GetProofRequest::default() };
            let answer = client.audit().get_proof(request).await?.into_inner();
            let receipt =
                answer.receipt.ok_or_else(|| ClientError::answer("the hub's answer has no proof"))?;
            receipts.push(receipt_files::write(&self.out, &receipt, &terms.keys)?);
        }
        let verifier = &terms.verifier;
        let saved = Saved {
            document_id: document.document_id,
            sender: document.sender,
            revision: document.revision,
            vkey,
            receipts,
        };
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
}
