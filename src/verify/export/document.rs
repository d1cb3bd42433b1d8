//! An accepted document: its manifest, bound to its acceptance by its digest.

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{id::Digest, search::Accepted},
    proto::{
        DocumentInfo, ErasedScope, Erasure, EventKind, Evidence, ExportDocument, ExportErased, Manifest,
    },
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

/// A document whose contents were erased, by the evidence of that.
#[derive(Debug)]
pub struct Gone {
    /// Of the manifest.
    pub digest: Digest,
    /// Leaf that says so.
    pub leaf: u64,
    sender: String,
    document_id: String,
    revision: u64,
}

impl Gone {
    /// Proves that the erasure is in the tree, and that it is of all contents.
    pub fn prove(told: &ExportErased, checkpoint: &Checkpoint) -> Result<Self, String> {
        let evidence = included(told.index, &told.evidence, &told.path, checkpoint)
            .map_err(|problem| format!("the erasure of a document: {problem}"))?;
        let erasure = Erasure::decode(evidence.erasure.clone()).map_err(|error| error.to_string())?;
        let digest = Digest::from_slice(&evidence.manifest_sha256);
        let is_whole = evidence.event() == EventKind::PayloadErased && erasure.scope() == ErasedScope::All;
        let digest = digest.filter(|_| is_whole).ok_or("is not the erasure of all that a document says")?;
        Ok(Self {
            digest,
            leaf: told.index,
            sender: evidence.sender.unwrap_or_default().agency,
            document_id: evidence.document_id,
            revision: evidence.revision,
        })
    }

    /// True if evidence names this document.
    pub fn is_named_by(&self, evidence: &Evidence) -> bool {
        let sender = evidence.sender.as_ref().map_or("", |sender| &sender.agency);
        sender == self.sender
            && evidence.document_id == self.document_id
            && evidence.revision == self.revision
    }
}

/// Evidence that its path proves to be in the tree.
fn included(
    index: u64,
    evidence: &Bytes,
    path: &[Bytes],
    checkpoint: &Checkpoint,
) -> Result<Evidence, String> {
    if evidence.len() > MAX_LEAF || path.len() > MAX_PATH {
        return Err("its proof is larger than one can be".into());
    }
    let path = path.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
    let path = path.ok_or("a hash has not 32 bytes")?;
    let leaf = merkle::leaf_hash(evidence);
    if !merkle::verify_inclusion(&leaf, index, checkpoint.size, &path, &checkpoint.root) {
        return Err("is not in the checkpoint's tree".into());
    }
    Evidence::decode(evidence.clone()).map_err(|error| error.to_string())
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
        let evidence = included(told.index, &told.acceptance, &told.path, checkpoint)
            .map_err(|problem| format!("the acceptance of a document: {problem}"))?;
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
