//! The queues themselves, under one lock: entries, who holds them, and the clocks that run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Lease, Standing};
use crate::{
    domain::{
        id::AgencyId,
        reason::{Reason, ReasonCode},
        retry::Backoff,
        time::Timestamp,
    },
    hub::bells::Bells,
};

pub(super) struct Entry {
    rank: u8,
    deadline: Timestamp,
    pub attempts: u32,
    pub standing: Standing,
}

#[derive(Default)]
pub(super) struct Queue {
    ready: BTreeSet<(u8, u64)>,
    pub entries: HashMap<u64, Entry>,
}

pub(super) struct Board {
    /// Agencies for which something waits.
    pub queues: BTreeMap<AgencyId, Queue>,
    /// Ends of leases and pauses.
    timers: BTreeSet<(Timestamp, AgencyId, u64)>,
    pub deadlines: BTreeSet<(Timestamp, AgencyId, u64)>,
    next_lease: u64,
    pub leased: usize,
    backoff: Backoff,
    bells: Arc<Bells>,
}

impl Board {
    pub fn new(backoff: Backoff, bells: Arc<Bells>) -> Self {
        Self {
            queues: BTreeMap::new(),
            timers: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next_lease: 0,
            leased: 0,
            backoff,
            bells,
        }
    }

    pub fn add(&mut self, recipient: AgencyId, rank: u8, document: u64, deadline: Timestamp) {
        let queue = self.queues.entry(recipient.clone()).or_default();
        if queue.entries.contains_key(&document) {
            return;
        }
        queue.entries.insert(document, Entry { rank, deadline, attempts: 0, standing: Standing::Ready });
        queue.ready.insert((rank, document));
        self.bells.ring(recipient.as_str());
        self.deadlines.insert((deadline, recipient, document));
    }

    pub fn remove(&mut self, recipient: &AgencyId, document: u64) {
        let Some(queue) = self.queues.get_mut(recipient) else { return };
        let Some(entry) = queue.entries.remove(&document) else { return };
        queue.ready.remove(&(entry.rank, document));
        if queue.entries.is_empty() {
            self.queues.remove(recipient);
        }
        self.deadlines.remove(&(entry.deadline, recipient.clone(), document));
        self.forget_timer(entry.standing, recipient, document);
    }

    fn forget_timer(&mut self, standing: Standing, recipient: &AgencyId, document: u64) {
        match standing {
            Standing::Ready => {}
            Standing::Leased { until, .. } => {
                self.leased -= 1;
                self.timers.remove(&(until, recipient.clone(), document));
                // Its session may have room again.
                self.bells.ring(recipient.as_str());
            }
            Standing::Paused { until } => {
                self.timers.remove(&(until, recipient.clone(), document));
            }
        }
    }

    /// What goes out next to this agency: rank, then age.
    pub fn head<'a>(&self, agency: &'a AgencyId) -> Option<(u8, u64, &'a AgencyId)> {
        let (rank, document) = self.queues.get(agency)?.ready.first()?;
        Some((*rank, *document, agency))
    }

    pub fn lease(&mut self, recipient: AgencyId, document: u64, until: Timestamp) -> Lease {
        self.next_lease += 1;
        let id = self.next_lease;
        let attempt = self.set(&recipient, document, Standing::Leased { id, until }, 1);
        Lease { id, recipient, document, attempt, until }
    }

    /// Moves an entry to another standing; returns its attempts.
    fn set(&mut self, recipient: &AgencyId, document: u64, standing: Standing, more_attempts: i32) -> u32 {
        let Some(queue) = self.queues.get_mut(recipient) else { return 0 };
        let Some(entry) = queue.entries.get_mut(&document) else { return 0 };
        let before = std::mem::replace(&mut entry.standing, standing);
        entry.attempts = entry.attempts.saturating_add_signed(more_attempts);
        let (attempts, rank) = (entry.attempts, entry.rank);
        if standing == Standing::Ready {
            queue.ready.insert((rank, document));
            self.bells.ring(recipient.as_str());
        } else {
            queue.ready.remove(&(rank, document));
        }
        self.forget_timer(before, recipient, document);
        match standing {
            Standing::Ready => {}
            Standing::Leased { until, .. } => {
                self.leased += 1;
                self.timers.insert((until, recipient.clone(), document));
            }
            Standing::Paused { until } => {
                self.timers.insert((until, recipient.clone(), document));
            }
        }
        attempts
    }

    pub fn held(&self, recipient: &AgencyId, document: u64, lease: u64) -> Result<&Entry, Reason> {
        let entry = self.queues.get(recipient).and_then(|queue| queue.entries.get(&document));
        entry.filter(|entry| matches!(entry.standing, Standing::Leased { id, .. } if id == lease)).ok_or_else(
            || Reason::new(ReasonCode::LeaseLost, format!("lease {lease} of {document}/{recipient}")),
        )
    }

    pub fn pause(
        &mut self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let attempts = self.held(recipient, document, lease)?.attempts;
        let until = now.plus_us(self.backoff.pause(attempts, random()));
        self.set(recipient, document, Standing::Paused { until }, 0);
        Ok(())
    }

    pub fn give_back(&mut self, lease: &Lease) {
        if self.held(&lease.recipient, lease.document, lease.id).is_ok() {
            self.set(&lease.recipient, lease.document, Standing::Ready, 0);
        }
    }

    pub fn undo(&mut self, lease: &Lease) {
        if self.held(&lease.recipient, lease.document, lease.id).is_ok() {
            self.set(&lease.recipient, lease.document, Standing::Ready, -1);
        }
    }

    pub fn extend(
        &mut self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        until: Timestamp,
    ) -> Result<Timestamp, Reason> {
        self.held(recipient, document, lease)?;
        self.set(recipient, document, Standing::Leased { id: lease, until }, 0);
        Ok(until)
    }

    pub fn tick(&mut self, now: Timestamp) {
        while let Some((until, recipient, document)) = self.timers.first().cloned()
            && until <= now
        {
            let entry = self.queues.get(&recipient).and_then(|queue| queue.entries.get(&document));
            match entry.map(|entry| (entry.standing, entry.attempts)) {
                Some((Standing::Leased { .. }, attempts)) => {
                    // A silent session: pause, so that a broken recipient is not asked without end.
                    let until = now.plus_us(self.backoff.pause(attempts, random()));
                    self.set(&recipient, document, Standing::Paused { until }, 0);
                }
                Some((Standing::Paused { .. }, _)) => {
                    self.set(&recipient, document, Standing::Ready, 0);
                }
                _ => {
                    self.timers.remove(&(until, recipient, document));
                }
            }
        }
    }
}

/// Jitter needs no secrecy; without randomness there is none.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
