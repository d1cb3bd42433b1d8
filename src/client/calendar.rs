//! Times as agencies write them: Vietnam time (UTC+7, no summer time).

use jiff::{SignedDuration, Timestamp as Instant, civil::DateTime, tz::Offset};

use crate::domain::time::Timestamp;

/// Vietnam's distance from UTC.
const VIETNAM: Offset = Offset::constant(7);

/// Now, by this machine's clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(Instant::now().as_microsecond())
}

/// The date in Vietnam, `YYYY-MM-DD`.
#[must_use]
pub fn vietnam_date(at: Timestamp) -> String {
    civil(at).date().to_string()
}

/// Date and time in Vietnam for people, to the second.
#[must_use]
pub fn vietnam_time(at: Timestamp) -> String {
    civil(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// RFC 3339 in Vietnam time, to the microsecond.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    civil(at).strftime("%Y-%m-%dT%H:%M:%S%.6f+07:00").to_string()
}

/// UTC for the names of files, such as `20261122T044500Z`.
#[must_use]
pub fn file_time(at: Timestamp) -> String {
    let instant = Instant::from_microsecond(at.0).unwrap_or(Instant::UNIX_EPOCH);
    instant.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads a moment in RFC 3339.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let instant: Instant =
        text.parse().map_err(|_| format!("{text:?} is not a time such as 2026-12-31T17:00:00+07:00"))?;
    Ok(Timestamp(instant.as_microsecond()))
}

/// Moments beyond the calendar are shown as its ends.
fn civil(at: Timestamp) -> DateTime {
    let least = Instant::MIN + SignedDuration::from_hours(48);
    let most = Instant::MAX - SignedDuration::from_hours(48);
    let end = if at.0 < 0 { least } else { most };
    let instant = Instant::from_microsecond(at.0).unwrap_or(end).clamp(least, most);
    VIETNAM.to_datetime(instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 20:00 UTC, already the 22nd in Vietnam.
    const NOW: Timestamp = Timestamp(1_795_291_200_000_000);

    #[test]
    fn days_begin_in_vietnam() {
        assert_eq!(vietnam_date(NOW), "2026-11-22");
        assert_eq!(vietnam_time(NOW), "2026-11-22 03:00:00");
        assert_eq!(rfc3339(NOW.plus_us(7)), "2026-11-22T03:00:00.000007+07:00");
        assert_eq!(parse_moment(&rfc3339(NOW.plus_us(7))), Ok(NOW.plus_us(7)));
    }

    #[test]
    fn no_moment_is_beyond_the_calendar() {
        for end in [i64::MIN, i64::MAX] {
            assert!(!rfc3339(Timestamp(end)).is_empty());
        }
    }
}
