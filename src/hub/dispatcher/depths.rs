//! How much waits. Looks at a few queues at a time, so that nobody waits for who counts.

use super::{Dispatcher, board::RANKS};
use crate::domain::id::AgencyId;

/// Queues looked at under one lock: some ten microseconds.
const AT_ONCE: usize = 128;

/// What waits for some recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries that wait, those under way included.
    pub deliveries: u64,
    /// Recipients with at least one.
    pub recipients: u64,
    /// The oldest of their documents.
    pub oldest: Option<u64>,
}

impl Depth {
    fn add(&mut self, deliveries: usize, oldest: u64) {
        self.deliveries += deliveries as u64;
        self.recipients += 1;
        self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
    }
}

/// Deliveries that wait, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By urgency, 0 to 4.
    pub by_urgency: [u64; RANKS],
    /// Offered, and not yet answered.
    pub leased: u64,
    /// In a pause after an offer that was not answered.
    pub paused: u64,
    /// Held by an operator.
    pub held: u64,
}

impl Dispatcher {
    /// What waits, by a number that `group` gives each recipient (below `N`; others are left out). Deliveries that come
    /// or go meanwhile may be counted or not.
    pub fn depths<const N: usize>(&self, group: impl Fn(&AgencyId) -> usize) -> [Depth; N] {
        let mut depths = [Depth::default(); N];
        let mut next = 0;
        loop {
            let board = self.board();
            let end = board.recipients().min(next + AT_ONCE);
            for number in next..end {
                let Some((recipient, deliveries, oldest)) = board.depth(number) else { continue };
                if let Some(depth) = depths.get_mut(group(recipient)) {
                    depth.add(deliveries, oldest);
                }
            }
            if end == board.recipients() {
                return depths;
            }
            next = end;
        }
    }

    /// Recipients that something waits for.
    pub fn awaited(&self) -> Vec<AgencyId> {
        let (mut awaited, mut next) = (Vec::new(), 0);
        loop {
            let board = self.board();
            let end = board.recipients().min(next + AT_ONCE);
            awaited
                .extend((next..end).filter_map(|number| board.depth(number)).map(|(name, ..)| name.clone()));
            if end == board.recipients() {
                return awaited;
            }
            next = end;
        }
    }

    /// What waits, all together.
    pub fn totals(&self) -> Totals {
        let board = self.board();
        let (_, leased) = board.counts();
        let mut by_urgency = board.by_rank();
        // Rank 0 is the highest urgency.
        by_urgency.reverse();
        let (away, held) = board.unready();
        let paused = (away - leased - held) as u64;
        Totals { by_urgency, leased: leased as u64, paused, held: held as u64 }
    }
}
