//! The record of one event: what every leaf says, whatever the event.

use bytes::Bytes;
use prost::Message;

use super::{
    id::{AgencyId, Digest, DocumentName},
    reason::{MAX_TOLD, Reason, ReasonCode},
    time::Timestamp,
};
use crate::proto::{EventKind, Evidence, Party, SignedEnvelope, Verdict};

/// Version of the evidence format.
pub const VERSION: u32 = 1;
/// Version of the rules by which verdicts are made.
pub const RULES: u32 = 1;
/// C2SP tlog-tiles bound for one entry.
pub const MAX_LEAF: usize = 65_535;

/// Starts the evidence of an event at `now`, issued by the hub `origin`. `id` is 16 random bytes.
#[must_use]
pub fn event(kind: EventKind, id: [u8; 16], now: Timestamp, origin: &str) -> Evidence {
    Evidence {
        evidence_id: Bytes::copy_from_slice(&id),
        version: VERSION,
        event: kind.into(),
        event_time_us: now.0,
        issuer: Some(Party { hub: origin.into(), ..Party::default() }),
        ..Evidence::default()
    }
}

/// Adds to an evidence in the order of its story.
pub trait Tell: Sized {
    /// Which document.
    #[must_use]
    fn about(self, name: &DocumentName, manifest: &Digest) -> Self;
    /// Who sent it, through which node.
    #[must_use]
    fn by_node(self, node: &str) -> Self;
    /// Which recipient.
    #[must_use]
    fn to(self, recipient: &AgencyId) -> Self;
    /// Why.
    #[must_use]
    fn because(self, reasons: &[Reason]) -> Self;
    /// The signed message that it answers, kept whole.
    #[must_use]
    fn holding(self, envelope: &SignedEnvelope) -> Self;
    /// The event before, of the same document and recipient.
    #[must_use]
    fn after(self, leaf_hash: &[u8]) -> Self;
    /// How the signatures were judged.
    #[must_use]
    fn judged(self, verdict: Verdict) -> Self;
    /// Whether it is about a test document.
    #[must_use]
    fn tested(self, test: bool) -> Self;
}

impl Tell for Evidence {
    fn about(mut self, name: &DocumentName, manifest: &Digest) -> Self {
        self.document_id = name.document_id.to_string();
        self.revision = name.revision;
        self.manifest_sha256 = manifest.to_bytes();
        self.sender.get_or_insert_default().agency = name.sender.to_string();
        self
    }

    fn by_node(mut self, node: &str) -> Self {
        self.sender.get_or_insert_default().node = node.into();
        self
    }

    fn to(mut self, recipient: &AgencyId) -> Self {
        self.recipients = vec![Party { agency: recipient.to_string(), ..Party::default() }];
        self
    }

    fn because(mut self, reasons: &[Reason]) -> Self {
        self.reasons.extend(reasons.iter().take(MAX_TOLD).map(Reason::to_proto));
        self
    }

    fn holding(mut self, envelope: &SignedEnvelope) -> Self {
        self.message_sha256 = Digest::of(&envelope.payload).to_bytes();
        self.recipient_receipt = Some(envelope.clone());
        self
    }

    fn after(mut self, leaf_hash: &[u8]) -> Self {
        self.previous_evidence_sha256 = Bytes::copy_from_slice(leaf_hash);
        self
    }

    fn judged(mut self, verdict: Verdict) -> Self {
        self.verdict = Some(verdict);
        self
    }

    fn tested(mut self, test: bool) -> Self {
        self.test = test;
        self
    }
}

/// The exact leaf. Refuses what no log reader would take.
pub fn encode(evidence: &Evidence) -> Result<Bytes, Reason> {
    let len = evidence.encoded_len();
    if len > MAX_LEAF {
        return Err(Reason::new(
            ReasonCode::TooLarge,
            format!("the evidence would have {len} bytes, {MAX_LEAF} are possible"),
        ));
    }
    Ok(evidence.encode_to_vec().into())
}

/// SHA-256 over the sorted identifiers, each followed by a line feed.
#[must_use]
pub fn recipients_digest<'a>(sorted: impl Iterator<Item = &'a str>) -> Digest {
    let mut text = String::new();
    for recipient in sorted {
        text.push_str(recipient);
        text.push('\n');
    }
    Digest::of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: other implementations hash these bytes.
    #[test]
    fn golden_leaf() {
        let name = DocumentName::parse("000.21.31.H53", "000.21.31.H53,2026,17", 0).unwrap();
        let evidence = event(EventKind::ContentConsignment, [7; 16], Timestamp(1_000_000), "hub.test/log")
            .about(&name, &Digest([1; 32]))
            .to(&AgencyId::parse("000.00.31.H53").unwrap())
            .after(&[2; 32]);
        let leaf = encode(&evidence).unwrap();
        assert_eq!(Digest::of(&leaf).to_string(), GOLDEN);
    }

    const GOLDEN: &str = "6ada1aff5c241f117c2a693d3466db188d5c07b9185e7c04b7a626f0cded3319";

    /// Frozen too: made by hand from docs/completeness.md, not by this program.
    #[test]
    fn golden_leaf_with_numbers() {
        use crate::proto::{Counter, Counters};

        let name = DocumentName::parse("000.21.31.H53", "000.21.31.H53,2026,17", 0).unwrap();
        let mut evidence =
            event(EventKind::ContentConsignment, [7; 16], Timestamp(1_000_000), "hub.test/log")
                .about(&name, &Digest([1; 32]))
                .to(&AgencyId::parse("000.00.31.H53").unwrap())
                .after(&[2; 32]);
        evidence.counters = Some(Counters {
            sent: None,
            received: Some(Counter { number: 2, previous_index: 7, previous_sha256: vec![3; 32].into() }),
            pair: Some(Counter { number: 1, ..Counter::default() }),
        });
        let leaf = encode(&evidence).unwrap();
        assert_eq!(Digest::of(&leaf).to_string(), GOLDEN_WITH_NUMBERS);
    }

    const GOLDEN_WITH_NUMBERS: &str = "4559d1765c8d7d3cac4562000c154f021b9e968c4ac955a46a0352038989cb24";

    #[test]
    fn evidence_never_outgrows_a_leaf() {
        let many = vec![Reason::new(ReasonCode::InvalidField, "x".repeat(5_000)); 1_000];
        let evidence = event(EventKind::SubmissionRejection, [0; 16], Timestamp(1), "h").because(&many);
        assert_eq!(evidence.reasons.len(), MAX_TOLD);
        assert!(encode(&evidence).is_ok());
        let huge = Evidence { directory_change: vec![0; MAX_LEAF].into(), ..evidence };
        assert_eq!(encode(&huge).unwrap_err().code, ReasonCode::TooLarge);
    }

    #[test]
    fn the_recipients_digest_keeps_names_apart() {
        let digest = |names: &[&str]| recipients_digest(names.iter().copied());
        assert_ne!(digest(&["H53", "H54"]), digest(&["H53H54"]));
    }
}
