//! Counting: every acceptance and every consignment gets a number without gaps, and names the one before it.

use std::collections::HashMap;

use super::draft::Draft;
use crate::{
    domain::id::AgencyId,
    proto::{Counter, Counters},
    store::{
        Store, StoreError,
        records::{PairRecord, SentRecord},
    },
    tlog::{Hash, merkle},
};

/// Recipients whose newest consignment is kept in memory; there are fewer agencies than this.
const KEPT: usize = 65_536;

/// The newest leaf of a counting.
#[derive(Clone, Copy, Debug)]
struct Last {
    number: u64,
    leaf: u64,
    hash: Hash,
}

impl Last {
    fn stored(store: &dyn Store, number: u64, leaf: u64) -> Result<Self, StoreError> {
        Ok(Self { number, leaf, hash: store.node(merkle::stored_index(0, leaf))? })
    }

    fn at(counter: Option<&Counter>, leaf: u64, hash: Hash) -> Self {
        Self { number: counter.map_or(0, |counter| counter.number), leaf, hash }
    }
}

/// The number after this one.
fn next(last: Option<Last>) -> Option<Counter> {
    Some(last.map_or(Counter { number: 1, ..Counter::default() }, |last| Counter {
        number: last.number + 1,
        previous_index: last.leaf,
        previous_sha256: bytes::Bytes::copy_from_slice(&last.hash),
    }))
}

/// The newest consignment of recipients, as far as it was asked for. Looking it up reads all pairs of a recipient.
#[derive(Default)]
pub struct Received(HashMap<AgencyId, Option<Last>>);

impl Received {
    /// Keeps memory bounded. Only between groups: what a group counted is in the store afterwards.
    pub fn trim(&mut self) {
        if self.0.len() > KEPT {
            self.0.clear();
        }
    }

    fn last(&mut self, store: &dyn Store, recipient: &AgencyId) -> Result<Option<Last>, StoreError> {
        if let Some(known) = self.0.get(recipient) {
            return Ok(*known);
        }
        let newest = store.received(recipient)?;
        let last = newest.map(|pair| Last::stored(store, pair.received, pair.leaf)).transpose()?;
        self.0.insert(recipient.clone(), last);
        Ok(last)
    }
}

/// Countings that went on in one group.
#[derive(Default)]
pub struct Counted {
    /// By recipient and sender; beside it the number among all of the recipient.
    pairs: HashMap<(AgencyId, AgencyId), (Last, u64)>,
    sent: HashMap<AgencyId, Last>,
}

impl Counted {
    /// What the commit remembers of it.
    pub fn into_records(self) -> (Vec<PairRecord>, Vec<SentRecord>) {
        let pairs = self.pairs.into_iter().map(|((recipient, sender), (last, received))| PairRecord {
            recipient: recipient.to_string(),
            sender: sender.to_string(),
            number: last.number,
            received,
            leaf: last.leaf,
        });
        let sent = self.sent.into_iter().map(|(sender, last)| SentRecord {
            sender: sender.to_string(),
            number: last.number,
            leaf: last.leaf,
        });
        let (mut pairs, mut sent): (Vec<_>, Vec<_>) = (pairs.collect(), sent.collect());
        pairs.sort_unstable_by_key(|pair| pair.leaf);
        sent.sort_unstable_by_key(|sent| sent.leaf);
        (pairs, sent)
    }
}

impl Draft<'_> {
    /// The numbers of the next consignment from a sender to a recipient. They are taken only with
    /// [`count_consignment`](Self::count_consignment).
    pub fn consignment_numbers(
        &mut self,
        sender: &AgencyId,
        recipient: &AgencyId,
    ) -> Result<Counters, StoreError> {
        let pair = match self.counted.pairs.get(&(recipient.clone(), sender.clone())) {
            Some((last, _)) => Some(*last),
            None => {
                let stored = self.store.pair(recipient, sender)?;
                stored.map(|pair| Last::stored(self.store, pair.number, pair.leaf)).transpose()?
            }
        };
        let received = self.received.last(self.store, recipient)?;
        Ok(Counters { sent: None, received: next(received), pair: next(pair) })
    }

    /// A leaf took these numbers.
    pub fn count_consignment(
        &mut self,
        sender: AgencyId,
        recipient: &AgencyId,
        numbers: &Counters,
        (leaf, hash): (u64, Hash),
    ) {
        let received = Last::at(numbers.received.as_ref(), leaf, hash);
        let pair = Last::at(numbers.pair.as_ref(), leaf, hash);
        self.received.0.insert(recipient.clone(), Some(received));
        self.counted.pairs.insert((recipient.clone(), sender), (pair, received.number));
        self.weigh(96);
    }

    /// The number of a sender's next acceptance.
    pub fn acceptance_number(&self, sender: &AgencyId) -> Result<Counters, StoreError> {
        let last = match self.counted.sent.get(sender) {
            Some(last) => Some(*last),
            None => {
                let stored = self.store.sent(sender)?;
                stored.map(|sent| Last::stored(self.store, sent.number, sent.leaf)).transpose()?
            }
        };
        Ok(Counters { sent: next(last), ..Counters::default() })
    }

    /// A leaf took this number.
    pub fn count_acceptance(&mut self, sender: AgencyId, number: &Counters, (leaf, hash): (u64, Hash)) {
        self.counted.sent.insert(sender, Last::at(number.sent.as_ref(), leaf, hash));
        self.weigh(64);
    }
}
