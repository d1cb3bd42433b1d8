//! The index in sled 0.34. Entries go into an overlay in memory at once, and from there into sled by a thread in
//! small batches; until sled has them, readers see the overlay. sled is trusted only after a clean stop.

mod db;
mod indexer;
mod overlay;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

pub use self::db::distrust;
use self::{db::Db, indexer::Indexer, overlay::Overlay};
use super::{Applied, Damage, Distrust, Entry, Index, Put, merge};

/// See the module.
pub struct Sled {
    inner: Arc<Inner>,
    applied: Option<Applied>,
    indexer: Indexer,
    closed: bool,
}

/// What readers, the writer and the indexer look at together.
struct Inner {
    db: RwLock<Db>,
    overlay: RwLock<Overlay>,
}

impl Sled {
    /// Opens or makes sled in `dir`; `max_lag` bounds the entries that wait for it.
    pub fn open(dir: &Path, max_lag: usize) -> Result<Self, Distrust> {
        if !Db::is_clean(dir) {
            return Err(Distrust::Stale("the last stop was not a clean one".into()));
        }
        let db = Db::open(dir)?;
        let applied = db.applied()?;
        let inner = Arc::new(Inner { db: RwLock::new(db), overlay: RwLock::default() });
        let indexer = Indexer::start(Arc::clone(&inner), max_lag)
            .map_err(|error| Distrust::Damaged(format!("starting the index thread: {error}")))?;
        Ok(Self { inner, applied, indexer, closed: false })
    }
}

impl Index for Sled {
    fn apply(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage> {
        let puts = Arc::new(puts);
        let mut overlay = self.inner.overlay.write().unwrap_or_else(PoisonError::into_inner);
        overlay.insert(applied.seq, &puts);
        publish();
        drop(overlay);
        self.indexer.send(applied, puts);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let hot = self.inner.overlay.read().unwrap_or_else(PoisonError::into_inner).get(key);
        match hot {
            Some(value) => Ok(value),
            None => self.inner.db(|db| db.get(key)),
        }
    }

    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Damage> {
        merge::scan(from.max(prefix), limit, |from, page| self.inner.layers(from, prefix, page))
    }

    fn applied(&self) -> Option<Applied> {
        self.applied
    }

    fn lag(&self) -> u64 {
        self.indexer.lag()
    }

    fn is_fit(&self) -> bool {
        !self.indexer.failed() && !self.inner.db(Db::is_damaged)
    }

    fn close(&mut self) -> Result<(), Damage> {
        self.indexer.finish();
        if !self.is_fit() {
            return Err(Damage("it failed before".into()));
        }
        self.inner.db.write().unwrap_or_else(PoisonError::into_inner).close()?;
        self.closed = true;
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    #[cfg(test)]
    fn fail(&self) {
        self.inner.db(Db::fail);
    }

    #[cfg(test)]
    fn abandon(&mut self) {
        self.indexer.finish();
        self.closed = true;
    }
}

impl Inner {
    fn db<T>(&self, work: impl FnOnce(&Db) -> T) -> T {
        work(&self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn layers(&self, from: &[u8], prefix: &[u8], page: usize) -> Result<Vec<Vec<Put>>, Damage> {
        // The overlay is read first: an entry that moves to sled in between is then seen twice, never missed.
        let hot = self.overlay.read().unwrap_or_else(PoisonError::into_inner).scan(from, prefix, page);
        let cold = self.db(|db| db.scan(from, prefix, page))?;
        Ok(vec![hot, cold.into_iter().map(|(key, value)| (key, Some(value))).collect()])
    }
}
