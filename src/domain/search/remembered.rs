//! What was told lately.

use std::collections::{HashMap, VecDeque};

use crate::domain::id::Digest;

/// Documents that are remembered by who makes an export and by who checks it.
const MOST: usize = 4_096;

/// The newest entries by digest; the oldest one is forgotten first. Two that are told the same remember the same.
#[derive(Debug)]
pub struct Remembered<T> {
    order: VecDeque<Digest>,
    entries: HashMap<Digest, T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), entries: HashMap::new() }
    }
}

impl<T> Remembered<T> {
    /// The entry of this digest.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&T> {
        self.entries.get(digest)
    }

    /// Takes an entry. One that is known keeps its age.
    pub fn put(&mut self, digest: Digest, entry: T) {
        if self.entries.insert(digest, entry).is_some() {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        let mut remembered = Remembered::default();
        (0..MOST).for_each(|number| remembered.put(digest(number), number));
        remembered.put(digest(0), 7);
        assert_eq!(remembered.get(&digest(0)), Some(&7));
        remembered.put(digest(MOST), MOST);
        assert_eq!((remembered.get(&digest(0)), remembered.get(&digest(1))), (None, Some(&1)));
        assert_eq!(remembered.order.len(), remembered.entries.len());
    }
}
