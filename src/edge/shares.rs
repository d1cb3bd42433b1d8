//! A bound for each node on what it may have open at the same time, so that one node can't take what all need.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_stream::{Stream, StreamExt};

use crate::domain::{
    id::NodeName,
    reason::{Reason, ReasonCode},
};

/// Counts what is open, by node.
pub struct Shares {
    what: &'static str,
    each: usize,
    all: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    by_node: HashMap<NodeName, usize>,
    all: usize,
}

/// One open thing; dropping it makes room.
pub struct Share {
    node: NodeName,
    open: Arc<Mutex<Open>>,
}

impl Shares {
    /// At most `each` of `what` for each node, and `all` together.
    #[must_use]
    pub fn new(what: &'static str, each: usize, all: usize) -> Self {
        Self { what, each, all, open: Arc::default() }
    }

    /// A place for one more, or `BUSY`.
    pub fn take(&self, node: &NodeName) -> Result<Share, Reason> {
        let mut open = lock(&self.open);
        if open.all >= self.all {
            let detail = format!("{} {} are open, as many as this hub has room for", self.all, self.what);
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        let count = open.by_node.entry(node.clone()).or_default();
        if *count >= self.each {
            let detail = format!("{} {} of this node are open: end one of them first", self.each, self.what);
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        *count += 1;
        open.all += 1;
        Ok(Share { node: node.clone(), open: Arc::clone(&self.open) })
    }
}

impl Share {
    /// The stream, which keeps the place until it is dropped.
    pub fn kept_by<S: Stream>(self, stream: S) -> impl Stream<Item = S::Item> {
        stream.map(move |item| {
            let _kept = &self;
            item
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        let Some(count) = open.by_node.get_mut(&self.node) else { return };
        *count -= 1;
        if *count == 0 {
            open.by_node.remove(&self.node);
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("legal")
    }

    #[test]
    fn each_node_has_its_own_bound_and_gets_its_places_back() {
        let shares = Shares::new("downloads", 2, 9);
        let held = (shares.take(&node("a")).expect("first"), shares.take(&node("a")).expect("second"));
        assert_eq!(shares.take(&node("a")).err().expect("full").code, ReasonCode::Busy);
        shares.take(&node("b")).expect("another node");
        drop(held.0);
        shares.take(&node("a")).expect("a place again");
        drop(held.1);
        assert!(lock(&shares.open).by_node.is_empty());
        assert_eq!(lock(&shares.open).all, 0);
    }

    #[test]
    fn all_nodes_together_have_a_bound() {
        let shares = Shares::new("downloads", 2, 3);
        let held: Vec<_> = ["a", "b", "c"].map(node).iter().map(|node| shares.take(node)).collect();
        assert_eq!(shares.take(&node("d")).err().expect("full").code, ReasonCode::Busy);
        drop(held);
        shares.take(&node("d")).expect("a place again");
    }
}
