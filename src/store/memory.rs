//! A store in memory: for tests of the hub, and the plain model that the embedded one is compared with.
//! It can be told to fail.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Bound, Range},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use bytes::Bytes;
use prost::Message;

use super::{
    Commit, CommitError, Store, StoreError, StoredLeaf, Waiting, rank,
    records::{
        ActionRecord, BodyRecord, DeliveryRecord, DigestRecord, DocumentRecord, ErasureRecord,
        ExpansionRecord, Head, HoldRecord, PairRecord, ParkedRecord, RecipientList, SentRecord,
    },
};
use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    proto::{self, TransportState},
    tlog::Hash,
};

/// What the next commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Works.
    None = 0,
    /// Fails with an unknown outcome; nothing was saved.
    FailedNotSaved = 1,
    /// Fails with an unknown outcome although everything was saved.
    FailedButSaved = 2,
}

/// The store.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
    fault: AtomicU8,
}

#[derive(Clone, Default)]
struct State {
    head: Head,
    leaves: Vec<StoredLeaf>,
    nodes: Vec<Hash>,
    names: BTreeMap<(String, String, u64), u64>,
    naturals: HashMap<(String, u32, String, String), u64>,
    documents: BTreeMap<u64, DocumentRecord>,
    lists: BTreeMap<u64, RecipientList>,
    expansions: BTreeMap<u64, ExpansionRecord>,
    deliveries: BTreeMap<(u64, String), DeliveryRecord>,
    /// By recipient, rank and document: deadline, and whether it is held.
    waiting: BTreeMap<(String, u8, u64), (i64, bool)>,
    timelines: BTreeSet<(u64, u64)>,
    feeds: BTreeSet<(String, u64)>,
    messages: HashMap<Bytes, u64>,
    parked: Vec<ParkedRecord>,
    directory: Vec<u64>,
    bodies: HashMap<Bytes, BodyRecord>,
    cursors: HashMap<String, u64>,
    actions: BTreeMap<u64, ActionRecord>,
    erased: BTreeMap<u64, ErasureRecord>,
    holds: BTreeMap<u64, HoldRecord>,
    pairs: BTreeMap<(String, String), PairRecord>,
    sent: HashMap<String, SentRecord>,
    digests: BTreeMap<u32, DigestRecord>,
    stopped: bool,
}

impl Memory {
    /// Tells what the next commit does. After a fault every later commit fails, until [`Memory::recover`].
    pub fn inject(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// As a restart: what was saved is there, and commits work again.
    pub fn recover(&self) {
        self.inject(Fault::None);
        self.state().stopped = false;
    }

    /// A store of its own with all that this one holds now.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: Mutex::new(self.state().clone()), fault: AtomicU8::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, commit: Commit) {
        for (leaf, index) in commit.leaves.into_iter().zip(commit.base_size..) {
            self.leaves.push(StoredLeaf { evidence: leaf.evidence, head: commit.head.clone() });
            if let Some(document) = leaf.document_plus_one.checked_sub(1) {
                self.timelines.insert((document, index));
            }
            self.feeds.extend(leaf.feeds.into_iter().map(|agency| (agency, index)));
        }
        self.nodes.extend(commit.nodes);
        self.head = commit.head;
        for document in commit.documents {
            self.apply_document(Arc::unwrap_or_clone(document));
        }
        self.lists.extend(commit.lists.into_iter().map(|list| (list.index, Arc::unwrap_or_clone(list))));
        for expansion in commit.expansions {
            self.expansions.insert(expansion.list, expansion);
        }
        self.expansions.retain(|_, expansion| expansion.next < expansion.total);
        for delivery in commit.deliveries {
            self.apply_delivery(delivery);
        }
        self.messages.extend(commit.messages.into_iter().map(|m| (m.payload_sha256, m.leaf)));
        for parked in commit.parked {
            self.parked.retain(|old| old.leaf != parked.leaf);
            if !parked.applied {
                self.parked.push(parked);
            }
        }
        self.directory.extend(commit.directory.iter().map(|change| change.leaf));
        self.bodies.extend(commit.bodies.into_iter().map(|body| (body.sha256.clone(), body)));
        let pairs = commit.pairs.into_iter();
        self.pairs.extend(pairs.map(|pair| ((pair.recipient.clone(), pair.sender.clone()), pair)));
        self.sent.extend(commit.sent.into_iter().map(|sent| (sent.sender.clone(), sent)));
        self.digests.extend(commit.digests.into_iter().map(|digest| (digest.day, digest)));
        self.cursors.extend(commit.cursors.into_iter().map(|cursor| (cursor.agency, cursor.next)));
        self.actions.extend(commit.actions.into_iter().map(|action| (action.id, action)));
        for erasure in commit.erasures {
            erasure.remove.iter().for_each(|body| drop(self.bodies.remove(&body.sha256)));
            self.erased.insert(erasure.document, erasure);
        }
        self.holds.extend(commit.holds.into_iter().map(|hold| (hold.leaf, hold)));
        self.holds.retain(|_, hold| !hold.lifted);
    }

    fn apply_document(&mut self, document: DocumentRecord) {
        let name = (document.document_id.clone(), document.sender.clone(), document.revision);
        self.names.insert(name, document.index);
        let natural =
            (document.sender.clone(), document.year, document.number.clone(), document.notation.clone());
        if !document.test {
            self.naturals.entry(natural).or_insert(document.index);
        }
        self.documents.insert(document.index, document);
    }

    fn apply_delivery(&mut self, delivery: DeliveryRecord) {
        let key = (delivery.recipient.clone(), rank(delivery.urgency), delivery.document);
        match delivery.transport_state() {
            TransportState::Ready => drop(self.waiting.insert(key, (delivery.deadline_us, false))),
            TransportState::Held => drop(self.waiting.insert(key, (delivery.deadline_us, true))),
            _ => drop(self.waiting.remove(&key)),
        }
        self.deliveries.insert((delivery.document, delivery.recipient.clone()), delivery);
    }
}

impl Store for Memory {
    fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let fault = self.fault.swap(Fault::None as u8, Ordering::SeqCst);
        let mut state = self.state();
        let failed = || CommitError::Unknown(std::io::Error::other("injected"));
        if state.stopped {
            return Err(failed());
        }
        if commit.base_size != state.head.size {
            return Err(CommitError::Stale { expected: commit.base_size, actual: state.head.size });
        }
        state.stopped = fault != Fault::None as u8;
        if fault != Fault::FailedNotSaved as u8 {
            state.apply(commit.clone());
        }
        if state.stopped { Err(failed()) } else { Ok(()) }
    }

    fn head(&self) -> Head {
        self.state().head.clone()
    }

    fn node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        let index = usize::try_from(stored_index).unwrap_or(usize::MAX);
        let missing = || StoreError::Damaged(format!("tree hash {stored_index} is missing"));
        self.state().nodes.get(index).copied().ok_or_else(missing)
    }

    fn leaf(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
        Ok(self.state().leaves.get(usize::try_from(index).unwrap_or(usize::MAX)).cloned())
    }

    fn find_document(&self, name: &DocumentName) -> Result<Option<u64>, StoreError> {
        let key = (name.document_id.to_string(), name.sender.to_string(), name.revision);
        Ok(self.state().names.get(&key).copied())
    }

    fn documents_with_id(&self, document_id: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let from = (document_id.to_owned(), String::new(), 0);
        let state = self.state();
        let range = state.names.range(from..).take_while(|((id, _, _), _)| id == document_id);
        Ok(range.take(limit).map(|(_, index)| *index).collect())
    }

    fn natural_key(
        &self,
        sender: &AgencyId,
        year: u32,
        number: &str,
        notation: &str,
    ) -> Result<Option<u64>, StoreError> {
        let key = (sender.to_string(), year, number.to_owned(), notation.to_owned());
        Ok(self.state().naturals.get(&key).copied())
    }

    fn document(&self, index: u64) -> Result<Option<DocumentRecord>, StoreError> {
        Ok(self.state().documents.get(&index).cloned())
    }

    fn recipient_list(&self, index: u64) -> Result<Option<RecipientList>, StoreError> {
        Ok(self.state().lists.get(&index).cloned())
    }

    fn expansions(&self) -> Result<Vec<ExpansionRecord>, StoreError> {
        Ok(self.state().expansions.values().cloned().collect())
    }

    fn delivery(&self, document: u64, recipient: &AgencyId) -> Result<Option<DeliveryRecord>, StoreError> {
        Ok(self.state().deliveries.get(&(document, recipient.to_string())).cloned())
    }

    fn deliveries(
        &self,
        document: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let state = self.state();
        let range = state.deliveries.range((document, String::new())..);
        let mine = range.take_while(|((index, _), _)| *index == document);
        let later = mine.filter(|((_, to), _)| after.is_none_or(|after| to.as_str() > after));
        Ok(later.take(limit).map(|(_, delivery)| delivery.clone()).collect())
    }

    fn waiting(&self, after: Option<&Waiting>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let state = self.state();
        let after = after.map(|after| (after.recipient.clone(), after.rank, after.document));
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let waiting =
            |((recipient, rank, document), (deadline_us, held)): (&(String, u8, u64), &(i64, bool))| {
                let (rank, document, deadline_us, held) = (*rank, *document, *deadline_us, *held);
                Waiting { recipient: recipient.clone(), rank, document, deadline_us, held }
            };
        Ok(state.waiting.range((start, Bound::Unbounded)).take(limit).map(waiting).collect())
    }

    fn timeline(&self, document: u64, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let state = self.state();
        let range = state.timelines.range((document, from)..=(document, u64::MAX));
        Ok(range.take(limit).map(|(_, leaf)| *leaf).collect())
    }

    fn feed(&self, agency: &AgencyId, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let agency = agency.to_string();
        let state = self.state();
        let range = state.feeds.range((agency.clone(), from)..=(agency, u64::MAX));
        Ok(range.take(limit).map(|(_, leaf)| *leaf).collect())
    }

    fn answered(&self, payload: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.state().messages.get(&payload.to_bytes()).copied())
    }

    fn parked(&self, name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError> {
        let matches = |parked: &&ParkedRecord| {
            parked.sender == name.sender.as_str()
                && parked.document_id == *name.document_id
                && parked.revision == name.revision
                && parked.recipient == recipient.as_str()
        };
        Ok(self.state().parked.iter().filter(matches).cloned().collect())
    }

    fn all_parked(&self, limit: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        Ok(self.state().parked.iter().take(limit).cloned().collect())
    }

    fn body(&self, digest: &Digest) -> Result<Option<BodyRecord>, StoreError> {
        Ok(self.state().bodies.get(&digest.to_bytes()).cloned())
    }

    fn cursor(&self, agency: &AgencyId) -> Result<Option<u64>, StoreError> {
        Ok(self.state().cursors.get(agency.as_str()).copied())
    }

    fn action(&self, id: u64) -> Result<Option<ActionRecord>, StoreError> {
        Ok(self.state().actions.get(&id).cloned())
    }

    fn actions(&self, before: Option<u64>, limit: usize) -> Result<Vec<ActionRecord>, StoreError> {
        let state = self.state();
        let older = state.actions.range(..before.unwrap_or(u64::MAX)).rev();
        Ok(older.take(limit).map(|(_, action)| action.clone()).collect())
    }

    fn open_actions(&self) -> Result<Vec<ActionRecord>, StoreError> {
        Ok(self.state().actions.values().filter(|action| action.is_open()).cloned().collect())
    }

    fn documents(&self, leaves: Range<u64>) -> Result<Vec<DocumentRecord>, StoreError> {
        Ok(self.state().documents.range(leaves).map(|(_, document)| document.clone()).collect())
    }

    fn erasure(&self, document: u64) -> Result<Option<ErasureRecord>, StoreError> {
        let erased = self.state().erased.get(&document).cloned();
        Ok(erased.map(|erasure| ErasureRecord { remove: Vec::new(), ..erasure }))
    }

    fn erasing(&self, from: u64, limit: usize) -> Result<Vec<ErasureRecord>, StoreError> {
        let state = self.state();
        let open = state.erased.range(from..).filter(|(_, erasure)| !erasure.removed);
        Ok(open.take(limit).map(|(_, erasure)| erasure.clone()).collect())
    }

    fn holds(&self) -> Result<Vec<HoldRecord>, StoreError> {
        Ok(self.state().holds.values().cloned().collect())
    }

    fn pair(&self, recipient: &AgencyId, sender: &AgencyId) -> Result<Option<PairRecord>, StoreError> {
        Ok(self.state().pairs.get(&(recipient.to_string(), sender.to_string())).cloned())
    }

    fn received(&self, recipient: &AgencyId) -> Result<Option<PairRecord>, StoreError> {
        let state = self.state();
        let mine = state.pairs.range((recipient.to_string(), String::new())..);
        let mine = mine.take_while(|((to, _), _)| to == recipient.as_str());
        Ok(mine.map(|(_, pair)| pair).max_by_key(|pair| pair.received).cloned())
    }

    fn sent(&self, sender: &AgencyId) -> Result<Option<SentRecord>, StoreError> {
        Ok(self.state().sent.get(sender.as_str()).cloned())
    }

    fn digests(&self, from_day: u32, limit: usize) -> Result<Vec<DigestRecord>, StoreError> {
        let state = self.state();
        let digests = state.digests.range(from_day..).map(|(_, digest)| digest);
        let plain = digests.map(|digest| DigestRecord { agencies: Vec::new(), ..digest.clone() });
        Ok(plain.take(limit).collect())
    }

    fn digest_agencies(&self, leaf: u64) -> Result<Option<Vec<Bytes>>, StoreError> {
        let state = self.state();
        let digest = state.digests.values().find(|digest| digest.leaf == leaf);
        Ok(digest.map(|digest| digest.agencies.clone()))
    }

    fn directory_changes(&self) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let state = self.state();
        let changes = state.directory.iter().filter_map(|leaf| {
            let stored = state.leaves.get(usize::try_from(*leaf).ok()?)?;
            let evidence = proto::Evidence::decode(stored.evidence.clone()).ok()?;
            Some((*leaf, evidence.directory_change))
        });
        Ok(changes.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::contract::{self, samples};
    use crate::tlog::merkle::Edge;

    struct Bench(Arc<Memory>);

    impl contract::Bench for Bench {
        fn open(&mut self) -> Arc<dyn Store> {
            Arc::clone(&self.0) as Arc<dyn Store>
        }
    }

    #[test]
    fn keeps_the_contract() {
        contract::run(&mut Bench(Arc::default()));
    }

    #[test]
    fn a_fault_stops_the_writer_until_recovery() {
        for (fault, size) in [(Fault::FailedNotSaved, 0), (Fault::FailedButSaved, 3)] {
            let store = Memory::default();
            store.inject(fault);
            let mut commit = samples::accept(0);
            samples::grow(Edge::empty(), &mut commit);
            assert!(matches!(store.commit(&commit), Err(CommitError::Unknown(_))));
            assert!(matches!(store.commit(&commit), Err(CommitError::Unknown(_))));
            assert_eq!(store.head().size, size);
            store.recover();
        }
    }
}
