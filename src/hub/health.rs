//! What is not as it should be, in named conditions that the parts of the hub raise and clear.
//!
//! The hub is ready when it can accept and deliver: no condition of [`Severity::Critical`] stands. Whoever finds a fault
//! raises its condition with a short cause, as often as it likes; whoever finds it gone clears it. Causes hold
//! identifiers and numbers, never content or names of persons: everybody who may look at the hub reads them.

mod looks;
mod table;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

pub use looks::HealthLimits;
pub use table::{ALL, Condition, Severity};

use super::{Hub, clock::Clock};
use crate::domain::{reason::cut, time::Timestamp};

/// Bytes of a cause.
const MAX_CAUSE: usize = 300;

/// A condition that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which one.
    pub condition: Condition,
    /// Why, in one short sentence.
    pub cause: String,
    /// Since when.
    pub since: Timestamp,
}

/// What the last scrub of the stored bytes found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// When the last whole round ended; 0 before the first.
    pub finished_us: i64,
    /// Bytes that were read since the hub started.
    pub bytes: u64,
    /// Places that the last round found damaged.
    pub damaged: u64,
}

/// The conditions of one hub.
pub struct Health {
    clock: Clock,
    alarms: Mutex<BTreeMap<Condition, Alarm>>,
    scrub: Mutex<Option<Scrub>>,
    changed: watch::Sender<()>,
}

impl Health {
    /// Nothing stands.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, alarms: Mutex::default(), scrub: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// A condition stands, or still stands: its beginning stays, its cause is the newest.
    pub fn raise(&self, condition: Condition, cause: impl Into<String>) {
        let cause: String = cause.into();
        let cause = cut(&cause, MAX_CAUSE).to_owned();
        let mut alarms = self.standing();
        if let Some(alarm) = alarms.get_mut(&condition) {
            alarm.cause = cause;
            return;
        }
        let (name, since) = (condition.name(), self.clock.now());
        match condition.severity() {
            Severity::Warning => tracing::warn!(condition = name, cause, "a condition began"),
            _ => tracing::error!(condition = name, cause, "a condition began"),
        }
        alarms.insert(condition, Alarm { condition, cause, since });
        drop(alarms);
        self.changed.send_replace(());
    }

    /// A condition does not stand, or not any more.
    pub fn clear(&self, condition: Condition) {
        if self.standing().remove(&condition).is_some() {
            tracing::info!(condition = condition.name(), "a condition ended");
            self.changed.send_replace(());
        }
    }

    /// Raises a condition with its cause, or clears it.
    pub fn set(&self, condition: Condition, cause: Option<String>) {
        match cause {
            Some(cause) => self.raise(condition, cause),
            None => self.clear(condition),
        }
    }

    /// What stands, the gravest first.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms: Vec<_> = self.standing().values().cloned().collect();
        alarms.sort_by_key(|alarm| (alarm.condition.severity(), alarm.since));
        alarms
    }

    /// Whether a condition stands.
    #[must_use]
    pub fn stands(&self, condition: Condition) -> bool {
        self.standing().contains_key(&condition)
    }

    /// True while nothing critical stands.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.standing().keys().all(|condition| condition.severity() != Severity::Critical)
    }

    /// Tells of every beginning and end of a condition.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Notes how far the scrub of the stored bytes is.
    pub fn scrubbed(&self, scrub: Scrub) {
        *self.scrub.lock().unwrap_or_else(PoisonError::into_inner) = Some(scrub);
    }

    /// What [`scrubbed`](Self::scrubbed) noted last; `None` where nothing is scrubbed.
    #[must_use]
    pub fn scrub(&self) -> Option<Scrub> {
        *self.scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<Condition, Alarm>> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// The conditions of this hub.
    #[must_use]
    pub fn health(&self) -> &std::sync::Arc<Health> {
        &self.health
    }

    /// True while the hub can accept and deliver. Asks the store itself: nobody has to have noticed before.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.look_at_store();
        self.health.is_ready() && !self.stopping.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn health() -> (Health, Clock) {
        let clock = Clock::manual(Timestamp(1_000));
        (Health::new(clock.clone()), clock)
    }

    #[test]
    fn a_condition_keeps_its_beginning_and_tells_its_newest_cause() {
        let (health, clock) = health();
        health.raise(Condition::DiskNearlyFull, "9 GiB are left");
        clock.advance_us(500);
        health.raise(Condition::DiskNearlyFull, "8 GiB are left");
        health.raise(Condition::StoreFailed, "the disk did not answer");
        let told: Vec<_> = health.alarms().into_iter().map(|a| (a.condition, a.cause, a.since.0)).collect();
        assert_eq!(
            told,
            [
                (Condition::StoreFailed, "the disk did not answer".into(), 1_500),
                (Condition::DiskNearlyFull, "8 GiB are left".into(), 1_000),
            ]
        );
    }

    #[test]
    fn only_what_is_critical_takes_readiness() {
        let (health, _) = health();
        for condition in ALL {
            health.raise(*condition, "");
            assert_eq!(health.is_ready(), condition.severity() != Severity::Critical, "{condition:?}");
            health.clear(*condition);
            assert!(health.is_ready() && !health.stands(*condition));
        }
    }

    #[test]
    fn who_listens_hears_of_beginnings_and_ends_only() {
        let (health, _) = health();
        let mut changes = health.changes();
        let mut heard = |expected: bool| {
            assert_eq!(changes.has_changed().unwrap(), expected);
            changes.mark_unchanged();
        };
        health.raise(Condition::QueueAge, "one");
        heard(true);
        health.raise(Condition::QueueAge, "two");
        heard(false);
        health.clear(Condition::QueueAge);
        heard(true);
        health.clear(Condition::QueueAge);
        heard(false);
    }

    #[test]
    fn a_cause_is_bounded() {
        let (health, _) = health();
        health.raise(Condition::WitnessAway, "ệ".repeat(1_000));
        assert!(health.alarms()[0].cause.len() <= MAX_CAUSE);
    }

    #[test]
    fn every_condition_has_a_name_of_its_own_and_a_next_step_in_both_languages() {
        let names: BTreeSet<_> = ALL.iter().map(|condition| condition.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for condition in ALL {
            assert!(condition.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            let words = [condition.title(), condition.title_vi(), condition.step(), condition.step_vi()];
            assert!(words.iter().all(|words| words.len() > 10), "{condition:?}");
            assert_ne!(condition.step(), condition.step_vi());
        }
    }
}
