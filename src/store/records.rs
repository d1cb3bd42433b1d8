//! What is on disk, as protobuf messages of the store's own. Fields are only ever added.

use bytes::Bytes;

use crate::{
    domain::delivery::Transport,
    proto::{ActionKind, ActionPhase, ErasedScope, TransportState},
    tlog::Hash,
};

/// The log after a commit.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Head {
    /// Number of leaves.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// RFC 6962 root, 32 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub root: Bytes,
    /// Signed note over size and root; empty only before the first commit.
    #[prost(string, tag = "3")]
    pub checkpoint: String,
    /// Number of documents accepted so far, without test documents.
    #[prost(uint64, tag = "4")]
    pub documents: u64,
}

/// One leaf and who should hear of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeafRecord {
    /// Serialized evidence: the exact leaf.
    #[prost(bytes = "bytes", tag = "1")]
    pub evidence: Bytes,
    /// Document whose timeline it belongs to: the acceptance's leaf index plus one, 0 for none.
    #[prost(uint64, tag = "2")]
    pub document_plus_one: u64,
    /// Agencies in whose watch it appears.
    #[prost(string, repeated, tag = "3")]
    pub feeds: Vec<String>,
}

/// An accepted document. Its index is the leaf index of its acceptance.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DocumentRecord {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(string, tag = "2")]
    pub sender: String,
    #[prost(string, tag = "3")]
    pub document_id: String,
    #[prost(uint64, tag = "4")]
    pub revision: u64,
    #[prost(bytes = "bytes", tag = "5")]
    pub manifest_sha256: Bytes,
    /// Digest under which the serialized envelope is kept as a body.
    #[prost(bytes = "bytes", tag = "6")]
    pub envelope_sha256: Bytes,
    #[prost(uint32, tag = "7")]
    pub urgency: u32,
    #[prost(int64, tag = "8")]
    pub accepted_at_us: i64,
    #[prost(int64, tag = "9")]
    pub deadline_us: i64,
    /// Calendar year of promulgation, number and notation: the natural key within the sender.
    #[prost(uint32, tag = "10")]
    pub year: u32,
    #[prost(string, tag = "11")]
    pub number: String,
    #[prost(string, tag = "12")]
    pub notation: String,
    /// Digests of the parts.
    #[prost(bytes = "bytes", repeated, tag = "13")]
    pub parts: Vec<Bytes>,
    /// Node that submitted it.
    #[prost(string, tag = "14")]
    pub node: String,
    /// `proto::Operation`.
    #[prost(int32, tag = "15")]
    pub operation: i32,
    /// A test document: for no statistics.
    #[prost(bool, tag = "45")]
    pub test: bool,
}

/// Recipients of a document as expanded at acceptance. Its index is the leaf index of the acceptance
/// that named them: the document's own, or that of an addition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RecipientList {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Index of the document.
    #[prost(uint64, tag = "2")]
    pub document: u64,
    /// Sorted, without repeats.
    #[prost(string, repeated, tag = "3")]
    pub recipients: Vec<String>,
}

/// How far a recipient list has been turned into deliveries. The durable marker of fan-out.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExpansionRecord {
    /// Index of the recipient list.
    #[prost(uint64, tag = "1")]
    pub list: u64,
    /// Recipients done.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Recipients in all; `next == total` ends the expansion.
    #[prost(uint64, tag = "3")]
    pub total: u64,
}

/// The state of one delivery after a commit.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliveryRecord {
    /// Index of the document.
    #[prost(uint64, tag = "1")]
    pub document: u64,
    #[prost(string, tag = "2")]
    pub recipient: String,
    /// `proto::TransportState`.
    #[prost(int32, tag = "3")]
    pub transport: i32,
    /// Business code that moved the state last, 0 for none.
    #[prost(uint32, tag = "4")]
    pub status_code: u32,
    /// A recall or update waits for 15 or 16.
    #[prost(bool, tag = "5")]
    pub change_pending: bool,
    /// Hash of the newest leaf of this delivery: the evidence chain.
    #[prost(bytes = "bytes", tag = "6")]
    pub last_leaf_hash: Bytes,
    /// Leaf index of the handover, refusal or expiry plus one, 0 while it waits.
    #[prost(uint64, tag = "7")]
    pub final_leaf_plus_one: u64,
    #[prost(uint32, tag = "8")]
    pub urgency: u32,
    #[prost(int64, tag = "9")]
    pub deadline_us: i64,
    /// While it is held: the action that holds it, plus one.
    #[prost(uint64, tag = "10")]
    pub held_by_plus_one: u64,
    /// The hold that was in force before that action took it over, plus one.
    #[prost(uint64, tag = "11")]
    pub held_before_plus_one: u64,
    /// Of a test document.
    #[prost(bool, tag = "45")]
    pub test: bool,
}

/// What an operator asked for, in its state after the commit. It is also the durable marker of its progress: each
/// commit that moves deliveries says how far it came.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActionRecord {
    /// Leaf of the first ADMIN_ACTION.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// `proto::ActionKind`.
    #[prost(int32, tag = "2")]
    pub kind: i32,
    /// Index of the document that it is about, plus one; 0 for everything that waits for the recipients.
    #[prost(uint64, tag = "3")]
    pub document_plus_one: u64,
    /// The agency that it names.
    #[prost(string, tag = "4")]
    pub agency: String,
    /// The node that it names.
    #[prost(string, tag = "5")]
    pub node: String,
    /// Recipients that it is about; empty for all of a document.
    #[prost(string, repeated, tag = "6")]
    pub recipients: Vec<String>,
    #[prost(string, tag = "7")]
    pub reason: String,
    #[prost(int64, tag = "8")]
    pub until_us: i64,
    #[prost(string, tag = "9")]
    pub redirect_to: String,
    /// Who asked.
    #[prost(string, tag = "10")]
    pub actor: String,
    /// `proto::ActorRole`.
    #[prost(int32, tag = "11")]
    pub role: i32,
    #[prost(int64, tag = "12")]
    pub asked_at_us: i64,
    /// `proto::ActionPhase`.
    #[prost(int32, tag = "13")]
    pub phase: i32,
    /// When the phase ends by itself; 0 if it does not.
    #[prost(int64, tag = "14")]
    pub phase_until_us: i64,
    /// Deliveries by plan.
    #[prost(uint64, tag = "15")]
    pub planned: u64,
    /// Deliveries moved by the present phase, or by the last one that moved any.
    #[prost(uint64, tag = "16")]
    pub done: u64,
    #[prost(string, tag = "17")]
    pub approved_by: String,
    #[prost(string, tag = "18")]
    pub undone_by: String,
    /// How far the present phase came: the last delivery looked at. Empty at its beginning.
    #[prost(string, tag = "19")]
    pub at_recipient: String,
    #[prost(uint32, tag = "20")]
    pub at_rank: u32,
    #[prost(uint64, tag = "21")]
    pub at_document: u64,
    /// Length of the undo window, as it was when the action was asked for.
    #[prost(int64, tag = "22")]
    pub undo_window_us: i64,
}

/// A signed message that was taken in: its repeat returns the same receipt.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MessageRecord {
    /// SHA-256 of the signed payload.
    #[prost(bytes = "bytes", tag = "1")]
    pub payload_sha256: Bytes,
    /// Leaf that answered it.
    #[prost(uint64, tag = "2")]
    pub leaf: u64,
}

/// A status that waits for its document.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ParkedRecord {
    #[prost(string, tag = "1")]
    pub sender: String,
    #[prost(string, tag = "2")]
    pub document_id: String,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    /// Agency whose delivery the status is about.
    #[prost(string, tag = "4")]
    pub recipient: String,
    /// Leaf of the STATUS_PARKED evidence, which holds the signed status.
    #[prost(uint64, tag = "5")]
    pub leaf: u64,
    /// True when the document came and the status was applied: the entry ends.
    #[prost(bool, tag = "6")]
    pub applied: bool,
}

/// A leaf that changed the directory; its evidence holds the change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DirectoryRecord {
    #[prost(uint64, tag = "1")]
    pub leaf: u64,
}

/// Where a body lies. Written with the first commit that needs the body.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BodyRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub sha256: Bytes,
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Pack number plus one for a small body; 0 for a file of its own, named by the digest.
    #[prost(uint32, tag = "3")]
    pub pack_plus_one: u32,
    /// Offset of the bytes in the pack.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
}

/// How far an agency has read its watch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CursorRecord {
    #[prost(string, tag = "1")]
    pub agency: String,
    /// Next leaf index to read.
    #[prost(uint64, tag = "2")]
    pub next: u64,
}

impl ActionRecord {
    /// The kind; an unknown number reads as unspecified.
    #[must_use]
    pub fn action_kind(&self) -> ActionKind {
        ActionKind::try_from(self.kind).unwrap_or_default()
    }

    /// The phase; an unknown number reads as unspecified.
    #[must_use]
    pub fn action_phase(&self) -> ActionPhase {
        ActionPhase::try_from(self.phase).unwrap_or_default()
    }

    /// True while something is still to come of it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        use ActionPhase::{Active, Applying, Effecting, Pending, Undoing, Waiting};
        matches!(self.action_phase(), Pending | Applying | Waiting | Active | Effecting | Undoing)
    }
}

/// Contents of a document that may not be read any more. The newest one of a document counts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ErasureRecord {
    /// Index of the document.
    #[prost(uint64, tag = "1")]
    pub document: u64,
    /// Leaf of the evidence.
    #[prost(uint64, tag = "2")]
    pub leaf: u64,
    /// `proto::ErasedScope`.
    #[prost(int32, tag = "3")]
    pub scope: i32,
    /// Bodies to remove: no other document needs them. From this commit on they are not reachable by their digest.
    #[prost(message, repeated, tag = "4")]
    pub remove: Vec<BodyRecord>,
    /// Where the packs ended: copies of these bodies that lie before it are removed as well.
    #[prost(uint32, tag = "5")]
    pub pack: u32,
    /// Offset in that pack.
    #[prost(uint64, tag = "6")]
    pub pack_offset: u64,
    /// The bytes are gone. Until then the removal goes on after every start.
    #[prost(bool, tag = "7")]
    pub removed: bool,
}

impl ErasureRecord {
    /// True if the envelope is gone too.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.scope == i32::from(ErasedScope::All)
    }
}

/// A legal hold: what it names is not erased.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HoldRecord {
    /// Leaf that placed it, which is its name.
    #[prost(uint64, tag = "1")]
    pub leaf: u64,
    /// The document's index plus one, 0 for an agency.
    #[prost(uint64, tag = "2")]
    pub document_plus_one: u64,
    /// The agency whose documents are held, sent and received.
    #[prost(string, tag = "3")]
    pub agency: String,
    #[prost(string, tag = "4")]
    pub reason: String,
    #[prost(string, tag = "5")]
    pub operator: String,
    #[prost(int64, tag = "6")]
    pub placed_at_us: i64,
    /// True when the hold ended.
    #[prost(bool, tag = "7")]
    pub lifted: bool,
}

/// How many consignments one agency got from another, and in all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PairRecord {
    #[prost(string, tag = "1")]
    pub recipient: String,
    #[prost(string, tag = "2")]
    pub sender: String,
    /// Number of the newest one from this sender.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// The number that the same one has among all to the recipient.
    #[prost(uint64, tag = "4")]
    pub received: u64,
    /// Its leaf.
    #[prost(uint64, tag = "5")]
    pub leaf: u64,
}

/// How many acceptances one agency got as a sender.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SentRecord {
    #[prost(string, tag = "1")]
    pub sender: String,
    /// Number of the newest one.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Its leaf.
    #[prost(uint64, tag = "3")]
    pub leaf: u64,
}

/// A digest in the log: a day that is closed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DigestRecord {
    /// Days since 1970-01-01 in UTC+7.
    #[prost(uint32, tag = "1")]
    pub day: u32,
    /// Leaf of the digest.
    #[prost(uint64, tag = "2")]
    pub leaf: u64,
    /// Its leaves are `start..end`.
    #[prost(uint64, tag = "3")]
    pub start: u64,
    #[prost(uint64, tag = "4")]
    pub end: u64,
    /// Serialized `AgencyDay` of each agency, in the order of their identifiers; empty in the index.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub agencies: Vec<Bytes>,
}

impl DeliveryRecord {
    /// It came to an end with this leaf.
    pub fn end(&mut self, state: Transport, leaf: u64, hash: &Hash) {
        self.transport = state.to_proto().into();
        self.final_leaf_plus_one = leaf + 1;
        self.last_leaf_hash = Bytes::copy_from_slice(hash);
        (self.held_by_plus_one, self.held_before_plus_one) = (0, 0);
    }

    /// The transport state; an unknown number reads as unspecified.
    #[must_use]
    pub fn transport_state(&self) -> TransportState {
        TransportState::try_from(self.transport).unwrap_or(TransportState::Unspecified)
    }
}
