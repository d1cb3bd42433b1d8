//! `truc audit complete`: whether an agency was given everything, with the proof.

use std::path::PathBuf;

use crate::{
    cli::{
        Exit, Failure, Output, files, receipt_files,
        verify::completeness::{self, Inbox},
        verify::docproof::Language,
    },
    client::{Client, completeness as fetching},
    daily,
    proto::GetCompletenessRequest,
};

/// Fetches and verifies all that proves whether an agency's evidence of some days is complete.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose evidence.
    #[arg(long, value_name = "AGENCY")]
    agency: String,
    /// First day, YYYY-MM-DD in Vietnam time (UTC+7).
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: u32,
    /// Last day; the same as the first if left out.
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Option<u32>,
    /// Save the answer with its proofs here; replaced if it exists. Check it anywhere: truc verify FILE --trust KEYS
    #[arg(short = 'o', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Compare with this folder of received documents, as `truc receive` makes it.
    #[arg(long, value_name = "DIR")]
    inbox: Option<PathBuf>,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
    /// In the newest checkpoint that witnesses cosigned, with their lines, for `truc verify --policy`.
    #[arg(long)]
    cosigned: bool,
    /// Language of the verdict.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut terms = client.terms().await?;
        if let Some(known) = &self.vkey {
            terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
        }
        let to_day = self.to.unwrap_or(self.from);
        if self.from > to_day {
            return Err(Failure::new(Exit::Usage, "--from is after --to"));
        }
        let request = GetCompletenessRequest {
            agency: self.agency,
            from_day: self.from,
            to_day,
            cosigned: self.cosigned,
        };
        let file = bytes::Bytes::from(fetching::fetch(client, request).await?);
        let inbox = self.inbox.as_deref().map(|dir| Inbox::read(dir, &terms.keys)).transpose()?;
        // Saved whatever the verdict: a gap is proven by the file too.
        if let Some(out) = &self.out {
            files::replace(out, &file)?;
        }
        completeness::judge(&file, &terms.keys.into(), inbox.as_ref(), self.lang, output)
    }
}

fn day(text: &str) -> Result<u32, String> {
    daily::parse_date(text).ok_or_else(|| format!("{text:?} is not a day such as 2026-11-27"))
}
