//! The thread that reads the log into the search index. The writer does not know of it.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::facts::Reader;
use crate::{
    store::{StoreError, search::SearchIndex},
    tlog::merkle,
};

/// Leaves taken over between two looks at what else there is to do.
const STEP: u64 = 256;
/// See nice(1). Not more: it holds locks for moments that traffic waits for.
const NICE: i32 = 5;
/// How often the log's end is looked at when nobody asks.
const LOOK: Duration = Duration::from_millis(100);
/// A question waits so long for the index to reach the log's end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Handle of the thread.
pub struct Follower {
    index: Arc<SearchIndex>,
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
    /// Opens the index in the folder `history` and begins to follow.
    pub fn start(history: &Path, reader: Reader) -> Result<Self, StoreError> {
        let store = Arc::clone(&reader.store);
        let index = Arc::new(SearchIndex::open(history, |leaf| {
            let known = leaf < store.head().size;
            known.then(|| store.node(merkle::stored_index(0, leaf))).transpose()
        })?);
        let (moved, covers) = watch::channel(index.covers());
        let shared = Arc::<Shared>::default();
        let work = Work { index: Arc::clone(&index), shared: Arc::clone(&shared), reader, moved };
        let thread = std::thread::Builder::new().name("truc-search".into()).spawn(move || work.run());
        let thread = thread.map_err(|source| StoreError::Io { what: "starting a thread".into(), source })?;
        Ok(Self { index, shared, covers, thread: Mutex::new(Some(thread)) })
    }

    /// The index.
    pub fn index(&self) -> &SearchIndex {
        &self.index
    }

    /// Waits a short time until all leaves below `size` are indexed; the index says how far it came.
    pub async fn reach(&self, size: u64) {
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
            tracing::error!("the thread of the search index did not end well");
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
    index: Arc<SearchIndex>,
    shared: Arc<Shared>,
    reader: Reader,
    moved: watch::Sender<u64>,
}

/// Lets every other thread go first: traffic may take all there is, who follows the log works in what is left.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "a follower of the log works as eagerly as everybody else");
    }
}

impl Work {
    fn run(mut self) {
        give_way();
        loop {
            let began = Instant::now();
            let (next, head) = (self.index.covers(), self.reader.store.head().size);
            let end = head.min(next + STEP);
            if let Err(error) = self.follow(next, end) {
                tracing::error!(%error, "the search index stops; it goes on at the next start");
                return;
            }
            self.moved.send_replace(end);
            // Traffic goes first: who follows a long way rests as long as it works.
            let rest = if end == head { LOOK } else { began.elapsed() };
            if self.rest(end, rest) {
                return;
            }
        }
    }

    fn follow(&mut self, next: u64, end: u64) -> Result<(), StoreError> {
        for leaf in next..end {
            match self.reader.facts(leaf) {
                Ok(facts) => self.index.add(facts.leaf(), facts.hash)?,
                // One that can't be read must not hide all others; asked for itself, it is DAMAGED.
                Err(StoreError::Damaged(what)) => {
                    tracing::error!(what, leaf, "a leaf can't be searched for");
                    let hash = self.reader.store.node(merkle::stored_index(0, leaf))?;
                    self.index.add(Default::default(), hash)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Rests, unless somebody waits. True when it is time to stop.
    fn rest(&self, done: u64, time: Duration) -> bool {
        let orders = self.shared.orders();
        let idle = |orders: &mut Orders| !orders.stop && orders.wanted <= done;
        let waited = self.shared.changed.wait_timeout_while(orders, time, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}
