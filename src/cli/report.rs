//! `truc report`: say what an agency did with a document.

use serde::Serialize;

use super::{
    Connection, Failure, Output,
    events::{Word, warning_lines, words},
    signing::Keys,
};
use crate::{
    client::{Patience, reasons_of, report::report},
    proto::BusinessStatus,
};

/// Signs a business status and reports it: 1 arrived, 2 refused, 3 accepted, 4 assigned, 5 processing, 6 finished,
/// 13 recall asked, 15 change agreed, 16 change refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Agency that speaks: the recipient, or for 13 the document's sender.
    #[arg(long, value_name = "AGENCY")]
    agency: String,
    #[command(flatten)]
    keys: Keys,
    /// The document.
    #[arg(long, value_name = "ID")]
    document: String,
    /// Agency that sent it.
    #[arg(long, value_name = "AGENCY")]
    of: String,
    /// Its revision.
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// Status code.
    #[arg(long)]
    code: u32,
    /// In words; required for 2, 13 and 16.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// For 13: the recipient that is asked to give the document back.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    to: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Reported {
    document_id: String,
    sender: String,
    revision: u64,
    agency: String,
    code: u32,
    event: &'static str,
    index: u64,
    warnings: Vec<Word>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let keys = self.keys.read()?;
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let status = BusinessStatus {
            document_id: self.document,
            sender: self.of,
            revision: self.revision,
            from: self.agency,
            to: self.to,
            code: self.code,
            description: self.reason,
            ..BusinessStatus::default()
        };
        let (receipt, evidence) =
            report(&client, &terms, status.clone(), &keys, &Patience::default()).await?;
        let reported = Reported {
            document_id: status.document_id,
            sender: status.sender,
            revision: status.revision,
            agency: status.from,
            code: status.code,
            event: evidence.event().as_str_name(),
            index: receipt.index,
            warnings: words(&evidence),
        };
        output.print(&reported, |reported| {
            let text = format!("{:02}: {} (log index {})", reported.code, reported.event, reported.index);
            text + &warning_lines(&reasons_of(&evidence))
        });
        Ok(())
    }
}
