//! What was counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;
/// Different problems that are kept.
const PROBLEMS: usize = 20;

/// Counts of a run.
pub struct Tally {
    /// Acknowledgements.
    pub acknowledged: AtomicU64,
    /// Handovers that the sender has heard of.
    pub delivered: AtomicU64,
    /// Refusals.
    pub refused: AtomicU64,
    /// Receipts verified to the last signature and hash.
    pub sampled: Arc<AtomicU64>,
    /// Receipts that are not what they should be.
    pub wrong: AtomicU64,
    from: OnceLock<Instant>,
    /// A circular is on its way.
    pub meanwhile: AtomicBool,
    acknowledgement: Latencies,
    acknowledgement_meanwhile: Latencies,
    end_to_end: Latencies,
    problems: Mutex<BTreeMap<String, u64>>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1,000 are faster.
    pub p999: f64,
}

/// Latencies in microseconds, to three digits.
pub struct Latencies(Mutex<Histogram<u64>>);

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            acknowledged: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sampled: Arc::default(),
            wrong: AtomicU64::new(0),
            from: OnceLock::new(),
            meanwhile: AtomicBool::new(false),
            acknowledgement: Latencies::new(),
            acknowledgement_meanwhile: Latencies::new(),
            end_to_end: Latencies::new(),
            problems: Mutex::default(),
        }
    }

    /// Documents that go from now on are measured.
    pub fn begin(&self, now: Instant) {
        // The first call counts.
        let _ = self.from.set(now);
    }

    /// An acknowledgement of a document that went at `since`.
    pub fn acknowledged(&self, since: Instant) {
        self.acknowledged.fetch_add(1, Relaxed);
        if !self.counts(since) {
            return;
        }
        match self.meanwhile.load(Relaxed) {
            true => self.acknowledgement_meanwhile.add(since),
            false => self.acknowledgement.add(since),
        }
    }

    /// The sender has heard of a handover of a document that went at `since`.
    pub fn delivered(&self, since: Instant) {
        self.delivered.fetch_add(1, Relaxed);
        if self.counts(since) {
            self.end_to_end.add(since);
        }
    }

    /// Something that should not be.
    pub fn problem(&self, what: impl Into<String>) {
        let mut problems = lock(&self.problems);
        let what = what.into();
        if problems.len() < PROBLEMS || problems.contains_key(&what) {
            *problems.entry(what).or_default() += 1;
        }
    }

    /// What should not have been, and how often it was.
    pub fn problems(&self) -> BTreeMap<String, u64> {
        lock(&self.problems).clone()
    }

    /// From submission to acknowledgement.
    pub fn acknowledgement(&self) -> Option<Percentiles> {
        self.acknowledgement.percentiles()
    }

    /// The same, while circulars were on their way.
    pub fn acknowledgement_meanwhile(&self) -> Option<Percentiles> {
        self.acknowledgement_meanwhile.percentiles()
    }

    /// From submission to the sender's word of the handover.
    pub fn end_to_end(&self) -> Option<Percentiles> {
        self.end_to_end.percentiles()
    }

    fn counts(&self, since: Instant) -> bool {
        self.from.get().is_some_and(|from| since >= *from)
    }
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3);
        Self(Mutex::new(histogram.expect("these bounds are legal")))
    }

    /// One that began at `since` and ends now.
    pub fn add(&self, since: Instant) {
        self.took(since.elapsed());
    }

    /// One that took so long.
    pub fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        lock(&self.0).saturating_record(us.clamp(1, LONGEST_US));
    }

    /// Of all so far.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let histogram = lock(&self.0);
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Percentiles { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
