//! Token buckets: how fast a node, and an agency, may send.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tonic::Status;

use super::{
    bounds::Bounds,
    grpc_status::{status_after, stream_refusal_after},
};
use crate::{
    domain::{
        id::{AgencyId, NodeName},
        reason::{Reason, ReasonCode},
    },
    proto::StreamRefusal,
};

/// Unit in which bytes are counted: a bucket holds a `u32`.
const UNIT: u64 = 1024;
/// The largest message must fit into a bucket.
const LEAST_BYTES: u64 = 16 << 20;
/// Seconds of refusals that may come at once: a queue of documents with the same mistake.
const REFUSALS_AT_ONCE: u32 = 5;

/// The buckets of all nodes and agencies. A bucket exists for nodes with a certificate and for agencies of the
/// directory, so there are no more of them than of these.
pub struct Rates {
    node_messages: Bucket<NodeName>,
    node_bytes: Bucket<NodeName>,
    agency_messages: Bucket<AgencyId>,
    agency_bytes: Bucket<AgencyId>,
    node_refusals: Bucket<NodeName>,
    /// Nodes that were refused too often, until when.
    banned: Mutex<HashMap<NodeName, Instant>>,
}

/// Too fast. Goes on the wire with the pause that is needed.
#[derive(Debug)]
pub struct TooFast {
    reason: Reason,
    pause: Duration,
}

impl TooFast {
    /// For a call of its own.
    #[must_use]
    pub fn status(self) -> Status {
        status_after(&self.reason.into(), self.pause)
    }

    /// Inside a stream.
    #[must_use]
    pub fn stream_refusal(self) -> StreamRefusal {
        stream_refusal_after(&self.reason.into(), self.pause)
    }
}

impl Rates {
    /// Full buckets.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            node_messages: Bucket::counting("messages", bounds.node_messages, 1),
            node_bytes: Bucket::measuring(bounds.node_bytes),
            agency_messages: Bucket::counting("messages", bounds.agency_messages, 1),
            agency_bytes: Bucket::measuring(bounds.agency_bytes),
            node_refusals: Bucket::counting("refusals", bounds.node_refusals, REFUSALS_AT_ONCE),
            banned: Mutex::default(),
        }
    }

    /// Counts a message of a node in the name of an agency.
    pub fn message(&self, node: &NodeName, agency: Option<&AgencyId>, bytes: usize) -> Result<(), TooFast> {
        self.not_banned(node)?;
        self.node_messages.take(node, 1)?;
        self.node_bytes.take(node, units(bytes))?;
        let Some(agency) = agency else { return Ok(()) };
        self.agency_messages.take(agency, 1)?;
        self.agency_bytes.take(agency, units(bytes))
    }

    /// Counts bytes of an upload; says how long to wait before the next are read.
    #[must_use]
    pub fn upload(&self, node: &NodeName, bytes: usize) -> Duration {
        self.node_bytes.take(node, units(bytes)).err().map_or(Duration::ZERO, |too_fast| too_fast.pause)
    }

    /// Counts a refusal that became evidence. After too many the node has to pause.
    pub fn refused(&self, node: &NodeName) {
        if let Err(too_fast) = self.node_refusals.take(node, 1) {
            let until = Instant::now() + too_fast.pause;
            self.banned().insert(node.clone(), until);
        }
    }

    fn not_banned(&self, node: &NodeName) -> Result<(), TooFast> {
        let mut banned = self.banned();
        let Some(until) = banned.get(node) else { return Ok(()) };
        let pause = until.saturating_duration_since(Instant::now());
        if pause.is_zero() {
            banned.remove(node);
            return Ok(());
        }
        Err(self.node_refusals.too_fast(node, pause))
    }

    fn banned(&self) -> MutexGuard<'_, HashMap<NodeName, Instant>> {
        self.banned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bucket<K: Eq + Hash + Clone> {
    what: &'static str,
    each_second: u32,
    limiter: DefaultKeyedRateLimiter<K>,
}

impl<K: Eq + Hash + Clone + std::fmt::Display> Bucket<K> {
    fn new(what: &'static str, each_second: u32, burst: u32) -> Self {
        let each_second = NonZeroU32::new(each_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(burst).map_or(each_second, |burst| burst.max(each_second));
        let limiter = RateLimiter::keyed(Quota::per_second(each_second).allow_burst(burst));
        Self { what, each_second: each_second.get(), limiter }
    }

    /// For so many a second, `seconds` of them at once.
    fn counting(what: &'static str, each_second: u32, seconds: u32) -> Self {
        Self::new(what, each_second, each_second.saturating_mul(seconds))
    }

    fn measuring(bytes: u64) -> Self {
        let kib = |bytes: u64| u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self::new("KiB", kib(bytes), kib(LEAST_BYTES))
    }

    fn take(&self, key: &K, amount: u32) -> Result<(), TooFast> {
        let Some(amount) = NonZeroU32::new(amount) else { return Ok(()) };
        let pause = match self.limiter.check_key_n(key, amount) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_yet)) => not_yet.wait_time_from(DefaultClock::default().now()),
            // More than a bucket holds; no message is so large.
            Err(_) => Duration::from_secs(1),
        };
        Err(self.too_fast(key, pause))
    }

    fn too_fast(&self, key: &K, pause: Duration) -> TooFast {
        let detail = format!("{key}: {} {} a second are its share", self.each_second, self.what);
        // Rounded up, so that who waits exactly so long is in time.
        let pause = Duration::from_millis(1 + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX - 1));
        TooFast { reason: Reason::new(ReasonCode::RateLimited, detail), pause }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from((bytes as u64).div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).expect("legal")
    }

    fn rates(change: impl FnOnce(&mut Bounds)) -> Rates {
        let mut bounds = Bounds::default();
        change(&mut bounds);
        Rates::new(&bounds)
    }

    #[test]
    fn a_node_that_is_too_fast_is_told_how_long_to_wait_and_others_are_not() {
        let rates = rates(|bounds| bounds.node_messages = 2);
        let send = |name: &str| rates.message(&node(name), None, 100);
        (0..2).for_each(|_| send("a").expect("its share"));
        let too_fast = send("a").expect_err("too fast");
        assert_eq!(too_fast.reason.code, ReasonCode::RateLimited);
        assert!(too_fast.pause <= Duration::from_millis(501), "{too_fast:?}");
        send("b").expect("another node");
    }

    #[test]
    fn an_agency_is_counted_over_all_its_nodes() {
        let rates = rates(|bounds| bounds.agency_messages = 2);
        let agency = AgencyId::parse("H53").expect("legal");
        rates.message(&node("a"), Some(&agency), 1).expect("first");
        rates.message(&node("b"), Some(&agency), 1).expect("second");
        rates.message(&node("c"), Some(&agency), 1).expect_err("third");
        rates.message(&node("c"), None, 1).expect("for nobody");
    }

    #[test]
    fn the_largest_message_fits_into_the_smallest_bucket() {
        let rates = rates(|bounds| bounds.node_bytes = 1);
        rates.message(&node("a"), None, 8 << 20).expect("one message");
        rates.message(&node("a"), None, 9 << 20).expect_err("the second waits");
        assert!(rates.upload(&node("a"), 9 << 20) > Duration::ZERO);
        assert_eq!(rates.upload(&node("b"), 1 << 20), Duration::ZERO);
    }

    #[test]
    fn a_node_that_is_refused_all_the_time_has_to_pause() {
        let rates = rates(|bounds| bounds.node_refusals = 1);
        for _ in 0..REFUSALS_AT_ONCE {
            rates.message(&node("a"), None, 1).expect("not yet");
            rates.refused(&node("a"));
        }
        rates.message(&node("a"), None, 1).expect("the last one in the bucket");
        rates.refused(&node("a"));
        assert_eq!(
            rates.message(&node("a"), None, 1).expect_err("now it pauses").reason.code,
            ReasonCode::RateLimited
        );
        rates.message(&node("b"), None, 1).expect("another node");
    }
}
