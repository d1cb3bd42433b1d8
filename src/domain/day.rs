//! Days as agencies count them: Vietnam's, UTC+7 without summer time.

use std::fmt;

use jiff::{SignedDuration, Timestamp as Instant, tz::Offset};

use super::time::Timestamp;

const DAY_US: i64 = 86_400_000_000;
const VIETNAM_US: i64 = 7 * 3_600_000_000;

/// A day in Vietnam, as its distance from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.0.saturating_add(VIETNAM_US).div_euclid(DAY_US))
    }

    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(DAY_US).saturating_sub(VIETNAM_US))
    }

    /// The first moment behind it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.plus(1).start()
    }

    /// So many days later.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Minute of the day of a moment, 0 to 1439.
    #[must_use]
    pub fn minute_of(at: Timestamp) -> usize {
        let us = at.0.saturating_add(VIETNAM_US).rem_euclid(DAY_US);
        usize::try_from(us / 60_000_000).unwrap_or(0)
    }
}

/// `YYYY-MM-DD`; days beyond the calendar show its ends.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = SignedDuration::from_hours(48);
        let least = (Instant::MIN + room).as_microsecond();
        let most = (Instant::MAX - room).as_microsecond();
        let instant = Instant::from_microsecond(self.start().0.clamp(least, most));
        let date = Offset::constant(7).to_datetime(instant.unwrap_or(Instant::UNIX_EPOCH)).date();
        write!(f, "{date}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 17:00 UTC: midnight in Vietnam.
    const MIDNIGHT: i64 = 1_795_280_400_000_000;

    #[test]
    fn a_day_begins_at_midnight_in_vietnam() {
        assert_eq!(Day::of(Timestamp(MIDNIGHT)).to_string(), "2026-11-22");
        assert_eq!(Day::of(Timestamp(MIDNIGHT - 1)).to_string(), "2026-11-21");
        assert_eq!(Day::of(Timestamp(MIDNIGHT)).start().0, MIDNIGHT);
        assert_eq!(Day::of(Timestamp(MIDNIGHT - 1)).end().0, MIDNIGHT);
        assert_eq!(Day::minute_of(Timestamp(MIDNIGHT)), 0);
        assert_eq!(Day::minute_of(Timestamp(MIDNIGHT - 1)), 1_439);
        assert_eq!(Day::of(Timestamp(0)).to_string(), "1970-01-01");
        assert_eq!(Day::of(Timestamp(-8 * 3_600_000_000)).to_string(), "1969-12-31");
    }

    #[test]
    fn no_moment_is_beyond_the_calendar() {
        for end in [i64::MIN, i64::MAX] {
            assert!(!Day::of(Timestamp(end)).to_string().is_empty());
            assert!(!Day(end).to_string().is_empty());
            assert!(Day::minute_of(Timestamp(end)) < 1_440);
        }
    }
}
