//! Repeating a call that a broken connection or a full hub cut short.

use std::time::Duration;

use tonic::Status;

use super::refusal::{Refusal, is_passing};
use crate::domain::retry::Backoff;

/// How often to try, and the pauses between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in a row that may fail; `u32::MAX` never gives up.
    pub attempts: u32,
    /// Pauses.
    pub backoff: Backoff,
}

impl Default for Patience {
    /// 12 attempts in about half a minute: longer than a hub needs to start again.
    fn default() -> Self {
        Self {
            attempts: 12,
            backoff: Backoff::new(200_000, 5_000_000, 2).expect("200 ms to 5 s are sane pauses"),
        }
    }
}

impl Patience {
    /// Never gives up.
    #[must_use]
    pub fn endless() -> Self {
        Self { attempts: u32::MAX, ..Self::default() }
    }

    /// Makes a call of a service, again and again with the very same request while its failure is a passing one. The
    /// last failure is the answer.
    pub async fn call<S: Clone, R: Clone, T, F: Future<Output = Result<T, Status>>>(
        &self,
        service: S,
        request: R,
        mut call: impl FnMut(S, R) -> F,
    ) -> Result<T, Status> {
        let mut failed = 0;
        loop {
            let status = match call(service.clone(), request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if !self.after(&status, &mut failed).await {
                return Err(status);
            }
        }
    }

    /// Counts a failure and waits before the next attempt; false when there is to be none.
    pub async fn after(&self, status: &Status, failed: &mut u32) -> bool {
        *failed = failed.saturating_add(1);
        if !is_passing(status) || *failed >= self.attempts {
            return false;
        }
        // Without randomness the pauses are the shortest ones.
        let jitter = getrandom::u64().unwrap_or(0);
        let pause = u64::try_from(self.backoff.pause(*failed, jitter)).unwrap_or(0);
        let asked = Refusal::of(status).retry_after.unwrap_or_default().min(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_micros(pause).max(asked)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Patience {
        Patience { attempts: 3, backoff: Backoff::new(1_000, 1_000, 1).expect("sane") }
    }

    /// Counts its calls; good from the `good`th on.
    async fn after_some(patience: Patience, status: Status, good: u32) -> (Result<u32, Status>, u32) {
        let calls = std::cell::Cell::new(0);
        let outcome = patience.call((), (), |(), ()| {
            calls.set(calls.get() + 1);
            let answer = if calls.get() < good { Err(status.clone()) } else { Ok(calls.get()) };
            async { answer }
        });
        (outcome.await, calls.get())
    }

    #[tokio::test]
    async fn passing_failures_are_tried_again_within_bounds() {
        let stopping = Status::unavailable("stopping");
        assert_eq!(after_some(quick(), stopping.clone(), 3).await.0.expect("third time"), 3);
        let (outcome, calls) = after_some(quick(), stopping, 9).await;
        assert!(outcome.is_err());
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (outcome, calls) = after_some(quick(), Status::already_exists("conflict"), 2).await;
        assert!(outcome.is_err());
        assert_eq!(calls, 1);
    }
}
