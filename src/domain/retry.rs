//! Pauses between attempts: exponential, with jitter, bounded.

use super::{reason::Reason, time::Timestamp};

/// Longest pause that can be configured: 30 days.
const LONGEST_US: i64 = 30 * 24 * 3_600_000_000;

/// Growing pauses. Senseless values can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first_us: i64,
    max_us: i64,
    factor: u32,
}

impl Backoff {
    /// Pauses grow from `first_us` by `factor` to `max_us`.
    ///
    /// Needs 1 ms ≤ `first_us` ≤ `max_us` ≤ 30 days and a factor of 1 to 10; else `INVALID_FIELD`.
    pub fn new(first_us: i64, max_us: i64, factor: u32) -> Result<Self, Reason> {
        if first_us < 1_000 {
            return Err(Reason::invalid("first pause", "at least one millisecond"));
        }
        if !(first_us..=LONGEST_US).contains(&max_us) {
            return Err(Reason::invalid("longest pause", "not below the first pause and at most 30 days"));
        }
        if !(1..=10).contains(&factor) {
            return Err(Reason::invalid("factor", "needs 1 to 10"));
        }
        Ok(Self { first_us, max_us, factor })
    }

    /// Pause in microseconds after the `attempt`th attempt (the first is 1), with equal jitter: between half
    /// of the step and the whole. `jitter` is a fresh random number.
    ///
    /// The lower half is never given away, so a crowd that failed together spreads and nobody hammers.
    #[must_use]
    pub fn pause(&self, attempt: u32, jitter: u64) -> i64 {
        let step = self.step(attempt);
        let half = step / 2;
        let spread = (step - half).unsigned_abs() + 1;
        half + i64::try_from(jitter % spread).unwrap_or(0)
    }

    /// The longest pause there is, in microseconds.
    #[must_use]
    pub fn longest_us(&self) -> i64 {
        self.max_us
    }

    /// When the next attempt is due.
    #[must_use]
    pub fn next(&self, now: Timestamp, attempt: u32, jitter: u64) -> Timestamp {
        now.plus_us(self.pause(attempt, jitter))
    }

    fn step(&self, attempt: u32) -> i64 {
        let growth = i64::from(self.factor).saturating_pow(attempt.saturating_sub(1));
        self.first_us.saturating_mul(growth).min(self.max_us)
    }
}

impl Default for Backoff {
    /// From 10 seconds, doubling, to 10 minutes.
    fn default() -> Self {
        Self { first_us: 10_000_000, max_us: 600_000_000, factor: 2 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        (1_000..=LONGEST_US, 1_000..=LONGEST_US, 1..=10u32).prop_map(|(one, other, factor)| {
            Backoff::new(one.min(other), one.max(other), factor).expect("sane values")
        })
    }

    #[test]
    fn senseless_values_cannot_be_built() {
        for (first, max, factor) in [
            (0, 10_000, 2),
            (-5_000, 10_000, 2),
            (20_000, 10_000, 2),
            (1_000, i64::MAX, 2),
            (1_000, 10_000, 0),
            (1_000, 10_000, 11),
        ] {
            assert!(Backoff::new(first, max, factor).is_err(), "{first} {max} {factor}");
        }
    }

    #[test]
    fn steps_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let steps: Vec<i64> = (0..9).map(|attempt| backoff.step(attempt) / 1_000_000).collect();
        assert_eq!(steps, [10, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    proptest! {
        #[test]
        fn a_pause_lies_between_half_a_step_and_the_whole(
            backoff in any_backoff(), attempt: u32, jitter: u64,
        ) {
            let step = backoff.step(attempt);
            let pause = backoff.pause(attempt, jitter);
            prop_assert!(step / 2 <= pause && pause <= step);
            prop_assert!(0 < pause && pause <= backoff.max_us);
        }

        #[test]
        fn steps_never_shrink(backoff in any_backoff(), attempt in 0..u32::MAX) {
            prop_assert!(backoff.step(attempt) <= backoff.step(attempt + 1));
        }

        #[test]
        fn both_ends_of_the_jitter_are_reached(backoff in any_backoff(), attempt: u32) {
            let step = backoff.step(attempt);
            prop_assert_eq!(backoff.pause(attempt, 0), step / 2);
            prop_assert_eq!(backoff.pause(attempt, (step - step / 2) as u64), step);
        }
    }
}
