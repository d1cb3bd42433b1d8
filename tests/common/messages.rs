//! What agencies write and sign.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use prost::Message;
use truc::{
    domain::{
        envelope,
        id::{Digest, NodeName},
        signature::{Algorithm, SigningKey},
        time::Timestamp,
    },
    proto::{directory_change::Change, *},
};

pub const ORIGIN: &str = "hub.test/log";
/// 2026-09-21.
pub const START: Timestamp = Timestamp(1_790_000_000_000_000);
pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

pub const MINISTRY: &str = "000.00.00.G01";
pub const PROVINCE: &str = "000.00.00.H53";
pub const DISTRICT: &str = "000.00.31.H53";
pub const TAN_BINH: &str = "000.21.31.H53";
pub const TAN_HOA: &str = "000.22.31.H53";
pub const TAN_LAP: &str = "000.23.31.H53";
pub const COMMUNES: [&str; 3] = [TAN_BINH, TAN_HOA, TAN_LAP];

/// Nodes and the agencies they act for.
pub const NODES: [(&str, &[&str]); 3] = [
    ("ministry", &[MINISTRY]),
    ("province", &[PROVINCE, DISTRICT]),
    ("communes", &[TAN_BINH, TAN_HOA, TAN_LAP]),
];

pub fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

/// The node that acts for an agency.
pub fn node_of(agency: &str) -> NodeName {
    node(NODES.iter().find(|(_, agencies)| agencies.contains(&agency)).map_or("communes", |(name, _)| name))
}

/// An agency's keys.
#[derive(Clone)]
pub struct Hands {
    pub seal: Arc<SigningKey>,
    pub leader: Arc<SigningKey>,
}

pub fn new_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Algorithm::Ed25519).unwrap())
}

/// The keys of the whole country.
#[derive(Clone)]
pub struct Keys(HashMap<&'static str, Hands>);

impl Keys {
    pub fn new() -> Self {
        let agencies = NODES.iter().flat_map(|(_, agencies)| agencies.iter());
        Self(agencies.map(|agency| (*agency, Hands { seal: new_key(), leader: new_key() })).collect())
    }

    pub fn of(&self, agency: &str) -> &Hands {
        &self.0[agency]
    }

    /// Signed by the seal of `agency`.
    pub fn sign(&self, agency: &str, payload_type: &str, message: &impl Message) -> SignedEnvelope {
        envelope::sign(payload_type, message.encode_to_vec().into(), &[&self.of(agency).seal])
    }

    /// As its sender signs it.
    pub fn manifest(&self, manifest: &Manifest) -> SignedEnvelope {
        self.sign(&manifest.sender, envelope::MANIFEST, manifest)
    }

    pub fn addressing(&self, addressing: &Addressing) -> SignedEnvelope {
        self.sign(&addressing.sender, envelope::ADDRESSING, addressing)
    }

    pub fn receipt(&self, receipt: &RecipientReceipt) -> SignedEnvelope {
        self.sign(&receipt.recipient, envelope::RECEIPT, receipt)
    }

    pub fn status(&self, status: &BusinessStatus) -> SignedEnvelope {
        self.sign(&status.from, envelope::STATUS, status)
    }
}

/// Another number each time.
pub fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn nonce() -> Bytes {
    Bytes::copy_from_slice(Digest::of(&fresh().to_be_bytes()).as_bytes()[..16].as_ref())
}

/// A legal document from the province to one commune.
pub fn manifest(id: &str) -> Manifest {
    Manifest {
        document_id: id.into(),
        nonce: nonce(),
        sender: PROVINCE.into(),
        recipients: vec![TAN_BINH.into()],
        issued_at_us: START.0,
        hub_origin: ORIGIN.into(),
        document: Some(DocumentInfo {
            number: fresh().to_string(),
            notation: "CV-UBND".into(),
            promulgation_date: "2026-09-20".into(),
            type_name: "Công văn".into(),
            subject: "Kiểm thử".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub trait Edit: Sized {
    /// The same with a change.
    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }
}
impl<T> Edit for T {}

pub fn to(recipients: &[&str]) -> Vec<String> {
    recipients.iter().map(ToString::to_string).collect()
}

pub fn part(name: &str, bytes: &[u8]) -> Part {
    Part {
        name: name.into(),
        media_type: "application/pdf".into(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes).to_bytes(),
    }
}

/// More recipients for the document of this evidence.
pub fn addressing(document: &Evidence, recipients: &[&str]) -> Addressing {
    Addressing {
        document_id: document.document_id.clone(),
        sender: document.sender.clone().unwrap().agency,
        revision: document.revision,
        manifest_sha256: document.manifest_sha256.clone(),
        recipients: to(recipients),
        groups: Vec::new(),
        issued_at_us: START.0,
        hub_origin: ORIGIN.into(),
    }
}

/// A recipient's word about the document of this evidence.
pub fn receipt(document: &Evidence, recipient: &str, outcome: Outcome) -> RecipientReceipt {
    RecipientReceipt {
        document_id: document.document_id.clone(),
        sender: document.sender.clone().unwrap().agency,
        revision: document.revision,
        manifest_sha256: document.manifest_sha256.clone(),
        recipient: recipient.into(),
        outcome: outcome.into(),
        reason: if outcome == Outcome::Refused { "Gửi nhầm nơi nhận".into() } else { String::new() },
        received_at_us: START.0,
        hub_origin: ORIGIN.into(),
    }
}

/// A status of a recipient for a document of the province.
pub fn status(id: &str, from: &str, code: u32) -> BusinessStatus {
    BusinessStatus {
        document_id: id.into(),
        sender: PROVINCE.into(),
        from: from.into(),
        code,
        description: "theo quy định".into(),
        occurred_at_us: START.0,
        hub_origin: ORIGIN.into(),
        nonce: nonce(),
        ..Default::default()
    }
}

/// The province asks for a document back.
pub fn recall(id: &str, recipient: &str) -> BusinessStatus {
    status(id, PROVINCE, 13).with(|s| s.to = recipient.into())
}

pub fn change(change: Change) -> DirectoryChange {
    DirectoryChange { change: Some(change), reason: "kiểm thử".into() }
}

pub fn put_agency(organ_id: &str) -> DirectoryChange {
    change(Change::PutAgency(Agency {
        organ_id: organ_id.into(),
        name: format!("Cơ quan {organ_id}"),
        ..Default::default()
    }))
}

pub fn set_state(organ_id: &str, state: AgencyState) -> DirectoryChange {
    change(Change::SetAgencyState(SetAgencyState { organ_id: organ_id.into(), state: state.into() }))
}

pub fn put_node(name: &str, agencies: &[&str]) -> DirectoryChange {
    change(Change::PutNode(Node { name: name.into(), agencies: to(agencies), revoked: false }))
}

pub fn revoke_node(name: &str) -> DirectoryChange {
    change(Change::RevokeNode(RevokeNode { name: name.into() }))
}

pub fn add_key(agency: &str, key: &SigningKey, kind: SignerKind) -> SigningKeyChange {
    SigningKeyChange(truc::proto::SigningKey {
        agency: agency.into(),
        spki_der: key.public_key().spki_der().clone(),
        signer_kind: kind.into(),
        ..Default::default()
    })
}

/// A key's registration, to be changed before it is made.
pub struct SigningKeyChange(pub truc::proto::SigningKey);

impl From<SigningKeyChange> for DirectoryChange {
    fn from(key: SigningKeyChange) -> Self {
        change(Change::AddKey(key.0))
    }
}

pub fn revoke_key(key: &SigningKey) -> DirectoryChange {
    change(Change::RevokeKey(RevokeKey { key_id: key.public_key().key_id().to_bytes() }))
}
