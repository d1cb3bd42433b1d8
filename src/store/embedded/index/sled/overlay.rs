//! Index entries that sled has not taken over yet, so that a reader always sees its own write.

use std::collections::BTreeMap;

use super::Put;

/// Newest value of each key, with the commit that wrote it.
#[derive(Default)]
pub struct Overlay {
    entries: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
}

impl Overlay {
    /// Takes a commit's entries.
    pub fn insert(&mut self, seq: u64, puts: &[Put]) {
        for (key, value) in puts {
            self.entries.insert(key.clone(), (seq, value.clone()));
        }
    }

    /// Forgets entries of a commit that sled has now, unless a later commit wrote them again.
    pub fn forget(&mut self, seq: u64, puts: &[Put]) {
        for (key, _) in puts {
            if self.entries.get(key).is_some_and(|(written, _)| *written <= seq) {
                self.entries.remove(key);
            }
        }
    }

    /// The value here: `Some(None)` means removed, `None` means look further.
    pub fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.entries.get(key).map(|(_, value)| value.clone())
    }

    /// Entries from `from` on that begin with `prefix`, at most `limit`, removed ones included.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.entries
            .range(from.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, (_, value))| (key.clone(), value.clone()))
            .collect()
    }
}
