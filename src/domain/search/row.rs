//! One leaf for people.

use bytes::Bytes;

use super::Accepted;
use crate::proto::{Evidence, EvidenceRow};

/// The row of a leaf: what the evidence says, and what the accepted document that it is about says, or the leaf that says
/// that its contents were erased.
#[must_use]
pub fn row(
    index: u64,
    leaf_hash: &[u8; 32],
    evidence: &Evidence,
    accepted: Option<&Accepted>,
    erased_leaf: Option<u64>,
) -> EvidenceRow {
    let sender = evidence.sender.clone().unwrap_or_default();
    let row = EvidenceRow {
        index,
        leaf_hash: Bytes::copy_from_slice(leaf_hash),
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
        erased_leaf: erased_leaf.unwrap_or(0),
        ..EvidenceRow::default()
    };
    let Some(document) = accepted else { return row };
    EvidenceRow {
        number: document.number.clone(),
        notation: document.notation.clone(),
        promulgation_date: document.promulgation_date.clone(),
        type_name: document.type_name.clone(),
        subject: document.subject.clone(),
        urgency: document.urgency,
        legal_value: document.legal_value.into(),
        ..row
    }
}
