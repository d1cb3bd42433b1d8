//! `truc audit bundle`: one file that proves the story of one document.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::{
        Failure, Output, files, receipt_files,
        verify::{self, docproof::Language},
    },
    client::{Client, bundle},
    proto::GetBundleRequest,
    verify::docproof::{self, End},
};

/// Fetches all that proves what happened to one document, verifies it, and writes it as one file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Document id, as its sender named it.
    #[arg(value_name = "ID")]
    id: String,
    /// Sending agency; needed only where two agencies use the same id.
    #[arg(long, value_name = "AGENCY", default_value = "", hide_default_value = true)]
    sender: String,
    /// Revision of the document.
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// In the newest checkpoint that witnesses cosigned, with their cosignatures, for `truc verify --policy`.
    #[arg(long)]
    cosigned: bool,
    /// The file to write; replaced if it exists.
    #[arg(short = 'o', long, value_name = "FILE.docproof")]
    out: PathBuf,
    /// Prints a certificate on A4 as well, to this file.
    #[arg(long, value_name = "FILE.pdf")]
    pdf: Option<PathBuf>,
    /// Language of the certificate.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t = Language::Vi)]
    lang: Language,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
}

#[derive(Serialize)]
struct Saved {
    document_id: String,
    sender: String,
    revision: u64,
    file: PathBuf,
    certificate: Option<PathBuf>,
    bytes: usize,
    leaves: usize,
    tree_size: u64,
    verifier_key: String,
    recipients: usize,
    taken_over: usize,
    refused: usize,
    expired: usize,
    cancelled: usize,
    waiting: usize,
    missing: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut terms = client.terms().await?;
        if let Some(known) = &self.vkey {
            terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
        }
        let request = GetBundleRequest {
            document_id: self.id,
            sender: self.sender,
            revision: self.revision,
            cosigned: self.cosigned,
        };
        let proof = bundle::fetch(client, request).await?;
        let file = bytes::Bytes::from(docproof::encode(&proof));
        let proven = docproof::docproof(&file, std::slice::from_ref(&terms.verifier))?;
        files::replace(&self.out, &file)?;
        let certificate = match &self.pdf {
            Some(pdf) => Some(verify::docproof::print(&proven, self.lang, &self.out, pdf)?),
            None => None,
        };
        let saved = Saved {
            certificate,
            document_id: proven.manifest.document_id.clone(),
            sender: proven.manifest.sender.clone(),
            revision: proven.manifest.revision,
            file: self.out,
            bytes: file.len(),
            leaves: proven.leaves,
            tree_size: proven.checkpoint.size,
            verifier_key: proven.verifier.to_string(),
            recipients: proven.recipients.len(),
            taken_over: proven.count(End::TakenOver),
            refused: proven.count(End::RefusedBySystem) + proven.count(End::RefusedByClerk),
            expired: proven.count(End::Expired),
            cancelled: proven.count(End::Cancelled),
            waiting: proven.count(End::Waiting),
            missing: proven.missing(),
        };
        output.print(&saved, Saved::to_text);
        Ok(())
    }
}

impl Saved {
    fn to_text(&self) -> String {
        let mut text = format!(
            "{} from {}: {} recipients, {} took it over, {} refused it, {} let the deadline pass, {} still wait.\n\
             {} leaves, proven in the log of {} leaves: {} ({} bytes).\n",
            self.document_id,
            self.sender,
            self.recipients,
            self.taken_over,
            self.refused,
            self.expired,
            self.waiting,
            self.leaves,
            self.tree_size,
            self.file.display(),
            self.bytes,
        );
        if self.missing > 0 {
            text += &format!(
                "NOT COMPLETE: {} more recipients were accepted, and the hub has not delivered to them yet. Make the \
                 file again later.\n",
                self.missing
            );
        }
        if let Some(certificate) = &self.certificate {
            text += &format!("Printed: {}\n", certificate.display());
        }
        let key = &self.verifier_key;
        text + &format!("Check it anywhere: truc verify {} --vkey '{key}'", self.file.display())
    }
}

impl From<docproof::DocProofError> for Failure {
    fn from(error: docproof::DocProofError) -> Self {
        Self::new(crate::cli::Exit::Refused, format!("not proven: {error}"))
    }
}
