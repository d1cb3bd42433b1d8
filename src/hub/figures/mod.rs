//! What flows between the levels: counted from the log, by a thread that reads it behind the writer. In memory, for the
//! days of [`tally::DAYS`]; after a start it is read again.

mod reader;
mod spread;
mod tally;
mod tell;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use self::{reader::Reader, tally::Tally};
use super::{
    Hub, StartError,
    clock::Clock,
    presence::{Learned, Presence},
};
use crate::{
    domain::{day::Day, directory::Directory, time::Timestamp},
    store::{Store, StoreError},
};

/// Leaves taken over between two looks at what else there is to do.
const STEP: u64 = 256;
/// How often the log's end is looked at when nobody asks.
const LOOK: Duration = Duration::from_millis(100);
/// A question waits so long for the numbers to reach the log's end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Handle of the thread.
pub struct Follower {
    shared: Arc<Shared>,
    covers: watch::Receiver<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    tally: RwLock<Counted>,
    orders: Mutex<Orders>,
    changed: Condvar,
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

#[derive(Default)]
struct Orders {
    stop: bool,
    wanted: u64,
}

impl Hub {
    /// Begins to count what flows, and to learn from the log who was heard of when. Once.
    pub fn count_flows(&self) -> Result<(), StartError> {
        // A second call changes nothing.
        let _ = self.figures.set(Follower::start(Work {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            directory: Arc::clone(&self.directory),
            presence: Arc::clone(&self.presence),
            shared: Arc::default(),
        })?);
        Ok(())
    }
}

impl Follower {
    fn start(work: Work) -> std::io::Result<Self> {
        let (moved, covers) = watch::channel(0);
        let shared = Arc::clone(&work.shared);
        let thread = std::thread::Builder::new().name("truc-figures".into());
        let thread = thread.spawn(move || work.run(&moved))?;
        Ok(Self { shared, covers, thread: Mutex::new(Some(thread)) })
    }

    /// Waits a short time until all leaves below `size` are counted.
    async fn reach(&self, size: u64) {
        let mut covers = self.covers.clone();
        if *covers.borrow() >= size {
            return;
        }
        self.shared.want(size);
        // Too late is told in the answer.
        let _ = tokio::time::timeout(PATIENCE, covers.wait_for(|covers| *covers >= size)).await;
    }

    /// Ends the thread and waits for that.
    pub fn stop(&self) {
        self.shared.orders().stop = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the figures did not end well");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn want(&self, size: u64) {
        let mut orders = self.orders();
        orders.wanted = orders.wanted.max(size);
        self.changed.notify_all();
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Work {
    store: Arc<dyn Store>,
    clock: Clock,
    directory: Arc<RwLock<Arc<Directory>>>,
    presence: Arc<Presence>,
    shared: Arc<Shared>,
}

impl Work {
    fn run(self, moved: &watch::Sender<u64>) {
        super::search::give_way();
        if let Err(error) = self.follow(moved) {
            tracing::error!(%error, "the figures stop; they go on at the next start");
        }
    }

    fn follow(&self, moved: &watch::Sender<u64>) -> Result<(), StoreError> {
        let today = Day::of(self.clock.now());
        // A day more than is kept: a clock that was set back a little does no harm.
        let wanted = today.plus(-tally::DAYS).start();
        let first = reader::first_leaf(&*self.store, wanted)?;
        let from = wanted.min(reader::time(&*self.store, first)?);
        let mut reader = Reader::at(Arc::clone(&self.store), first)?;
        self.counted(from, first);
        let mut next = first;
        loop {
            let began = Instant::now();
            let head = self.store.head().size;
            let end = head.min(next + STEP);
            self.step(&mut reader, next..end, from)?;
            next = end;
            moved.send_replace(end);
            // Traffic goes first: who follows a long way rests as long as it works.
            let rest = if end == head { LOOK } else { began.elapsed() };
            if self.rest(end, rest) {
                return Ok(());
            }
        }
    }

    fn step(
        &self,
        reader: &mut Reader,
        leaves: std::ops::Range<u64>,
        from: Timestamp,
    ) -> Result<(), StoreError> {
        if leaves.is_empty() {
            return Ok(());
        }
        let directory = Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner));
        let mut facts = Vec::new();
        for leaf in leaves.clone() {
            match self.read(reader, &directory, leaf) {
                Ok(fact) => facts.extend(fact),
                // One that can't be read must not hide all others.
                Err(StoreError::Damaged(what)) => tracing::error!(what, leaf, "a leaf does not count"),
                Err(error) => return Err(error),
            }
        }
        let mut counted = self.shared.tally.write().unwrap_or_else(PoisonError::into_inner);
        facts.iter().for_each(|fact| counted.tally.take(fact));
        drop(counted);
        self.counted(from, leaves.end);
        Ok(())
    }

    fn read(
        &self,
        reader: &mut Reader,
        directory: &Directory,
        leaf: u64,
    ) -> Result<Option<tally::Fact>, StoreError> {
        let evidence = reader.evidence(leaf)?;
        if let Some(signed) = reader.signed(leaf, &evidence)? {
            self.presence.learn(directory, signed.node, signed.agency, Timestamp(evidence.event_time_us));
        }
        reader.fact(leaf, &evidence)
    }

    fn counted(&self, from: Timestamp, covers: u64) {
        let mut counted = self.shared.tally.write().unwrap_or_else(PoisonError::into_inner);
        (counted.from, counted.covers) = (Some(from), covers);
        drop(counted);
        self.presence.learned(Learned { from, covers });
    }

    /// Rests, unless somebody waits. True when it is time to stop.
    fn rest(&self, done: u64, time: Duration) -> bool {
        let orders = self.shared.orders();
        let idle = |orders: &mut Orders| !orders.stop && orders.wanted <= done;
        let waited = self.shared.changed.wait_timeout_while(orders, time, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}
