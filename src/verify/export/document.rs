//! An accepted document: its manifest, bound to its acceptance by its digest.

use prost::Message;

use crate::{
    domain::{id::Digest, search::Accepted},
    proto::{DocumentInfo, EventKind, Evidence, ExportDocument, Manifest},
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        merkle::{self, MAX_PATH},
    },
    verify::MAX_LEAF,
};

/// Largest manifest: 20,000 recipients with long identifiers.
const MAX_MANIFEST: usize = 3 << 20;

/// A document and what its acceptance says of it.
#[derive(Debug)]
pub struct Known {
    /// Of the manifest.
    pub digest: Digest,
    index: u64,
    sender: String,
    document_id: String,
    revision: u64,
    accepted: Accepted,
}

/// Evidence of these events is about an accepted document whenever it names a manifest.
pub fn is_needed(evidence: &Evidence) -> bool {
    let may_be_about_none =
        [EventKind::SubmissionRejection, EventKind::ReportRejection, EventKind::StatusParked];
    !evidence.manifest_sha256.is_empty() && !may_be_about_none.contains(&evidence.event())
}

impl Known {
    /// Reads the manifest. What the acceptance says is not known yet.
    pub fn read(told: &ExportDocument) -> Result<Self, String> {
        if told.manifest.len() > MAX_MANIFEST {
            return Err(format!("a manifest of more than {MAX_MANIFEST} bytes"));
        }
        let manifest = Manifest::decode(told.manifest.clone()).map_err(|error| error.to_string())?;
        let info: DocumentInfo = manifest.document.unwrap_or_default();
        Ok(Self {
            digest: Digest::of(&told.manifest),
            index: told.index,
            sender: manifest.sender,
            document_id: manifest.document_id,
            revision: manifest.revision,
            accepted: Accepted::of(info, Default::default()),
        })
    }

    /// Proves that the acceptance told beside it is in the tree, and takes what it says.
    pub fn prove(&mut self, told: &ExportDocument, checkpoint: &Checkpoint) -> Result<(), String> {
        if told.acceptance.len() > MAX_LEAF || told.path.len() > MAX_PATH {
            return Err("the proof of an acceptance is larger than one can be".into());
        }
        let path = told.path.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
        let path = path.ok_or("a hash has not 32 bytes")?;
        let leaf = merkle::leaf_hash(&told.acceptance);
        if !merkle::verify_inclusion(&leaf, told.index, checkpoint.size, &path, &checkpoint.root) {
            return Err("the acceptance of a document is not in the checkpoint's tree".into());
        }
        let evidence = Evidence::decode(told.acceptance.clone()).map_err(|error| error.to_string())?;
        self.accept(told.index, &evidence)
    }

    /// Takes what its acceptance says.
    pub fn accept(&mut self, index: u64, acceptance: &Evidence) -> Result<(), String> {
        let is_one = acceptance.event() == EventKind::SubmissionAcceptance
            && acceptance.recipient_receipt.is_none()
            && acceptance.manifest_sha256 == self.digest.as_bytes()[..]
            && self.is_named_by(acceptance);
        if !is_one || index != self.index {
            return Err("is not the acceptance of the document that stands before it".into());
        }
        let verdict = acceptance.verdict.as_ref();
        self.accepted.legal_value = verdict.map(|verdict| verdict.legal_value()).unwrap_or_default();
        Ok(())
    }

    /// True if evidence names this document.
    pub fn is_named_by(&self, evidence: &Evidence) -> bool {
        let sender = evidence.sender.as_ref().map_or("", |sender| &sender.agency);
        sender == self.sender
            && evidence.document_id == self.document_id
            && evidence.revision == self.revision
    }

    /// What it says.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }
}
