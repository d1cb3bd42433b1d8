//! A bound for each caller on what it may have at the same time, so that one can't take what all need.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_stream::{Stream, StreamExt};

use crate::domain::{
    id::NodeName,
    reason::{Reason, ReasonCode},
};

/// Counts what is in use, by caller. A caller may have `each`, and never more than there is left for all others: alone
/// it gets half, and newcomers find room as long as they are few enough to share it.
pub struct Shares<K = NodeName>(Arc<Pool<K>>);

struct Pool<K> {
    what: &'static str,
    each: usize,
    all: usize,
    used: Mutex<Used<K>>,
}

struct Used<K> {
    by_caller: HashMap<K, usize>,
    all: usize,
}

/// What one caller has; dropping it makes room.
pub struct Share<K: Eq + Hash = NodeName> {
    caller: K,
    amount: usize,
    pool: Arc<Pool<K>>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// At most `each` of `what` for each caller, and `all` together.
    #[must_use]
    pub fn new(what: &'static str, each: usize, all: usize) -> Self {
        let used = Mutex::new(Used { by_caller: HashMap::new(), all: 0 });
        Self(Arc::new(Pool { what, each, all, used }))
    }

    /// A place for one more, or `BUSY`.
    pub fn take(&self, caller: &K) -> Result<Share<K>, Reason> {
        self.take_many(caller, 1)
    }

    /// Room for `amount`, or `BUSY`.
    pub fn take_many(&self, caller: &K, amount: usize) -> Result<Share<K>, Reason> {
        let mut share = Share { caller: caller.clone(), amount: 0, pool: Arc::clone(&self.0) };
        share.grow_to(amount)?;
        Ok(share)
    }

    /// What all callers have now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.lock().all
    }
}

impl<K> Clone for Shares<K> {
    /// Another handle of the same room.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Pool<K> {
    fn lock(&self) -> MutexGuard<'_, Used<K>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Share<K> {
    /// Takes so much in all, or `BUSY`; what it had it keeps.
    pub fn grow_to(&mut self, amount: usize) -> Result<(), Reason> {
        let Pool { what, each, all, .. } = *self.pool;
        let more = amount.saturating_sub(self.amount);
        let mut used = self.pool.lock();
        let (own, room) = (used.by_caller.get(&self.caller).copied().unwrap_or(0), all - used.all);
        if more > room {
            let detail = format!("{} {what} are in use, as many as this hub has room for", used.all);
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        if own.saturating_add(more) > each.min(room) {
            let detail = format!("{own} {what} of this caller are in use: end some of them first");
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        used.by_caller.insert(self.caller.clone(), own + more);
        used.all += more;
        self.amount += more;
        Ok(())
    }

    /// Gives back what is above `amount`.
    pub fn shrink_to(&mut self, amount: usize) {
        let less = self.amount.saturating_sub(amount);
        self.pool.give_back(&self.caller, less);
        self.amount -= less;
    }
}

impl<K: Eq + Hash> Pool<K> {
    fn give_back(&self, caller: &K, amount: usize) {
        let mut used = self.lock();
        used.all -= amount;
        let Some(own) = used.by_caller.get_mut(caller) else { return };
        *own -= amount;
        if *own == 0 {
            used.by_caller.remove(caller);
        }
    }
}

impl<K: Eq + Hash + Send + 'static> Share<K> {
    /// The stream, which keeps the place until it is dropped.
    pub fn kept_by<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> {
        stream.map(move |item| {
            let _kept = &self;
            item
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        self.pool.give_back(&self.caller, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("legal")
    }

    fn code<T>(taken: Result<T, Reason>) -> ReasonCode {
        taken.err().expect("full").code
    }

    #[test]
    fn each_node_has_its_own_bound_and_gets_its_places_back() {
        let shares = Shares::new("downloads", 2, 9);
        let held = (shares.take(&node("a")).expect("first"), shares.take(&node("a")).expect("second"));
        assert_eq!(code(shares.take(&node("a"))), ReasonCode::Busy);
        shares.take(&node("b")).expect("another node");
        drop(held.0);
        shares.take(&node("a")).expect("a place again");
        drop(held.1);
        assert!(shares.0.lock().by_caller.is_empty());
        assert_eq!(shares.in_use(), 0);
    }

    #[test]
    fn all_nodes_together_have_a_bound() {
        let shares = Shares::new("downloads", 2, 3);
        let held: Vec<_> = ["a", "b", "c"].map(node).iter().map(|node| shares.take(node)).collect();
        assert_eq!(code(shares.take(&node("d"))), ReasonCode::Busy);
        drop(held);
        shares.take(&node("d")).expect("a place again");
    }

    #[test]
    fn one_alone_gets_half() {
        let shares = Shares::new("bytes", usize::MAX, 1_000);
        let mut share = shares.take_many(&node("a"), 300).expect("room");
        share.grow_to(500).expect("half");
        assert_eq!(code(share.grow_to(501)), ReasonCode::Busy);
        assert_eq!(shares.in_use(), 500);
        let other = shares.take_many(&node("b"), 250).expect("half of the rest");
        assert_eq!(code(shares.take_many(&node("b"), 250)), ReasonCode::Busy);
        assert_eq!(code(shares.take_many(&node("c"), 251)), ReasonCode::Busy);
        drop((share, other));
        assert_eq!(shares.in_use(), 0);
        assert!(shares.0.lock().by_caller.is_empty());
    }
}
