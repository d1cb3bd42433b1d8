//! `truc receive`: take documents over and sign for them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{Connection, Exit, Failure, Output, files::FileError, signing::read_keys};
use crate::{
    client::{
        Patience,
        readable::tail,
        receive::{Desk, Taken},
        session::{Event, Until, receive},
    },
    domain::{id::AgencyId, signature::SigningKey},
};

/// Takes documents over: checks each one, stores it below --out, then signs for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Agency to receive for, with the key that signs for it; repeat it for more. Without `=FILE` the keys of --key.
    #[arg(long = "agency", value_name = "AGENCY[=FILE]", required = true)]
    agencies: Vec<String>,
    /// Key for agencies that name none.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Documents come to DIR/AGENCY/ID-rREVISION/.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// End when nothing waits any more.
    #[arg(long)]
    once: bool,
    /// Refuse everything, for this reason: for tests.
    #[arg(long, value_name = "REASON")]
    refuse: Option<String>,
    /// Documents worked on at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    credit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// One document.
#[derive(Debug, Serialize)]
struct Line {
    agency: String,
    sender: String,
    document_id: String,
    revision: u64,
    subject: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    parts: usize,
    bytes: u64,
    attempt: u32,
    repeat: bool,
    /// A test document: signed for, and not kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    index: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let keys = pair_keys(&self.agencies, &self.keys)?;
        std::fs::create_dir_all(&self.out).map_err(FileError::io(&self.out))?;
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let until = if self.once { Until::Empty } else { Until::Stopped };
        let patience = if self.once { Patience::default() } else { Patience::endless() };
        let desk = Desk { client, terms, keys, folder: self.out, refuse: self.refuse, patience };
        let mut failed = 0;
        receive(Arc::new(desk), self.credit, until, |event| failed += tell(output, event)).await?;
        if failed > 0 {
            let message = format!("{failed} documents could not be answered");
            return Err(
                Failure::new(Exit::Refused, message).with_help("The hub offers them again after a pause.")
            );
        }
        Ok(())
    }
}

/// Prints an event; answers how many documents failed with it.
fn tell(output: &Output, event: Event) -> usize {
    match event {
        Event::Ready(agencies) if !output.json() => {
            eprintln!("receiving for {}", agencies.join(", "));
        }
        Event::Ready(_) => {}
        Event::Taken(taken) => output.print(&line(&taken), shown),
        Event::Interrupted(status) => {
            let mut failure = Failure::from(status);
            failure.message = format!("interrupted, trying again: {}", failure.message);
            let _ = failure.report(output.json(), super::language_of_the_environment());
        }
        Event::Unsettled(error) => {
            let mut failure = Failure::from(*error);
            failure.message = format!("a receipt signed before: {}", failure.message);
            let _ = failure.report(output.json(), super::language_of_the_environment());
            return 1;
        }
        Event::Failed { recipient, delivery_id, error } => {
            let mut failure = Failure::from(*error);
            failure.message = format!("delivery {delivery_id} for {recipient}: {}", failure.message);
            let _ = failure.report(output.json(), super::language_of_the_environment());
            return 1;
        }
    }
    0
}

fn line(taken: &Taken) -> Line {
    let info = taken.manifest.document.clone().unwrap_or_default();
    Line {
        agency: taken.recipient.to_string(),
        sender: taken.name.sender.to_string(),
        document_id: taken.name.document_id.to_string(),
        revision: taken.name.revision,
        subject: info.subject,
        outcome: tail(taken.outcome.as_str_name(), "OUTCOME_"),
        reason: taken.reason.clone(),
        folder: taken.folder.clone(),
        parts: taken.manifest.parts.len(),
        bytes: taken.manifest.parts.iter().map(|part| part.size).sum(),
        attempt: taken.attempt,
        repeat: taken.repeat,
        test: taken.manifest.test,
        index: taken.receipt.index,
    }
}

fn shown(line: &Line) -> String {
    let again = if line.repeat { " again" } else { "" };
    let what = format!("{} of {} for {}", line.document_id, line.sender, line.agency);
    match &line.folder {
        None if line.test && line.reason.is_empty() => {
            format!("test answered {what}: signed for, not kept (log index {})", line.index)
        }
        Some(folder) => format!("accepted{again} {what}: {} (log index {})", folder.display(), line.index),
        None => format!("refused {what}: {} (log index {})", line.reason, line.index),
    }
}

/// Agencies with their keys.
fn pair_keys(
    agencies: &[String],
    common: &[PathBuf],
) -> Result<BTreeMap<AgencyId, Vec<SigningKey>>, Failure> {
    let mut files = BTreeMap::<AgencyId, Vec<PathBuf>>::new();
    for pair in agencies {
        let (agency, own) = match pair.split_once('=') {
            Some((agency, file)) => (agency, vec![PathBuf::from(file)]),
            None => (pair.as_str(), common.to_vec()),
        };
        if own.is_empty() {
            let message = format!("no key for {agency}");
            return Err(
                Failure::new(Exit::Usage, message).with_help("name --agency AGENCY=FILE, or --key FILE")
            );
        }
        let agency = AgencyId::parse(agency)
            .map_err(|reason| Failure::new(Exit::Usage, format!("--agency: {}", reason.detail)))?;
        files.entry(agency).or_default().extend(own);
    }
    files.into_iter().map(|(agency, files)| Ok((agency, read_keys(&files)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::keygen::generate, domain::signature::Algorithm};

    #[test]
    fn every_agency_has_its_keys() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let key = |name: &str| generate(&folder.path().join(name), Algorithm::Ed25519).expect("made").key;
        let (one, two) = (key("one.key"), key("two.key"));
        let named = |agency: &str| format!("{agency}={}", one.display());
        let keys =
            pair_keys(&["H53".into(), named("H54"), named("H55"), "H55".into()], &[two]).expect("keys");
        let counts: Vec<_> = keys.iter().map(|(agency, keys)| (agency.as_str(), keys.len())).collect();
        assert_eq!(counts, [("H53", 1), ("H54", 1), ("H55", 2)]);
        let id = |agency: &str| keys[agency][0].public_key().key_id();
        assert!(id("H53") != id("H54") && id("H54") == id("H55"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let exit = |agencies: &[&str], keys: &[PathBuf]| {
            let agencies: Vec<_> = agencies.iter().map(|a| (*a).to_owned()).collect();
            pair_keys(&agencies, keys).map(|_| ()).expect_err("refused").exit
        };
        assert_eq!(exit(&["H53"], &[]), Exit::Usage);
        assert_eq!(exit(&["h53=a.key"], &[]), Exit::Usage);
        assert_eq!(exit(&["H53=missing/a.key"], &[]), Exit::File);
    }
}
