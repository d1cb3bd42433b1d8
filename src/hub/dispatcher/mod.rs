//! What waits for whom: ready queues by recipient, leases, pauses, deadlines. All in memory, made from the store.
//! A recipient that is away or slow has its own queue and holds up nobody.

mod board;
pub mod depths;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use self::board::{After, Seen};
use self::board::{Board, Spot};
use super::bells::{Bells, Listening};
use crate::{
    domain::{id::AgencyId, reason::Reason, retry::Backoff, time::Timestamp},
    proto::TransportState,
    store::{Store, StoreError, Waiting, rank, records::DeliveryRecord},
};

/// Deliveries read from the store at a time when the hub starts.
const PAGE: usize = 10_000;
/// Deliveries looked at under one lock, for people who look on: a fraction of a millisecond.
const LOOK: usize = 1_024;

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
    /// Moment by which it must be taken over.
    pub deadline: Timestamp,
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
    /// An operator holds it.
    Held,
}

/// Handle of the queues.
pub struct Dispatcher {
    board: Mutex<Board>,
    /// Deliveries of test documents that wait, of those that began since the start.
    tests: AtomicUsize,
    bells: Arc<Bells>,
}

impl Dispatcher {
    /// Reads what waits.
    pub fn load(store: &dyn Store, lease_us: i64, backoff: Backoff) -> Result<Self, StoreError> {
        let bells = Arc::new(Bells::default());
        let mut board = Board::new(lease_us, backoff, Arc::clone(&bells));
        let mut found = Vec::new();
        let mut after: Option<Waiting> = None;
        loop {
            let mut page = store.waiting(after.as_ref(), PAGE)?;
            for waiting in &page {
                let recipient = board
                    .number(&waiting.recipient)
                    .map_err(|reason| StoreError::Damaged(reason.to_string()))?;
                let deadline = Timestamp(waiting.deadline_us);
                found.push((recipient, waiting.rank, waiting.document, deadline, waiting.held));
            }
            after = page.pop();
            if after.is_none() {
                break;
            }
        }
        board.fill(found);
        Ok(Self { board: Mutex::new(board), tests: AtomicUsize::new(0), bells })
    }

    /// Takes over what a commit changed, and wakes the sessions concerned.
    pub fn update(&self, deliveries: &[DeliveryRecord], now: Timestamp) {
        let mut board = self.board();
        for delivery in deliveries {
            let Ok(recipient) = board.number(&delivery.recipient) else { continue };
            let (document, deadline) = (delivery.document, Timestamp(delivery.deadline_us));
            let (more, less) = match delivery.transport_state() {
                TransportState::Ready => {
                    (board.add(recipient, rank(delivery.urgency), document, deadline), false)
                }
                TransportState::Held => {
                    (board.hold(recipient, rank(delivery.urgency), document, deadline), false)
                }
                _ => (false, board.remove(recipient, document)),
            };
            if delivery.test {
                self.count_test(more, less);
            }
        }
        board.tick(now);
    }

    /// Leases the most urgent, then oldest, deliveries of these agencies, at most `max`.
    pub fn lease(&self, agencies: &[AgencyId], max: usize, now: Timestamp) -> Vec<Lease> {
        let mut board = self.board();
        let recipients = agencies.iter().filter_map(|agency| board.known(agency));
        let mut heads: BinaryHeap<_> =
            recipients.filter_map(|recipient| board.head(recipient)).map(Reverse).collect();
        let mut leases = Vec::new();
        while leases.len() < max
            && let Some(Reverse((place, recipient))) = heads.pop()
        {
            leases.push(board.lease(recipient, place.document(), now));
            heads.extend(board.head(recipient).map(Reverse));
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
        self.board().pause(recipient, document, lease, now)
    }

    /// Gives leases back at once: their session ended before it could answer. The attempt counts.
    pub fn give_back(&self, leases: &[Lease]) {
        let mut board = self.board();
        leases.iter().for_each(|lease| board.give_back(lease));
    }

    /// Takes back leases whose offer was never made: as if they had not been.
    pub fn undo(&self, leases: &[Lease]) {
        let mut board = self.board();
        leases.iter().for_each(|lease| board.undo(lease));
    }

    /// Prolongs a lease.
    pub fn extend(
        &self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<Timestamp, Reason> {
        self.board().extend(recipient, document, lease, now)
    }

    /// Rings whenever something becomes ready, or a lease ends, for one of these agencies.
    pub fn listen(&self, agencies: &[AgencyId]) -> Listening {
        self.bells.listen(agencies)
    }

    /// Ends leases and pauses that are over; returns deliveries whose deadline passed, at most `max`.
    pub fn tick(&self, now: Timestamp, max: usize) -> Vec<Waiting> {
        let mut board = self.board();
        board.tick(now);
        let overdue = board.overdue(now).take(max);
        let waiting = |(recipient, document, deadline): (&AgencyId, u64, Timestamp)| Waiting {
            recipient: recipient.to_string(),
            rank: 0,
            document,
            deadline_us: deadline.0,
            held: false,
        };
        overdue.map(waiting).collect()
    }

    /// Forgets leases that live no more.
    pub fn retain_held(&self, leases: &mut Vec<Lease>) {
        let board = self.board();
        leases.retain(|lease| board.held(&lease.recipient, lease.document, lease.id).is_ok());
    }

    /// Standing and attempts of one delivery that waits.
    pub fn standing(&self, recipient: &AgencyId, document: u64) -> Option<(Standing, u32)> {
        self.board().standing(recipient, document)
    }

    /// Deliveries that wait for a recipient.
    pub fn waiting_for(&self, recipient: &AgencyId) -> usize {
        self.board().waiting_for(recipient)
    }

    /// Deliveries that wait, those of test documents left out, and how many of all are leased.
    pub fn counts(&self) -> (usize, usize) {
        let (waiting, leased) = self.board().counts();
        (waiting.saturating_sub(self.tests.load(Ordering::Relaxed)), leased)
    }

    /// Ends leases and pauses of what waits for this recipient, of one document or of all: it can be offered at once.
    /// Returns how many. The lock is taken for [`LOOK`] of them at a time.
    pub fn requeue(&self, recipient: &AgencyId, document: Option<u64>) -> usize {
        let (mut after, mut count) = (0, 0);
        loop {
            let mut board = self.board();
            let Some(number) = board.known(recipient) else { return count };
            let away = board.away(number, after, LOOK);
            let Some(last) = away.last() else { return count };
            after = last + 1;
            for found in away.into_iter().filter(|found| document.is_none_or(|only| only == *found)) {
                count += usize::from(board.requeue(number, found));
            }
        }
    }

    /// Visits every delivery that waits, recipient by recipient. The lock is taken for [`LOOK`] of them at a time:
    /// what moves meanwhile may be seen twice or not at all.
    pub fn visit(&self, visit: &mut dyn FnMut(&AgencyId, Seen)) {
        let mut next = Some(Spot::default());
        while let Some(spot) = next {
            next = self.board().look(spot, LOOK, &mut |queue, seen| visit(&queue.recipient, seen));
        }
    }

    /// A page of what waits for one recipient: first what is ready, in the order in which it goes out, then the others
    /// by age. With how far it came, if there is more.
    pub fn page(&self, recipient: &AgencyId, after: After, max: usize) -> (Vec<Seen>, Option<After>) {
        let mut page = Vec::new();
        let board = self.board();
        let Some(number) = board.known(recipient) else { return (page, None) };
        let next = board.look_at(number, after, max, &mut |_, seen| page.push(seen));
        (page, next)
    }

    /// One that began before the start was not counted, and is not counted off.
    fn count_test(&self, more: bool, less: bool) {
        let next = |tests: usize| Some((tests + usize::from(more)).saturating_sub(usize::from(less)));
        let _ = self.tests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
