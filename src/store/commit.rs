//! The unit of truth: everything that must agree, written at once or not at all.

use std::sync::Arc;

use super::records::{
    ActionRecord, BodyRecord, CursorRecord, DeliveryRecord, DigestRecord, DirectoryRecord, DocumentRecord,
    ErasureRecord, ExpansionRecord, Head, HoldRecord, LeafRecord, MessageRecord, PairRecord, ParkedRecord,
    RecipientList, SentRecord,
};
use crate::tlog::Hash;

/// One commit. It names the head that it extends; the store refuses it with
/// [`CommitError::Stale`] if that is not the head any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Size of the log that this commit extends.
    pub base_size: u64,
    /// The log afterwards, signed.
    pub head: Head,
    /// New leaves, `head.size - base_size` of them (none for cursor-only commits).
    pub leaves: Vec<LeafRecord>,
    /// Tree hashes that the leaves add, in stored order (see `tlog::merkle`). Not written to the
    /// journal: replay computes them again.
    pub nodes: Vec<Hash>,
    /// Accepted documents, in the order of their indexes.
    pub documents: Vec<Arc<DocumentRecord>>,
    /// Those of them that are the first of their sender, year, number and notation, by index, where the writer looked. Not
    /// written to the journal: replay looks itself.
    pub firsts: Option<Vec<u64>>,
    /// Recipient lists of documents and additions.
    pub lists: Vec<Arc<RecipientList>>,
    /// Progress of fan-out.
    pub expansions: Vec<ExpansionRecord>,
    /// New or changed deliveries, each once, in its state after the commit.
    pub deliveries: Vec<DeliveryRecord>,
    /// Signed messages that were answered.
    pub messages: Vec<MessageRecord>,
    /// Statuses that wait for their document, or do so no more.
    pub parked: Vec<ParkedRecord>,
    /// Directory changes in order.
    pub directory: Vec<DirectoryRecord>,
    /// Bodies that become reachable.
    pub bodies: Vec<BodyRecord>,
    /// Saved watch cursors.
    pub cursors: Vec<CursorRecord>,
    /// Contents that are erased, and those whose bytes are gone.
    pub erasures: Vec<ErasureRecord>,
    /// Legal holds that begin or end.
    pub holds: Vec<HoldRecord>,
    /// Countings of consignments that went on, each pair once.
    pub pairs: Vec<PairRecord>,
    /// Countings of acceptances that went on, each sender once.
    pub sent: Vec<SentRecord>,
    /// New or changed actions of operators, each once, in its state after the commit.
    pub actions: Vec<ActionRecord>,
    /// Days that were closed.
    pub digests: Vec<DigestRecord>,
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another writer moved the head: nothing was written.
    #[error("the log has {actual} leaves, the commit extends {expected}: nothing was written")]
    Stale {
        /// Head the commit named.
        expected: u64,
        /// Head the store has.
        actual: u64,
    },
    /// The disk failed half-way: the commit may or may not survive. The writer must stop and the process
    /// must go through recovery; a failed sync is never tried again.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] std::io::Error),
}
