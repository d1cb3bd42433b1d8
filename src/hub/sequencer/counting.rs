//! Counting: every acceptance and every consignment gets a number without gaps, and names the one before it.

use hashbrown::HashMap;

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

/// The newest consignment to a recipient, and where it stands among those of its sender.
#[derive(Clone, Debug)]
struct Newest {
    last: Last,
    sender: AgencyId,
    pair: u64,
}

impl Newest {
    fn read(store: &dyn Store, recipient: &AgencyId) -> Result<Option<Self>, StoreError> {
        let Some(pair) = store.received(recipient)? else { return Ok(None) };
        let strange = |_| StoreError::Damaged(format!("a counting names the sender {:?}", pair.sender));
        let sender = AgencyId::parse(&pair.sender).map_err(strange)?;
        Ok(Some(Self { last: Last::stored(store, pair.received, pair.leaf)?, sender, pair: pair.number }))
    }

    /// The same leaf, as the newest of its pair.
    fn of_pair(&self) -> Last {
        Last { number: self.pair, ..self.last }
    }
}

/// The newest consignments of recipients, as far as they were asked for. Looking one up reads all pairs of a recipient.
#[derive(Default)]
pub struct Received(HashMap<AgencyId, Option<Newest>>);

impl Received {
    /// Keeps memory bounded. Only between groups: what a group counted is in the store afterwards.
    pub fn trim(&mut self) {
        if self.0.len() > KEPT {
            self.0.clear();
        }
    }

    fn newest(&mut self, store: &dyn Store, recipient: &AgencyId) -> Result<Option<&Newest>, StoreError> {
        if !self.0.contains_key(recipient) {
            self.0.insert(recipient.clone(), Newest::read(store, recipient)?);
        }
        Ok(self.0.get(recipient).and_then(Option::as_ref))
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
        let Some(newest) = self.memory.received.newest(self.store, recipient)? else {
            return Ok(Counters { sent: None, received: next(None), pair: next(None) });
        };
        let received = next(Some(newest.last));
        if newest.sender == *sender {
            return Ok(Counters { sent: None, received, pair: next(Some(newest.of_pair())) });
        }
        Ok(Counters { sent: None, received, pair: next(self.last_of_pair(sender, recipient)?) })
    }

    fn last_of_pair(&self, sender: &AgencyId, recipient: &AgencyId) -> Result<Option<Last>, StoreError> {
        if let Some((last, _)) = self.counted.pairs.get(&(recipient.clone(), sender.clone())) {
            return Ok(Some(*last));
        }
        let stored = self.store.pair(recipient, sender)?;
        stored.map(|pair| Last::stored(self.store, pair.number, pair.leaf)).transpose()
    }

    /// A leaf took these numbers.
    pub fn count_consignment(
        &mut self,
        sender: AgencyId,
        recipient: &AgencyId,
        numbers: &Counters,
        (leaf, hash): (u64, Hash),
    ) {
        let last = Last::at(numbers.received.as_ref(), leaf, hash);
        let pair = Last::at(numbers.pair.as_ref(), leaf, hash);
        let newest = Newest { last, sender: sender.clone(), pair: pair.number };
        self.memory.received.0.insert(recipient.clone(), Some(newest));
        self.counted.pairs.insert((recipient.clone(), sender), (pair, last.number));
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
