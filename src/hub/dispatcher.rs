//! What waits for whom: ready queues by recipient, leases, pauses, deadlines. All in memory, made from the store.
//! A recipient that is away or slow has its own queue and holds up nobody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    domain::{
        id::AgencyId,
        reason::{Reason, ReasonCode},
        retry::Backoff,
        time::Timestamp,
    },
    proto::TransportState,
    store::{Store, StoreError, Waiting, rank, records::DeliveryRecord},
};

/// Deliveries read from the store at a time when the hub starts.
const PAGE: usize = 10_000;

/// A delivery given to one session for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names this lease.
    pub id: u64,
    /// Recipient agency.
    pub recipient: AgencyId,
    /// Document index.
    pub document: u64,
    /// 1 for the first offer since the hub started.
    pub attempt: u32,
    /// End of the lease.
    pub until: Timestamp,
}

/// How a delivery in memory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the ready queue.
    Ready,
    /// Leased.
    Leased {
        /// Lease id.
        id: u64,
        /// End.
        until: Timestamp,
    },
    /// Waits before the next offer.
    Paused {
        /// Next offer.
        until: Timestamp,
    },
}

struct Entry {
    rank: u8,
    deadline: Timestamp,
    attempts: u32,
    standing: Standing,
}

#[derive(Default)]
struct Queue {
    ready: BTreeSet<(u8, u64)>,
    entries: HashMap<u64, Entry>,
    listeners: Vec<Arc<Notify>>,
}

#[derive(Default)]
struct Board {
    queues: BTreeMap<AgencyId, Queue>,
    /// Ends of leases and pauses.
    timers: BTreeSet<(Timestamp, AgencyId, u64)>,
    deadlines: BTreeSet<(Timestamp, AgencyId, u64)>,
    next_lease: u64,
    leased: usize,
}

/// Handle of the queues.
pub struct Dispatcher {
    board: Mutex<Board>,
    lease_us: i64,
    backoff: Backoff,
}

impl Dispatcher {
    /// Reads what waits.
    pub fn load(store: &dyn Store, lease_us: i64, backoff: Backoff) -> Result<Self, StoreError> {
        let mut board = Board::default();
        let mut after: Option<Waiting> = None;
        loop {
            let page = store.waiting(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            for waiting in page {
                let recipient = AgencyId::parse(&waiting.recipient)
                    .map_err(|reason| StoreError::Damaged(reason.to_string()))?;
                board.add(recipient, waiting.rank, waiting.document, Timestamp(waiting.deadline_us));
            }
        }
        Ok(Self { board: Mutex::new(board), lease_us, backoff })
    }

    /// Takes over what a commit changed, and wakes the sessions concerned.
    pub fn update(&self, deliveries: &[DeliveryRecord], now: Timestamp) {
        let mut board = self.board();
        for delivery in deliveries {
            let Ok(recipient) = AgencyId::parse(&delivery.recipient) else { continue };
            if delivery.transport_state() == TransportState::Ready {
                board.add(
                    recipient,
                    rank(delivery.urgency),
                    delivery.document,
                    Timestamp(delivery.deadline_us),
                );
            } else {
                board.remove(&recipient, delivery.document);
            }
        }
        board.tick(now, self.backoff);
    }

    /// Leases the most urgent, then oldest, deliveries of these agencies, at most `max`.
    pub fn lease(&self, agencies: &[AgencyId], max: usize, now: Timestamp) -> Vec<Lease> {
        let mut board = self.board();
        let until = now.plus_us(self.lease_us);
        let mut leases = Vec::new();
        while leases.len() < max
            && let Some((recipient, document)) = board.best(agencies)
        {
            leases.push(board.lease(recipient, document, until));
        }
        leases
    }

    /// Gives a lease back: offered again after a pause, which grows with the attempts.
    pub fn release(
        &self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<(), Reason> {
        self.board().pause(recipient, document, lease, now, self.backoff)
    }

    /// Gives a lease back as if it had not been: for a session that ended before it could answer.
    pub fn give_back(&self, recipient: &AgencyId, document: u64, lease: u64) {
        self.board().give_back(recipient, document, lease);
    }

    /// Prolongs a lease.
    pub fn extend(
        &self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<Timestamp, Reason> {
        self.board().extend(recipient, document, lease, now.plus_us(self.lease_us))
    }

    /// Tells `listener` whenever something becomes ready for one of these agencies.
    pub fn listen(&self, agencies: &[AgencyId], listener: &Arc<Notify>) {
        let mut board = self.board();
        for agency in agencies {
            board.queues.entry(agency.clone()).or_default().listeners.push(Arc::clone(listener));
        }
    }

    /// Ends [`Dispatcher::listen`].
    pub fn unlisten(&self, agencies: &[AgencyId], listener: &Arc<Notify>) {
        let mut board = self.board();
        for agency in agencies {
            let Some(queue) = board.queues.get_mut(agency) else { continue };
            queue.listeners.retain(|other| !Arc::ptr_eq(other, listener));
            if queue.entries.is_empty() && queue.listeners.is_empty() {
                board.queues.remove(agency);
            }
        }
    }

    /// Ends leases and pauses that are over; returns deliveries whose deadline passed, at most `max`.
    pub fn tick(&self, now: Timestamp, max: usize) -> Vec<Waiting> {
        let mut board = self.board();
        board.tick(now, self.backoff);
        board.deadlines.iter().take_while(|(deadline, _, _)| *deadline <= now).take(max).map(due).collect()
    }

    /// True while this very lease lives.
    pub fn holds(&self, lease: &Lease) -> bool {
        self.board().held(&lease.recipient, lease.document, lease.id).is_ok()
    }

    /// Standing and attempts of one delivery that waits.
    pub fn standing(&self, recipient: &AgencyId, document: u64) -> Option<(Standing, u32)> {
        let board = self.board();
        let entry = board.queues.get(recipient)?.entries.get(&document)?;
        Some((entry.standing, entry.attempts))
    }

    /// Deliveries that wait, and how many of them are leased.
    pub fn counts(&self) -> (usize, usize) {
        let board = self.board();
        (board.queues.values().map(|queue| queue.entries.len()).sum(), board.leased)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due((deadline, recipient, document): &(Timestamp, AgencyId, u64)) -> Waiting {
    Waiting { recipient: recipient.to_string(), rank: 0, document: *document, deadline_us: deadline.0 }
}

impl Board {
    fn add(&mut self, recipient: AgencyId, rank: u8, document: u64, deadline: Timestamp) {
        let queue = self.queues.entry(recipient.clone()).or_default();
        if queue.entries.contains_key(&document) {
            return;
        }
        queue.entries.insert(document, Entry { rank, deadline, attempts: 0, standing: Standing::Ready });
        queue.ready.insert((rank, document));
        queue.listeners.iter().for_each(|listener| listener.notify_one());
        self.deadlines.insert((deadline, recipient, document));
    }

    fn remove(&mut self, recipient: &AgencyId, document: u64) {
        let Some(queue) = self.queues.get_mut(recipient) else { return };
        let Some(entry) = queue.entries.remove(&document) else { return };
        queue.ready.remove(&(entry.rank, document));
        if queue.entries.is_empty() && queue.listeners.is_empty() {
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
            }
            Standing::Paused { until } => {
                self.timers.remove(&(until, recipient.clone(), document));
            }
        }
    }

    fn best(&self, agencies: &[AgencyId]) -> Option<(AgencyId, u64)> {
        let heads = agencies.iter().filter_map(|agency| {
            let (rank, document) = self.queues.get(agency)?.ready.first()?;
            Some((*rank, *document, agency))
        });
        heads.min().map(|(_, document, agency)| (agency.clone(), document))
    }

    fn lease(&mut self, recipient: AgencyId, document: u64, until: Timestamp) -> Lease {
        self.next_lease += 1;
        let id = self.next_lease;
        let attempt = self.set(&recipient, document, Standing::Leased { id, until }, 1);
        Lease { id, recipient, document, attempt, until }
    }

    /// Moves an entry to another standing; returns its attempts.
    fn set(&mut self, recipient: &AgencyId, document: u64, standing: Standing, more_attempts: u32) -> u32 {
        let Some(queue) = self.queues.get_mut(recipient) else { return 0 };
        let Some(entry) = queue.entries.get_mut(&document) else { return 0 };
        let before = std::mem::replace(&mut entry.standing, standing);
        entry.attempts = entry.attempts.saturating_add(more_attempts);
        let (attempts, rank) = (entry.attempts, entry.rank);
        if standing == Standing::Ready {
            queue.ready.insert((rank, document));
            queue.listeners.iter().for_each(|listener| listener.notify_one());
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

    fn held(&self, recipient: &AgencyId, document: u64, lease: u64) -> Result<&Entry, Reason> {
        let entry = self.queues.get(recipient).and_then(|queue| queue.entries.get(&document));
        entry.filter(|entry| matches!(entry.standing, Standing::Leased { id, .. } if id == lease)).ok_or_else(
            || Reason::new(ReasonCode::LeaseLost, format!("lease {lease} of {document}/{recipient}")),
        )
    }

    fn pause(
        &mut self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
        backoff: Backoff,
    ) -> Result<(), Reason> {
        let attempts = self.held(recipient, document, lease)?.attempts;
        let until = now.plus_us(backoff.pause(attempts, random()));
        self.set(recipient, document, Standing::Paused { until }, 0);
        Ok(())
    }

    fn give_back(&mut self, recipient: &AgencyId, document: u64, lease: u64) {
        if self.held(recipient, document, lease).is_ok() {
            self.set(recipient, document, Standing::Ready, 0);
        }
    }

    fn extend(
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

    fn tick(&mut self, now: Timestamp, backoff: Backoff) {
        while let Some((until, recipient, document)) = self.timers.first().cloned()
            && until <= now
        {
            let entry = self.queues.get(&recipient).and_then(|queue| queue.entries.get(&document));
            match entry.map(|entry| (entry.standing, entry.attempts)) {
                Some((Standing::Leased { .. }, attempts)) => {
                    // A silent session: pause, so that a broken recipient is not asked without end.
                    let until = now.plus_us(backoff.pause(attempts, random()));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn agency(text: &str) -> AgencyId {
        AgencyId::parse(text).unwrap()
    }

    fn delivery(document: u64, recipient: &str, urgency: u32, state: TransportState) -> DeliveryRecord {
        DeliveryRecord {
            document,
            recipient: recipient.into(),
            transport: state.into(),
            urgency,
            deadline_us: 1_000_000,
            ..DeliveryRecord::default()
        }
    }

    fn dispatcher(deliveries: &[DeliveryRecord]) -> Dispatcher {
        let backoff = Backoff::new(1_000, 10_000, 2).unwrap();
        let dispatcher = Dispatcher::load(&crate::store::memory::Memory::default(), 1_000, backoff).unwrap();
        dispatcher.update(deliveries, Timestamp(0));
        dispatcher
    }

    const READY: TransportState = TransportState::Ready;

    #[test]
    fn urgent_first_then_older() {
        let d = dispatcher(&[
            delivery(1, "H53", 0, READY),
            delivery(2, "H53", 3, READY),
            delivery(3, "H54", 3, READY),
        ]);
        let leases = d.lease(&[agency("H54"), agency("H53")], 10, Timestamp(0));
        assert_eq!(leases.iter().map(|lease| lease.document).collect::<Vec<_>>(), [2, 3, 1]);
    }

    #[test]
    fn a_lease_is_held_by_one_and_comes_back_after_a_pause() {
        let d = dispatcher(&[delivery(1, "H53", 0, READY)]);
        let mine = [agency("H53")];
        let lease = d.lease(&mine, 1, Timestamp(0)).remove(0);
        assert!(d.lease(&mine, 1, Timestamp(999)).is_empty());
        d.tick(Timestamp(1_000), 10);
        assert!(matches!(d.standing(&mine[0], 1), Some((Standing::Paused { .. }, 1))));
        assert_eq!(
            d.release(&mine[0], 1, lease.id, Timestamp(1_000)).unwrap_err().code,
            ReasonCode::LeaseLost
        );
        d.tick(Timestamp(20_000), 10);
        assert_eq!(d.lease(&mine, 1, Timestamp(20_000))[0].attempt, 2);
        assert_eq!(d.counts(), (1, 1));
    }

    #[test]
    fn an_extended_lease_lives_on() {
        let d = dispatcher(&[delivery(1, "H53", 0, READY)]);
        let mine = agency("H53");
        let lease = d.lease(std::slice::from_ref(&mine), 1, Timestamp(0)).remove(0);
        d.extend(&mine, 1, lease.id, Timestamp(900)).unwrap();
        d.tick(Timestamp(1_500), 10);
        assert!(matches!(d.standing(&mine, 1), Some((Standing::Leased { .. }, 1))));
    }

    #[test]
    fn what_ends_is_gone_and_deadlines_are_told_until_then() {
        let d = dispatcher(&[delivery(1, "H53", 0, READY), delivery(2, "H53", 0, READY)]);
        d.lease(&[agency("H53")], 2, Timestamp(0));
        assert_eq!(d.tick(Timestamp(1_000_000), 10).len(), 2);
        d.update(&[delivery(1, "H53", 0, TransportState::Expired)], Timestamp(1_000_000));
        assert_eq!(d.tick(Timestamp(1_000_000), 10).len(), 1);
        assert_eq!(d.counts(), (1, 0), "the other one is paused");
    }

    #[tokio::test]
    async fn listeners_hear_of_new_work() {
        let d = dispatcher(&[]);
        let bell = Arc::new(Notify::new());
        let mine = [agency("H53")];
        d.listen(&mine, &bell);
        d.update(&[delivery(1, "H53", 0, READY)], Timestamp(0));
        bell.notified().await;
        d.unlisten(&mine, &bell);
        assert!(d.board().queues.contains_key(&mine[0]), "work remains");
        d.update(&[delivery(1, "H53", 0, TransportState::HandedOver)], Timestamp(0));
        assert!(d.board().queues.is_empty() && d.board().deadlines.is_empty());
    }
}
