//! What reads the log into the search index.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use super::facts::Reader;
use crate::{
    hub::follow::{self, Follower, Work},
    store::{StoreError, search::SearchIndex},
    tlog::merkle,
};

/// A question waits so long for the index to reach the log's end.
const PATIENCE: Duration = Duration::from_millis(200);

/// The search index, and what keeps it near the log's end.
pub struct Search {
    index: Arc<SearchIndex>,
    follower: Follower,
}

impl Search {
    /// Opens the index in the folder `history` and begins to follow.
    pub fn start(history: &Path, reader: Reader) -> Result<Self, StoreError> {
        let store = Arc::clone(&reader.store);
        let index = Arc::new(SearchIndex::open(history, |leaf| {
            let known = leaf < store.head().size;
            known.then(|| store.node(merkle::stored_index(0, leaf))).transpose()
        })?);
        let work = Indexing { index: Arc::clone(&index), reader };
        let follower = Follower::start("truc-search", store, work)
            .map_err(|source| StoreError::Io { what: "starting a thread".into(), source })?;
        Ok(Self { index, follower })
    }

    /// The index.
    pub fn index(&self) -> &SearchIndex {
        &self.index
    }

    /// Waits a short time until all leaves below `size` are indexed; the index says how far it came.
    pub async fn reach(&self, size: u64) {
        self.follower.reach(size, PATIENCE).await;
    }

    /// Ends the thread and waits for that.
    pub fn stop(&self) {
        self.follower.stop();
    }
}

struct Indexing {
    index: Arc<SearchIndex>,
    reader: Reader,
}

impl Work for Indexing {
    fn begin(&mut self) -> Result<u64, StoreError> {
        Ok(self.index.covers())
    }

    fn take(&mut self, leaves: Range<u64>) -> Result<(), StoreError> {
        let Self { index, reader } = self;
        let store = Arc::clone(&reader.store);
        follow::read(&*store, leaves, |leaf, read| match read.and_then(|read| reader.facts_of(leaf, read)) {
            Ok(facts) => index.add(facts.leaf(), facts.hash),
            // One that can't be read must not hide all others; asked for itself, it is DAMAGED.
            Err(StoreError::Damaged(what)) => {
                tracing::error!(what, leaf, "a leaf can't be searched for");
                index.add(Default::default(), store.node(merkle::stored_index(0, leaf))?)
            }
            Err(error) => Err(error),
        })
    }
}
