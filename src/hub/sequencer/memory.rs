//! What the writer remembers from one group to the next, so that it needs not ask the store or the system.

use std::{cell::RefCell, hash::BuildHasher as _};

use hashbrown::{DefaultHashBuilder, HashSet};

use super::{counting::Received, refusals::Refusals};
use crate::{
    domain::id::{AgencyId, DocumentName},
    store::{Store, StoreError, records::ParkedRecord},
};

/// Parked statuses that are remembered one by one.
const MOST_PARKED: usize = 100_000;
/// Ids taken from the system at once.
const ROW: usize = 64;

/// See the module.
pub struct Memory {
    pub refusals: Refusals,
    pub received: Received,
    pub parked: Parked,
    pub ids: Ids,
}

impl Memory {
    /// What a store of before means for the groups to come.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self {
            refusals: Refusals::default(),
            received: Received::default(),
            parked: Parked::load(store, MOST_PARKED)?,
            ids: Ids::default(),
        })
    }
}

/// Deliveries for which statuses may be parked. There are few, and every new delivery asks.
pub struct Parked {
    hasher: DefaultHashBuilder,
    /// Never taken out: one look too many costs little.
    may: HashSet<u64>,
    /// False when there were too many to remember: any delivery may be one.
    all: bool,
    most: usize,
}

impl Parked {
    fn load(store: &dyn Store, most: usize) -> Result<Self, StoreError> {
        let hasher = DefaultHashBuilder::default();
        let stored = store.all_parked(most)?;
        let all = stored.len() < most;
        let key = |parked: &ParkedRecord| {
            hasher.hash_one((&*parked.document_id, &*parked.sender, parked.revision, &*parked.recipient))
        };
        let may = stored.iter().map(key).collect();
        Ok(Self { hasher, may, all, most })
    }

    /// A status is parked for this delivery.
    pub fn add(&mut self, name: &DocumentName, recipient: &AgencyId) {
        let key = self.key(name, recipient);
        if self.may.len() < self.most {
            self.may.insert(key);
        } else {
            self.all = false;
        }
    }

    /// False when no status is parked for this delivery.
    pub fn may_have(&self, name: &DocumentName, recipient: &AgencyId) -> bool {
        !self.all || self.may.contains(&self.key(name, recipient))
    }

    fn key(&self, name: &DocumentName, recipient: &AgencyId) -> u64 {
        let id: &str = &name.document_id;
        self.hasher.hash_one((id, name.sender.as_str(), name.revision, recipient.as_str()))
    }
}

/// Random ids for events.
#[derive(Default)]
pub struct Ids(RefCell<Vec<[u8; 16]>>);

impl Ids {
    /// The next one.
    pub fn next(&self) -> Result<[u8; 16], getrandom::Error> {
        let mut row = self.0.borrow_mut();
        if row.is_empty() {
            let mut fresh = [0; 16 * ROW];
            getrandom::fill(&mut fresh)?;
            row.extend_from_slice(fresh.as_chunks().0);
        }
        Ok(row.pop().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{contract::samples, memory::Memory as InMemory};

    fn name(id: &str) -> DocumentName {
        DocumentName::parse("H53", id, 0).unwrap()
    }

    #[test]
    fn what_is_parked_is_asked_for_and_nothing_else() {
        let recipient = AgencyId::parse("H53.1").unwrap();
        let mut parked = Parked::load(&InMemory::default(), 2).unwrap();
        assert!(!parked.may_have(&name("a"), &recipient));
        parked.add(&name("a"), &recipient);
        assert!(parked.may_have(&name("a"), &recipient));
        assert!(!parked.may_have(&name("b"), &recipient));
        assert!(!parked.may_have(&name("a"), &AgencyId::parse("H53.2").unwrap()));
        parked.add(&name("b"), &recipient);
        assert!(!parked.may_have(&name("c"), &recipient));
        parked.add(&name("c"), &recipient);
        assert!(parked.may_have(&name("d"), &recipient), "more than are remembered: any may be one");
    }

    #[test]
    fn what_was_parked_before_a_start_is_asked_for() {
        let store = InMemory::default();
        store.commit(&samples::rich_commit()).unwrap();
        let recipient = AgencyId::parse("H53.1").unwrap();
        let parked = Parked::load(&store, 10).unwrap();
        assert!(parked.may_have(&name("later"), &recipient) && !parked.may_have(&name("other"), &recipient));
        assert!(Parked::load(&store, 1).unwrap().may_have(&name("other"), &recipient));
    }

    #[test]
    fn ids_do_not_come_twice() {
        let ids = Ids::default();
        let seen: HashSet<_> = (0..3 * ROW).map(|_| ids.next().unwrap()).collect();
        assert_eq!(seen.len(), 3 * ROW);
    }
}
