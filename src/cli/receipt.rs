//! `truc receipt`: the proofs of all that happened to a document, as files.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Connection, Exit, Failure, Output,
    receipt_files::{self, Written},
};
use crate::{
    client::{
        ClientError, Patience,
        timeline::{self, Event},
    },
    proto::GetTimelineRequest,
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
        let mut terms = client.terms().await.map_err(failed)?;
        if let Some(known) = &self.vkey {
            terms.verifier = receipt_files::read_vkey(known)?;
        }
        let verifier = &terms.verifier;
        let vkey = receipt_files::write_vkey(&self.out, verifier)?;
        let (mut receipts, mut problem) = (Vec::new(), None);
        let wanted = GetTimelineRequest {
            document_id: self.id,
            sender: self.sender,
            revision: self.revision,
            ..GetTimelineRequest::default()
        };
        let write_next = |event: Event| {
            match receipt_files::write(&self.out, &event.receipt, verifier) {
                Ok(written) => receipts.push(written),
                Err(failure) => problem = Some(failure),
            }
            problem.is_none()
        };
        let about = timeline::read(&client, &terms, wanted, &Patience::default(), write_next)
            .await
            .map_err(failed)?;
        if let Some(failure) = problem {
            return Err(failure);
        }
        let saved = Saved {
            document_id: about.document_id,
            sender: about.sender,
            revision: about.revision,
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

fn failed(error: ClientError) -> Failure {
    match error {
        ClientError::Call(status) => status.into(),
        ClientError::Reason(reason) => reason.into(),
        ClientError::Answer(_) => Failure::new(Exit::Refused, error),
        ClientError::File { .. } => Failure::new(Exit::File, error),
    }
}
