//! A store whose commits can be held up, so that requests meet in one group whenever a story wants it.

use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use truc::{
    domain::id::{AgencyId, Digest, DocumentName},
    store::{
        Commit, CommitError, Store, StoreError, StoredLeaf, Waiting, memory::Memory, payload::Payload,
        records::*,
    },
    tlog::Hash,
};

#[derive(Default)]
pub struct Gate {
    memory: Arc<Memory>,
    /// Bodies are durable before their commit, as in every store that lasts.
    bodies: Mutex<Option<Arc<Payload>>>,
    door: Mutex<Door>,
    moved: Condvar,
}

#[derive(Default)]
struct Door {
    closed: bool,
    waiting: bool,
}

impl Gate {
    pub fn over(memory: Arc<Memory>) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Where the bodies of commits lie.
    pub fn keep(&self, bodies: &Arc<Payload>) {
        *self.bodies.lock().unwrap() = Some(Arc::clone(bodies));
    }

    /// The next commit waits.
    pub fn close(&self) {
        self.door.lock().unwrap().closed = true;
    }

    pub fn open(&self) {
        self.door.lock().unwrap().closed = false;
        self.moved.notify_all();
    }

    /// True while a commit stands before the closed gate.
    pub fn is_waiting(&self) -> bool {
        self.door.lock().unwrap().waiting
    }
}

macro_rules! pass_through {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> $answer { self.memory.$name($($arg),*) })*
    };
}

impl Store for Gate {
    fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut door = self.door.lock().unwrap();
        while door.closed {
            door.waiting = true;
            door = self.moved.wait(door).unwrap();
        }
        door.waiting = false;
        drop(door);
        if let Some(bodies) = &*self.bodies.lock().unwrap() {
            bodies.sync().map_err(CommitError::Unknown)?;
        }
        self.memory.commit(commit)
    }

    pass_through! {
        head() -> Head;
        node(index: u64) -> Result<Hash, StoreError>;
        leaf(index: u64) -> Result<Option<StoredLeaf>, StoreError>;
        find_document(name: &DocumentName) -> Result<Option<u64>, StoreError>;
        documents_with_id(id: &str, limit: usize) -> Result<Vec<u64>, StoreError>;
        natural_key(sender: &AgencyId, year: u32, number: &str, notation: &str) -> Result<Option<u64>, StoreError>;
        document(index: u64) -> Result<Option<DocumentRecord>, StoreError>;
        recipient_list(index: u64) -> Result<Option<RecipientList>, StoreError>;
        expansions() -> Result<Vec<ExpansionRecord>, StoreError>;
        delivery(document: u64, recipient: &AgencyId) -> Result<Option<DeliveryRecord>, StoreError>;
        deliveries(document: u64, after: Option<&str>, limit: usize) -> Result<Vec<DeliveryRecord>, StoreError>;
        waiting(after: Option<&Waiting>, limit: usize) -> Result<Vec<Waiting>, StoreError>;
        timeline(document: u64, from: u64, limit: usize) -> Result<Vec<u64>, StoreError>;
        feed(agency: &AgencyId, from: u64, limit: usize) -> Result<Vec<u64>, StoreError>;
        answered(payload: &Digest) -> Result<Option<u64>, StoreError>;
        parked(name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError>;
        all_parked(limit: usize) -> Result<Vec<ParkedRecord>, StoreError>;
        body(digest: &Digest) -> Result<Option<BodyRecord>, StoreError>;
        documents(leaves: std::ops::Range<u64>) -> Result<Vec<DocumentRecord>, StoreError>;
        erasure(document: u64) -> Result<Option<ErasureRecord>, StoreError>;
        erasing(from: u64, limit: usize) -> Result<Vec<ErasureRecord>, StoreError>;
        holds() -> Result<Vec<HoldRecord>, StoreError>;
        cursor(agency: &AgencyId) -> Result<Option<u64>, StoreError>;
        action(id: u64) -> Result<Option<ActionRecord>, StoreError>;
        actions(before: Option<u64>, limit: usize) -> Result<Vec<ActionRecord>, StoreError>;
        open_actions() -> Result<Vec<ActionRecord>, StoreError>;
        pair(to: &AgencyId, from: &AgencyId) -> Result<Option<PairRecord>, StoreError>;
        received(to: &AgencyId) -> Result<Option<PairRecord>, StoreError>;
        sent(from: &AgencyId) -> Result<Option<SentRecord>, StoreError>;
        digests(from_day: u32, limit: usize) -> Result<Vec<DigestRecord>, StoreError>;
        digest_agencies(leaf: u64) -> Result<Option<Vec<Bytes>>, StoreError>;
        directory_changes() -> Result<Vec<(u64, Bytes)>, StoreError>;
    }
}
