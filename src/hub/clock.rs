//! The only place that reads the wall clock.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::domain::time::Timestamp;

/// Where the hub takes the time from.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands until it is set, for tests.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now.0))))
    }

    /// Moves a manual clock forward; the machine's clock goes on as it does.
    pub fn advance_us(&self, us: i64) {
        if let Some(now) = &self.0 {
            now.fetch_add(us, Ordering::SeqCst);
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(now) => Timestamp(now.load(Ordering::SeqCst)),
            None => system_now(),
        }
    }

    /// Time since some moment; it never goes back, and of a manual clock it stands as well.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        match &self.0 {
            Some(now) => Duration::from_micros(u64::try_from(now.load(Ordering::SeqCst)).unwrap_or(0)),
            None => BEGAN.elapsed(),
        }
    }
}

#[allow(clippy::disallowed_methods)] // here and nowhere else
fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// As the file system counts.
#[must_use]
pub fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}
