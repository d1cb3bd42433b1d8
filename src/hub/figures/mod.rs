//! What flows between the levels: counted from the log, by a thread that reads it behind the writer. In memory, for the
//! days of [`tally::DAYS`]; after a start it is read again.

mod reader;
mod spread;
mod tally;
mod tell;

use std::{
    ops::Range,
    sync::{Arc, PoisonError, RwLock},
};

use self::{reader::Reader, tally::Tally};
use super::{
    Hub, StartError,
    clock::Clock,
    follow::{self, Follower},
    presence::{Learned, Presence},
};
use crate::{
    domain::{day::Day, directory::Directory, time::Timestamp},
    proto::Evidence,
    store::StoreError,
};

/// The numbers, and what keeps them near the log's end.
pub struct Flows {
    counted: Arc<RwLock<Counted>>,
    follower: Follower,
}

/// The numbers, and of which leaves.
#[derive(Default)]
struct Counted {
    tally: Tally,
    /// Everything since then is counted, or will be; `None` before the first look.
    from: Option<Timestamp>,
    /// Leaves below this one.
    covers: u64,
}

impl Hub {
    /// Begins to count what flows, and to learn from the log who was heard of when. Once.
    pub fn count_flows(&self) -> Result<(), StartError> {
        let counted = Arc::<RwLock<Counted>>::default();
        let work = Counting {
            reader: Reader::new(Arc::clone(&self.store)),
            clock: self.clock.clone(),
            directory: Arc::clone(&self.directory),
            presence: Arc::clone(&self.presence),
            counted: Arc::clone(&counted),
            from: Timestamp::default(),
        };
        let follower = Follower::start("truc-figures", Arc::clone(&self.store), work)?;
        // A second call changes nothing.
        let _ = self.figures.set(Flows { counted, follower });
        Ok(())
    }
}

impl Flows {
    /// Ends the thread and waits for that.
    pub fn stop(&self) {
        self.follower.stop();
    }
}

struct Counting {
    reader: Reader,
    clock: Clock,
    directory: Arc<RwLock<Arc<Directory>>>,
    presence: Arc<Presence>,
    counted: Arc<RwLock<Counted>>,
    from: Timestamp,
}

impl follow::Work for Counting {
    fn begin(&mut self) -> Result<u64, StoreError> {
        let store = Arc::clone(&self.reader.store);
        let today = Day::of(self.clock.now());
        // A day more than is kept: a clock that was set back a little does no harm.
        let wanted = today.plus(-tally::DAYS).start();
        let first = reader::first_leaf(&*store, wanted)?;
        self.from = wanted.min(reader::time(&*store, first)?);
        self.reader.go_to(first)?;
        self.covered(first);
        Ok(first)
    }

    fn take(&mut self, leaves: Range<u64>) -> Result<(), StoreError> {
        let directory = Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner));
        let store = Arc::clone(&self.reader.store);
        let mut facts = Vec::new();
        follow::read(&*store, leaves.clone(), |leaf, read| {
            match read.and_then(|read| self.fact(&directory, leaf, &read.evidence)) {
                Ok(fact) => facts.extend(fact),
                // One that can't be read must not hide all others.
                Err(StoreError::Damaged(what)) => tracing::error!(what, leaf, "a leaf does not count"),
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        let mut counted = self.counted.write().unwrap_or_else(PoisonError::into_inner);
        facts.iter().for_each(|fact| counted.tally.take(fact));
        drop(counted);
        self.covered(leaves.end);
        Ok(())
    }
}

impl Counting {
    fn fact(
        &mut self,
        directory: &Directory,
        leaf: u64,
        evidence: &Evidence,
    ) -> Result<Option<tally::Fact>, StoreError> {
        if let Some(signed) = self.reader.signed(leaf, evidence)? {
            self.presence.learn(directory, signed.node, signed.agency, Timestamp(evidence.event_time_us));
        }
        self.reader.fact(leaf, evidence)
    }

    fn covered(&self, covers: u64) {
        let mut counted = self.counted.write().unwrap_or_else(PoisonError::into_inner);
        (counted.from, counted.covers) = (Some(self.from), covers);
        drop(counted);
        self.presence.learned(Learned { from: self.from, covers });
    }
}
