//! What the hub looks at by itself: store, room, clock, queues, search.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use prost::Message;
use tokio_util::sync::CancellationToken;

use super::Condition;
use crate::{
    domain::time::Timestamp,
    hub::{Hub, clock::Clock, refused::blocking, room::Room},
    store::Space,
};

/// How far the wall clock may move against the steady one between two looks: NTP corrects by less.
const MAX_JUMP_US: i64 = 5_000_000;
/// A jump is told for so long.
const JUMP_TOLD_US: i64 = 3_600_000_000;
/// How far the clock may be behind the newest commit: nothing, but for what a leap second does.
const MAX_BEHIND_US: i64 = 2_000_000;

/// From where on something is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthLimits {
    /// How often the hub looks.
    pub every: Duration,
    /// Room on the disk below which it is nearly full.
    pub disk_warning: u64,
    /// Room below which it is full.
    pub disk_reserve: u64,
    /// Age of a waiting delivery from which on it is told.
    pub queue_age: Duration,
    /// Leaves by which the search index may be behind.
    pub search_lag: u64,
}

/// The two clocks at the last look.
struct Clocks {
    wall: Timestamp,
    steady: Duration,
    /// The last jump: when, and by how much.
    jump: Option<(Timestamp, i64)>,
}

impl Hub {
    /// Begins to look after the hub's health, until it stops.
    pub fn watch_health(self: &Arc<Self>, limits: HealthLimits) {
        self.tasks.spawn(watch(Arc::downgrade(self), self.stopping.clone(), limits));
    }

    pub(super) fn look_at_store(&self) {
        if let Err(error) = self.store.health() {
            self.health.raise(Condition::StoreFailed, error.to_string());
        }
    }

    fn look(&self, limits: &HealthLimits, clocks: &mut Clocks) {
        self.look_at_store();
        if let Some(space) = self.store.space() {
            let (full, nearly) = judge_space(space, limits);
            self.health.set(Condition::DiskFull, full);
            self.health.set(Condition::DiskNearlyFull, nearly);
            self.room.set(Room::judge(space, limits.disk_reserve));
        }
        let jumped = clocks.jumped(&self.clock).or_else(|| self.behind_the_log());
        self.health.set(Condition::ClockJumped, jumped);
        self.look_at_recipients();
        self.health.set(Condition::QueueAge, self.waits_for_long(limits.queue_age));
        let lag = self.search_lag().filter(|lag| *lag > limits.search_lag);
        let behind = lag.map(|lag| format!("{lag} leaves are not yet searchable"));
        self.health.set(Condition::SearchBehind, behind);
    }

    /// The oldest document that waits, if it does so for longer than `limit`.
    fn waits_for_long(&self, limit: Duration) -> Option<String> {
        let levels = self.waiting_by_level(&self.directory());
        let oldest = levels.into_iter().filter_map(|level| Some((level.oldest_age_us, level.oldest?))).max();
        let (age_us, document) = oldest?;
        let age = Duration::from_micros(age_us);
        let hours = age.as_secs() / 3_600;
        (age > limit).then(|| format!("the document of leaf {document} has waited for {hours} hours"))
    }

    /// Evidence made now would bear a time before that of evidence that stands already.
    fn behind_the_log(&self) -> Option<String> {
        let last = self.size().checked_sub(1)?;
        // What can't be read is told by whoever needs it.
        let leaf = self.store.leaf(last).ok()??;
        let newest = crate::proto::Evidence::decode(leaf.evidence).ok()?.event_time_us;
        let behind = newest.saturating_sub(self.clock.now().0);
        (behind > MAX_BEHIND_US)
            .then(|| format!("the clock is {} s behind the newest evidence", behind / 1_000_000))
    }

    /// Leaves that the search index has yet to take over; `None` where there is no index.
    #[must_use]
    pub fn search_lag(&self) -> Option<u64> {
        let follower = self.search.get()?;
        Some(self.size().saturating_sub(follower.index().covers()))
    }
}

async fn watch(hub: Weak<Hub>, stopping: CancellationToken, limits: HealthLimits) {
    let Some(mut clocks) = hub.upgrade().map(|hub| Clocks::now(&hub.clock)) else { return };
    let mut interval = tokio::time::interval(limits.every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(interval.tick()).await.is_some() {
        let Some(hub) = hub.upgrade() else { return };
        let looked = blocking(move || {
            hub.look(&limits, &mut clocks);
            clocks
        });
        clocks = match looked.await {
            Ok(clocks) => clocks,
            Err(refused) => {
                tracing::error!(%refused, "the hub looks after its health no more");
                return;
            }
        };
    }
}

fn judge_space(space: Space, limits: &HealthLimits) -> (Option<String>, Option<String>) {
    let told = |bound: u64| {
        let mib = |bytes: u64| bytes >> 20;
        format!("{} MiB of {} are free; the bound is {}", mib(space.free), mib(space.total), mib(bound))
    };
    if space.free < limits.disk_reserve {
        return (Some(told(limits.disk_reserve)), None);
    }
    (None, (space.free < limits.disk_warning).then(|| told(limits.disk_warning)))
}

impl Clocks {
    fn now(clock: &Clock) -> Self {
        Self { wall: clock.now(), steady: clock.monotonic(), jump: None }
    }

    /// The last jump, while it is to be told.
    fn jumped(&mut self, clock: &Clock) -> Option<String> {
        let Self { wall, steady, jump } = Self::now(clock);
        let passed = i64::try_from(steady.saturating_sub(self.steady).as_micros()).unwrap_or(i64::MAX);
        let by = (wall.0 - self.wall.0).saturating_sub(passed);
        let jump = if by.saturating_abs() > MAX_JUMP_US { Some((wall, by)) } else { self.jump.or(jump) };
        // Both bounds: a clock that is set back must not prolong the telling.
        let jump = jump.filter(|(at, _)| (wall.0 - at.0).saturating_abs() < JUMP_TOLD_US);
        *self = Self { wall, steady, jump };
        let (at, by) = jump?;
        let seconds = by / 1_000_000;
        Some(format!("the clock was set by {seconds:+} s at {} (unix seconds)", at.0 / 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn limits() -> HealthLimits {
        HealthLimits {
            every: Duration::from_secs(5),
            disk_warning: 10 * GIB,
            disk_reserve: GIB,
            queue_age: Duration::from_secs(86_400),
            search_lag: 100_000,
        }
    }

    #[test]
    fn room_is_judged_by_what_is_left() {
        let judged = |free| {
            let (full, nearly) = judge_space(Space { free, total: 100 * GIB }, &limits());
            (full.is_some(), nearly.is_some())
        };
        assert_eq!(judged(10 * GIB), (false, false));
        assert_eq!(judged(10 * GIB - 1), (false, true));
        assert_eq!(judged(GIB - 1), (true, false));
    }

    /// Clocks that were looked at when the steady clock stood at 100 s.
    fn clocks() -> Clocks {
        Clocks { wall: Timestamp(0), steady: Duration::from_secs(100), jump: None }
    }

    #[test]
    fn a_clock_that_goes_on_is_right() {
        let mut clocks = clocks();
        for seconds in 1..200 {
            // A manual clock: both go together.
            let clock = Clock::manual(Timestamp(seconds * 1_000_000 + 100_000_000));
            clocks.wall = Timestamp(clock.now().0 - 1_000_000);
            clocks.steady = clock.monotonic() - Duration::from_secs(1);
            assert_eq!(clocks.jumped(&clock), None);
        }
    }

    #[test]
    fn a_clock_that_was_set_is_told_for_an_hour() {
        for by in [7_200, -7_200, 6] {
            let clock = Clock::manual(Timestamp(100_000_000_000));
            let mut clocks = Clocks::now(&clock);
            // As if the wall had been elsewhere at the last look.
            clocks.wall = clocks.wall.plus_us(-by * 1_000_000);
            let told = clocks.jumped(&clock).expect("a jump");
            assert!(told.contains(&format!("{by:+} s")), "{told}");
            clock.advance_us(JUMP_TOLD_US - 1);
            assert!(clocks.jumped(&clock).is_some());
            clock.advance_us(1);
            assert_eq!(clocks.jumped(&clock), None);
        }
    }
}
