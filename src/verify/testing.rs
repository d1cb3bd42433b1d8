//! A document with its evidence, as a hub makes it: for tests of everything that checks.

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        envelope::{self, MANIFEST, RECEIPT},
        id::Digest,
        signature::{Algorithm, SigningKey},
    },
    proto::{
        DocumentInfo, EventKind, Evidence, Manifest, Outcome, Part, Party, Receipt, RecipientReceipt,
        SignatureReport, SignedEnvelope, Verdict,
    },
    tlog::{
        checkpoint::Checkpoint,
        merkle::{Edge, Growth, leaf_hash},
        note::{Signer, Verifier},
    },
    verify::FoundPart,
};

pub const ORIGIN: &str = "hub.test/log";
pub const SENDER: &str = "000.00.31.H53";
pub const RECIPIENT: &str = "000.21.31.H53";

/// One document on its way: accepted, consigned, handed over.
pub struct Story {
    pub hub: Signer,
    pub sender_keys: [SigningKey; 2],
    pub recipient_key: SigningKey,
    pub bodies: Vec<(String, Vec<u8>)>,
    pub envelope: SignedEnvelope,
    pub acceptance: Receipt,
    pub consignment: Receipt,
    pub handover: Receipt,
}

impl Story {
    pub fn new() -> Self {
        let generate = |algorithm| SigningKey::generate(algorithm).unwrap();
        let sender_keys = [generate(Algorithm::Ed25519), generate(Algorithm::EcdsaP256Sha256)];
        let recipient_key = generate(Algorithm::Ed25519);
        let bodies = vec![
            ("Công văn.pdf".to_owned(), b"the document".to_vec()),
            ("empty.txt".to_owned(), Vec::new()),
            ("twin.txt".to_owned(), b"first twin".to_vec()),
            ("twin.txt".to_owned(), b"second twin".to_vec()),
        ];
        let nonce = sender_keys[0].public_key().key_id().to_bytes().slice(..16);
        let payload = Bytes::from(manifest(&bodies, nonce).encode_to_vec());
        let envelope = envelope::sign(MANIFEST, payload, &[&sender_keys[0], &sender_keys[1]]);
        let answer = envelope::sign(
            RECEIPT,
            recipient_receipt(&envelope, Outcome::Accepted).encode_to_vec().into(),
            &[&recipient_key],
        );
        let hub = hub();
        let acceptance = acceptance(&envelope);
        let consignment = after(&acceptance, EventKind::ContentConsignment);
        let mut handover = after(&consignment, EventKind::ContentHandover);
        handover.message_sha256 = Digest::of(&answer.payload).to_bytes();
        handover.recipient_receipt = Some(answer);
        let before = Evidence { event: EventKind::DirectoryChange.into(), ..base() };
        let receipts = log(&hub, &[before, acceptance, consignment, handover]);
        let [_, acceptance, consignment, handover] = receipts.try_into().unwrap();
        Self { hub, sender_keys, recipient_key, bodies, envelope, acceptance, consignment, handover }
    }

    pub fn verifier(&self) -> Verifier {
        self.hub.verifier()
    }

    pub fn found(&self) -> Vec<FoundPart> {
        let found = |(name, bytes): &(String, Vec<u8>)| FoundPart {
            name: name.clone(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
        };
        self.bodies.iter().map(found).collect()
    }
}

pub fn hub() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// A log of these leaves; each in the checkpoint of all.
pub fn log(hub: &Signer, events: &[Evidence]) -> Vec<Receipt> {
    let leaves: Vec<Bytes> = events.iter().map(|event| event.encode_to_vec().into()).collect();
    let mut growth = Growth::new(Edge::empty());
    leaves.iter().for_each(|leaf| _ = growth.push(leaf_hash(leaf)));
    let head = Checkpoint { origin: hub.name().into(), size: growth.size(), root: growth.root() };
    let checkpoint = head.sign(hub);
    let receipt = |(index, evidence): (u64, &Bytes)| Receipt {
        evidence: evidence.clone(),
        index,
        path: growth
            .clone()
            .paths()
            .inclusion(index)
            .unwrap()
            .iter()
            .map(|hash| Bytes::copy_from_slice(hash))
            .collect(),
        checkpoint: checkpoint.clone(),
    };
    (0..).zip(&leaves).map(receipt).collect()
}

/// What every evidence says.
pub fn base() -> Evidence {
    Evidence {
        evidence_id: Bytes::from_static(&[1; 16]),
        version: 1,
        event_time_us: 1_790_000_000_000_000,
        issuer: Some(Party { hub: ORIGIN.into(), ..Party::default() }),
        ..Evidence::default()
    }
}

pub fn acceptance(envelope: &SignedEnvelope) -> Evidence {
    let manifest = Manifest::decode(envelope.payload.clone()).unwrap();
    let report = |signature: &crate::proto::Signature| SignatureReport {
        key_id: signature.key_id.clone(),
        valid: true,
        agency: SENDER.into(),
        ..SignatureReport::default()
    };
    Evidence {
        event: EventKind::SubmissionAcceptance.into(),
        submission_time_us: base().event_time_us,
        sender: Some(Party { agency: SENDER.into(), node: "h53".into(), ..Party::default() }),
        document_id: manifest.document_id,
        revision: manifest.revision,
        manifest_sha256: Digest::of(&envelope.payload).to_bytes(),
        signature_sha256: envelope::signature_digests(envelope),
        verdict: Some(Verdict {
            rules: 1,
            as_of_index: 1,
            signatures: envelope.signatures.iter().map(report).collect(),
            ..Verdict::default()
        }),
        recipient_count: 1,
        recipients_sha256: Digest::of(format!("{RECIPIENT}\n").as_bytes()).to_bytes(),
        ..base()
    }
}

/// The next event of the same document and recipient.
pub fn after(before: &Evidence, event: EventKind) -> Evidence {
    Evidence {
        event: event.into(),
        submission_time_us: before.submission_time_us,
        sender: Some(Party { agency: SENDER.into(), ..Party::default() }),
        recipients: vec![Party { agency: RECIPIENT.into(), ..Party::default() }],
        document_id: before.document_id.clone(),
        revision: before.revision,
        manifest_sha256: before.manifest_sha256.clone(),
        previous_evidence_sha256: Bytes::copy_from_slice(&leaf_hash(&before.encode_to_vec())),
        ..base()
    }
}

pub fn recipient_receipt(envelope: &SignedEnvelope, outcome: Outcome) -> RecipientReceipt {
    let manifest = Manifest::decode(envelope.payload.clone()).unwrap();
    RecipientReceipt {
        document_id: manifest.document_id,
        sender: manifest.sender,
        revision: manifest.revision,
        manifest_sha256: Digest::of(&envelope.payload).to_bytes(),
        recipient: RECIPIENT.into(),
        outcome: outcome.into(),
        received_at_us: base().event_time_us,
        hub_origin: ORIGIN.into(),
        ..RecipientReceipt::default()
    }
}

fn manifest(bodies: &[(String, Vec<u8>)], nonce: Bytes) -> Manifest {
    let part = |(name, bytes): &(String, Vec<u8>)| Part {
        name: name.clone(),
        media_type: "application/octet-stream".into(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes).to_bytes(),
    };
    Manifest {
        document_id: format!("{SENDER},2026,17"),
        revision: 2,
        nonce,
        sender: SENDER.into(),
        recipients: vec![RECIPIENT.into()],
        issued_at_us: base().event_time_us,
        hub_origin: ORIGIN.into(),
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-11-20".into(),
            type_name: "Báo cáo".into(),
            subject: "Về việc thử".into(),
            ..DocumentInfo::default()
        }),
        parts: bodies.iter().map(part).collect(),
        ..Manifest::default()
    }
}
