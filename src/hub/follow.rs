//! Threads that read the log behind the writer, who does not know of them.

use std::{
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;

use crate::{
    proto::Evidence,
    store::{Store, StoreError},
    threads::give_way,
    tlog::Hash,
};

/// Leaves taken over between two rests. A long piece of work holds up whoever needs its processor: the kernel may not
/// take it away before its next tick.
pub const STEP: u64 = 32;
/// How often the log's end is looked at when nobody asks.
const LOOK: Duration = Duration::from_millis(100);
/// Leaves a second from which on the log grows fast: thousands of documents.
const FAST: f64 = 8_000.0;
/// Who is behind rests so many times as long as it works; while the log grows fast, traffic needs the processors.
const REST: u32 = 1;
const REST_WHILE_FAST: u32 = 4;

/// What a thread does with the log.
pub trait Work: Send + 'static {
    /// The first leaf that it wants.
    fn begin(&mut self) -> Result<u64, StoreError>;

    /// Takes over leaves below the head, right behind those before. An error ends the thread until the next start.
    fn take(&mut self, leaves: Range<u64>) -> Result<(), StoreError>;

    /// Does a bounded part of what else there is to do; true if there is more of it at once.
    fn aside(&mut self) -> bool {
        false
    }
}

/// A leaf as it was read.
pub struct Leaf {
    /// Its hash in the log.
    pub hash: Hash,
    /// Its exact bytes.
    pub bytes: Bytes,
    /// What they say.
    pub evidence: Evidence,
}

/// Handle of a thread. Dropping it ends the thread.
pub struct Follower {
    name: &'static str,
    shared: Arc<Shared>,
    covers: watch::Receiver<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    stop: bool,
    /// Somebody waits for all leaves below this one.
    wanted: u64,
}

impl Follower {
    /// Begins to follow.
    pub fn start(name: &'static str, store: Arc<dyn Store>, mut work: impl Work) -> io::Result<Self> {
        let (moved, covers) = watch::channel(0);
        let shared = Arc::<Shared>::default();
        let orders = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            give_way();
            if let Err(error) = orders.follow(&*store, &mut work, &moved) {
                tracing::error!(%error, name, "a follower of the log stops; it goes on at the next start");
            }
        })?;
        Ok(Self { name, shared, covers, thread: Mutex::new(Some(thread)) })
    }

    /// Waits at most so long until all leaves below `size` are taken over.
    pub async fn reach(&self, size: u64, patience: Duration) {
        let mut covers = self.covers.clone();
        if *covers.borrow() >= size {
            return;
        }
        self.shared.want(size);
        // Too late is told in the answer.
        let _ = tokio::time::timeout(patience, covers.wait_for(|covers| *covers >= size)).await;
    }

    /// Ends the thread and waits for that.
    pub fn stop(&self) {
        self.shared.orders().stop = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(name = self.name, "a follower of the log did not end well");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn follow(
        &self,
        store: &dyn Store,
        work: &mut impl Work,
        moved: &watch::Sender<u64>,
    ) -> Result<(), StoreError> {
        let mut next = work.begin()?;
        let mut pace = Pace::new(store.head().size);
        loop {
            let began = Instant::now();
            let head = store.head().size;
            let rests = if pace.is_fast(began, head) { REST_WHILE_FAST } else { REST };
            let end = head.min(next + STEP);
            if next < end {
                work.take(next..end)?;
                next = end;
            }
            moved.send_replace(next);
            let is_busy = work.aside();
            let rest = if next >= head && !is_busy { LOOK } else { began.elapsed() * rests };
            if self.rest(next, rest) {
                return Ok(());
            }
        }
    }

    /// Rests, unless somebody waits. True when it is time to stop.
    fn rest(&self, done: u64, time: Duration) -> bool {
        let orders = self.orders();
        let idle = |orders: &mut Orders| !orders.stop && orders.wanted <= done;
        let waited = self.changed.wait_timeout_while(orders, time, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    fn want(&self, size: u64) {
        let mut orders = self.orders();
        orders.wanted = orders.wanted.max(size);
        self.changed.notify_all();
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How fast the log grows.
struct Pace {
    since: Instant,
    from: u64,
    fast: bool,
}

impl Pace {
    fn new(head: u64) -> Self {
        Self { since: Instant::now(), from: head, fast: false }
    }

    /// True while the log grew fast in the last tenth of a second that is over.
    fn is_fast(&mut self, now: Instant, head: u64) -> bool {
        let time = now.duration_since(self.since);
        if time >= LOOK {
            self.fast = (head - self.from.min(head)) as f64 > FAST * time.as_secs_f64();
            (self.since, self.from) = (now, head);
        }
        self.fast
    }
}

/// Reads leaves below the head, many at a time, and hands each of them on. One that is damaged is handed on as that, and
/// hides no other.
pub fn read(
    store: &dyn Store,
    leaves: Range<u64>,
    mut take: impl FnMut(u64, Result<Leaf, StoreError>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    match store.evidence(leaves.clone()) {
        Ok(found) => leaves.zip(found).try_for_each(|(leaf, found)| {
            std::thread::yield_now();
            take(leaf, decode(leaf, found))
        }),
        Err(StoreError::Damaged(_)) => leaves.into_iter().try_for_each(|leaf| {
            let one = match store.evidence(leaf..leaf + 1) {
                Ok(mut one) => one.pop().ok_or_else(|| damaged(leaf, "is missing")),
                Err(StoreError::Damaged(what)) => Err(StoreError::Damaged(what)),
                Err(error) => return Err(error),
            };
            take(leaf, one.and_then(|found| decode(leaf, found)))
        }),
        Err(error) => Err(error),
    }
}

fn decode(leaf: u64, (hash, bytes): (Hash, Bytes)) -> Result<Leaf, StoreError> {
    let evidence = Evidence::decode(bytes.clone()).map_err(|error| damaged(leaf, error))?;
    Ok(Leaf { hash, bytes, evidence })
}

fn damaged(leaf: u64, what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("leaf {leaf}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::Memory;

    #[test]
    fn damage_is_handed_on_and_hides_no_other_leaf() {
        let mut seen = Vec::new();
        let read = read(&Memory::default(), 0..2, |leaf, read| {
            seen.push((leaf, matches!(read, Err(StoreError::Damaged(_)))));
            Ok(())
        });
        assert!(read.is_ok());
        assert_eq!(seen, [(0, true), (1, true)]);
    }

    #[test]
    fn fast_is_what_grew_fast_lately() {
        let mut pace = Pace::new(100);
        let begin = pace.since;
        assert!(!pace.is_fast(begin + LOOK / 2, 5_000), "too early to tell");
        assert!(pace.is_fast(begin + LOOK, 1_000));
        assert!(pace.is_fast(begin + LOOK * 3 / 2, 1_000));
        assert!(!pace.is_fast(begin + LOOK * 2, 1_000));
    }
}
