//! Removes the bytes of what the log says is erased: behind the commit, at a bounded rate, and after a crash again from
//! the beginning. When nothing is left on disk, that is committed too.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::id::Digest,
    hub::{
        Hub,
        refused::{Refused, blocking},
        sequencer::Proposal,
    },
    store::{
        StoreError,
        payload::{Condemned, PackPlace, PackRemoval},
        records::ErasureRecord,
    },
};

/// Erasures that are worked off together: the packs are looked through once for all of them.
const MAX_ROUND: usize = 10_000;
/// Erasures whose end one commit records.
const GROUP: usize = 256;
/// Bytes of packs that are looked through in one step.
const STEP: u64 = 4 << 20;
/// Rest after a failure.
const PAUSE: Duration = Duration::from_secs(30);

/// Starts the task; it ends when the hub stops.
pub fn spawn(hub: &Arc<Hub>) {
    hub.tasks.spawn(remove_on(Arc::downgrade(hub), hub.stopping.clone()));
}

async fn remove_on(hub: Weak<Hub>, stopping: CancellationToken) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let rest = match strong.remove_round().await {
            Ok(0) => None,
            Ok(_) => Some(Duration::ZERO),
            Err(_) if stopping.is_cancelled() => return,
            Err(refused) => {
                tracing::warn!(%refused, "erased contents could not be removed yet");
                strong.retention.note(|state| state.removal_problem = format!("removal: {refused}"));
                Some(PAUSE)
            }
        };
        let erasures = Arc::clone(&strong.erasures);
        drop(strong);
        let ended = match rest {
            Some(rest) => stopping.run_until_cancelled(tokio::time::sleep(rest)).await,
            None => stopping.run_until_cancelled(erasures.work.notified()).await,
        };
        if ended.is_none() {
            return;
        }
    }
}

impl Hub {
    /// Removes what waits for it, a bounded part; how many erasures that ended.
    async fn remove_round(self: &Arc<Self>) -> Result<usize, Refused> {
        let hub = Arc::clone(self);
        let round = blocking(move || hub.store.erasing(0, MAX_ROUND)).await??;
        if round.is_empty() {
            self.retention.note(|state| state.removal_problem.clear());
            return Ok(0);
        }
        for erasure in &round {
            let bytes = erasure.remove.iter().map(|body| body.size).sum();
            let (hub, erasure) = (Arc::clone(self), erasure.clone());
            blocking(move || hub.remove_recorded(&erasure)).await??;
            self.pace(bytes).await?;
        }
        self.remove_copies(&round).await?;
        if round.iter().any(ErasureRecord::is_whole)
            && let Some(search) = self.search.get()
        {
            search.make_again()?;
        }
        let count = round.len();
        let mut rest = round;
        while !rest.is_empty() {
            let group = rest.drain(..rest.len().min(GROUP)).collect();
            self.sequencer.propose(Proposal::Removed(group)).await?;
        }
        Ok(count)
    }

    /// Bodies where their records say they are.
    fn remove_recorded(&self, erasure: &ErasureRecord) -> Result<(), StoreError> {
        let failed = |source| StoreError::Io { what: "removing erased contents".into(), source };
        for digest in erasure.remove.iter().filter_map(|body| Digest::from_slice(&body.sha256)) {
            // What can't be read is taken for wanted.
            let is_wanted = || !matches!(self.store.body(&digest), Ok(None));
            self.payload.remove_file(&digest, &is_wanted).map_err(failed)?;
        }
        self.payload.remove_packed(&erasure.remove).map_err(failed)
    }

    /// The same bodies wherever else they lie in packs: a repeated submission leaves copies that no record names.
    async fn remove_copies(self: &Arc<Self>, round: &[ErasureRecord]) -> Result<(), Refused> {
        let mut condemned = Condemned::new();
        for erasure in round {
            let end = PackPlace { pack: erasure.pack, offset: erasure.pack_offset };
            for digest in erasure.remove.iter().filter_map(|body| Digest::from_slice(&body.sha256)) {
                let before = condemned.entry(digest).or_insert(end);
                *before = end.max(*before);
            }
        }
        let (condemned, mut so_far) = (Arc::new(condemned), PackRemoval::default());
        loop {
            let (hub, condemned) = (Arc::clone(self), Arc::clone(&condemned));
            let step = blocking(move || {
                let more = hub.payload.remove_copies(&condemned, &mut so_far, STEP);
                more.map(|more| more.then_some(so_far))
            });
            let failed = |source| StoreError::Io { what: "looking through packs".into(), source };
            match step.await?.map_err(failed)? {
                Some(next) => so_far = next,
                None => return Ok(()),
            }
            self.pace(STEP).await?;
        }
    }

    async fn pace(&self, bytes: u64) -> Result<(), Refused> {
        let rest = tokio::time::sleep(self.retention.rest(bytes));
        let rested = self.stopping.run_until_cancelled(rest).await;
        rested.ok_or_else(crate::hub::refused::stopping)
    }
}
