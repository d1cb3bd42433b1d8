//! When the next document goes: when there is room, or when it is due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::options::Load;

/// Shortest sleep of the clock of an open load.
const TICK: Duration = Duration::from_micros(200);

/// Lets documents go.
pub struct Pace {
    /// Places of documents that wait for their acknowledgement.
    in_flight: Semaphore,
    /// Places of documents that are on their way to their recipients.
    backlog: Option<Semaphore>,
    due: Option<Due>,
    issued: AtomicU64,
    limit: u64,
    /// Ends the load.
    pub stop: CancellationToken,
}

/// Documents at fixed times, whatever the hub does.
struct Due {
    start: Instant,
    every: Duration,
    reached: Semaphore,
    taken: AtomicU64,
}

impl Pace {
    /// The pace of a load that starts now.
    pub fn start(load: &Load) -> Arc<Self> {
        let due = load.rate.map(|rate| Due {
            start: Instant::now(),
            every: Duration::from_secs_f64(1.0 / rate),
            reached: Semaphore::new(0),
            taken: AtomicU64::new(0),
        });
        let backlog = (!load.no_receive).then(|| Semaphore::new(load.backlog()));
        let pace = Arc::new(Self {
            in_flight: Semaphore::new(load.in_flight),
            backlog,
            due,
            issued: AtomicU64::new(0),
            limit: load.documents.unwrap_or(u64::MAX),
            stop: CancellationToken::new(),
        });
        if pace.due.is_some() {
            let clock = Arc::clone(&pace);
            // Finer than the runtime's clock, whose tick is a millisecond.
            std::thread::spawn(move || clock.tick());
        }
        pace
    }

    /// Number of the next document; `None` when there is to be no more.
    pub fn next(&self) -> Option<u64> {
        if self.stop.is_cancelled() {
            return None;
        }
        let serial = self.issued.fetch_add(1, Relaxed);
        (serial < self.limit).then_some(serial)
    }

    /// Waits until a document may go; tells since when it was due. `None` when the load ended meanwhile.
    pub async fn turn(&self) -> Option<Instant> {
        self.stop.run_until_cancelled(self.places()).await
    }

    async fn places(&self) -> Instant {
        let since = match &self.due {
            Some(due) => Some(due.next().await),
            None => None,
        };
        if let Some(backlog) = &self.backlog {
            take(backlog).await;
        }
        take(&self.in_flight).await;
        since.unwrap_or_else(Instant::now)
    }

    /// A document was answered.
    pub fn answered(&self) {
        self.in_flight.add_permits(1);
    }

    /// A document has reached everybody.
    pub fn arrived(&self) {
        if let Some(backlog) = &self.backlog {
            backlog.add_permits(1);
        }
    }

    fn tick(&self) {
        let Some(due) = &self.due else { return };
        let mut told = 0;
        while !self.stop.is_cancelled() && told < self.limit {
            let reached = due.reached_by(Instant::now());
            due.reached.add_permits(usize::try_from(reached.saturating_sub(told)).unwrap_or(0));
            told = told.max(reached);
            std::thread::sleep(due.every.clamp(TICK, Duration::from_millis(100)));
        }
    }
}

impl Due {
    async fn next(&self) -> Instant {
        take(&self.reached).await;
        let at = self.taken.fetch_add(1, Relaxed);
        self.start + self.every.mul_f64(at as f64)
    }

    fn reached_by(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_secs_f64() / self.every.as_secs_f64();
        passed as u64 + 1
    }
}

/// Takes a place for good; it comes back by `add_permits`.
async fn take(places: &Semaphore) {
    // Never closed.
    if let Ok(place) = places.acquire().await {
        place.forget();
    }
}
