//! What stands for as long as somebody is there.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use super::{MAX_FETCHED, NodeLine, Presence, SessionLine, lock};
use crate::hub::dispatcher::Lease;

/// A fetch under way.
pub struct Fetching {
    pub(super) presence: Arc<Presence>,
    pub(super) line: Arc<NodeLine>,
    pub(super) id: u64,
}

impl Fetching {
    /// It ends with so many offers; `leases` may hold some that went back at once.
    pub fn offered(&self, leases: &[Lease], documents: u64, bytes: u64) {
        let now = self.presence.clock.now();
        self.line.offered_at.tell(now);
        self.line.offered.count(documents, bytes, now);
        let mut held = lock(&self.line.leases);
        held.extend_from_slice(leases);
        if held.len() > MAX_FETCHED {
            held.retain(|lease| lease.until > now);
            let more = held.len().saturating_sub(MAX_FETCHED);
            held.drain(..more);
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.presence.left(&self.line, self.id);
    }
}

/// A session's place among those that stand.
pub struct Standing {
    pub(super) presence: Arc<Presence>,
    pub(super) node_line: Arc<NodeLine>,
    pub(super) line: Arc<SessionLine>,
    pub(super) id: u64,
}

impl Standing {
    /// Offers that it may still get.
    pub fn credit(&self, credit: u32) {
        self.line.credit.store(credit, Ordering::Relaxed);
    }

    /// It breaks off and leaves documents behind. Of sessions that end together the last one counts.
    pub fn breaks_off(&self) {
        let now = self.presence.clock.now();
        let others = |(id, receiver): (&u64, &super::Receiver)| *id != self.id && receiver.is_session;
        let is_last = !lock(&self.node_line.receivers).open.iter().any(others);
        if is_last && self.node_line.answered_at.us() < self.line.since.0 {
            lock(&self.node_line.breaks).tell(self.line.since, now);
        }
    }

    /// It got an offer.
    pub fn offered(&self, bytes: u64) {
        let now = self.presence.clock.now();
        for (at, meter) in [
            (&self.line.offered_at, &self.line.offered),
            (&self.node_line.offered_at, &self.node_line.offered),
        ] {
            at.tell(now);
            meter.count(1, bytes, now);
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.presence.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.presence.left(&self.node_line, self.id);
    }
}
