//! How long it took, for many: a histogram that is small and told to within a few per cent.

use std::collections::BTreeMap;

/// Values of one power of two are told apart in so many steps.
const STEPS: u64 = 16;
/// log2 of [`STEPS`].
const STEP_BITS: u32 = 4;

/// Durations in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    buckets: BTreeMap<u16, u32>,
    count: u64,
    max: u64,
}

impl Spread {
    /// One more.
    pub fn add(&mut self, us: u64) {
        let bucket = self.buckets.entry(bucket(us)).or_default();
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// All of another one.
    pub fn join(&mut self, other: &Self) {
        for (at, more) in &other.buckets {
            let bucket = self.buckets.entry(*at).or_default();
            *bucket = bucket.saturating_add(*more);
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The duration that so many of a thousand did not exceed, within 4 per cent; 0 of none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (at, count) in &self.buckets {
            seen += u64::from(*count);
            if seen >= wanted {
                return middle(*at).min(self.max);
            }
        }
        self.max
    }

    /// How many took at most so long; exact to within the width of a bucket.
    pub fn up_to(&self, us: u64) -> u64 {
        self.buckets.range(..=bucket(us)).map(|(_, count)| u64::from(*count)).sum()
    }
}

fn bucket(us: u64) -> u16 {
    if us < STEPS {
        return us as u16;
    }
    let power = us.ilog2();
    let step = (us >> (power - STEP_BITS)) - STEPS;
    // At most 60 powers of 16 steps each.
    (u64::from(power - STEP_BITS + 1) * STEPS + step) as u16
}

/// The middle of a bucket's values.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    match power {
        0 => step,
        _ => ((STEPS + step) << (power - 1)) + ((1 << (power - 1)) / 2),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_a_known_row() {
        let mut spread = Spread::default();
        assert_eq!((spread.quantile(500), spread.max()), (0, 0));
        (1..=1_000).for_each(|second| spread.add(second * 1_000_000));
        let near = |value: u64, wanted: f64| (value as f64 / 1e6 / wanted - 1.0).abs() < 0.04;
        assert!(near(spread.quantile(500), 500.0), "{}", spread.quantile(500));
        assert!(near(spread.quantile(990), 990.0), "{}", spread.quantile(990));
        assert_eq!((spread.count(), spread.max()), (1_000, 1_000_000_000));
        assert!(near(spread.up_to(60_000_000) * 1_000_000, 60.0), "{}", spread.up_to(60_000_000));
    }

    proptest! {
        #[test]
        fn a_single_value_is_told_within_four_per_cent(us in any::<u64>()) {
            let mut spread = Spread::default();
            spread.add(us);
            let told = spread.quantile(500) as f64;
            prop_assert!((told - us as f64).abs() <= us as f64 * 0.04, "{us} {told}");
        }

        #[test]
        fn larger_values_are_in_no_smaller_bucket(one in any::<u64>(), other in any::<u64>()) {
            prop_assert!(bucket(one.min(other)) <= bucket(one.max(other)));
        }

        #[test]
        fn to_join_is_to_add_all(left in prop::collection::vec(any::<u64>(), 0..20), right in prop::collection::vec(any::<u64>(), 0..20)) {
            let of = |values: &[u64]| { let mut s = Spread::default(); values.iter().for_each(|v| s.add(*v)); s };
            let mut joined = of(&left);
            joined.join(&of(&right));
            prop_assert_eq!(joined, of(&[left, right].concat()));
        }
    }
}
