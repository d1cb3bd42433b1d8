//! What was committed lately, in memory: documents on their way out, and proofs that somebody is about to read.
//! A miss only means that the store has to be asked.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use prost::Message;

use crate::{
    proto::{Receipt, SignedEnvelope},
    store::records::DocumentRecord,
    tlog::Hash,
};

/// What an entry takes beside its bytes.
const OVERHEAD: usize = 512;
/// Larger envelopes are left to the store, so that a few do not push out all others.
const MAX_ENVELOPE: usize = 64 * 1024;

/// A document and the envelope it came in.
pub struct Document {
    /// As committed.
    pub record: Arc<DocumentRecord>,
    /// As received, with bytes of its own: those of the whole message that it came in count against its sender as long
    /// as anybody holds them.
    pub envelope: SignedEnvelope,
}

/// A leaf with its place in the tree of its own commit: what a receipt is made of when somebody asks for it.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Index of the leaf.
    pub index: u64,
    /// Its exact bytes.
    pub evidence: Bytes,
    /// Hashes of its audit path, one behind the other.
    pub path: Bytes,
    /// Checkpoint of the commit.
    pub checkpoint: Arc<str>,
}

/// The newest documents and proofs, up to a number of bytes; the oldest go first.
pub struct Recent {
    max_bytes: usize,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    documents: ByIndex<(usize, Arc<Document>)>,
    proven: ByIndex<Proven>,
    bytes: usize,
}

impl Recent {
    /// Keeps up to `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, entries: RwLock::default() }
    }

    /// Takes what a commit made, once it is durable.
    pub fn keep(
        &self,
        documents: impl IntoIterator<Item = Document>,
        proven: impl IntoIterator<Item = Proven>,
    ) {
        let documents = documents.into_iter().map(|document| (document.envelope.encoded_len(), document));
        let documents: Vec<_> = documents.filter(|(envelope, _)| *envelope <= MAX_ENVELOPE).collect();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (envelope, document) in documents {
            let weight = envelope + document.record.encoded_len() + OVERHEAD;
            entries.bytes += weight;
            entries.documents.push(document.record.index, (weight, Arc::new(document)));
        }
        for proven in proven {
            entries.bytes += proven.weight();
            entries.proven.push(proven.index, proven);
        }
        while entries.bytes > self.max_bytes {
            entries.forget_oldest();
        }
    }

    /// Forgets a document whose contents were erased.
    pub fn forget(&self, index: u64) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((weight, _)) = entries.documents.remove(index) {
            entries.bytes -= weight;
        }
    }

    /// The document of this index.
    #[must_use]
    pub fn document(&self, index: u64) -> Option<Arc<Document>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.documents.get(index).map(|(_, document)| Arc::clone(document))
    }

    /// The receipt of this leaf, in the checkpoint of its own commit.
    #[must_use]
    pub fn receipt(&self, leaf: u64) -> Option<Receipt> {
        let proven = self.entries.read().unwrap_or_else(PoisonError::into_inner).proven.get(leaf).cloned();
        proven.as_ref().map(Proven::receipt)
    }
}

impl Entries {
    fn forget_oldest(&mut self) {
        if self.documents.first() < self.proven.first() {
            let oldest = self.documents.0.pop_front();
            self.bytes -= oldest.map_or(0, |(_, (weight, _))| weight);
        } else {
            let oldest = self.proven.0.pop_front();
            self.bytes -= oldest.map_or(0, |(_, proven)| proven.weight());
        }
    }
}

/// Entries in the order of their indexes, which is the order in which they come.
struct ByIndex<T>(VecDeque<(u64, T)>);

impl<T> Default for ByIndex<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> ByIndex<T> {
    fn push(&mut self, index: u64, entry: T) {
        let place = match self.0.back() {
            Some((last, _)) if *last >= index => self.0.partition_point(|(other, _)| *other < index),
            _ => self.0.len(),
        };
        self.0.insert(place, (index, entry));
    }

    fn get(&self, index: u64) -> Option<&T> {
        let place = self.0.binary_search_by_key(&index, |(other, _)| *other).ok()?;
        self.0.get(place).map(|(_, entry)| entry)
    }

    fn remove(&mut self, index: u64) -> Option<T> {
        let place = self.0.binary_search_by_key(&index, |(other, _)| *other).ok()?;
        self.0.remove(place).map(|(_, entry)| entry)
    }

    /// The first index; the largest there is where nothing is.
    fn first(&self) -> u64 {
        self.0.front().map_or(u64::MAX, |(index, _)| *index)
    }
}

impl Proven {
    /// The receipt.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        let mut path = self.path.clone();
        Receipt {
            evidence: self.evidence.clone(),
            index: self.index,
            path: (0..path.len() / size_of::<Hash>()).map(|_| path.split_to(size_of::<Hash>())).collect(),
            checkpoint: self.checkpoint.as_ref().into(),
        }
    }

    /// The checkpoint is one for all of a commit, which is small beside the rest.
    fn weight(&self) -> usize {
        self.evidence.len() + self.path.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(index: u64, bytes: usize) -> Document {
        let record = DocumentRecord { index, ..DocumentRecord::default() };
        let envelope = SignedEnvelope { payload: vec![0; bytes].into(), ..SignedEnvelope::default() };
        Document { record: record.into(), envelope }
    }

    fn proven(index: u64) -> Proven {
        let path = Bytes::from([[1; 32], [2; 32]].concat());
        Proven { index, evidence: vec![0; 400].into(), path, checkpoint: "checkpoint".into() }
    }

    #[test]
    fn the_oldest_go_first_and_the_bound_holds() {
        let recent = Recent::new(20_000);
        for index in 0..100 {
            recent.keep([document(2 * index, 1000)], [proven(2 * index + 1)]);
            assert!(recent.entries.read().unwrap().bytes <= 20_000);
        }
        assert!(recent.document(0).is_none() && recent.receipt(1).is_none());
        assert_eq!(recent.document(198).unwrap().record.index, 198);
        let receipt = recent.receipt(199).unwrap();
        assert_eq!((receipt.index, &receipt.path[..]), (199, &[vec![1; 32].into(), vec![2; 32].into()][..]));
        assert_eq!((receipt.evidence.len(), &*receipt.checkpoint), (400, "checkpoint"));
        let entries = recent.entries.read().unwrap();
        assert!(entries.documents.0.len().abs_diff(entries.proven.0.len()) <= 1);
        assert_eq!(
            entries.bytes,
            entries.documents.0.iter().map(|(_, (weight, _))| weight).sum::<usize>()
                + entries.proven.0.iter().map(|(_, proven)| proven.weight()).sum::<usize>()
        );
    }

    #[test]
    fn what_is_forgotten_is_gone_and_the_others_stay() {
        let recent = Recent::new(1 << 20);
        recent.keep([document(3, 10), document(7, 10), document(5, 10)], [proven(4)]);
        let bytes = recent.entries.read().unwrap().bytes;
        recent.forget(5);
        recent.forget(6);
        assert!(recent.document(5).is_none() && recent.document(4).is_none());
        assert_eq!([3, 7].map(|index| recent.document(index).unwrap().record.index), [3, 7]);
        assert!(recent.receipt(4).is_some() && recent.entries.read().unwrap().bytes < bytes);
    }

    #[test]
    fn large_envelopes_are_left_to_the_store() {
        let recent = Recent::new(1 << 20);
        recent.keep([document(1, MAX_ENVELOPE + 1), document(2, 10)], []);
        assert!(recent.document(1).is_none() && recent.document(2).is_some());
        let tiny = Recent::new(0);
        tiny.keep([document(1, 10)], [proven(2)]);
        assert!(tiny.document(1).is_none() && tiny.receipt(2).is_none());
    }
}
