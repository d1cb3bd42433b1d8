//! One to many, with snapshots for the price of a reference count.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// From each key to a sorted set of values.
#[derive(Clone)]
pub(super) struct Links<K, V>(Arc<BTreeMap<K, Arc<BTreeSet<V>>>>);

impl<K: Ord + Clone, V: Ord + Clone> Links<K, V> {
    pub(super) fn link(&mut self, key: K, value: V) {
        let values = Arc::make_mut(&mut self.0).entry(key).or_default();
        Arc::make_mut(values).insert(value);
    }

    pub(super) fn unlink(&mut self, key: &K, value: &V) {
        let map = Arc::make_mut(&mut self.0);
        let Some(values) = map.get_mut(key) else { return };
        Arc::make_mut(values).remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &V> + use<'_, K, V, Q>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).into_iter().flat_map(|values| values.iter())
    }
}

impl<K, V> Default for Links<K, V> {
    fn default() -> Self {
        Self(Arc::new(BTreeMap::new()))
    }
}
