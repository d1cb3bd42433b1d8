//! What is known of one leaf: the evidence, and what the accepted document says.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        id::DocumentName,
        search::{self, Accepted, Leaf},
    },
    hub::{follow, recent::Recent},
    proto::{DocumentInfo, EventKind, Evidence, EvidenceRow, LegalValue, Manifest, SignedEnvelope},
    store::{
        Store, StoreError,
        payload::Payload,
        records::{DocumentRecord, ErasureRecord},
    },
    tlog::{Hash, merkle},
};

/// Documents remembered by one reader: most evidence about a document comes soon after it.
const REMEMBERED: usize = 4_096;

/// What the leaves about a document have in common.
struct Known {
    index: u64,
    manifest_sha256: Bytes,
    accepted: Accepted,
    /// Leaf that says that all contents were erased.
    erased: Option<u64>,
}

/// One leaf.
pub struct Facts {
    /// Its index.
    pub index: u64,
    /// Its hash in the log.
    pub hash: Hash,
    /// Its exact bytes.
    pub bytes: Bytes,
    evidence: Evidence,
    document: Option<Arc<Known>>,
    /// On an acceptance: whom it names.
    pub named: Vec<String>,
}

/// Reads leaves and what belongs to them.
pub struct Reader {
    pub store: Arc<dyn Store>,
    pub payload: Arc<Payload>,
    pub recent: Arc<Recent>,
    known: HashMap<u64, Arc<Known>>,
}

impl Reader {
    /// A reader that knows nothing yet.
    pub fn new(store: Arc<dyn Store>, payload: Arc<Payload>, recent: Arc<Recent>) -> Self {
        Self { store, payload, recent, known: HashMap::new() }
    }

    /// What is known of a leaf below the head.
    pub fn facts(&mut self, index: u64) -> Result<Facts, StoreError> {
        let damaged = |what: String| StoreError::Damaged(format!("leaf {index}: {what}"));
        let stored = self.store.leaf(index)?.ok_or_else(|| damaged("is missing".into()))?;
        let (hash, bytes) = (merkle::leaf_hash(&stored.evidence), stored.evidence);
        let evidence = Evidence::decode(bytes.clone()).map_err(|error| damaged(error.to_string()))?;
        self.facts_of(index, follow::Leaf { hash, bytes, evidence })
    }

    /// The same of a leaf that was read already.
    pub fn facts_of(&mut self, index: u64, leaf: follow::Leaf) -> Result<Facts, StoreError> {
        let follow::Leaf { hash, bytes, evidence } = leaf;
        let document = self.document_of(index, &evidence)?;
        let mut named = Vec::new();
        if evidence.event() == EventKind::SubmissionAcceptance {
            named = self.store.recipient_list(index)?.map(|list| list.recipients).unwrap_or_default();
        }
        Ok(Facts { index, hash, bytes, evidence, document, named })
    }

    /// The accepted document that the evidence is about. What was refused is about none, whatever name it claims.
    fn document_of(&mut self, leaf: u64, evidence: &Evidence) -> Result<Option<Arc<Known>>, StoreError> {
        let sender = evidence.sender.as_ref().map(|party| party.agency.as_str()).unwrap_or_default();
        if evidence.manifest_sha256.is_empty() || sender.is_empty() {
            return Ok(None);
        }
        let Ok(name) = DocumentName::parse(sender, &evidence.document_id, evidence.revision) else {
            return Ok(None);
        };
        let Some(document) = self.store.find_document(&name)? else { return Ok(None) };
        let known = self.known(document, (leaf == document).then_some(evidence))?;
        Ok(known.filter(|known| known.manifest_sha256 == evidence.manifest_sha256))
    }

    fn known(
        &mut self,
        document: u64,
        acceptance: Option<&Evidence>,
    ) -> Result<Option<Arc<Known>>, StoreError> {
        if let Some(known) = self.known.get(&document) {
            if known.erased.is_some() || self.erased(document)?.is_none() {
                return Ok(Some(Arc::clone(known)));
            }
            self.known.remove(&document);
        }
        let Some((record, info)) = self.document(document)? else { return Ok(None) };
        let legal_value = match acceptance {
            Some(evidence) => legal_value(evidence),
            None => self.acceptance(document)?.as_ref().map(legal_value).unwrap_or_default(),
        };
        let accepted = Accepted {
            // What the hub keeps beside the envelope, which may be gone.
            number: record.number,
            notation: record.notation,
            year: record.year,
            urgency: record.urgency,
            ..Accepted::of(info, legal_value)
        };
        let (manifest_sha256, erased) = (record.manifest_sha256, self.erased(document)?);
        let known = Arc::new(Known { index: document, manifest_sha256, accepted, erased });
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(document, Arc::clone(&known));
        Ok(Some(known))
    }

    fn erased(&self, document: u64) -> Result<Option<u64>, StoreError> {
        let erasure = self.store.erasure(document)?.filter(ErasureRecord::is_whole);
        Ok(erasure.map(|erasure| erasure.leaf))
    }

    fn acceptance(&self, document: u64) -> Result<Option<Evidence>, StoreError> {
        Ok(self.store.leaf(document)?.and_then(|stored| Evidence::decode(stored.evidence).ok()))
    }

    fn document(&self, index: u64) -> Result<Option<(DocumentRecord, DocumentInfo)>, StoreError> {
        if let Some(document) = self.recent.document(index) {
            return Ok(Some((DocumentRecord::clone(&document.record), info(&document.envelope))));
        }
        let Some(record) = self.store.document(index)? else { return Ok(None) };
        if self.erased(index)?.is_some() {
            return Ok(Some((record, DocumentInfo::default())));
        }
        let body = self.store.envelope(&record)?;
        // An envelope that can't be read hides the subject, not the evidence.
        let envelope = body.and_then(|body| self.payload.read(&body).ok());
        let envelope = envelope.and_then(|bytes| SignedEnvelope::decode(bytes).ok());
        Ok(Some((record, envelope.as_ref().map(info).unwrap_or_default())))
    }
}

fn info(envelope: &SignedEnvelope) -> DocumentInfo {
    let manifest = Manifest::decode(envelope.payload.clone()).ok();
    manifest.and_then(|manifest| manifest.document).unwrap_or_default()
}

fn legal_value(evidence: &Evidence) -> LegalValue {
    evidence.verdict.as_ref().map(|verdict| verdict.legal_value()).unwrap_or_default()
}

impl Facts {
    /// Agencies whom it concerns: the sender, the recipients of the event, those that an acceptance names.
    pub fn parties(&self) -> impl Iterator<Item = &str> {
        search::parties(&self.evidence, &self.named)
    }

    /// Index of the accepted document that it is about.
    pub fn document(&self) -> Option<u64> {
        self.document.as_ref().map(|known| known.index)
    }

    /// Leaf that says that the contents of its document were erased, subject and all.
    pub fn erased(&self) -> Option<u64> {
        self.document.as_ref().and_then(|known| known.erased)
    }

    /// Digest of the manifest that it names.
    pub fn manifest_sha256(&self) -> &[u8] {
        &self.evidence.manifest_sha256
    }

    /// What it is found by.
    pub fn leaf(&self) -> Leaf {
        search::leaf(&self.evidence, self.accepted(), &self.named)
    }

    /// For people.
    pub fn row(&self) -> EvidenceRow {
        search::row(self.index, &self.hash, &self.evidence, self.accepted(), self.erased())
    }

    fn accepted(&self) -> Option<&Accepted> {
        self.document.as_ref().map(|known| &known.accepted)
    }
}
