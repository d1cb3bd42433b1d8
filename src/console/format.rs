//! Times, numbers and sizes as people read them.

use jiff::{Timestamp, civil::Date, tz, tz::TimeZone};

use super::words::Lang;

/// Viet Nam has one time zone without summer time.
fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(7))
}

/// Day and time to the second, UTC+7; empty for the wire's zero.
pub(crate) fn moment(lang: Lang, us: i64) -> String {
    written(us, lang.pick("%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S"))
}

/// The same without year and seconds, for narrow places.
pub(crate) fn short_moment(lang: Lang, us: i64) -> String {
    written(us, lang.pick("%d/%m %H:%M", "%m-%d %H:%M"))
}

/// For the `datetime` attribute.
pub(crate) fn machine(us: i64) -> String {
    written(us, "%Y-%m-%dT%H:%M:%S+07:00")
}

fn written(us: i64, form: &str) -> String {
    if us == 0 {
        return String::new();
    }
    let Ok(at) = Timestamp::from_microsecond(us) else { return String::new() };
    at.to_zoned(zone()).strftime(form).to_string()
}

/// The first moment of a day such as `2026-11-27`, UTC+7, and the first of the next day.
pub(crate) fn day(text: &str) -> Option<(i64, i64)> {
    let day: Date = text.parse().ok()?;
    let begin = |day: Date| Some(day.to_zoned(zone()).ok()?.timestamp().as_microsecond());
    Some((begin(day)?, begin(day.tomorrow().ok()?)?))
}

/// A whole number with the language's separators.
pub(crate) fn number(lang: Lang, number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(lang.pick('.', ','));
        }
        text.push(digit);
    }
    text
}

/// Bytes.
pub(crate) fn size(lang: Lang, bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    let (whole, rest) = (tenths / 10, tenths % 10);
    match rest {
        0 => format!("{} {}", number(lang, whole), UNITS[unit]),
        _ => format!("{}{}{rest} {}", number(lang, whole), lang.pick(',', '.'), UNITS[unit]),
    }
}

/// A length of time in its two largest units.
pub(crate) fn span(lang: Lang, us: i64) -> String {
    let ms = us.max(0) / 1_000;
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    if ms < 10_000 {
        let text = format!("{}{}{}", ms / 1_000, lang.pick(',', '.'), ms % 1_000 / 100);
        return format!("{text} {}", lang.pick("giây", "s"));
    }
    let seconds = ms / 1_000;
    let units = [
        (86_400, lang.pick("ngày", "d")),
        (3_600, lang.pick("giờ", "h")),
        (60, lang.pick("phút", "min")),
        (1, lang.pick("giây", "s")),
    ];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let (length, name) = units[first];
    let mut text = format!("{} {name}", seconds / length);
    if let Some((smaller, name)) = units.get(first + 1)
        && seconds % length / smaller > 0
    {
        text += &format!(" {} {name}", seconds % length / smaller);
    }
    text
}

/// Text for a query of a URL.
pub(crate) fn url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_viet_nam() {
        // 2026-11-21 20:00 UTC.
        let us = 1_795_291_200_000_000;
        assert_eq!(moment(Lang::Vi, us), "22/11/2026 03:00:00");
        assert_eq!(moment(Lang::En, us), "2026-11-22 03:00:00");
        assert_eq!(machine(us), "2026-11-22T03:00:00+07:00");
        assert_eq!(moment(Lang::Vi, 0), "");
        assert_eq!(moment(Lang::Vi, i64::MAX), "");
        let (begin, end) = day("2026-11-22").expect("a day");
        assert!((begin..end).contains(&us) && end - begin == 86_400_000_000);
        assert_eq!(day("22/11/2026"), None);
    }

    #[test]
    fn numbers_are_written_as_the_language_does() {
        assert_eq!(number(Lang::Vi, 1_234_567), "1.234.567");
        assert_eq!(number(Lang::En, 999), "999");
        assert_eq!(number(Lang::En, 1_000), "1,000");
        assert_eq!(size(Lang::Vi, 1_536), "1,5 KiB");
        assert_eq!(size(Lang::En, 3 << 30), "3 GiB");
        assert_eq!(size(Lang::En, u64::MAX), "1,677,721.5 TiB");
    }

    #[test]
    fn spans_have_two_units() {
        assert_eq!(span(Lang::Vi, 12_000), "12 ms");
        assert_eq!(span(Lang::Vi, 2_310_000), "2,3 giây");
        assert_eq!(span(Lang::Vi, 125_000_000), "2 phút 5 giây");
        assert_eq!(span(Lang::En, 7_200_000_000), "2 h");
        assert_eq!(span(Lang::En, 90_061_000_000), "1 d 1 h");
        assert_eq!(span(Lang::En, -5), "0 ms");
    }

    #[test]
    fn what_goes_into_a_url_is_safe_there() {
        assert_eq!(url("17/BC-UBND,ệ&"), "17%2FBC-UBND%2C%E1%BB%87%26");
    }
}
