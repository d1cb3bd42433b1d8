//! A bound for each node on what it may have open at the same time, so that one node can't take what all need.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::{
    id::NodeName,
    reason::{Reason, ReasonCode},
};

/// Counts what is open, by node.
pub struct Shares {
    what: &'static str,
    most: usize,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open(Mutex<HashMap<NodeName, usize>>);

/// One open thing; dropping it makes room.
pub struct Share {
    node: NodeName,
    open: Arc<Open>,
}

impl Shares {
    /// At most `most` of `what` for each node.
    #[must_use]
    pub fn new(what: &'static str, most: usize) -> Self {
        Self { what, most, open: Arc::default() }
    }

    /// A place for one more, or `BUSY`.
    pub fn take(&self, node: &NodeName) -> Result<Share, Reason> {
        let mut open = self.open.lock();
        let count = open.entry(node.clone()).or_default();
        if *count >= self.most {
            let detail = format!("{} {} of this node are open: end one of them first", self.most, self.what);
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        *count += 1;
        Ok(Share { node: node.clone(), open: Arc::clone(&self.open) })
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeName, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let Some(count) = open.get_mut(&self.node) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_bound_and_gets_its_places_back() {
        let node = |name: &str| NodeName::parse(name).expect("legal");
        let shares = Shares::new("downloads", 2);
        let held = (shares.take(&node("a")).expect("first"), shares.take(&node("a")).expect("second"));
        assert_eq!(shares.take(&node("a")).err().expect("full").code, ReasonCode::Busy);
        shares.take(&node("b")).expect("another node");
        drop(held.0);
        shares.take(&node("a")).expect("a place again");
        drop(held.1);
        assert!(shares.open.lock().is_empty());
    }
}
