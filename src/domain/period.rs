//! Periods of reports: weeks, months, quarters and years of Vietnam's calendar.

use jiff::civil::{Date, ISOWeekDate};

use super::day::Day;
pub use crate::proto::VolumePeriod as Period;

/// The name of the period that a day is in, which sorts as the calendar does; empty for all days.
#[must_use]
pub fn name(period: Period, day: Day) -> String {
    let date = date(day);
    match period {
        Period::Unspecified => String::new(),
        Period::Day => date.to_string(),
        Period::Week => {
            let week = ISOWeekDate::from(date);
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Period::Month => format!("{:04}-{:02}", date.year(), date.month()),
        Period::Quarter => format!("{:04}-Q{}", date.year(), (date.month() + 2) / 3),
        Period::Year => format!("{:04}", date.year()),
    }
}

fn date(day: Day) -> Date {
    let epoch = Date::constant(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().days(day.0.clamp(-100_000, 1_000_000))).unwrap_or(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_is_in_one_period_of_each_kind() {
        let day = |text: &str| Day(i64::from(crate::daily::parse_date(text).expect("a day")));
        let names = |text: &str| {
            [Period::Unspecified, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year]
                .map(|period| name(period, day(text)))
        };
        assert_eq!(names("2026-11-28"), ["", "2026-11-28", "2026-W48", "2026-11", "2026-Q4", "2026"]);
        // A week of the year before, and one of the year after.
        assert_eq!(names("2027-01-01")[2..], ["2026-W53", "2027-01", "2027-Q1", "2027"]);
        assert_eq!(names("2024-12-30")[2..], ["2025-W01", "2024-12", "2024-Q4", "2024"]);
        for (month, quarter) in
            [("03", "Q1"), ("04", "Q2"), ("06", "Q2"), ("07", "Q3"), ("09", "Q3"), ("10", "Q4")]
        {
            assert_eq!(names(&format!("2026-{month}-15"))[4], format!("2026-{quarter}"));
        }
    }
}
