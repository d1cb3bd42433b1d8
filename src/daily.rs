//! Days of the log, and what each of them was for each agency: the numbers that the hub's daily digest commits to and
//! that a verifier counts again. Pure: a day is a function of its leaves (`docs/completeness.md`).

mod agencies;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use agencies::{Agencies, ProofFault, entry_hash, verify_agency};
use bytes::Bytes;
use prost::Message;
pub use tally::Tally;

use crate::{
    domain::time::Timestamp,
    proto::{AgencyDay, Evidence},
    tlog::Hash,
};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Indochina Time.
const OFFSET_US: i64 = 7 * HOUR_US;

/// The calendar day of UTC+7 in which a moment lies, counted from 1970-01-01.
#[must_use]
pub fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.0.saturating_add(OFFSET_US).div_euclid(DAY_US).max(0)).unwrap_or(u32::MAX)
}

/// The first moment of a day.
#[must_use]
pub fn midnight(day: u32) -> Timestamp {
    Timestamp(i64::from(day).saturating_mul(DAY_US) - OFFSET_US)
}

/// Agencies to which a leaf belongs, each once.
pub fn owners(evidence: &Evidence) -> impl Iterator<Item = &str> {
    let parties = evidence.sender.iter().chain(&evidence.recipients).map(|party| party.agency.as_str());
    let mut named: Vec<&str> = parties.filter(|agency| !agency.is_empty()).collect();
    named.sort_unstable();
    named.dedup();
    named.into_iter()
}

/// A day while its leaves are read.
#[derive(Clone, Debug)]
pub struct Day {
    number: Option<u32>,
    start: u64,
    next: u64,
    agencies: BTreeMap<String, Tally>,
}

impl Day {
    /// Begins with the leaf `start`; `before` is what the day before was for the agencies.
    pub fn begin<'a>(start: u64, before: impl IntoIterator<Item = &'a AgencyDay>) -> Self {
        let waiting = before.into_iter().map(|day| (day.agency.clone(), Tally::after(day)));
        let agencies = waiting.filter(|(_, tally)| !tally.is_nothing()).collect();
        Self { number: None, start, next: start, agencies }
    }

    /// Takes the next leaf of the log, unless the day ended before it.
    pub fn take(&mut self, hash: Hash, evidence: &Evidence) -> bool {
        let day = day_of(Timestamp(evidence.event_time_us));
        if day > *self.number.get_or_insert(day) {
            return false;
        }
        for agency in owners(evidence) {
            match self.agencies.get_mut(agency) {
                Some(tally) => tally.take(agency, hash, evidence),
                None => self.agencies.entry(agency.to_owned()).or_default().take(agency, hash, evidence),
            }
        }
        self.next += 1;
        true
    }

    /// The day's number; `None` while it has no leaf.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Its first leaf.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The leaf that it takes next; where it ends, if it ends now.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What the day was for each agency that has one, in the order of their identifiers, serialized.
    #[must_use]
    pub fn agencies(&self) -> Vec<Bytes> {
        let days = self.agencies.iter().filter(|(_, tally)| !tally.is_nothing());
        days.map(|(agency, tally)| tally.day(agency).encode_to_vec().into()).collect()
    }
}

/// The date of a day, `YYYY-MM-DD`.
#[must_use]
pub fn date(day: u32) -> String {
    let days = jiff::Span::new().try_days(i64::from(day));
    let date = days.and_then(|days| jiff::civil::date(1970, 1, 1).checked_add(days));
    date.map_or_else(|_| format!("day {day}"), |date| date.to_string())
}

/// The day of a date `YYYY-MM-DD`.
#[must_use]
pub fn parse_date(text: &str) -> Option<u32> {
    let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == "YYYY-MM-DD".len())?;
    let days = date.since((jiff::Unit::Day, jiff::civil::date(1970, 1, 1))).ok()?.get_days();
    u32::try_from(days).ok()
}
