//! What survives a crash. One write, named reads, in domain words.

pub mod commit;
#[cfg(test)]
pub mod contract;
pub mod embedded;
mod files;
pub mod memory;
pub mod meters;
pub mod payload;
pub mod records;
pub mod search;
pub mod witnessed;
pub mod written;

use std::{fmt::Display, ops::Range};

use bytes::Bytes;
pub use commit::{Commit, CommitError};
pub use embedded::check::{Finding, Severity, What};
use records::{
    ActionRecord, BodyRecord, DeliveryRecord, DigestRecord, DocumentRecord, ErasureRecord, ExpansionRecord,
    Head, HoldRecord, PairRecord, ParkedRecord, RecipientList, SentRecord,
};

use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    tlog::{Hash, keys::LogKeys, merkle},
};

/// A read that could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The device failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The device's word.
        source: std::io::Error,
    },
    /// Stored bytes are not what was written. Names the place.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// The same, with the place where the bytes lie in front.
    #[must_use]
    pub fn within(self, place: impl Display) -> Self {
        match self {
            Self::Damaged(what) => Self::Damaged(format!("{place}: {what}")),
            other => other,
        }
    }
}

/// A leaf with the head of the commit that wrote it, from which its first receipt was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    /// The exact evidence bytes.
    pub evidence: bytes::Bytes,
    /// Head after the commit that holds this leaf.
    pub head: Head,
}

/// What one step of a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubStep {
    /// True at the end of everything: the next step begins anew.
    pub ended: bool,
    /// Bytes that were read.
    pub bytes: u64,
    /// Frames of the journal that are done, ...
    pub frames: u64,
    /// ... of so many.
    pub of_frames: u64,
}

/// A delivery that waits for its recipient, in the order in which it should go out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Recipient agency.
    pub recipient: String,
    /// 4 minus the urgency, so that urgent sorts first.
    pub rank: u8,
    /// Document index, which is also its age.
    pub document: u64,
    /// Moment by which it must be taken over.
    pub deadline_us: i64,
    /// True in state HELD: it is not offered for the time being.
    pub held: bool,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Rank of an urgency (0 to 4): urgent sorts first.
#[must_use]
pub fn rank(urgency: u32) -> u8 {
    4 - u8::try_from(urgency.min(4)).unwrap_or(4)
}

/// [`Store::evidence`] by reading each leaf alone.
fn one_by_one(store: &(impl Store + ?Sized), leaves: Range<u64>) -> Result<Vec<(Hash, Bytes)>, StoreError> {
    let missing = |leaf| StoreError::Damaged(format!("leaf {leaf} is missing"));
    let one = |leaf| {
        let evidence = store.leaf(leaf)?.ok_or_else(|| missing(leaf))?.evidence;
        Ok((merkle::leaf_hash(&evidence), evidence))
    };
    leaves.map(one).collect()
}

/// The store's promise.
///
/// - [`commit`](Store::commit) returns only when everything in the commit survives power loss, and readers see all of it or nothing.
///   The bodies that it names are durable before it is: small ones may have been in memory only.
/// - One writer calls `commit`; reads may come from any thread at any time, also during a commit.
/// - A reader that was told of a commit sees it.
/// - After [`CommitError::Unknown`] every later commit fails: the process has to recover.
pub trait Store: Send + Sync + 'static {
    /// Makes one commit durable.
    fn commit(&self, commit: &Commit) -> Result<(), CommitError>;

    /// Tells that nothing is waiting to be committed: a good moment for housekeeping that must not delay anyone.
    fn idle(&self) -> Result<(), CommitError> {
        Ok(())
    }

    /// An error says that the process must stop and go through recovery: no commit will succeed, and reads may
    /// fail. Cheap, and never waits for a commit: to be asked often.
    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The newest head.
    fn head(&self) -> Head;

    /// A stored tree hash by its stored index (`tlog::merkle::stored_index`).
    fn node(&self, stored_index: u64) -> Result<Hash, StoreError>;

    /// A leaf by index; `None` beyond the head.
    fn leaf(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError>;

    /// Hash and exact evidence bytes of leaves below the head, which are read as a row. If one of them is damaged, the
    /// whole row is.
    fn evidence(&self, leaves: Range<u64>) -> Result<Vec<(Hash, Bytes)>, StoreError> {
        one_by_one(self, leaves)
    }

    /// Index of the document of this name.
    fn find_document(&self, name: &DocumentName) -> Result<Option<u64>, StoreError>;

    /// Indexes of all documents with this id, whoever sent them, at most `limit`.
    fn documents_with_id(&self, document_id: &str, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// First document of this sender, year, number and notation.
    fn natural_key(
        &self,
        sender: &AgencyId,
        year: u32,
        number: &str,
        notation: &str,
    ) -> Result<Option<u64>, StoreError>;

    /// A document by index.
    fn document(&self, index: u64) -> Result<Option<DocumentRecord>, StoreError>;

    /// A recipient list by index.
    fn recipient_list(&self, index: u64) -> Result<Option<RecipientList>, StoreError>;

    /// Expansions that are not finished.
    fn expansions(&self) -> Result<Vec<ExpansionRecord>, StoreError>;

    /// One delivery.
    fn delivery(&self, document: u64, recipient: &AgencyId) -> Result<Option<DeliveryRecord>, StoreError>;

    /// Deliveries of a document in the order of recipients, after `after`, at most `limit`.
    fn deliveries(
        &self,
        document: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Deliveries in state READY or HELD, of all recipients, in order, after `after`, at most `limit`.
    fn waiting(&self, after: Option<&Waiting>, limit: usize) -> Result<Vec<Waiting>, StoreError>;

    /// Leaf indexes of a document's timeline from `from` on, at most `limit`.
    fn timeline(&self, document: u64, from: u64, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// Leaf indexes of an agency's watch from `from` on, at most `limit`.
    fn feed(&self, agency: &AgencyId, from: u64, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// Leaf that answered a signed message.
    fn answered(&self, payload: &Digest) -> Result<Option<u64>, StoreError>;

    /// Statuses parked for a recipient of a document, oldest first.
    fn parked(&self, name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Parked statuses of all deliveries, at most `limit`, in no certain order.
    fn all_parked(&self, limit: usize) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Where a body lies, if a commit made it reachable. For envelopes ask [`envelope`](Store::envelope).
    fn body(&self, digest: &Digest) -> Result<Option<BodyRecord>, StoreError>;

    /// Where a document's envelope lies: [`body`](Store::body) by its digest, where that is kept for envelopes.
    fn envelope(&self, document: &DocumentRecord) -> Result<Option<BodyRecord>, StoreError> {
        Digest::from_slice(&document.envelope_sha256).map_or(Ok(None), |digest| self.body(&digest))
    }

    /// Saved watch cursor.
    fn cursor(&self, agency: &AgencyId) -> Result<Option<u64>, StoreError>;

    /// The counting of consignments from a sender to a recipient.
    fn pair(&self, recipient: &AgencyId, sender: &AgencyId) -> Result<Option<PairRecord>, StoreError>;

    /// The counting of all consignments to a recipient: the pair that has its newest one.
    fn received(&self, recipient: &AgencyId) -> Result<Option<PairRecord>, StoreError>;

    /// The counting of a sender's acceptances.
    fn sent(&self, sender: &AgencyId) -> Result<Option<SentRecord>, StoreError>;

    /// Digests from a day on, in order, at most `limit`, without what they say about agencies.
    fn digests(&self, from_day: u32, limit: usize) -> Result<Vec<DigestRecord>, StoreError>;

    /// What the digest in a leaf says about agencies: serialized `AgencyDay`s.
    fn digest_agencies(&self, leaf: u64) -> Result<Option<Vec<bytes::Bytes>>, StoreError>;

    /// Every directory change in order: leaf index and the serialized change.
    fn directory_changes(&self) -> Result<Vec<(u64, bytes::Bytes)>, StoreError>;

    /// An operator's action.
    fn action(&self, id: u64) -> Result<Option<ActionRecord>, StoreError>;

    /// Actions older than `before` (all without it), the newest first, at most `limit`.
    fn actions(&self, before: Option<u64>, limit: usize) -> Result<Vec<ActionRecord>, StoreError>;

    /// Actions of which something is still to come, in the order in which they were asked for.
    fn open_actions(&self) -> Result<Vec<ActionRecord>, StoreError>;

    /// Documents that were accepted by these leaves, in order.
    fn documents(&self, leaves: Range<u64>) -> Result<Vec<DocumentRecord>, StoreError>;

    /// What was erased of a document.
    fn erasure(&self, document: u64) -> Result<Option<ErasureRecord>, StoreError>;

    /// Erasures whose bytes are not removed yet, in the order of documents, from the document `from` on, at most
    /// `limit`.
    fn erasing(&self, from: u64, limit: usize) -> Result<Vec<ErasureRecord>, StoreError>;

    /// Legal holds in force, oldest first.
    fn holds(&self) -> Result<Vec<HoldRecord>, StoreError>;

    /// Reads about `bytes` of what is stored again, from where the last call ended, also of an earlier process, and holds
    /// it against everything else that says the same. Tells all damage of that part. Runs beside commits and reads. A store
    /// that keeps nothing on a disk has nothing to do.
    fn scrub(
        &self,
        keys: Option<&LogKeys>,
        bytes: u64,
        report: &mut dyn FnMut(Finding),
    ) -> Result<ScrubStep, StoreError> {
        let _ = (keys, bytes, report);
        Ok(ScrubStep { ended: true, ..ScrubStep::default() })
    }

    /// Commits that the history index has yet to take over (0 where there is none).
    fn index_lag(&self) -> u64 {
        0
    }

    /// What this store measures; `None` where it measures nothing.
    fn meters(&self) -> Option<&meters::StoreMeters> {
        None
    }

    /// Bytes on the disk; zeros where there is none. Looks at the files: not to be asked often.
    fn sizes(&self) -> meters::Sizes {
        meters::Sizes::default()
    }

    /// Room where commits and bodies are written; `None` where that is no disk, or it does not tell.
    fn space(&self) -> Option<Space> {
        None
    }
}
