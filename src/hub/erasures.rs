//! What the hub has to remember of erasures and legal holds while it runs.
//!
//! A submission is verified beside the writer and names bodies that may be erased before it is decided. It says which
//! erasures it knew of; what came later is looked through before it is accepted.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    domain::id::Digest,
    store::{
        Store, StoreError,
        records::{BodyRecord, ErasureRecord, HoldRecord},
    },
};

/// Commits with erasures that are remembered; a submission that is older has to be sent again.
const REMEMBERED: usize = 256;

/// Shared by the writer, the intake and the removal.
#[derive(Default)]
pub struct Erasures {
    state: RwLock<State>,
    /// Rings when there is something to remove.
    pub work: Notify,
}

#[derive(Default)]
struct State {
    /// Commits with erasures so far.
    count: u64,
    /// The newest of them, with the bodies that they made unreachable.
    lately: VecDeque<HashSet<Bytes>>,
    /// Bodies whose removal is not recorded yet.
    removing: HashMap<Bytes, u32>,
    holds: BTreeMap<u64, HoldRecord>,
}

impl Erasures {
    /// What a store holds.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let erasures = Self::default();
        {
            let mut state = erasures.state.write().unwrap_or_else(PoisonError::into_inner);
            for erasure in store.erasing(0, usize::MAX)? {
                state.begin(&erasure);
            }
            state.holds = store.holds()?.into_iter().map(|hold| (hold.leaf, hold)).collect();
        }
        Ok(erasures)
    }

    /// Erasures so far: to be asked before bodies are looked up.
    pub fn count(&self) -> u64 {
        self.read().count
    }

    /// True while the bytes of a body are being removed.
    pub fn is_removing(&self, digest: &Digest) -> bool {
        self.read().removing.contains_key(&digest.as_bytes()[..])
    }

    /// True if one of these bodies, looked up when there were `count` erasures, may have been erased since.
    pub fn touch(&self, count: u64, bodies: &[BodyRecord]) -> bool {
        let state = self.read();
        let since = usize::try_from(state.count.saturating_sub(count)).unwrap_or(usize::MAX);
        since > state.lately.len()
            || state
                .lately
                .iter()
                .rev()
                .take(since)
                .any(|gone| bodies.iter().any(|b| gone.contains(&b.sha256)))
    }

    /// Holds in force.
    pub fn holds(&self) -> Vec<HoldRecord> {
        self.read().holds.values().cloned().collect()
    }

    /// Takes what became durable. `ended` are the erasures, with their bodies, whose removal a commit records.
    pub fn committed(&self, erasures: &[ErasureRecord], ended: &[ErasureRecord], holds: &[HoldRecord]) {
        if erasures.is_empty() && holds.is_empty() {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let begun: Vec<_> = erasures.iter().filter(|erasure| !erasure.removed).collect();
        if !begun.is_empty() {
            state.count += 1;
            let gone = begun.iter().flat_map(|erasure| &erasure.remove).map(|body| body.sha256.clone());
            let gone = gone.collect();
            state.lately.push_back(gone);
            if state.lately.len() > REMEMBERED {
                state.lately.pop_front();
            }
            begun.into_iter().for_each(|erasure| state.begin(erasure));
            self.work.notify_one();
        }
        ended.iter().for_each(|erasure| state.end(erasure));
        for hold in holds {
            state.holds.insert(hold.leaf, hold.clone());
        }
        state.holds.retain(|_, hold| !hold.lifted);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, erasure: &ErasureRecord) {
        for body in &erasure.remove {
            *self.removing.entry(body.sha256.clone()).or_default() += 1;
        }
    }

    fn end(&mut self, erasure: &ErasureRecord) {
        for body in &erasure.remove {
            if let Some(count) = self.removing.get_mut(&body.sha256) {
                *count -= 1;
                if *count == 0 {
                    self.removing.remove(&body.sha256);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    fn body(text: &str) -> BodyRecord {
        BodyRecord { sha256: Digest::of(text.as_bytes()).to_bytes(), ..BodyRecord::default() }
    }

    #[test]
    fn a_submission_hears_of_what_was_erased_since() {
        let erasures = Erasures::load(&Memory::default()).unwrap();
        let before = erasures.count();
        let erasure = ErasureRecord { remove: vec![body("a")], ..ErasureRecord::default() };
        erasures.committed(std::slice::from_ref(&erasure), &[], &[]);
        assert!(erasures.touch(before, &[body("b"), body("a")]));
        assert!(!erasures.touch(before, &[body("b")]));
        assert!(!erasures.touch(erasures.count(), &[body("a")]), "it was looked up afterwards");
        assert!(erasures.is_removing(&Digest::of(b"a")));
        let removed = ErasureRecord { removed: true, ..ErasureRecord::default() };
        erasures.committed(&[removed], &[erasure], &[]);
        assert!(!erasures.is_removing(&Digest::of(b"a")));
        for _ in 0..=REMEMBERED {
            erasures.committed(&[ErasureRecord::default()], &[], &[]);
        }
        assert!(erasures.touch(before, &[body("b")]), "too old to be told");
    }
}
