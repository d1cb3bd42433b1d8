//! Counting on the way of a document: atomics only, so that nobody waits for who measures.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Bounds of times, in microseconds: from a memory access to what nobody waits for.
pub const TIMES: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Bounds of how many come together.
pub const GROUPS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// How much it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How values spread over buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Empty; `bounds` rise.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Of times, in microseconds.
    #[must_use]
    pub fn of_times() -> Self {
        Self::new(TIMES)
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts a time.
    pub fn took(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted: the sum, and for each bucket its upper bound (`None` for the last) and how many are in it.
    #[must_use]
    pub fn read(&self) -> (u64, Vec<(Option<u64>, u64)>) {
        let bounds = self.bounds.iter().map(|bound| Some(*bound)).chain([None]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, count)| (bound, count.load(Relaxed)));
        (self.sum.load(Relaxed), buckets.collect())
    }
}

/// What the store measures.
#[derive(Debug)]
pub struct StoreMeters {
    /// Time of a journal frame's write and sync.
    pub journal_syncs: Histogram,
    /// Time of making a commit's small bodies durable.
    pub body_syncs: Histogram,
}

impl Default for StoreMeters {
    fn default() -> Self {
        Self { journal_syncs: Histogram::of_times(), body_syncs: Histogram::of_times() }
    }
}

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The journal.
    pub journal: u64,
    /// What can be made again from it: history index, arrays, search index.
    pub index: u64,
    /// Packs of small bodies.
    pub packs: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1_000] {
            histogram.observe(value);
        }
        assert_eq!(histogram.read(), (1_062, vec![(Some(10), 2), (Some(20), 2), (None, 2)]));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let (histogram, count) = (Histogram::of_times(), Count::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for time in 0..1_000 {
                        histogram.took(Duration::from_micros(time));
                        count.add(2);
                    }
                });
            }
        });
        let (sum, buckets) = histogram.read();
        assert_eq!((sum, count.get()), (4 * 499_500, 8_000));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 4_000);
    }
}
