//! The hub's own clockwork: leases that end, deadlines that pass, uploads that nobody used.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Hub, refused::blocking, sequencer::Proposal};
use crate::domain::{id::Digest, reason::ReasonCode};

/// How often leases and deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often unused bodies are looked for.
const SWEEP: Duration = Duration::from_secs(3600);
/// Deliveries ended in one commit.
const MAX_EXPIRED: usize = 256;
/// Commits of one look: deliveries whose end can't be recorded must not keep the clockwork busy.
const MAX_ROUNDS: usize = 100;

/// Starts both tasks; they end when the hub stops.
pub fn spawn(hub: &Arc<Hub>) {
    hub.tasks.spawn(tick(Arc::downgrade(hub), hub.stopping.clone()));
    hub.tasks.spawn(sweep(Arc::downgrade(hub), hub.stopping.clone()));
}

async fn tick(hub: Weak<Hub>, stopping: tokio_util::sync::CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(interval.tick()).await.is_some() {
        let Some(hub) = hub.upgrade() else { return };
        if let Err(error) = hub.store.health() {
            // Said again each time: whoever must act on it may not listen yet.
            tracing::error!(%error, "the store failed: the hub stops and must recover");
            hub.health.raise(super::health::Condition::StoreFailed, error.to_string());
            let _ = hub.notices.send(super::Notice::StoreFailed);
            continue;
        }
        hub.expire_due().await;
        hub.wake_actions().await;
    }
}

async fn sweep(hub: Weak<Hub>, stopping: tokio_util::sync::CancellationToken) {
    let mut interval = tokio::time::interval(SWEEP);
    while stopping.run_until_cancelled(interval.tick()).await.is_some() {
        let Some(hub) = hub.upgrade() else { return };
        hub.sweep_bodies().await;
    }
}

impl Hub {
    async fn expire_due(&self) {
        for _ in 0..MAX_ROUNDS {
            let due = self.dispatcher.tick(self.clock.now(), MAX_EXPIRED);
            let full = due.len() == MAX_EXPIRED;
            if due.is_empty() {
                return;
            }
            match self.sequencer.propose(Proposal::Expire(due)).await {
                Ok(_) if full => {}
                Ok(_) => return,
                // Traffic goes first, and a hub that stops says so elsewhere; the deadline stays passed.
                Err(refused) if matches!(refused.code(), ReasonCode::Busy | ReasonCode::ShuttingDown) => {
                    return;
                }
                Err(refused) => {
                    tracing::error!(%refused, "deadlines could not be recorded");
                    return;
                }
            }
        }
    }

    /// Removes uploads that no document used in time, and bodies that no commit needs.
    async fn sweep_bodies(self: &Arc<Self>) {
        let hub = Arc::clone(self);
        let swept = blocking(move || {
            let older_than = hub.clock.now().plus_us(-hub.settings.upload_retention_us);
            let reachable = |digest: &Digest| !matches!(hub.store.body(digest), Ok(None));
            hub.payload.sweep(&reachable, super::clock::system_time(older_than))
        });
        match swept.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "unused bodies could not be cleared away"),
            Err(refused) => tracing::warn!(%refused, "unused bodies could not be cleared away"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{document::Limits, retry::Backoff, time::Timestamp},
        hub::{LogIdentity, Notice, Settings, clock::Clock},
        store::{
            embedded::{Embedded, EmbeddedOptions},
            payload::{Payload, PayloadOptions},
        },
        tlog::note::Signer,
    };

    /// Ends a test that hangs; nothing is measured with it.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_store_that_failed_without_a_commit_stops_the_hub() {
        let temp = tempfile::tempdir().unwrap();
        let payload =
            Arc::new(Payload::open(&temp.path().join("bodies"), PayloadOptions::default()).unwrap());
        let options = EmbeddedOptions { segment_bytes: 1 << 16, ..EmbeddedOptions::new(temp.path()) };
        let store = Arc::new(Embedded::open(&options, Arc::clone(&payload), &mut |_| {}).unwrap().store);
        let settings = Settings {
            limits: Limits::default(),
            max_inline_bytes: 1 << 20,
            upload_retention_us: 3_600_000_000,
            lease_us: 60_000_000,
            backoff: Backoff::default(),
            max_credit: 1,
            max_waiting_requests: 1,
            max_batch_leaves: 1,
            recent_bytes: 0,
            operator: crate::hub::operate::Rules::default(),
        };
        let log = LogIdentity {
            origin: "hub.test".into(),
            signer: Signer::from_seed("hub.test", &[1; 32]).unwrap(),
        };
        let clock = Clock::manual(Timestamp(1_790_000_000_000_000));
        let hub = Hub::start(Arc::clone(&store) as _, payload, log, settings, clock).unwrap();
        let mut notices = hub.notices();
        store.fail_index();
        let notice = tokio::time::timeout(PATIENCE, notices.recv()).await;
        assert!(matches!(notice, Ok(Ok(Notice::StoreFailed))));
        hub.stop().await;
    }
}
