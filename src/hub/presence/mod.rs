//! Who is connected, since when, and when each node and agency was last heard of.
//!
//! In memory, bounded by the directory and by the open sessions. What happened before the start is told by
//! [`Presence::learn`], from the log. The hot path takes short locks of one node or one session only.

mod flaps;
mod meter;
mod stay;
mod tell;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

pub use self::stay::{Fetching, Standing};
use self::{flaps::Breaks, meter::Meter};
use super::{clock::Clock, dispatcher::Lease};
use crate::domain::{
    directory::Directory,
    id::{AgencyId, NodeName},
    time::Timestamp,
};

/// Offers of plain fetches that are remembered for one node; when there are more, those that ended are forgotten.
const MAX_FETCHED: usize = 1_024;

/// Offers of test documents that are remembered; the oldest are forgotten.
const MAX_TESTS: usize = 1_024;

/// The connection of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Last moment of its certificate.
    pub certificate_until: Option<Timestamp>,
}

/// The agencies that a session or a fetch is about.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All that the node acts for.
    All,
    /// These, sorted.
    Only(Arc<[AgencyId]>),
}

impl Scope {
    fn covers(&self, agency: &AgencyId) -> bool {
        match self {
            Self::All => true,
            Self::Only(agencies) => agencies.binary_search(agency).is_ok(),
        }
    }
}

/// The newest of the moments that it was told; 0 before.
#[derive(Debug, Default)]
struct Newest(AtomicI64);

impl Newest {
    fn tell(&self, at: Timestamp) {
        self.0.fetch_max(at.0, Ordering::Relaxed);
    }

    fn us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A node, from its first call on.
#[derive(Default)]
struct NodeLine {
    receivers: Mutex<Receivers>,
    peer: Mutex<Peer>,
    heard: Newest,
    fetched: Newest,
    /// A fetch or session for all of its agencies ended.
    left_all: Newest,
    offered_at: Newest,
    answered_at: Newest,
    submitted_at: Newest,
    offered: Meter,
    answered: Meter,
    submitted: Meter,
    /// What plain fetches leased, ended leases among them.
    leases: Mutex<Vec<Lease>>,
    breaks: Mutex<Breaks>,
}

/// Sessions and waiting fetches of one node.
#[derive(Default)]
struct Receivers {
    open: BTreeMap<u64, Receiver>,
    /// Since when there is one without a break.
    since: Timestamp,
    left: Timestamp,
}

/// A session, or a fetch that waits.
struct Receiver {
    scope: Scope,
    since: Timestamp,
    is_session: bool,
}

/// A session that stands.
pub struct SessionLine {
    node: NodeName,
    peer: Peer,
    agencies: Arc<[AgencyId]>,
    since: Timestamp,
    credit: AtomicU32,
    offered_at: Newest,
    offered: Meter,
    leases: Arc<Mutex<Vec<Lease>>>,
}

/// An agency that somebody spoke or received for.
#[derive(Default)]
struct AgencyLine {
    /// Somebody stopped receiving for this agency by name.
    left: Newest,
    signed: Newest,
}

/// How far back the log was read for contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// What was signed since then is known.
    pub from: Timestamp,
    /// Leaves below this one were read.
    pub covers: u64,
}

/// Who is there. The hub keeps one.
pub struct Presence {
    clock: Clock,
    started: Timestamp,
    next: AtomicU64,
    nodes: RwLock<HashMap<NodeName, Arc<NodeLine>>>,
    agencies: RwLock<HashMap<AgencyId, Arc<AgencyLine>>>,
    sessions: RwLock<BTreeMap<u64, Arc<SessionLine>>>,
    learned: Mutex<Learned>,
    /// First offers of test documents, by document and recipient.
    tests: Mutex<BTreeMap<(u64, AgencyId), Timestamp>>,
}

impl Presence {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            started: clock.now(),
            clock,
            next: AtomicU64::new(1),
            nodes: RwLock::default(),
            agencies: RwLock::default(),
            sessions: RwLock::default(),
            learned: Mutex::default(),
            tests: Mutex::default(),
        }
    }

    /// When it began to look.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// A node called. One that the directory does not know leaves no trace.
    pub fn heard(&self, directory: &Directory, node: &NodeName, peer: Peer) {
        let Some(line) = self.node_line(node, || directory.node(node).is_some()) else { return };
        line.heard.tell(self.clock.now());
        let mut last = lock(&line.peer);
        if *last != peer {
            *last = peer;
        }
    }

    /// A signed message of an agency was taken from a node of it: a document, a receipt or a status.
    pub fn signed(&self, node: &NodeName, agency: &AgencyId) {
        let now = self.clock.now();
        if let Some(line) = self.node_line(node, || true) {
            line.heard.tell(now);
        }
        self.agency_line(agency).signed.tell(now);
    }

    /// The same as the log tells it, whenever that was. Names that the directory does not know leave no trace.
    pub fn learn(&self, directory: &Directory, node: &str, agency: &str, at: Timestamp) {
        if let Ok(node) = NodeName::parse(node)
            && let Some(line) = self.node_line(&node, || directory.node(&node).is_some())
        {
            line.heard.tell(at);
        }
        if let Some(entry) = directory.resolve(agency) {
            self.agency_line(&entry.id).signed.tell(at);
        }
    }

    /// A test document was offered.
    pub fn test_offered(&self, document: u64, recipient: &AgencyId) {
        let mut tests = lock(&self.tests);
        tests.entry((document, recipient.clone())).or_insert_with(|| self.clock.now());
        while tests.len() > MAX_TESTS {
            tests.pop_first();
        }
    }

    /// When a test document was first offered.
    #[must_use]
    pub fn first_offer(&self, document: u64, recipient: &AgencyId) -> Option<Timestamp> {
        lock(&self.tests).get(&(document, recipient.clone())).copied()
    }

    /// How far the log was read for [`Presence::learn`].
    pub fn learned(&self, learned: Learned) {
        *lock(&self.learned) = learned;
    }

    /// A node handed in a receipt that was taken.
    pub fn answered(&self, node: &NodeName, bytes: u64) {
        let (Some(line), now) = (self.node_line(node, || true), self.clock.now()) else { return };
        line.answered_at.tell(now);
        line.answered.count(1, bytes, now);
        lock(&line.breaks).clear();
    }

    /// A document of a node was accepted.
    pub fn submitted(&self, node: &NodeName, bytes: u64) {
        let (Some(line), now) = (self.node_line(node, || true), self.clock.now()) else { return };
        line.submitted_at.tell(now);
        line.submitted.count(1, bytes, now);
    }

    /// A node fetched bytes of an attachment.
    pub fn downloaded(&self, node: &NodeName, bytes: u64) {
        if let Some(line) = self.node_line(node, || true) {
            line.offered.count(0, bytes, self.clock.now());
        }
    }

    /// A node begins to fetch; while the result lives, it receives.
    pub fn fetch(self: &Arc<Self>, node: &NodeName, scope: Scope) -> Fetching {
        let (line, now) = (self.node_line(node, || true).unwrap_or_default(), self.clock.now());
        line.heard.tell(now);
        line.fetched.tell(now);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        line.enter(id, Receiver { scope, since: now, is_session: false });
        Fetching { presence: Arc::clone(self), line, id }
    }

    /// A session begins; while the result lives, it stands. `leases` are those that it holds, ended ones among them.
    pub fn session(
        self: &Arc<Self>,
        node: &NodeName,
        peer: Peer,
        agencies: &[AgencyId],
        leases: Arc<Mutex<Vec<Lease>>>,
    ) -> Standing {
        let (node_line, now) = (self.node_line(node, || true).unwrap_or_default(), self.clock.now());
        node_line.heard.tell(now);
        let agencies: Arc<[AgencyId]> = agencies.into();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let scope = Scope::Only(Arc::clone(&agencies));
        node_line.enter(id, Receiver { scope, since: now, is_session: true });
        let line = Arc::new(SessionLine {
            node: node.clone(),
            peer,
            agencies,
            since: now,
            credit: AtomicU32::new(0),
            offered_at: Newest::default(),
            offered: Meter::default(),
            leases,
        });
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&line));
        Standing { presence: Arc::clone(self), node_line, line, id }
    }

    fn node_line(&self, node: &NodeName, known: impl FnOnce() -> bool) -> Option<Arc<NodeLine>> {
        if let Some(line) = self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(node) {
            return Some(Arc::clone(line));
        }
        if !known() {
            return None;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(nodes.entry(node.clone()).or_default()))
    }

    fn agency_line(&self, agency: &AgencyId) -> Arc<AgencyLine> {
        if let Some(line) = self.agencies.read().unwrap_or_else(PoisonError::into_inner).get(agency) {
            return Arc::clone(line);
        }
        let mut agencies = self.agencies.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(agencies.entry(agency.clone()).or_default())
    }

    fn left(&self, line: &NodeLine, id: u64) {
        let now = self.clock.now();
        let mut receivers = lock(&line.receivers);
        let Some(gone) = receivers.open.remove(&id) else { return };
        receivers.left = receivers.left.max(now);
        drop(receivers);
        match &gone.scope {
            Scope::All => line.left_all.tell(now),
            Scope::Only(agencies) => {
                agencies.iter().for_each(|agency| self.agency_line(agency).left.tell(now))
            }
        }
    }
}

impl NodeLine {
    fn enter(&self, id: u64, receiver: Receiver) {
        let mut receivers = lock(&self.receivers);
        if receivers.open.is_empty() {
            receivers.since = receiver.since;
        }
        receivers.open.insert(id, receiver);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
