//! A small log with fixed keys, as a hub makes it, and the files made from it: good ones and broken ones.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        directory::Directory,
        envelope::{self, ADDRESSING, MANIFEST, RECEIPT, STATUS},
        evidence::{self, RULES, Tell, recipients_digest},
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
        signature::SigningKey,
        time::Timestamp,
    },
    proto::{self, directory_change::Change, *},
    tlog::{
        checkpoint::Checkpoint,
        keys::Handover,
        merkle::{Edge, Growth, NodeReader, inclusion_path, leaf_hash, root, several_hashes, stored_index},
        note::{Signer, Verifier},
        proof::TlogProof,
    },
    verify::log_keys,
};

pub const ORIGIN: &str = "hub.test/log";
pub const SENDER: &str = "000.00.31.H53";
pub const TAKES: &str = "000.21.31.H53";
pub const REFUSES: &str = "000.22.31.H53";
pub const SILENT: &str = "000.23.31.H53";
pub const EARLY: &str = "000.24.31.H53";
pub const ADDED: &str = "000.25.31.H53";
pub const ID: &str = "000.00.31.H53,2026,17";
const NAMES: [(&str, &str); 6] = [
    (SENDER, "UBND thị xã Sơn Tây"),
    (TAKES, "UBND xã Tân Bình"),
    (REFUSES, "UBND xã Tân Hòa"),
    (SILENT, "UBND xã Tân Lập"),
    (EARLY, "UBND xã Tân Phú"),
    (ADDED, "UBND xã Tân Tiến"),
];
const SECOND: i64 = 1_000_000;

/// The key of an agency: Ed25519, whose seed is this byte.
pub fn key(seed: u8) -> SigningKey {
    let der = [&hex::decode("302e020100300506032b657004220420").unwrap()[..], &[seed; 32]].concat();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der));
    SigningKey::from_pkcs8_pem(&pem).unwrap()
}

pub fn hub() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

pub fn trusted() -> [Verifier; 1] {
    [hub().verifier()]
}

/// A log while it is written.
pub struct Log {
    pub leaves: Vec<Bytes>,
    /// Leaves that belong to the document's file.
    pub told: BTreeSet<u64>,
    pub envelope: SignedEnvelope,
    directory: Directory,
    now: i64,
}

pub struct Stored(Vec<[u8; 32]>);

impl NodeReader for Stored {
    type Error = std::convert::Infallible;

    fn node(&self, at: u64) -> Result<[u8; 32], Self::Error> {
        Ok(self.0[usize::try_from(at).unwrap()])
    }
}

impl Log {
    /// A log in which the directory is furnished and nothing was sent.
    pub fn new() -> Self {
        let manifest = manifest().encode_to_vec().into();
        let envelope = envelope::sign(MANIFEST, manifest, &[&key(1), &key(9)]);
        let mut log = Self {
            leaves: Vec::new(),
            told: BTreeSet::new(),
            envelope,
            directory: Directory::default(),
            now: 1_790_000_000 * SECOND,
        };
        log.put_agency("000.00.00.G99", "Không liên quan");
        log.told.clear();
        for (seed, (id, name)) in (1..).zip(NAMES) {
            log.put_agency(id, name);
            log.put_key(id, seed, SignerKind::Agency);
        }
        log.put_key(SENDER, 9, SignerKind::Person);
        log
    }

    /// The whole story: one takes it over and registers it, one refuses, one is silent, one spoke before, one is added.
    pub fn story() -> Self {
        let mut log = Self::new();
        let early = status(EARLY, 1, "");
        let parked = log.park(EARLY, 5, &early);
        let accepted = log.accept(&[TAKES, REFUSES, SILENT, EARLY]);
        let [takes, refuses, silent, early_one] =
            [TAKES, REFUSES, SILENT, EARLY].map(|who| log.consign(accepted, who));
        log.unpark(early_one, EARLY, 5, &early, parked);
        let takes = log.receipt(takes, TAKES, 2, Outcome::Accepted, "");
        log.unrelated();
        log.receipt(refuses, REFUSES, 3, Outcome::Refused, "Gửi nhầm nơi nhận");
        let added = log.add(&[ADDED]);
        log.consign(added, ADDED);
        log.status(takes, TAKES, 2, &status(TAKES, 3, ""));
        log.expire(silent, SILENT);
        log.revoke_key(TAKES, 2);
        log.unrelated();
        log
    }

    pub fn leaf(&self, index: u64) -> Evidence {
        Evidence::decode(self.leaves[usize::try_from(index).unwrap()].clone()).unwrap()
    }

    pub fn head(&self) -> Checkpoint {
        let stored = self.stored();
        let size = self.leaves.len() as u64;
        Checkpoint { origin: ORIGIN.into(), size, root: root(size, &stored).unwrap() }
    }

    /// The file of the document.
    pub fn file(&self) -> DocProof {
        self.file_of(&self.told, &hub())
    }

    /// A file of these leaves, with a proof that holds.
    pub fn file_of(&self, told: &BTreeSet<u64>, hub: &Signer) -> DocProof {
        let indexes: Vec<u64> = told.iter().copied().collect();
        let head = self.head();
        let hashes = several_hashes(&indexes, head.size, &self.stored()).unwrap().unwrap();
        let leaf = |index: &u64| {
            let evidence = self.leaves[usize::try_from(*index).unwrap()].clone();
            let leaf_hash = Bytes::copy_from_slice(&leaf_hash(&evidence));
            ProofLeaf { index: *index, evidence, leaf_hash }
        };
        DocProof {
            verifier_key: hub.verifier().to_string(),
            checkpoint: head.sign(hub),
            envelope: Some(self.envelope.clone()),
            leaves: indexes.iter().map(leaf).collect(),
            hashes: hashes.iter().map(|hash| Bytes::copy_from_slice(hash)).collect(),
            ..DocProof::default()
        }
    }

    /// The log goes on with another key; the proof of that.
    pub fn hand_over(&mut self, new: &Signer) -> String {
        let index = self.leaves.len() as u64;
        let leaf = log_keys::testing::leaf(ORIGIN, &Handover::sign(&hub(), new, index));
        self.leaves.push(leaf.clone());
        let path = inclusion_path(index, index + 1, &self.stored()).unwrap().unwrap();
        let checkpoint = self.head().sign(&hub());
        TlogProof { extra: Some(leaf.to_vec()), index, path, checkpoint }.encode()
    }

    pub fn stored(&self) -> Stored {
        let mut growth = Growth::new(Edge::empty());
        self.leaves.iter().for_each(|leaf| _ = growth.push(leaf_hash(leaf)));
        assert_eq!(stored_index(0, 0), 0);
        Stored(growth.finish().1)
    }

    fn event(&mut self, kind: EventKind) -> Evidence {
        self.now += SECOND;
        let id = [u8::try_from(self.leaves.len() % 256).unwrap(); 16];
        evidence::event(kind, id, Timestamp(self.now), ORIGIN)
    }

    pub fn push(&mut self, evidence: &Evidence) -> u64 {
        let index = self.leaves.len() as u64;
        self.leaves.push(evidence::encode(evidence).unwrap());
        self.told.insert(index);
        index
    }

    fn about(&mut self, kind: EventKind) -> Evidence {
        let accepted = 1_790_000_000 * SECOND;
        let digest = Digest::of(&self.envelope.payload);
        let mut event = self.event(kind).about(&name(), &digest);
        event.submission_time_us = accepted;
        event
    }

    fn change(&mut self, change: Change) -> u64 {
        let mut event = self.event(EventKind::DirectoryChange);
        let change = DirectoryChange { change: Some(change), reason: String::new() };
        self.directory.apply(self.leaves.len() as u64, &change).unwrap();
        event.directory_change = change.encode_to_vec().into();
        self.push(&event)
    }

    pub fn put_agency(&mut self, id: &str, name: &str) -> u64 {
        let agency = Agency { organ_id: id.into(), name: name.into(), ..Agency::default() };
        self.change(Change::PutAgency(agency))
    }

    fn key_record(&self, agency: &str, seed: u8, kind: SignerKind) -> proto::SigningKey {
        let public = key(seed).public_key();
        proto::SigningKey {
            key_id: public.key_id().to_bytes(),
            agency: agency.into(),
            spki_der: public.spki_der().clone(),
            signer_kind: kind.into(),
            valid_from_us: self.now,
            ..proto::SigningKey::default()
        }
    }

    pub fn put_key(&mut self, agency: &str, seed: u8, kind: SignerKind) -> u64 {
        let record = self.key_record(agency, seed, kind);
        self.change(Change::AddKey(record))
    }

    /// Erases attachments, or all.
    pub fn erase(&mut self, acceptance: u64, scope: ErasedScope) -> u64 {
        let hash = leaf_hash(&self.leaves[usize::try_from(acceptance).unwrap()]);
        let whole = scope == ErasedScope::All;
        let envelope = Digest::of(&self.envelope.encode_to_vec()).to_bytes();
        let erasure = Erasure {
            scope: scope.into(),
            parts_sha256: manifest().parts.into_iter().map(|part| part.sha256).collect(),
            envelope_sha256: if whole { envelope } else { Bytes::new() },
            policy: "reports after two years".into(),
            ..Erasure::default()
        };
        let mut event = self.about(EventKind::PayloadErased).after(&hash);
        event.erasure = erasure.encode_to_vec().into();
        self.push(&event)
    }

    /// Places a hold.
    pub fn hold(&mut self, acceptance: u64) -> u64 {
        let hash = leaf_hash(&self.leaves[usize::try_from(acceptance).unwrap()]);
        let hold = LegalHold { reason: "vụ việc 12".into(), ..LegalHold::default() };
        let mut event = self.about(EventKind::LegalHold).after(&hash);
        event.legal_hold = hold.encode_to_vec().into();
        self.push(&event)
    }

    /// Leaf of the document's acceptance.
    pub fn accepted(&self) -> u64 {
        let first = |leaf: &u64| self.leaf(*leaf).event() == EventKind::SubmissionAcceptance;
        (0..self.leaves.len() as u64).find(first).unwrap()
    }

    pub fn revoke_key(&mut self, agency: &str, seed: u8) -> u64 {
        let record = self.key_record(agency, seed, SignerKind::Agency);
        self.change(Change::AddKey(proto::SigningKey { revoked_at_us: self.now, ..record }))
    }

    /// A leaf of somebody else, not in the file.
    pub fn unrelated(&mut self) -> u64 {
        let other = DocumentName::parse(TAKES, "another", 0).unwrap();
        let event = self.event(EventKind::ContentHandoverFailure).about(&other, &Digest([3; 32]));
        let index = self.push(&event);
        self.told.remove(&index);
        index
    }

    fn verdict(&self, envelope: &SignedEnvelope, kind: &str, agency: &str) -> Verdict {
        let agency = AgencyId::parse(agency).unwrap();
        let judged = envelope::judge(envelope, kind, &agency, &self.directory, Timestamp(self.now)).unwrap();
        Verdict {
            rules: RULES,
            as_of_index: self.leaves.len() as u64,
            signatures: judged.reports,
            legal_value: judged.legal_value.into(),
        }
    }

    pub fn accept(&mut self, recipients: &[&str]) -> u64 {
        let mut event = self.about(EventKind::SubmissionAcceptance).by_node("son-tay");
        event.verdict = Some(self.verdict(&self.envelope, MANIFEST, SENDER));
        event.signature_sha256 = envelope::signature_digests(&self.envelope);
        listed(&mut event, recipients);
        self.push(&event)
    }

    fn add(&mut self, recipients: &[&str]) -> u64 {
        let addressing = Addressing {
            document_id: ID.into(),
            sender: SENDER.into(),
            manifest_sha256: Digest::of(&self.envelope.payload).to_bytes(),
            recipients: recipients.iter().map(ToString::to_string).collect(),
            issued_at_us: self.now,
            hub_origin: ORIGIN.into(),
            ..Addressing::default()
        };
        let envelope = envelope::sign(ADDRESSING, addressing.encode_to_vec().into(), &[&key(1)]);
        let mut event = self.about(EventKind::SubmissionAcceptance).by_node("son-tay").holding(&envelope);
        event.verdict = Some(self.verdict(&envelope, ADDRESSING, SENDER));
        event.signature_sha256 = envelope::signature_digests(&envelope);
        listed(&mut event, recipients);
        self.push(&event)
    }

    fn after(&mut self, before: u64, kind: EventKind, recipient: &str) -> Evidence {
        let hash = leaf_hash(&self.leaves[usize::try_from(before).unwrap()]);
        self.about(kind).to(&AgencyId::parse(recipient).unwrap()).after(&hash)
    }

    pub fn consign(&mut self, list: u64, recipient: &str) -> u64 {
        let mut event = self.after(list, EventKind::ContentConsignment, recipient);
        event.delivery_deadline_us = 1_790_003_600 * SECOND;
        self.push(&event)
    }

    pub fn receipt(&mut self, before: u64, who: &str, seed: u8, outcome: Outcome, reason: &str) -> u64 {
        let receipt = RecipientReceipt {
            document_id: ID.into(),
            sender: SENDER.into(),
            manifest_sha256: Digest::of(&self.envelope.payload).to_bytes(),
            recipient: who.into(),
            outcome: outcome.into(),
            reason: reason.into(),
            received_at_us: self.now,
            hub_origin: ORIGIN.into(),
            ..RecipientReceipt::default()
        };
        let envelope = envelope::sign(RECEIPT, receipt.encode_to_vec().into(), &[&key(seed)]);
        let (kind, reasons) = match outcome {
            Outcome::Refused => (
                EventKind::ConsignmentRejection,
                vec![Reason::new(ReasonCode::RefusedByRecipient, "see the signed receipt")],
            ),
            _ => (EventKind::ContentHandover, Vec::new()),
        };
        let mut event = self.after(before, kind, who).holding(&envelope).because(&reasons);
        event.verdict = Some(self.verdict(&envelope, RECEIPT, who));
        self.push(&event)
    }

    fn status(&mut self, before: u64, who: &str, seed: u8, said: &BusinessStatus) -> u64 {
        let envelope = envelope::sign(STATUS, said.encode_to_vec().into(), &[&key(seed)]);
        let mut event = self.after(before, EventKind::ConsignmentAcceptance, who).holding(&envelope);
        event.verdict = Some(self.verdict(&envelope, STATUS, who));
        event.status_code = said.code;
        self.push(&event)
    }

    fn park(&mut self, who: &str, seed: u8, said: &BusinessStatus) -> u64 {
        let envelope = envelope::sign(STATUS, said.encode_to_vec().into(), &[&key(seed)]);
        let reason = Reason::new(ReasonCode::Parked, "kept until the document comes");
        let event = self.about(EventKind::StatusParked).to(&AgencyId::parse(who).unwrap());
        let mut event = event.holding(&envelope).because(&[reason]);
        event.manifest_sha256 = Bytes::new();
        event.verdict = Some(self.verdict(&envelope, STATUS, who));
        event.status_code = said.code;
        self.push(&event)
    }

    fn unpark(&mut self, before: u64, who: &str, seed: u8, said: &BusinessStatus, parked: u64) -> u64 {
        let envelope = envelope::sign(STATUS, said.encode_to_vec().into(), &[&key(seed)]);
        let mut event = self.after(before, EventKind::BusinessStatus, who).holding(&envelope);
        event.verdict = self.leaf(parked).verdict;
        event.status_code = said.code;
        self.push(&event)
    }

    pub fn expire(&mut self, before: u64, who: &str) -> u64 {
        self.now = 1_790_003_600 * SECOND;
        let reason = Reason::new(ReasonCode::DeadlinePassed, "the recipient did not take it over in time");
        let event = self.after(before, EventKind::ContentHandoverFailure, who).because(&[reason]);
        self.push(&event)
    }
}

fn name() -> DocumentName {
    DocumentName::parse(SENDER, ID, 0).unwrap()
}

fn listed(event: &mut Evidence, recipients: &[&str]) {
    let mut sorted = recipients.to_vec();
    sorted.sort_unstable();
    event.recipient_count = sorted.len() as u64;
    event.recipients_sha256 = recipients_digest(sorted.into_iter()).to_bytes();
}

fn status(from: &str, code: u32, description: &str) -> BusinessStatus {
    BusinessStatus {
        document_id: ID.into(),
        sender: SENDER.into(),
        from: from.into(),
        code,
        description: description.into(),
        occurred_at_us: 1_790_000_000 * SECOND,
        hub_origin: ORIGIN.into(),
        nonce: Bytes::from_static(&[5; 16]),
        ..BusinessStatus::default()
    }
}

fn manifest() -> Manifest {
    Manifest {
        document_id: ID.into(),
        nonce: Bytes::from_static(&[4; 16]),
        sender: SENDER.into(),
        recipients: [TAKES, REFUSES, SILENT, EARLY].map(str::to_owned).to_vec(),
        issued_at_us: 1_790_000_000 * SECOND,
        hub_origin: ORIGIN.into(),
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-09-20".into(),
            type_name: "Báo cáo".into(),
            subject: "Về việc phòng chống lũ".into(),
            ..DocumentInfo::default()
        }),
        parts: vec![Part {
            name: "Báo cáo.pdf".into(),
            media_type: "application/pdf".into(),
            size: 12,
            sha256: Digest::of(b"the document").to_bytes(),
        }],
        ..Manifest::default()
    }
}
