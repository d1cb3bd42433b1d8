//! Nodes that connect and break off again and again, and take nothing over.

use std::collections::VecDeque;

use super::{Presence, lock};
use crate::domain::{id::NodeName, time::Timestamp};

/// Breaks without a receipt between them that make a node one that flaps, when all are in the last [`WINDOW_US`].
const MANY: usize = 5;
/// Ten minutes. A node that stays connected so long flaps no more.
const WINDOW_US: i64 = 600_000_000;
/// A session that lived for a minute did not just connect and break off.
const SHORT_US: i64 = 60_000_000;

/// The last breaks of a node, at most [`MANY`], the oldest first.
#[derive(Debug, Default)]
pub(super) struct Breaks(VecDeque<Timestamp>);

impl Breaks {
    /// A session that began at `since` broke off.
    pub fn tell(&mut self, since: Timestamp, at: Timestamp) {
        if at.0.saturating_sub(since.0) >= SHORT_US {
            self.clear();
            return;
        }
        if self.0.len() == MANY {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }

    /// The node took something over, or stayed.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let oldest = *self.0.front().filter(|_| self.0.len() == MANY)?;
        // Both bounds: a clock that is set back must not prolong it.
        (now.0.saturating_sub(oldest.0).saturating_abs() < WINDOW_US).then_some(oldest)
    }
}

impl Presence {
    /// Since when a node connects and breaks off again and again; `None` for one that does not.
    #[must_use]
    pub fn flaps_since(&self, node: &NodeName) -> Option<Timestamp> {
        let line = self.known_node(node)?;
        lock(&line.breaks).since(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn breaks(count: i64) -> Breaks {
        let mut breaks = Breaks::default();
        for at in 0..count {
            breaks.tell(Timestamp(at * SECOND), Timestamp(at * SECOND + 1));
        }
        breaks
    }

    #[test]
    fn a_few_breaks_are_no_flapping_and_old_ones_are_forgotten() {
        let now = Timestamp(10 * SECOND);
        assert_eq!(breaks(4).since(now), None);
        assert_eq!(breaks(5).since(now), Some(Timestamp(1)));
        assert_eq!(breaks(9).since(now), Some(Timestamp(4 * SECOND + 1)), "only the last five are kept");
        assert_eq!(breaks(5).since(Timestamp(WINDOW_US)), Some(Timestamp(1)));
        assert_eq!(breaks(5).since(Timestamp(WINDOW_US + 1)), None);
        assert_eq!(breaks(5).since(Timestamp(-WINDOW_US)), None, "the clock was set back");
    }

    #[test]
    fn a_session_that_stayed_is_the_end_of_it() {
        let mut breaks = breaks(5);
        breaks.tell(Timestamp(0), Timestamp(SHORT_US));
        assert_eq!(breaks.since(Timestamp(SHORT_US)), None);
    }
}
