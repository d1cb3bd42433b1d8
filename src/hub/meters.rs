//! What the hub counts while it works.

pub use crate::store::meters::{Count, Histogram, Sizes, StoreMeters};
use crate::{proto::EventKind, store::meters::GROUPS};

/// Event kinds have numbers below this one.
const KINDS: usize = 128;
/// Bounds of hand-over times, in microseconds: from at once to the usual deadline.
const HANDOVERS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    30_000_000,
    300_000_000,
    1_800_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
    259_200_000_000,
    604_800_000_000,
];

/// What became of the spans of traces.
#[derive(Debug, Default)]
pub struct TraceMeters {
    /// Taken by the collector.
    pub sent: Count,
    /// Dropped: there was no room, or the collector did not take them.
    pub dropped: Count,
}

/// The counters of one hub.
#[derive(Debug)]
pub struct Meters {
    events: Box<[Count]>,
    /// Time from a document's acceptance to the recipient's signed receipt.
    pub handovers: Histogram,
    /// Leaves of a commit.
    pub commit_leaves: Histogram,
    /// Time of a commit, until it survives power loss and readers see it.
    pub commits: Histogram,
    /// Time that a request waited for the writer.
    pub waits: Histogram,
    /// Time that a message waited for a thread that verifies it.
    pub verify_waits: Histogram,
    /// Time of a message's verification, its bodies included.
    pub verifications: Histogram,
    /// Offers made to recipients.
    pub offers: Count,
    /// Documents accepted.
    pub documents: Count,
    /// Traces that leave this process.
    pub traces: std::sync::Arc<TraceMeters>,
    /// Bytes of new bodies that commits made reachable.
    pub body_bytes: Count,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            events: (0..KINDS).map(|_| Count::default()).collect(),
            handovers: Histogram::new(HANDOVERS),
            commit_leaves: Histogram::new(GROUPS),
            commits: Histogram::of_times(),
            waits: Histogram::of_times(),
            verify_waits: Histogram::of_times(),
            verifications: Histogram::of_times(),
            offers: Count::default(),
            documents: Count::default(),
            traces: std::sync::Arc::default(),
            body_bytes: Count::default(),
        }
    }
}

impl Meters {
    /// Counts an event that became evidence.
    pub fn event(&self, kind: EventKind) {
        if let Some(count) = usize::try_from(kind as i32).ok().and_then(|at| self.events.get(at)) {
            count.add(1);
        }
    }

    /// How many events of each kind became evidence since the hub started.
    pub fn events(&self) -> impl Iterator<Item = (EventKind, u64)> {
        let kinds = (0..).zip(&self.events);
        kinds.filter_map(|(kind, count)| Some((EventKind::try_from(kind).ok()?, count.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_has_its_place() {
        let meters = Meters::default();
        let kinds: Vec<_> = (0..10_000).filter_map(|kind| EventKind::try_from(kind).ok()).collect();
        kinds.iter().for_each(|kind| meters.event(*kind));
        let counted: Vec<_> = meters.events().collect();
        assert_eq!(counted, kinds.into_iter().map(|kind| (kind, 1)).collect::<Vec<_>>());
    }
}
