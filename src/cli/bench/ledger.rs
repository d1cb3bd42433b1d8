//! What is on its way.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::domain::id::Digest;

/// Parts with a lock each.
const PARTS: u64 = 16;

/// A document on its way.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// When it was due, or went.
    pub since: Instant,
    /// Digest of its manifest.
    pub manifest_sha256: Digest,
    /// Handovers that the sender has yet to hear of.
    pub awaited: usize,
    /// The hub has answered.
    pub answered: bool,
}

/// All documents on their way, by number.
pub struct Ledger(Vec<Mutex<HashMap<u64, Open>>>);

/// What an event made of a document.
pub struct Moved {
    /// The document before the event.
    pub open: Open,
    /// Nothing more is to come.
    pub done: bool,
}

impl Ledger {
    /// Nothing on its way.
    pub fn new() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }

    /// A document goes.
    pub fn open(&self, serial: u64, open: Open) {
        self.part(serial).insert(serial, open);
    }

    /// The hub acknowledged a document. `None` when it was not waiting for that.
    pub fn acknowledged(&self, serial: u64) -> Option<Moved> {
        self.update(serial, |open| !std::mem::replace(&mut open.answered, true))
    }

    /// A recipient has signed for a document. `None` when none was awaited.
    pub fn handed_over(&self, serial: u64) -> Option<Moved> {
        self.update(serial, |open| {
            let one = open.awaited > 0;
            open.awaited -= usize::from(one);
            one
        })
    }

    /// A document goes no further.
    pub fn close(&self, serial: u64) -> Option<Open> {
        self.part(serial).remove(&serial)
    }

    /// Documents that wait for an answer, and handovers that acknowledged ones wait for.
    pub fn left(&self) -> (u64, u64) {
        let (mut unanswered, mut awaited) = (0, 0);
        for part in 0..PARTS {
            for open in self.part(part).values() {
                match open.answered {
                    true => awaited += open.awaited as u64,
                    false => unanswered += 1,
                }
            }
        }
        (unanswered, awaited)
    }

    fn update(&self, serial: u64, change: impl FnOnce(&mut Open) -> bool) -> Option<Moved> {
        let mut part = self.part(serial);
        let open = part.get_mut(&serial)?;
        if !change(open) {
            return None;
        }
        let (open, done) = (*open, open.answered && open.awaited == 0);
        if done {
            part.remove(&serial);
        }
        Some(Moved { open, done })
    }

    fn part(&self, serial: u64) -> MutexGuard<'_, HashMap<u64, Open>> {
        let at = usize::try_from(serial % PARTS).unwrap_or(0);
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
