//! What the writer is asked, and what it answers.

use super::{
    actions::{Asked, Taken},
    erase::{Erasing, Holding, Lifting},
};
use crate::{
    domain::{
        document::{CheckedAddressing, CheckedManifest, CheckedReceipt, CheckedStatus},
        envelope::Judgement,
        id::{AgencyId, Digest, NodeName},
        reason::Reason,
    },
    hub::{claim::Claim, lanes::Owner},
    proto::{self, EventKind, SignedEnvelope},
    store::{
        Waiting,
        records::{ActionRecord, BodyRecord, ErasureRecord},
    },
};

/// A verified document on its way into the log.
pub struct Submission {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// Its checked manifest.
    pub checked: CheckedManifest,
    /// Digest of the manifest.
    pub manifest_sha256: Digest,
    /// How its signatures were judged, by the directory of `as_of`.
    pub judgement: Judgement,
    /// Recipients after expansion, by the same directory.
    pub recipients: Vec<AgencyId>,
    /// Version of that directory.
    pub as_of: u64,
    /// Envelope and parts, durable or in a pack that the commit syncs.
    pub bodies: Vec<BodyRecord>,
    /// Those of its parts that the node uploaded before.
    pub uploaded: Vec<Digest>,
    /// Digest under which the envelope is kept.
    pub envelope_sha256: Digest,
    /// Erasures that were known when the bodies were looked up.
    pub erasures: u64,
}

/// More recipients for an accepted document.
pub struct Addition {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// What it asks.
    pub checked: CheckedAddressing,
    /// How its signatures were judged.
    pub judgement: Judgement,
    /// Recipients after expansion.
    pub recipients: Vec<AgencyId>,
    /// Version of the directory used.
    pub as_of: u64,
}

/// A signed message of an agency about a delivery.
pub struct Report<T> {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// What it says.
    pub checked: T,
    /// How its signatures were judged.
    pub judgement: Judgement,
}

/// A refusal that becomes evidence.
pub struct Rejection {
    /// SUBMISSION_REJECTION or REPORT_REJECTION.
    pub event: EventKind,
    /// Node that was refused.
    pub node: NodeName,
    /// What the message says of itself.
    pub claim: Claim,
    /// Digest of what was handed in.
    pub message: Digest,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Rejection {
    /// A signed message of this node is refused.
    pub fn of(event: EventKind, node: &NodeName, envelope: &SignedEnvelope, reasons: Vec<Reason>) -> Self {
        let (claim, message) = (Claim::of(envelope), Digest::of(&envelope.payload));
        Self { event, node: node.clone(), claim, message, reasons }
    }
}

/// What the writer is asked to do.
pub enum Proposal {
    /// Accept a document.
    Submit(Box<Submission>),
    /// Send a document to more recipients.
    Add(Box<Addition>),
    /// Record that a submission or report was refused.
    Reject(Box<Rejection>),
    /// Take a recipient's receipt.
    Receipt(Box<Report<CheckedReceipt>>),
    /// Take a business status.
    Status(Box<Report<CheckedStatus>>),
    /// Change the directory, on this person's word.
    Change(Box<proto::DirectoryChange>, Option<proto::Actor>),
    /// Add many agencies; a bad one does not stop the others.
    Import(Vec<proto::Agency>, Option<proto::Actor>),
    /// End deliveries whose deadline passed.
    Expire(Vec<Waiting>),
    /// Close a day with its digest.
    Close(Box<crate::hub::daily::Closed>),
    /// Record what auditors asked.
    Note(Box<proto::AuditQueries>),
    /// Begin what an operator asks for.
    Act(Box<Asked>),
    /// A second person approves an action, or somebody takes it back.
    Judge(Box<Taken>),
    /// Go on with actions whose time has come.
    Wake,
    /// Erase contents.
    Erase(Vec<Erasing>),
    /// Record that the bytes of erased contents are gone.
    Removed(Vec<ErasureRecord>),
    /// Place a legal hold.
    Hold(Box<Holding>),
    /// Lift one.
    Lift(Box<Lifting>),
    /// Remember how far an agency has read.
    SaveCursor(NodeName, AgencyId, u64),
}

impl Proposal {
    /// Whose turn it takes.
    pub fn owner(&self) -> Owner {
        let node = match self {
            Self::Submit(submission) => &submission.node,
            Self::Add(addition) => &addition.node,
            Self::Reject(rejection) => &rejection.node,
            Self::Receipt(report) => &report.node,
            Self::Status(report) => &report.node,
            Self::SaveCursor(node, ..) => node,
            Self::Change(..) | Self::Import(..) | Self::Expire(_) | Self::Note(_) | Self::Close(_) => {
                return None;
            }
            Self::Act(_) | Self::Judge(_) | Self::Wake => return None,
            Self::Erase(_) | Self::Removed(_) | Self::Hold(_) | Self::Lift(_) => return None,
        };
        Some(node.clone())
    }
}

/// A leaf with its proof, or where it is to be read: the writer reads nothing for others.
#[derive(Debug)]
pub enum Proof {
    /// Made by this group.
    Fresh(proto::Receipt),
    /// A leaf of an earlier one.
    Stored(u64),
}

/// What the writer answers.
#[derive(Debug)]
pub enum Answer {
    /// Evidence with proof; `repeat` when it was made for an earlier request.
    Receipt {
        /// The proof.
        proof: Proof,
        /// True for a repeat.
        repeat: bool,
    },
    /// Refused, with the evidence of it.
    Refused {
        /// Why.
        reasons: Vec<Reason>,
        /// The proof.
        proof: Proof,
    },
    /// Result of an import.
    Imported(proto::ImportAgenciesResponse),
    /// An action as it stands now, with the proof of what was asked.
    Acted(Box<ActionRecord>, Proof),
    /// For each document its leaf, or why it was not erased.
    Erased(Vec<Result<u64, Reason>>),
    /// Done.
    Done,
}

/// What a request comes to, before the commit that makes it true.
pub enum Decision {
    /// A new leaf of this draft answers it.
    New(u64),
    /// The leaf that answered the same request before.
    Known(u64),
    /// Refused; the leaf is the evidence.
    Refused(Vec<Reason>, u64),
    /// Import result.
    Imported(proto::ImportAgenciesResponse),
    /// An action, and the new leaf about it.
    Acted(Box<ActionRecord>, u64),
    /// Leaves of erasures, or why there is none.
    Erased(Vec<Result<u64, Reason>>),
    /// Nothing to prove.
    Done,
}
