//! Everything that was ever said to the hub, by the digest under which the log answers it.

use std::{collections::BTreeMap, sync::LazyLock};

use truc::{
    domain::{envelope, id::Digest, signature::SigningKey},
    proto::*,
};

use crate::common::*;

/// Nodes and their agencies. The branch shares two communes with the communes' own node.
pub const CAST: [(&str, &[&str]); 4] = [
    ("ministry", &[MINISTRY]),
    ("province", &[PROVINCE, DISTRICT]),
    ("communes", &COMMUNES),
    ("branch", &[TAN_BINH, TAN_HOA]),
];
pub const BRANCH: usize = 3;
pub const AGENCIES: [&str; 6] = [MINISTRY, PROVINCE, DISTRICT, TAN_BINH, TAN_HOA, TAN_LAP];
/// Seals that an agency has in stock: a revoked one is replaced by the next.
pub const SEALS: usize = 4;

static STOCK: LazyLock<BTreeMap<&str, Vec<std::sync::Arc<SigningKey>>>> =
    LazyLock::new(|| AGENCIES.iter().map(|of| (*of, (0..SEALS).map(|_| new_key()).collect())).collect());

pub fn seal(agency: &str, number: usize) -> &'static SigningKey {
    &STOCK[agency][number]
}

#[derive(Clone)]
pub enum Word {
    Document(Box<Manifest>),
    Addition(Addressing),
    Receipt(RecipientReceipt),
    Status(BusinessStatus),
    Change(DirectoryChange),
}

/// One message; said again and again it stays the same bytes.
#[derive(Clone)]
pub struct Said {
    pub word: Word,
    pub envelope: SignedEnvelope,
    pub digest: Vec<u8>,
    /// Agency that is said to speak; empty for the operator.
    pub agency: String,
}

/// The book of all that was said.
#[derive(Clone, Default)]
pub struct Book {
    pub said: Vec<Said>,
    by_digest: BTreeMap<Vec<u8>, usize>,
}

impl Book {
    pub fn write(&mut self, word: Word, seal_number: usize) -> usize {
        let (agency, envelope) = sign(&word, seal_number);
        let digest = Digest::of(&envelope.payload).to_bytes().to_vec();
        let at = self.said.len();
        self.by_digest.insert(digest.clone(), at);
        self.said.push(Said { word, envelope, digest, agency });
        at
    }

    pub fn find(&self, digest: &[u8]) -> Option<usize> {
        self.by_digest.get(digest).copied()
    }
}

fn sign(word: &Word, seal_number: usize) -> (String, SignedEnvelope) {
    let made = |agency: &str, kind, payload: Vec<u8>| {
        (agency.to_owned(), envelope::sign(kind, payload.into(), &[seal(agency, seal_number)]))
    };
    use prost::Message;
    match word {
        Word::Document(m) => made(&m.sender, envelope::MANIFEST, m.encode_to_vec()),
        Word::Addition(m) => made(&m.sender, envelope::ADDRESSING, m.encode_to_vec()),
        Word::Receipt(m) => made(&m.recipient, envelope::RECEIPT, m.encode_to_vec()),
        Word::Status(m) => made(&m.from, envelope::STATUS, m.encode_to_vec()),
        Word::Change(_) => (String::new(), SignedEnvelope::default()),
    }
}

impl Said {
    /// In few words, for the trace.
    pub fn words(&self) -> String {
        match &self.word {
            Word::Document(m) => format!("document {} of {} to {:?}", m.document_id, m.sender, m.recipients),
            Word::Addition(m) => format!("addition {} to {:?}", m.document_id, m.recipients),
            Word::Receipt(m) => {
                format!("receipt {} by {} {}", m.document_id, m.recipient, m.outcome().as_str_name())
            }
            Word::Status(m) => format!("status {} {} {} {}", m.document_id, m.from, m.code, m.to),
            Word::Change(m) => format!("change {:?}", m.change.as_ref().map(what)),
        }
    }
}

fn what(change: &directory_change::Change) -> String {
    use directory_change::Change;
    match change {
        Change::PutAgency(agency) => format!("put {}", agency.organ_id),
        Change::SetAgencyState(set) => format!("state {} {}", set.organ_id, set.state().as_str_name()),
        Change::PutNode(node) => format!("node {}", node.name),
        Change::RevokeNode(node) => format!("revoke node {}", node.name),
        Change::AddKey(key) => format!("key of {}", key.agency),
        Change::RevokeKey(_) => "revoke key".into(),
        Change::ChangeLogKey(_) => "log key".into(),
    }
}
