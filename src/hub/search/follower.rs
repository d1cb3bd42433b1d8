//! What reads the log into the search index.

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{facts::Reader, renewal::Renewal};
use crate::{
    hub::follow::{self, Follower, Work},
    store::{StoreError, search::SearchIndex},
    tlog::merkle,
};

/// A question waits so long for the index to reach the log's end.
const PATIENCE: Duration = Duration::from_millis(200);

/// The search index, and what keeps it near the log's end.
pub struct Search {
    index: Arc<ArcSwap<SearchIndex>>,
    orders: Arc<Orders>,
    follower: Follower,
}

/// How often it was asked to make the index again. One lock for this count and the note on the disk: what was asked for
/// later must not be taken for done.
#[derive(Default)]
struct Orders(Mutex<u64>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Search {
    /// Opens the index in the folder `history` and begins to follow.
    pub fn start(history: &Path, reader: Reader) -> Result<Self, StoreError> {
        let store = Arc::clone(&reader.store);
        let index = SearchIndex::open(history, |leaf| {
            let known = leaf < store.head().size;
            known.then(|| store.node(merkle::stored_index(0, leaf))).transpose()
        })?;
        let (index, orders) = (Arc::new(ArcSwap::from_pointee(index)), Arc::<Orders>::default());
        let (renewal, asked) = (Renewal::new(Arc::clone(&index)), Arc::clone(&orders));
        let work = Indexing { index: Arc::clone(&index), orders: asked, reader, renewal };
        let follower = Follower::start("truc-search", store, work)
            .map_err(|source| StoreError::Io { what: "starting a thread".into(), source })?;
        Ok(Self { index, orders, follower })
    }

    /// The index that answers now.
    pub fn index(&self) -> Arc<SearchIndex> {
        self.index.load_full()
    }

    /// Has the index made again from the log, beside the one that answers: for words that must not stand on the disk
    /// any more. Noted durably when this returns; what a stop cuts short is done at the next start.
    pub fn make_again(&self) -> Result<(), StoreError> {
        let mut asked = self.orders.lock();
        self.index().make_again()?;
        *asked += 1;
        Ok(())
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
    index: Arc<ArcSwap<SearchIndex>>,
    orders: Arc<Orders>,
    reader: Reader,
    renewal: Renewal,
}

impl Work for Indexing {
    fn begin(&mut self) -> Result<u64, StoreError> {
        Ok(self.index.load().covers())
    }

    fn take(&mut self, leaves: Range<u64>) -> Result<(), StoreError> {
        add(&mut self.reader, &self.index.load_full(), leaves)
    }

    /// A step of making the index again, where that was asked for.
    fn aside(&mut self) -> bool {
        let asked = *self.orders.lock();
        let outcome = self.renewal.step(asked, &mut self.reader, |made| {
            let asked = self.orders.lock();
            if *asked == made { self.index.load().made_again() } else { Ok(()) }
        });
        outcome.unwrap_or_else(|error| {
            tracing::error!(%error, "the search index could not be made again; the next start does it");
            self.renewal.give_up(asked);
            false
        })
    }
}

/// Adds these leaves to an index.
pub fn add(reader: &mut Reader, index: &SearchIndex, leaves: Range<u64>) -> Result<(), StoreError> {
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
