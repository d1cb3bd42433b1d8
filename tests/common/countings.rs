//! Numbers without gaps, recounted from the log itself.

use std::collections::BTreeMap;

use truc::{proto::*, tlog::Hash};

use super::World;

/// The newest of a counting: number, leaf, hash.
type Last = (u64, u64, Hash);

/// Countings as the log tells them.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Countings {
    pub sent: BTreeMap<String, Last>,
    pub received: BTreeMap<String, Last>,
    /// By sender and recipient.
    pub pairs: BTreeMap<(String, String), Last>,
}

impl Countings {
    /// Takes the next leaf of the log, which has to carry the right numbers, and no others.
    pub fn take(&mut self, index: u64, hash: Hash, evidence: &Evidence) {
        let (leaf, said) = ((index, hash), evidence.counters.clone());
        let sender = evidence.sender.clone().unwrap_or_default().agency;
        match evidence.event() {
            EventKind::SubmissionAcceptance => {
                let said = said.unwrap_or_default();
                goes_on(&mut self.sent, sender, said.sent, leaf);
                assert_eq!((said.received, said.pair), (None, None));
            }
            EventKind::ContentConsignment => {
                let (said, to) = (said.unwrap_or_default(), evidence.recipients[0].agency.clone());
                goes_on(&mut self.received, to.clone(), said.received, leaf);
                goes_on(&mut self.pairs, (sender, to), said.pair, leaf);
                assert_eq!(said.sent, None);
            }
            _ => assert_eq!(said, None),
        }
    }
}

fn goes_on<K: Ord>(countings: &mut BTreeMap<K, Last>, key: K, said: Option<Counter>, leaf: (u64, Hash)) {
    let last = countings.get(&key);
    let expected = match last {
        None => Counter { number: 1, ..Counter::default() },
        Some((number, index, hash)) => {
            Counter { number: number + 1, previous_index: *index, previous_sha256: hash.to_vec().into() }
        }
    };
    let number = expected.number;
    assert_eq!(said, Some(expected), "leaf {}", leaf.0);
    countings.insert(key, (number, leaf.0, leaf.1));
}

impl World {
    /// Reads the whole log and recounts it.
    pub async fn countings(&self) -> Countings {
        let mut countings = Countings::default();
        for index in 0..self.hub().size() {
            let receipt = self.hub().receipt(index).await.unwrap();
            let leaf = self.verify(receipt);
            countings.take(index, leaf.leaf_hash(), &leaf.evidence);
        }
        countings
    }
}
