//! `truc audit proof`: one leaf in a later checkpoint.

use std::path::{Path, PathBuf};

use prost::Message;
use serde::Serialize;

use crate::{
    cli::{
        Failure, Output,
        receipt_files::{self, EVIDENCE, TLOG_PROOF},
    },
    client::{Client, ClientError},
    proto::{GetProofRequest, Receipt},
    verify,
};

/// Fetches the proof that one leaf of the log is in a later checkpoint, verifies it, and writes it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Index of the leaf.
    #[arg(value_name = "LEAF")]
    index: u64,
    /// In the smallest signed head of at least so many leaves; else in the newest.
    #[arg(long, value_name = "LEAVES", default_value_t = 0, hide_default_value = true)]
    size: u64,
    /// In the newest checkpoint that witnesses cosigned, with their lines, for `truc verify --policy`.
    #[arg(long, conflicts_with = "size")]
    cosigned: bool,
    /// Where to: NAME.tlog-proof, or NAME.
    #[arg(short = 'o', long, value_name = "FILE")]
    out: PathBuf,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
}

#[derive(Serialize)]
struct Saved {
    index: u64,
    tree_size: u64,
    event: &'static str,
    tlog_proof: PathBuf,
    evidence: PathBuf,
    receipt: PathBuf,
    vkey: PathBuf,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut terms = client.terms().await?;
        if let Some(known) = &self.vkey {
            terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
        }
        let request = GetProofRequest { index: self.index, tree_size: self.size, cosigned: self.cosigned };
        let answer = client.audit().get_proof(request).await?.into_inner();
        let receipt = answer.receipt.ok_or_else(|| ClientError::answer("the hub's answer has no proof"))?;
        let facts = verify::receipt(&receipt, &terms.keys)?;
        if facts.index() != self.index || facts.tree_size() < self.size {
            return Err(ClientError::answer("the hub proved something else than was asked").into());
        }
        let base = base(&self.out);
        let folder = base.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let vkey = receipt_files::write_keys(folder, &terms)?;
        let (evidence, tlog_proof) = receipt_files::write_at(&base, &receipt, &terms.keys)?;
        let saved = Saved {
            index: facts.index(),
            tree_size: facts.tree_size(),
            event: facts.event().as_str_name(),
            receipt: write_receipt(&base, &receipt)?,
            tlog_proof,
            evidence,
            vkey,
        };
        output.print(&saved, |saved| {
            format!(
                "{} is leaf {} of {} in the log of {}: {}\nCheck it anywhere: truc verify {}",
                saved.event,
                saved.index,
                saved.tree_size,
                terms.keys.origin(),
                saved.tlog_proof.display(),
                saved.tlog_proof.display(),
            )
        });
        Ok(())
    }
}

/// The name without the ending that it may have been given.
fn base(out: &Path) -> PathBuf {
    let ending = out.extension().unwrap_or_default();
    let known = [EVIDENCE, TLOG_PROOF, receipt_files::RECEIPT].iter().any(|known| ending == *known);
    if known { out.with_extension("") } else { out.to_owned() }
}

fn write_receipt(base: &Path, receipt: &Receipt) -> Result<PathBuf, Failure> {
    let path = base.with_added_extension(receipt_files::RECEIPT);
    receipt_files::put(&path, &receipt.encode_to_vec())?;
    Ok(path)
}
