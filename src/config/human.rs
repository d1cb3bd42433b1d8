//! Durations and sizes as people write them.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

const DAY: u64 = 24 * 60 * 60;
/// A century is as good as for ever. Far longer ones could be read, but not be written so that they can be read again.
const LONGEST: Duration = Duration::from_secs(36_525 * DAY);
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `30s`, `24h`, `7d`, `1h 30m`. A day has 24 hours; months and years are refused, as is what is negative or longer
/// than a century.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 30s, 24h or 7d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    let length = Duration::try_from(length).map_err(|_| wrong())?;
    if length > LONGEST {
        return Err(format!("{text:?} is longer than {}", print_duration(LONGEST)));
    }
    Ok(length)
}

/// Writes what [`parse_duration`] reads.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() == 0 && seconds > 0 && seconds.is_multiple_of(DAY) {
        return format!("{}d", seconds / DAY);
    }
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{signed:#}")
}

/// Reads `2 GiB`, `64KiB`, `512 B` or a plain number of bytes. Whole numbers and binary units only.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 64 KiB or 2 GiB");
    let text_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(text_end);
    let unit = match unit.trim() {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Writes what [`parse_size`] reads, in the largest unit that needs no fraction.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    let fits = |unit: &&(&str, u64)| bytes >= unit.1 && bytes.is_multiple_of(unit.1);
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// For serde's `with`: a [`Duration`] as text.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// Writes.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::print_duration(*duration))
    }
}

/// For serde's `with`: a number of bytes as text.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        super::parse_size(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// Writes.
    pub fn serialize<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::print_size(*bytes))
    }
}

/// For serde's `with`: an address, or "" for none.
pub mod address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| D::Error::custom(format!("{text:?} is not an address such as 127.0.0.1:7444"));
        text.parse().map(Some).map_err(wrong)
    }

    /// Writes.
    pub fn serialize<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("30s", 30), ("24h", 86_400), ("7d", 604_800), ("1h 30m", 5_400), ("1w", 604_800), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in
            ["", "30", "-5s", "1 month", "2y", "soon", "5s ago", "99999999999999999999s", "40949909280m"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_short() {
        assert_eq!(print_duration(Duration::from_secs(7 * DAY)), "7d");
        assert_eq!(print_duration(Duration::from_secs(30)), "30s");
        assert_eq!(print_duration(Duration::from_secs(90)), "1m 30s");
        assert_eq!(parse_duration(&print_duration(LONGEST)), Ok(LONGEST));
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("2 GiB", 2 << 30),
            ("64KiB", 64 << 10),
            ("512 B", 512),
            ("512", 512),
            ("0", 0),
            ("1 TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "2 GB",
            "2 gib",
            "-1",
            "+1",
            "1.5 GiB",
            "1 GiB 2",
            "99999999999999999999",
            "16777216 TiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(bytes: u64, seconds in 0..LONGEST.as_secs(), nanos in 0..1_000_000_000u32) {
            prop_assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
