//! `truc send`: sign a document and hand it in.

mod document;

use std::{fs::File, io::Read, path::PathBuf};

use document::Document;
use prost::Message;
use serde::Serialize;

use super::{
    Connection, Failure, Output,
    events::{Word, legal_value, warning_lines, words},
    files::{self, FileError, Readers},
    signing::read_keys,
    table::{byte_bar, facts},
};
use crate::{
    client::{
        Client, MAX_MESSAGE, Patience, Terms,
        calendar::now,
        readable::tail,
        reasons_of,
        send::{Package, Sent, pack, send, signed_manifest, validate},
        upload::hash_file,
    },
    domain::reason::Reason,
    proto::{SubmitRequest, ValidateResponse},
};

/// Signs a document and hands it in. The answer is the proof that the hub accepted it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    document: Document,
    /// Private key that signs for the agency (PKCS#8 PEM); repeat it to sign as agency and as person.
    #[arg(long = "key", value_name = "FILE", required_unless_present = "resume")]
    keys: Vec<PathBuf>,
    /// Run the hub's checks only; send nothing.
    #[arg(long)]
    validate: bool,
    /// Write the proof here (protobuf Receipt).
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Write the signed document here before sending, for --resume.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Send exactly what was saved: however often, the hub takes it once and answers with the same proof.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["save", "from", "keys"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// What the hub accepted.
#[derive(Debug, Serialize)]
pub struct Accepted {
    document_id: String,
    sender: String,
    revision: u64,
    index: u64,
    repeat: bool,
    recipients: u64,
    warnings: Vec<Word>,
    legal_value: &'static str,
    manifest_sha256: String,
}

#[derive(Serialize)]
struct Valid {
    valid: bool,
    recipients: u64,
    warnings: Vec<Word>,
    legal_value: &'static str,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let package = self.package(&terms).await?;
        if self.validate {
            let valid = validate(&client, &package, &Patience::default()).await?;
            print_valid(output, &valid);
            return Ok(());
        }
        let sent = self.send(&client, &terms, &package).await?;
        if let Some(path) = &self.receipt {
            files::replace(path, &sent.receipt.encode_to_vec())?;
        }
        print_sent(output, &sent);
        Ok(())
    }

    async fn package(&self, terms: &Terms) -> Result<Package, Failure> {
        if let Some(path) = &self.resume {
            return self.resumed(path).await;
        }
        let keys = read_keys(&self.keys)?;
        let package = pack(&self.document.draft(now())?, &keys, terms).await?;
        if let Some(path) = &self.save {
            // It holds the document itself.
            files::create(path, &package.request.encode_to_vec(), Readers::Owner)?;
        }
        Ok(package)
    }

    /// The saved request, and those of the named files that belong to it and are not in it.
    async fn resumed(&self, path: &PathBuf) -> Result<Package, Failure> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(FileError::io(path))?;
        file.take(MAX_MESSAGE as u64).read_to_end(&mut bytes).map_err(FileError::io(path))?;
        let request = SubmitRequest::decode(bytes.as_slice())
            .map_err(|_| FileError::content(path, "not what `truc send --save` wrote"))?;
        let (manifest, _) = signed_manifest(&request).map_err(|reason| FileError::content(path, reason))?;
        let mut uploads = Vec::new();
        for file in &self.document.files {
            let hashed = hash_file(file).await?;
            if !manifest.parts.iter().any(|part| part.sha256 == hashed.sha256.as_bytes()[..]) {
                return Err(FileError::content(file, "no attachment of the saved document").into());
            }
            uploads.push(hashed);
        }
        Ok(Package { request, uploads })
    }

    async fn send(&self, client: &Client, terms: &Terms, package: &Package) -> Result<Sent, Failure> {
        let bar = byte_bar().with_message("uploading");
        let progress = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let sent = send(client, terms, package, &Patience::default(), &progress).await;
        bar.finish_and_clear();
        Ok(sent?)
    }
}

/// Tells what was accepted.
pub fn print_sent(output: &Output, sent: &Sent) {
    let accepted = Accepted {
        document_id: sent.name.document_id.to_string(),
        sender: sent.name.sender.to_string(),
        revision: sent.name.revision,
        index: sent.receipt.index,
        repeat: sent.repeat,
        recipients: sent.evidence.recipient_count,
        warnings: words(&sent.evidence),
        legal_value: legal_value(&sent.evidence),
        manifest_sha256: sent.manifest_sha256.to_string(),
    };
    output.print(&accepted, |accepted| {
        let word = if accepted.repeat { "accepted before" } else { "accepted" };
        let facts = facts([
            (word, sent.name.to_string()),
            ("log index", accepted.index.to_string()),
            ("recipients", accepted.recipients.to_string()),
            ("legal value", accepted.legal_value.to_owned()),
        ]);
        facts + &warning_lines(&reasons_of(&sent.evidence))
    });
}

fn print_valid(output: &Output, valid: &ValidateResponse) {
    let warnings: Vec<_> =
        valid.warnings.iter().map(|warning| Reason::new(warning.code(), warning.detail.clone())).collect();
    let value = valid.verdict.as_ref().map(|verdict| verdict.legal_value()).unwrap_or_default();
    let answer = Valid {
        valid: true,
        recipients: valid.recipient_count,
        warnings: warnings.iter().map(Word::from).collect(),
        legal_value: tail(value.as_str_name(), "LEGAL_VALUE_"),
    };
    output.print(&answer, |answer| {
        let text = format!("valid, for {} recipients, {}", answer.recipients, answer.legal_value);
        text + &warning_lines(&warnings)
    });
}
