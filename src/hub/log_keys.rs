//! The keys of this log: the one that signs, those that did, and the proofs of the changes between them.

use std::fmt::Write;

use bytes::Bytes;
use prost::Message;

use super::{
    LogIdentity, StartError,
    query::{Nodes, receipt},
    refused::Refused,
};
use crate::{
    domain::{directory::Directory, evidence, reason::Reason, time::Timestamp},
    proto::{DirectoryChange, EventKind, LogKeyChange, directory_change::Change},
    store::{
        Commit, CommitError, Store, StoreError,
        records::{DirectoryRecord, Head, LeafRecord},
    },
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        keys::{Handover, LogKeys, Trust},
        merkle::{Edge, Growth, leaf_hash},
        note::{NoteError, Signer},
        proof::TlogProof,
    },
};

/// The keys, and what proves them.
pub struct Keys {
    /// All keys that this log ever had.
    pub ring: LogKeys,
    /// Proofs of the changes, as in a `hub.keys` file; empty where there was none.
    pub proofs: String,
}

impl Keys {
    /// Reads the changes from the log. The key at hand has to be the newest.
    pub(super) fn load(
        store: &dyn Store,
        directory: &Directory,
        log: &LogIdentity,
    ) -> Result<Self, StartError> {
        let mut handovers = Vec::new();
        let mut proofs = String::new();
        for (leaf, statement) in directory.log_keys() {
            let wrong = |reason: String| StartError::Directory { leaf: *leaf, reason };
            let handover = Handover::open(statement).map_err(|error| wrong(error.to_string()))?;
            if handover.leaf != *leaf || handover.old.name() != log.origin {
                return Err(wrong("a change of another log's key".into()));
            }
            handovers.push(handover);
            let proof = proof(store, *leaf).map_err(|refused| wrong(refused.to_string()))?;
            _ = write!(proofs, "{}", proof.encode());
        }
        let last = handovers.last().map_or(0, |handover| handover.leaf);
        let ring = LogKeys::chain(handovers)
            .map_err(|error: NoteError| StartError::Directory { leaf: last, reason: error.to_string() })?;
        let ring = ring.unwrap_or_else(|| log.verifier().into());
        if *ring.newest() != log.verifier() {
            return Err(StartError::KeyWasChanged { leaf: last, newest: ring.newest().to_string() });
        }
        Ok(Self { ring, proofs })
    }

    /// The stored head is signed, by the key of its size, and is about the stored tree.
    pub(super) fn check_head(&self, head: &Head) -> Result<(), StartError> {
        if head.checkpoint.is_empty() && head.size == 0 {
            return Ok(());
        }
        let opened = self.ring.open(&head.checkpoint);
        let checkpoint = opened.map_err(|error| StartError::ForeignLog(error.to_string()))?;
        if checkpoint.size != head.size || checkpoint.root[..] != head.root[..] {
            return Err(StartError::ForeignLog("it is about another tree".into()));
        }
        Ok(())
    }

    /// The verifier key that signed this checkpoint of ours.
    #[must_use]
    pub fn signer_of(&self, checkpoint: &str) -> String {
        let size = Checkpoint::unverified(checkpoint).map_or(u64::MAX, |checkpoint| checkpoint.size);
        self.ring.of_size(size).to_string()
    }
}

/// A change with its proof in the last head of the old key.
fn proof(store: &dyn Store, leaf: u64) -> Result<TlogProof, Refused> {
    let receipt = receipt(store, leaf)?;
    let path: Option<Vec<Hash>> = receipt.path.iter().map(|hash| hash[..].try_into().ok()).collect();
    Ok(TlogProof {
        extra: Some(receipt.evidence.to_vec()),
        index: leaf,
        path: path.ok_or_else(|| super::query::damaged(leaf))?,
        checkpoint: receipt.checkpoint,
    })
}

/// Why a log's key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The log is not one that this key signs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store did not take it, or can't be read.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A read failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rule is broken.
    #[error("{0}")]
    Rule(Reason),
    /// No randomness.
    #[error("no randomness: {0}")]
    Randomness(String),
}

/// What of the keys a store tells, for who is about to change them.
pub fn load(store: &dyn Store, log: &LogIdentity) -> Result<Keys, StartError> {
    let directory = super::load_directory(store)?;
    let keys = Keys::load(store, &directory, log)?;
    keys.check_head(&store.head())?;
    Ok(keys)
}

/// The newest change in the log, if there was one: its place and the key that begins there.
pub fn newest_change(store: &dyn Store) -> Result<Option<Handover>, StartError> {
    let directory = super::load_directory(store)?;
    let Some((leaf, statement)) = directory.log_keys().last() else { return Ok(None) };
    let handover = Handover::open(statement);
    handover.map(Some).map_err(|error| StartError::Directory { leaf: *leaf, reason: error.to_string() })
}

/// Hands the log over to another key: one leaf, alone in its commit, under the last head that the old key signs. Durable
/// when this returns. For a store that no hub uses.
pub fn change(
    store: &dyn Store,
    log: &LogIdentity,
    new: &Signer,
    reason: &str,
    now: Timestamp,
) -> Result<Handover, ChangeError> {
    load(store, log)?;
    let head = store.head();
    let edge = Edge::load(head.size, &Nodes(store))?;
    if head.size > 0 && edge.root()[..] != head.root[..] {
        return Err(StoreError::Damaged("the stored tree hashes do not give the signed root".into()).into());
    }
    let statement = Handover::sign(&log.signer, new, head.size);
    let handover = Handover::open(&statement).map_err(|error| StartError::ForeignLog(error.to_string()))?;
    let evidence = leaf(log, statement, reason, now)?;
    let mut growth = Growth::new(edge);
    let index = growth.push(leaf_hash(&evidence));
    let checkpoint = Checkpoint { origin: log.origin.clone(), size: growth.size(), root: growth.root() };
    store.commit(&Commit {
        base_size: head.size,
        head: Head {
            size: checkpoint.size,
            root: Bytes::copy_from_slice(&checkpoint.root),
            checkpoint: checkpoint.sign(&log.signer),
            documents: head.documents,
        },
        leaves: vec![LeafRecord { evidence, ..LeafRecord::default() }],
        nodes: growth.nodes().to_vec(),
        directory: vec![DirectoryRecord { leaf: index }],
        ..Commit::default()
    })?;
    Ok(handover)
}

fn leaf(log: &LogIdentity, statement: String, reason: &str, now: Timestamp) -> Result<Bytes, ChangeError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| ChangeError::Randomness(error.to_string()))?;
    let change = Change::ChangeLogKey(LogKeyChange { statement });
    let change = DirectoryChange { change: Some(change), reason: reason.to_owned() };
    let mut event = evidence::event(EventKind::LogKeyChange, id, now, &log.origin);
    event.directory_change = change.encode_to_vec().into();
    evidence::encode(&event).map_err(ChangeError::Rule)
}
