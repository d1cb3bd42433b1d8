//! Who wants to be woken when something comes for an agency.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::domain::id::AgencyId;

/// The bells of all listeners, by agency. Holds nothing for agencies that nobody listens for.
#[derive(Default)]
pub struct Bells(Mutex<BTreeMap<AgencyId, Vec<Arc<Notify>>>>);

impl Bells {
    /// Wakes everyone who listens for this agency. A ring that finds nobody waiting is kept for the next wait.
    pub fn ring(&self, agency: &str) {
        if let Some(listeners) = self.lock().get(agency) {
            listeners.iter().for_each(|listener| listener.notify_one());
        }
    }

    /// Listens for these agencies until the result is dropped. Begin before you look: what comes in between
    /// rings.
    pub fn listen(self: &Arc<Self>, agencies: &[AgencyId]) -> Listening {
        let bell = Arc::new(Notify::new());
        let mut listeners = self.lock();
        for agency in agencies {
            listeners.entry(agency.clone()).or_default().push(Arc::clone(&bell));
        }
        Listening { bells: Arc::clone(self), agencies: agencies.to_vec(), bell }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgencyId, Vec<Arc<Notify>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One listener.
pub struct Listening {
    bells: Arc<Bells>,
    agencies: Vec<AgencyId>,
    bell: Arc<Notify>,
}

impl Listening {
    /// Waits for the next ring, or takes one that came since the last wait.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.bells.lock();
        for agency in &self.agencies {
            let Some(mine) = listeners.get_mut(agency) else { continue };
            mine.retain(|other| !Arc::ptr_eq(other, &self.bell));
            if mine.is_empty() {
                listeners.remove(agency);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_is_kept_and_nothing_stays_behind() {
        let bells = Arc::new(Bells::default());
        let agencies = ["H53", "H54"].map(|text| AgencyId::parse(text).unwrap());
        let (one, two) = (bells.listen(&agencies), bells.listen(&agencies[..1]));
        bells.ring("H53");
        bells.ring("H55");
        one.rung().await;
        two.rung().await;
        drop(one);
        assert_eq!(bells.lock().len(), 1, "the other one still listens for H53");
        drop(two);
        assert!(bells.lock().is_empty());
    }
}
