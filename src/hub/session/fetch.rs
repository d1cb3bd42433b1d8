//! Plain fetching for simple clients.

use std::{sync::Arc, time::Duration};

use prost::Message;

use super::offers::Held;
use crate::{
    domain::id::NodeName,
    hub::{Hub, presence::Scope, refused::Refused, room::Room},
    proto::Offer,
};

/// Offers of one Fetch at most.
const MAX_FETCH: usize = 100;
/// Longest wait of a Fetch.
const MAX_FETCH_WAIT: Duration = Duration::from_secs(60);

impl Hub {
    /// Leases and returns what waits, at most `max`; waits up to `wait` for the first. A caller that goes away
    /// while it waits leaves nothing behind.
    pub async fn fetch(
        self: &Arc<Self>,
        node: &NodeName,
        agencies: &[String],
        max: u32,
        wait: Duration,
    ) -> Result<Vec<Offer>, Refused> {
        let max = (max as usize).clamp(1, MAX_FETCH);
        let end = tokio::time::Instant::now() + wait.min(MAX_FETCH_WAIT);
        let named = self.agencies_of(node, agencies)?;
        let listening = self.dispatcher.listen(&named);
        let scope = if agencies.is_empty() { Scope::All } else { Scope::Only(named.into()) };
        let fetching = self.presence.fetch(node, scope);
        loop {
            // Asked each time: the directory may change during the wait.
            let agencies = self.agencies_of(node, agencies)?;
            let room = if self.room() == Room::Spent { 0 } else { max };
            let leases = self.dispatcher.lease(&agencies, room, self.clock.now());
            if !leases.is_empty() {
                let mut held = Held::new(self);
                held.take(&leases);
                let offers = self.offers(node, leases.clone()).await?;
                held.let_go();
                let bytes = offers.iter().map(Offer::encoded_len).sum::<usize>();
                fetching.offered(&leases, offers.len() as u64, bytes as u64);
                return Ok(offers);
            }
            tokio::select! {
                biased;
                () = listening.rung() => {}
                () = tokio::time::sleep_until(end) => return Ok(Vec::new()),
                () = self.stopping.cancelled() => return Ok(Vec::new()),
            }
        }
    }
}
