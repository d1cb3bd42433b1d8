//! The queues themselves, under one lock: entries, who holds them, and the clocks that run.
//!
//! Built for a million deliveries that wait for recipients who are away: a recipient is a number, and what is only
//! needed while a delivery is offered is kept only then.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
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

/// Lowest of the ranks that [`crate::store::rank`] gives.
const LAST_RANK: u8 = 4;
/// How many ranks there are.
pub(super) const RANKS: usize = LAST_RANK as usize + 1;

/// A clock that goes back by more than this, in microseconds, was set. Those who tick read it at slightly other moments.
const SET_BACK_US: i64 = 500_000;

/// Number of a recipient, for as long as the process runs. There are as many as agencies that were ever sent to.
type Recipient = usize;

/// A delivery: its recipient, as a `u32` to keep the clocks small, and its document.
type Key = (u32, u64);

/// Place in a ready queue, rank before age, in one word: document numbers stay far below 2^56.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    fn new(rank: u8, document: u64) -> Self {
        Self(u64::from(rank) << 56 | document)
    }

    pub fn rank(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    pub fn document(self) -> u64 {
        self.0 & (u64::MAX >> 8)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: Timestamp,
    attempts: u32,
}

/// A delivery that is not in the ready queue: leased, or in a pause.
#[derive(Clone, Copy)]
struct Away {
    entry: Entry,
    rank: u8,
    standing: Standing,
}

/// What waits for one recipient; a delivery is in one of the two.
pub(super) struct Queue {
    pub recipient: AgencyId,
    ready: BTreeMap<Place, Entry>,
    away: BTreeMap<u64, Away>,
}

/// How far a queue was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Not at all.
    #[default]
    Nothing,
    /// To this rank and document of the ready ones.
    Ready(u8, u64),
    /// To this document of the others.
    Away(u64),
}

/// How far all queues were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    recipient: Recipient,
    after: After,
}

/// A delivery that waits, as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Document index, which is also its age.
    pub document: u64,
    /// 4 minus the urgency.
    pub rank: u8,
    /// Moment by which it must be taken over.
    pub deadline: Timestamp,
    /// Offers since the hub started.
    pub attempts: u32,
    /// How it stands.
    pub standing: Standing,
}

impl Seen {
    fn new(document: u64, away: Away) -> Self {
        let Away { entry: Entry { deadline, attempts }, rank, standing } = away;
        Self { document, rank, deadline, attempts, standing }
    }
}

impl Queue {
    /// Visits while there is anything `left`; returns how far it came if that was not all.
    fn look(&self, after: After, left: &mut usize, visit: &mut dyn FnMut(&Queue, Seen)) -> Option<After> {
        let ready_from = match after {
            After::Nothing => Bound::Unbounded,
            After::Ready(rank, document) => Bound::Excluded(Place::new(rank, document)),
            After::Away(_) => Bound::Excluded(Place(u64::MAX)),
        };
        let mut came = after;
        for (place, entry) in self.ready.range((ready_from, Bound::Unbounded)) {
            if *left == 0 {
                return Some(came);
            }
            *left -= 1;
            let away = Away { entry: *entry, rank: place.rank(), standing: Standing::Ready };
            visit(self, Seen::new(place.document(), away));
            came = After::Ready(place.rank(), place.document());
        }
        let away_from =
            if let After::Away(document) = after { Bound::Excluded(document) } else { Bound::Unbounded };
        for (document, away) in self.away.range((away_from, Bound::Unbounded)) {
            if *left == 0 {
                return Some(came);
            }
            *left -= 1;
            visit(self, Seen::new(*document, *away));
            came = After::Away(*document);
        }
        None
    }

    fn place(&self, document: u64) -> Option<Place> {
        (0..=LAST_RANK).map(|rank| Place::new(rank, document)).find(|place| self.ready.contains_key(place))
    }

    /// The oldest document in it; older is smaller.
    fn oldest(&self) -> Option<u64> {
        let (first, last) = (self.ready.first_key_value(), self.ready.last_key_value());
        let one_rank = first.zip(last).is_none_or(|((first, _), (last, _))| first.rank() == last.rank());
        let ready = if one_rank {
            first.map(|(place, _)| place.document())
        } else {
            let of_rank = |rank| self.ready.range(Place::new(rank, 0)..Place::new(rank + 1, 0)).next();
            (0..=LAST_RANK).filter_map(of_rank).map(|(place, _)| place.document()).min()
        };
        let away = self.away.first_key_value().map(|(document, _)| *document);
        ready.into_iter().chain(away).min()
    }

    fn holds(&self, place: Place) -> bool {
        self.ready.contains_key(&place) || self.away.contains_key(&place.document())
    }

    fn take(&mut self, document: u64) -> Option<Away> {
        if let Some(away) = self.away.remove(&document) {
            return Some(away);
        }
        let place = self.place(document)?;
        let entry = self.ready.remove(&place)?;
        Some(Away { entry, rank: place.rank(), standing: Standing::Ready })
    }
}

pub(super) struct Board {
    numbers: HashMap<AgencyId, Recipient>,
    queues: Vec<Queue>,
    /// Ends of leases and pauses.
    timers: BTreeSet<(Timestamp, Key)>,
    deadlines: BTreeSet<(Timestamp, Key)>,
    next_lease: u64,
    /// Length of a new lease.
    lease_us: i64,
    /// The latest moment that was seen, since the clock was last set back.
    seen: Timestamp,
    leased: usize,
    /// Deliveries out of the ready queues.
    away: usize,
    /// Of these, held by an operator.
    held: usize,
    /// All deliveries, by rank.
    by_rank: [u64; RANKS],
    backoff: Backoff,
    bells: Arc<Bells>,
}

impl Board {
    pub fn new(lease_us: i64, backoff: Backoff, bells: Arc<Bells>) -> Self {
        Self {
            numbers: HashMap::new(),
            queues: Vec::new(),
            timers: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            next_lease: 0,
            lease_us,
            seen: Timestamp(i64::MIN),
            leased: 0,
            away: 0,
            held: 0,
            by_rank: [0; RANKS],
            backoff,
            bells,
        }
    }

    /// Fills an empty board with what waits: recipient, rank, document, deadline and whether it is held, in the store's order. All at
    /// once takes half the memory of one by one.
    pub fn fill(&mut self, waiting: Vec<(Recipient, u8, u64, Timestamp, bool)>) {
        let clock = |(recipient, _, document, deadline, _): &_| (*deadline, key(*recipient, *document));
        self.deadlines = waiting.iter().map(clock).collect();
        waiting.iter().for_each(|(_, rank, ..)| self.by_rank[usize::from(*rank)] += 1);
        for group in waiting.chunk_by(|one, next| one.0 == next.0) {
            let entry = |(_, rank, document, deadline, _): &_| {
                (Place::new(*rank, *document), Entry { deadline: *deadline, attempts: 0 })
            };
            let queue = &mut self.queues[group[0].0];
            let (held, ready): (Vec<_>, Vec<_>) = group.iter().partition(|(.., held)| *held);
            queue.ready.append(&mut ready.into_iter().map(entry).collect());
            self.away += held.len();
            self.held += held.len();
            for (place, entry) in held.into_iter().map(entry) {
                let away = Away { entry, rank: place.rank(), standing: Standing::Held };
                queue.away.insert(place.document(), away);
            }
        }
    }

    /// The number of a recipient, a new one if needed.
    pub fn number(&mut self, recipient: &str) -> Result<Recipient, Reason> {
        if let Some(number) = self.numbers.get(recipient) {
            return Ok(*number);
        }
        let (recipient, number) = (AgencyId::parse(recipient)?, self.queues.len());
        self.numbers.insert(recipient.clone(), number);
        self.queues.push(Queue { recipient, ready: BTreeMap::new(), away: BTreeMap::new() });
        Ok(number)
    }

    pub fn known(&self, recipient: &AgencyId) -> Option<Recipient> {
        self.numbers.get(recipient).copied()
    }

    /// False when it waits already.
    pub fn add(&mut self, recipient: Recipient, rank: u8, document: u64, deadline: Timestamp) -> bool {
        if self.queues[recipient].holds(Place::new(rank, document)) {
            let away = self.queues[recipient].away.get(&document);
            if away.is_some_and(|away| away.standing == Standing::Held) {
                self.set(recipient, document, Standing::Ready, 0);
            }
            return false;
        }
        self.deadlines.insert((deadline, key(recipient, document)));
        let entry = Entry { deadline, attempts: 0 };
        self.put(recipient, document, Away { entry, rank, standing: Standing::Ready });
        true
    }

    /// Not offered from now on; a lease ends. False when it waited already.
    pub fn hold(&mut self, recipient: Recipient, rank: u8, document: u64, deadline: Timestamp) -> bool {
        if self.queues[recipient].holds(Place::new(rank, document)) {
            self.set(recipient, document, Standing::Held, 0);
            return false;
        }
        self.deadlines.insert((deadline, key(recipient, document)));
        let entry = Entry { deadline, attempts: 0 };
        self.put(recipient, document, Away { entry, rank, standing: Standing::Held });
        true
    }

    /// Documents from this one on that are not in the ready queue.
    pub fn away(&self, recipient: Recipient, from: u64, max: usize) -> Vec<u64> {
        self.queues[recipient].away.range(from..).take(max).map(|(document, _)| *document).collect()
    }

    /// Ends a lease or a pause. True if there was one.
    pub fn requeue(&mut self, recipient: Recipient, document: u64) -> bool {
        let away = self.queues[recipient].away.get(&document);
        let ends = away.is_some_and(|away| away.standing != Standing::Held);
        if ends {
            self.set(recipient, document, Standing::Ready, 0);
        }
        ends
    }

    /// False when it did not wait.
    pub fn remove(&mut self, recipient: Recipient, document: u64) -> bool {
        let Some(gone) = self.take(recipient, document) else { return false };
        self.deadlines.remove(&(gone.entry.deadline, key(recipient, document)));
        true
    }

    /// What goes out next to this recipient: rank, then age.
    pub fn head(&self, recipient: Recipient) -> Option<(Place, Recipient)> {
        self.queues[recipient].ready.first_key_value().map(|(place, _)| (*place, recipient))
    }

    pub fn lease(&mut self, recipient: Recipient, document: u64, now: Timestamp) -> Lease {
        let until = now.plus_us(self.lease_us);
        self.next_lease += 1;
        let id = self.next_lease;
        let attempt = self.set(recipient, document, Standing::Leased { id, until }, 1);
        let queue = &self.queues[recipient];
        let deadline = queue.away.get(&document).map_or(until, |away| away.entry.deadline);
        Lease { id, recipient: queue.recipient.clone(), document, attempt, until, deadline }
    }

    /// Standing and attempts of a delivery that waits.
    pub fn standing(&self, recipient: &AgencyId, document: u64) -> Option<(Standing, u32)> {
        let queue = &self.queues[self.known(recipient)?];
        if let Some(away) = queue.away.get(&document) {
            return Some((away.standing, away.entry.attempts));
        }
        let entry = queue.ready.get(&queue.place(document)?)?;
        Some((Standing::Ready, entry.attempts))
    }

    /// Recipient and attempts of a delivery that is out under this lease.
    pub fn held(&self, recipient: &AgencyId, document: u64, lease: u64) -> Result<(Recipient, u32), Reason> {
        let found = self.known(recipient).and_then(|number| {
            let away = self.queues[number].away.get(&document)?;
            let held = matches!(away.standing, Standing::Leased { id, .. } if id == lease);
            held.then_some((number, away.entry.attempts))
        });
        found.ok_or_else(|| {
            Reason::new(ReasonCode::LeaseLost, format!("lease {lease} of {document}/{recipient}"))
        })
    }

    pub fn pause(
        &mut self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let (recipient, attempts) = self.held(recipient, document, lease)?;
        let until = now.plus_us(self.backoff.pause(attempts, random()));
        self.set(recipient, document, Standing::Paused { until }, 0);
        Ok(())
    }

    pub fn give_back(&mut self, lease: &Lease) {
        if let Ok((recipient, _)) = self.held(&lease.recipient, lease.document, lease.id) {
            self.set(recipient, lease.document, Standing::Ready, 0);
        }
    }

    pub fn undo(&mut self, lease: &Lease) {
        if let Ok((recipient, _)) = self.held(&lease.recipient, lease.document, lease.id) {
            self.set(recipient, lease.document, Standing::Ready, -1);
        }
    }

    pub fn extend(
        &mut self,
        recipient: &AgencyId,
        document: u64,
        lease: u64,
        now: Timestamp,
    ) -> Result<Timestamp, Reason> {
        let until = now.plus_us(self.lease_us);
        let (recipient, _) = self.held(recipient, document, lease)?;
        self.set(recipient, document, Standing::Leased { id: lease, until }, 0);
        Ok(until)
    }

    pub fn tick(&mut self, now: Timestamp) {
        if now.plus_us(SET_BACK_US) < self.seen {
            self.draw_in(now);
        }
        self.seen = self.seen.max(now);
        while let Some((until, (recipient, document))) = self.timers.first().copied()
            && until <= now
        {
            self.timers.pop_first();
            let recipient = recipient as Recipient;
            let Some(away) = self.queues[recipient].away.get(&document).copied() else { continue };
            let next = match away.standing {
                // A silent session: pause, so that a broken recipient is not asked without end.
                Standing::Leased { .. } => {
                    let pause = self.backoff.pause(away.entry.attempts, random());
                    Standing::Paused { until: now.plus_us(pause) }
                }
                Standing::Paused { .. } | Standing::Ready => Standing::Ready,
                Standing::Held => continue,
            };
            self.set(recipient, document, next, 0);
        }
    }

    /// The clock was set back: leases and pauses of the time before would last longer by as much. None lasts longer
    /// from now on than a new one could.
    fn draw_in(&mut self, now: Timestamp) {
        self.seen = now;
        let (lease_ends, pause_ends) = (now.plus_us(self.lease_us), now.plus_us(self.backoff.longest_us()));
        let soonest = (lease_ends.min(pause_ends), (0, 0));
        let late: Vec<Key> = self.timers.range(soonest..).map(|(_, key)| *key).collect();
        for (recipient, document) in late {
            let recipient = recipient as Recipient;
            let Some(away) = self.queues[recipient].away.get(&document) else { continue };
            let standing = match away.standing {
                Standing::Leased { id, until } => Standing::Leased { id, until: until.min(lease_ends) },
                Standing::Paused { until } => Standing::Paused { until: until.min(pause_ends) },
                Standing::Ready | Standing::Held => continue,
            };
            self.set(recipient, document, standing, 0);
        }
    }

    /// Deliveries whose deadline passed, the oldest first: recipient, document and deadline.
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (&AgencyId, u64, Timestamp)> {
        let due = self.deadlines.iter().take_while(move |(deadline, _)| *deadline <= now);
        due.map(|(deadline, (recipient, document))| {
            (&self.queues[*recipient as Recipient].recipient, *document, *deadline)
        })
    }

    /// Looks at up to `max` deliveries from a place on: recipients in the order of their numbers, of each the ready
    /// ones in the order in which they go out, then the others by age. Returns where to go on; `None` at the end.
    pub fn look(&self, from: Spot, max: usize, visit: &mut dyn FnMut(&Queue, Seen)) -> Option<Spot> {
        let Spot { mut recipient, mut after } = from;
        let mut left = max;
        while let Some(queue) = self.queues.get(recipient) {
            match queue.look(after, &mut left, visit) {
                Some(after) => return Some(Spot { recipient, after }),
                None => (recipient, after) = (recipient + 1, After::Nothing),
            }
        }
        None
    }

    /// The same for one recipient.
    pub fn look_at(
        &self,
        recipient: Recipient,
        after: After,
        mut max: usize,
        visit: &mut dyn FnMut(&Queue, Seen),
    ) -> Option<After> {
        self.queues.get(recipient)?.look(after, &mut max, visit)
    }

    /// Deliveries that wait for a recipient.
    pub fn waiting_for(&self, recipient: &AgencyId) -> usize {
        let queue = self.known(recipient).map(|number| &self.queues[number]);
        queue.map_or(0, |queue| queue.ready.len() + queue.away.len())
    }

    /// Deliveries that wait, and how many of them are leased.
    pub fn counts(&self) -> (usize, usize) {
        (self.deadlines.len(), self.leased)
    }

    /// Deliveries out of the ready queues, and how many of these are held.
    pub fn unready(&self) -> (usize, usize) {
        (self.away, self.held)
    }

    /// Deliveries that wait, by rank.
    pub fn by_rank(&self) -> [u64; RANKS] {
        self.by_rank
    }

    /// Recipients that were ever sent to.
    pub fn recipients(&self) -> usize {
        self.queues.len()
    }

    /// A recipient by its number, how many deliveries wait for it, and the oldest of their documents; `None` where
    /// nothing waits.
    pub fn depth(&self, number: Recipient) -> Option<(&AgencyId, usize, u64)> {
        let queue = self.queues.get(number)?;
        Some((&queue.recipient, queue.ready.len() + queue.away.len(), queue.oldest()?))
    }

    /// Moves a delivery to another standing; returns its attempts.
    fn set(&mut self, recipient: Recipient, document: u64, standing: Standing, more_attempts: i32) -> u32 {
        let Some(mut moved) = self.take(recipient, document) else { return 0 };
        moved.entry.attempts = moved.entry.attempts.saturating_add_signed(more_attempts);
        moved.standing = standing;
        self.put(recipient, document, moved);
        moved.entry.attempts
    }

    fn take(&mut self, recipient: Recipient, document: u64) -> Option<Away> {
        let queue = &mut self.queues[recipient];
        let taken = queue.take(document)?;
        self.by_rank[usize::from(taken.rank)] -= 1;
        if taken.standing != Standing::Ready {
            self.away -= 1;
        }
        self.held -= usize::from(taken.standing == Standing::Held);
        if queue.ready.is_empty() {
            // An empty map keeps memory.
            queue.ready = BTreeMap::new();
        }
        match taken.standing {
            Standing::Ready | Standing::Held => {}
            Standing::Leased { until, .. } => {
                self.leased -= 1;
                self.timers.remove(&(until, key(recipient, document)));
                // Its session may have room again.
                self.bells.ring(queue.recipient.as_str());
            }
            Standing::Paused { until } => {
                self.timers.remove(&(until, key(recipient, document)));
            }
        }
        Some(taken)
    }

    fn put(&mut self, recipient: Recipient, document: u64, away: Away) {
        self.by_rank[usize::from(away.rank)] += 1;
        let queue = &mut self.queues[recipient];
        match away.standing {
            Standing::Ready => {
                queue.ready.insert(Place::new(away.rank, document), away.entry);
                self.bells.ring(queue.recipient.as_str());
                return;
            }
            Standing::Leased { until, .. } => {
                self.leased += 1;
                self.timers.insert((until, key(recipient, document)));
            }
            Standing::Paused { until } => {
                self.timers.insert((until, key(recipient, document)));
            }
            Standing::Held => {}
        }
        self.away += 1;
        self.held += usize::from(away.standing == Standing::Held);
        queue.away.insert(document, away);
    }
}

fn key(recipient: Recipient, document: u64) -> Key {
    (u32::try_from(recipient).unwrap_or(u32::MAX), document)
}

/// Jitter needs no secrecy; without randomness there is none.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}
