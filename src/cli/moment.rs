//! Deadlines as people write them.

use crate::{client::calendar::parse_moment, config::human::parse_duration, domain::time::Timestamp};

/// Reads `3d`, `12h` (from now) or a moment in RFC 3339.
pub fn parse_deadline(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(length) = parse_duration(text) {
        let us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        return Ok(now.plus_us(us));
    }
    parse_moment(text).map_err(|_| {
        format!("{text:?} is neither a duration such as 3d nor a time such as 2026-12-31T17:00:00+07:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 20:00 UTC.
    const NOW: Timestamp = Timestamp(1_795_291_200_000_000);

    #[test]
    fn deadlines_are_durations_or_moments() {
        assert_eq!(parse_deadline("3d", NOW), Ok(NOW.plus_us(3 * 86_400_000_000)));
        assert_eq!(parse_deadline("1h 30m", NOW), Ok(NOW.plus_us(5_400_000_000)));
        assert_eq!(parse_deadline("2026-11-22T04:00:00+07:00", NOW), Ok(NOW.plus_us(3_600_000_000)));
        assert_eq!(parse_deadline("2026-11-21T21:00:00Z", NOW), Ok(NOW.plus_us(3_600_000_000)));
        for wrong in ["", "3", "soon", "-3d", "2026-11-22", "2026-11-22 04:00", "1mo"] {
            assert!(parse_deadline(wrong, NOW).is_err(), "{wrong:?}");
        }
    }
}
