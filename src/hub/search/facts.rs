//! What is known of one leaf: the evidence, and what the accepted document says.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use prost::Message;

use crate::{
    domain::{fold, id::DocumentName},
    hub::recent::Recent,
    proto::{DocumentInfo, EventKind, Evidence, EvidenceRow, LegalValue, Manifest, SignedEnvelope},
    store::{
        Store, StoreError,
        payload::Payload,
        records::DocumentRecord,
        search::{Leaf, Term, term},
    },
    tlog::{Hash, merkle},
};

/// Fields of the index.
pub mod field {
    /// Document id.
    pub const ID: u8 = b'd';
    /// Number, folded.
    pub const NUMBER: u8 = b'n';
    /// Notation, folded.
    pub const NOTATION: u8 = b'o';
    /// Year of promulgation.
    pub const YEAR: u8 = b'y';
    /// Sender.
    pub const SENDER: u8 = b's';
    /// Recipient that the event is about.
    pub const RECIPIENT: u8 = b'r';
    /// Everyone whom it concerns: sender, recipient, recipients that an acceptance names.
    pub const PARTY: u8 = b'p';
    /// Event.
    pub const EVENT: u8 = b'e';
    /// Business status.
    pub const STATUS: u8 = b'c';
    /// Reason code.
    pub const REASON: u8 = b'x';
    /// Urgency.
    pub const URGENCY: u8 = b'u';
    /// Legal value.
    pub const LEGAL: u8 = b'l';
    /// Word of the subject, folded.
    pub const WORD: u8 = b'w';
    /// Only about test documents.
    pub const TEST: u8 = b't';
}

/// Documents remembered by one reader: most evidence about a document comes soon after it.
const REMEMBERED: usize = 4_096;

/// What the leaves about a document have in common.
struct Known {
    record: DocumentRecord,
    info: DocumentInfo,
    legal_value: LegalValue,
}

/// One leaf.
pub struct Facts {
    /// Its index.
    pub index: u64,
    /// Its hash in the log.
    pub hash: Hash,
    evidence: Evidence,
    document: Option<Arc<Known>>,
    /// On an acceptance: whom it names.
    named: Vec<String>,
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
        let hash = merkle::leaf_hash(&stored.evidence);
        let evidence = Evidence::decode(stored.evidence).map_err(|error| damaged(error.to_string()))?;
        let document = self.document_of(index, &evidence)?;
        let mut named = Vec::new();
        if evidence.event() == EventKind::SubmissionAcceptance {
            named = self.store.recipient_list(index)?.map(|list| list.recipients).unwrap_or_default();
        }
        Ok(Facts { index, hash, evidence, document, named })
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
        Ok(known.filter(|known| known.record.manifest_sha256 == evidence.manifest_sha256))
    }

    fn known(
        &mut self,
        document: u64,
        acceptance: Option<&Evidence>,
    ) -> Result<Option<Arc<Known>>, StoreError> {
        if let Some(known) = self.known.get(&document) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some((record, info)) = self.document(document)? else { return Ok(None) };
        let legal_value = match acceptance {
            Some(evidence) => legal_value(evidence),
            None => self.acceptance(document)?.as_ref().map(legal_value).unwrap_or_default(),
        };
        let known = Arc::new(Known { record, info, legal_value });
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(document, Arc::clone(&known));
        Ok(Some(known))
    }

    fn acceptance(&self, document: u64) -> Result<Option<Evidence>, StoreError> {
        Ok(self.store.leaf(document)?.and_then(|stored| Evidence::decode(stored.evidence).ok()))
    }

    fn document(&self, index: u64) -> Result<Option<(DocumentRecord, DocumentInfo)>, StoreError> {
        if let Some(document) = self.recent.document(index) {
            return Ok(Some((document.record.clone(), info(&document.envelope))));
        }
        let Some(record) = self.store.document(index)? else { return Ok(None) };
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
        let spoken = self.evidence.sender.iter().chain(&self.evidence.recipients);
        let spoken = spoken.map(|party| party.agency.as_str());
        spoken.chain(self.named.iter().map(String::as_str)).filter(|agency| !agency.is_empty())
    }

    /// What it is found by.
    pub fn leaf(&self) -> Leaf {
        let evidence = &self.evidence;
        let mut terms = vec![term(field::EVENT, &evidence.event.to_string())];
        let mut put = |field: u8, value: &str| {
            if !value.is_empty() {
                terms.push(term(field, value));
            }
        };
        put(field::ID, &evidence.document_id);
        put(field::SENDER, evidence.sender.as_ref().map(|party| party.agency.as_str()).unwrap_or_default());
        evidence.recipients.iter().for_each(|party| put(field::RECIPIENT, &party.agency));
        self.parties().for_each(|agency| put(field::PARTY, agency));
        if evidence.status_code > 0 {
            put(field::STATUS, &evidence.status_code.to_string());
        }
        evidence.reasons.iter().for_each(|reason| put(field::REASON, &reason.code.to_string()));
        if evidence.test {
            put(field::TEST, "1");
        }
        terms.extend(self.document.iter().flat_map(|known| known.terms()));
        terms.sort_unstable();
        terms.dedup();
        Leaf { time_us: evidence.event_time_us, terms }
    }

    /// For people.
    pub fn row(&self) -> EvidenceRow {
        let evidence = &self.evidence;
        let sender = evidence.sender.clone().unwrap_or_default();
        let row = EvidenceRow {
            index: self.index,
            leaf_hash: bytes::Bytes::copy_from_slice(&self.hash),
            event: evidence.event,
            event_time_us: evidence.event_time_us,
            sender: sender.agency,
            node: sender.node,
            document_id: evidence.document_id.clone(),
            revision: evidence.revision,
            manifest_sha256: evidence.manifest_sha256.clone(),
            recipient: evidence.recipients.first().map(|party| party.agency.clone()).unwrap_or_default(),
            recipient_count: evidence.recipient_count,
            status_code: evidence.status_code,
            reasons: evidence.reasons.clone(),
            ..EvidenceRow::default()
        };
        let Some(known) = &self.document else { return row };
        let info = &known.info;
        EvidenceRow {
            number: known.record.number.clone(),
            notation: known.record.notation.clone(),
            promulgation_date: info.promulgation_date.clone(),
            type_name: info.type_name.clone(),
            subject: info.subject.clone(),
            urgency: known.record.urgency,
            legal_value: known.legal_value.into(),
            ..row
        }
    }
}

impl Known {
    fn terms(&self) -> Vec<Term> {
        let record = &self.record;
        let mut terms = vec![
            term(field::NUMBER, &fold::line(&record.number)),
            term(field::NOTATION, &fold::line(&record.notation)),
            term(field::YEAR, &record.year.to_string()),
            term(field::URGENCY, &record.urgency.to_string()),
            term(field::LEGAL, &i32::from(self.legal_value).to_string()),
        ];
        let words: BTreeSet<String> = fold::words(&self.info.subject);
        terms.extend(words.iter().map(|word| term(field::WORD, word)));
        terms
    }
}
