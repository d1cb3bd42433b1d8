//! What a proven evidence says.

use prost::Message;

use super::VerifyError;
use crate::{
    domain::{
        id::{Digest, DocumentName},
        reason::Reason,
        time::Timestamp,
    },
    proto::{Counter, Counters, EventKind, Evidence, SignedEnvelope, Verdict},
    tlog::{Hash, checkpoint::Checkpoint, merkle::leaf_hash},
};

/// Version of the evidence format that is read here.
const VERSION: u32 = 1;

/// An evidence that was proven to be in the hub's log, read. Can't be made otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    event: EventKind,
    document: Option<DocumentName>,
    evidence: Evidence,
    index: u64,
    leaf_hash: Hash,
    checkpoint: Checkpoint,
}

impl Facts {
    /// Reads a leaf that is at `index` in the tree of a verified checkpoint.
    pub(super) fn read(leaf: &[u8], index: u64, checkpoint: Checkpoint) -> Result<Self, VerifyError> {
        let unreadable = |problem: String| VerifyError::Evidence(problem);
        let evidence = Evidence::decode(leaf).map_err(|error| unreadable(error.to_string()))?;
        if evidence.version != VERSION {
            return Err(unreadable(format!("version {} is unknown", evidence.version)));
        }
        let event = EventKind::try_from(evidence.event).ok().filter(|event| *event != EventKind::Unspecified);
        let event = event.ok_or_else(|| unreadable(format!("event {} is unknown", evidence.event)))?;
        let issuer = evidence.issuer.as_ref().map_or("", |issuer| &issuer.hub);
        if issuer != checkpoint.origin {
            return Err(VerifyError::WrongIssuer { issuer: issuer.to_owned(), origin: checkpoint.origin });
        }
        let document = document(&evidence).map_err(|reason| unreadable(reason.to_string()))?;
        let facts = Self { event, document, evidence, index, leaf_hash: leaf_hash(leaf), checkpoint };
        facts.check_message()?;
        facts.check_counters().map_err(unreadable)?;
        Ok(facts)
    }

    /// What happened.
    #[must_use]
    pub fn event(&self) -> EventKind {
        self.event
    }

    /// When, by the hub's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp(self.evidence.event_time_us)
    }

    /// To which document, if the event is about one.
    #[must_use]
    pub fn document(&self) -> Option<&DocumentName> {
        self.document.as_ref()
    }

    /// SHA-256 of the document's manifest, where the evidence names it.
    #[must_use]
    pub fn manifest_sha256(&self) -> Option<Digest> {
        Digest::from_slice(&self.evidence.manifest_sha256)
    }

    /// The sending agency; empty where the event has none.
    #[must_use]
    pub fn sender(&self) -> &str {
        self.evidence.sender.as_ref().map_or("", |sender| &sender.agency)
    }

    /// The recipients that the event is about: one after fan-out, none for an acceptance.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.evidence.recipients.iter().map(|party| party.agency.as_str())
    }

    /// Why, for refusals, failures and warnings.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        self.evidence.reasons.iter().map(|reason| Reason::new(reason.code(), reason.detail.clone()))
    }

    /// How the hub judged the signatures.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.evidence.verdict.as_ref()
    }

    /// The signed receipt or status inside the evidence, as it came.
    #[must_use]
    pub fn message(&self) -> Option<&SignedEnvelope> {
        self.evidence.recipient_receipt.as_ref()
    }

    /// Leaf hash of the event before, of the same document and recipient.
    #[must_use]
    pub fn previous(&self) -> Option<Hash> {
        self.evidence.previous_evidence_sha256[..].try_into().ok()
    }

    /// All that the evidence says.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Place in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// RFC 6962 hash of the leaf.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        self.leaf_hash
    }

    /// The signed head that the evidence was proven in.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Number of leaves of that head.
    #[must_use]
    pub fn tree_size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The number on an acceptance among all of its sender, if it was counted.
    #[must_use]
    pub fn sent(&self) -> Option<&Counter> {
        self.evidence.counters.as_ref()?.sent.as_ref()
    }

    /// The number on a consignment among all to its recipient, if it was counted.
    #[must_use]
    pub fn received(&self) -> Option<&Counter> {
        self.evidence.counters.as_ref()?.received.as_ref()
    }

    /// The number on a consignment among all of its sender to its recipient, if it was counted.
    #[must_use]
    pub fn pair(&self) -> Option<&Counter> {
        self.evidence.counters.as_ref()?.pair.as_ref()
    }

    pub(super) fn require(&self, needed: EventKind) -> Result<(), VerifyError> {
        if self.event == needed {
            return Ok(());
        }
        Err(VerifyError::WrongEvent { found: self.event.as_str_name(), needed: needed.as_str_name() })
    }

    /// Counters stand on acceptances and consignments only, and have the form of their number.
    fn check_counters(&self) -> Result<(), String> {
        let Some(counters) = &self.evidence.counters else { return Ok(()) };
        let Counters { sent, received, pair } = counters;
        let fits = match self.event {
            EventKind::SubmissionAcceptance => received.is_none() && pair.is_none(),
            EventKind::ContentConsignment => sent.is_none(),
            _ => false,
        };
        let sound = [sent, received, pair].into_iter().flatten().all(|counter| is_sound(counter, self.index));
        if fits && sound { Ok(()) } else { Err("its counters are not those of such an event".into()) }
    }

    /// The digest of the signed message inside is the one that the hub wrote beside it.
    fn check_message(&self) -> Result<(), VerifyError> {
        let Some(message) = self.message() else { return Ok(()) };
        same_digest("the signed message inside", &message.payload, &self.evidence.message_sha256)
    }
}

/// Number 1 has nothing before it, every other one names the leaf before.
fn is_sound(counter: &Counter, index: u64) -> bool {
    match counter.number {
        0 => false,
        1 => counter.previous_index == 0 && counter.previous_sha256.is_empty(),
        _ => counter.previous_index < index && counter.previous_sha256.len() == size_of::<Hash>(),
    }
}

/// Compares SHA-256 of bytes at hand with what is said about them.
pub(super) fn same_digest(what: &str, bytes: &[u8], said: &[u8]) -> Result<(), VerifyError> {
    let found = Digest::of(bytes);
    if found.as_bytes()[..] == *said {
        return Ok(());
    }
    Err(VerifyError::WrongDigest { what: what.to_owned(), found: found.to_string(), said: hex::encode(said) })
}

fn document(evidence: &Evidence) -> Result<Option<DocumentName>, Reason> {
    if evidence.document_id.is_empty() {
        return Ok(None);
    }
    let sender = evidence.sender.as_ref().map_or("", |sender| &sender.agency);
    DocumentName::parse(sender, &evidence.document_id, evidence.revision).map(Some)
}
