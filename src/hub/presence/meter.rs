//! How much passed, and how fast it does now.

use std::sync::{Mutex, PoisonError};

use crate::{domain::time::Timestamp, proto::Traffic};

/// What passed this long ago counts half in the speed.
const HALF_LIFE_US: f64 = 30e6;

/// Documents and bytes: totals, and a speed that fades.
#[derive(Debug, Default)]
pub struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    documents: u64,
    bytes: u64,
    /// Per second, as of `at`.
    documents_rate: f64,
    bytes_rate: f64,
    at: Timestamp,
}

impl Meter {
    /// Something passed.
    pub fn count(&self, documents: u64, bytes: u64, now: Timestamp) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.fade(now);
        state.documents = state.documents.saturating_add(documents);
        state.bytes = state.bytes.saturating_add(bytes);
        // A steady stream of n a second settles at n.
        let weight = std::f64::consts::LN_2 / (HALF_LIFE_US / 1e6);
        state.documents_rate += documents as f64 * weight;
        state.bytes_rate += bytes as f64 * weight;
    }

    /// As of `now`.
    pub fn traffic(&self, now: Timestamp) -> Traffic {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.fade(now);
        Traffic {
            documents: state.documents,
            bytes: state.bytes,
            documents_per_minute: state.documents_rate * 60.0,
            bytes_per_second: state.bytes_rate,
        }
    }
}

impl State {
    fn fade(&mut self, now: Timestamp) {
        let passed = now.0.saturating_sub(self.at.0).max(0);
        let left = 0.5_f64.powf(passed as f64 / HALF_LIFE_US);
        self.documents_rate *= left;
        self.bytes_rate *= left;
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_shows_its_speed_and_then_fades() {
        let meter = Meter::default();
        for second in 0..600 {
            meter.count(2, 1_000, Timestamp(second * 1_000_000));
        }
        let now = meter.traffic(Timestamp(599_000_000));
        assert_eq!((now.documents, now.bytes), (1_200, 600_000));
        assert!((now.documents_per_minute - 120.0).abs() < 3.0, "{now:?}");
        assert!((now.bytes_per_second - 1_000.0).abs() < 25.0, "{now:?}");
        let later = meter.traffic(Timestamp(629_000_000));
        assert!((later.documents_per_minute * 2.0 - now.documents_per_minute).abs() < 0.01, "{later:?}");
        assert_eq!(later.documents, 1_200);
    }

    #[test]
    fn a_clock_that_goes_back_changes_no_speed() {
        let meter = Meter::default();
        meter.count(10, 10, Timestamp(60_000_000));
        let before = meter.traffic(Timestamp(60_000_000));
        assert_eq!(meter.traffic(Timestamp(1)), before);
    }
}
