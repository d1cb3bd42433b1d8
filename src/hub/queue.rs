//! What waits, for those who run the exchange: counted from the live queues, not from the disk.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use prost::Message;

use super::{
    Hub,
    dispatcher::{After, Seen, Standing},
    refused::{Refused, blocking},
};
use crate::{
    domain::{
        directory::{AgencyEntry, Directory},
        id::AgencyId,
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    proto::{
        Evidence, Level, QueueCount, QueueEntry, QueueGroup, QueueListRequest, QueueListResponse,
        QueueRecipient, QueueSummaryRequest, QueueSummaryResponse, TransportState,
    },
    store::{StoreError, records::DocumentRecord},
};

/// Recipients of a summary when the caller names no number.
const DEFAULT_RECIPIENTS: u32 = 50;
/// Entries of a page when the caller names no number.
const DEFAULT_PAGE: u32 = 100;
/// Rows at most.
pub const MAX_ROWS: u32 = 1_000;
/// Deliveries counted under one lock.
const COUNTED: usize = 1_024;
/// Steps up to the province: there are four levels, and parents that nobody checked.
const MAX_DEPTH: usize = 8;
/// Ages by which deliveries are grouped: name, and hours up to which it reaches.
const AGES: [(&str, i64); 3] = [("1h", 1), ("24h", 24), ("72h", 72)];
const OLDER: &str = "older";
const HOUR: i64 = 3_600_000_000;

/// Counts in the making. Documents have ages by their index.
#[derive(Clone, Copy)]
struct Count {
    count: QueueCount,
    oldest: u64,
    rank: u8,
}

impl Default for Count {
    fn default() -> Self {
        Self { count: QueueCount::default(), oldest: u64::MAX, rank: u8::MAX }
    }
}

impl Count {
    fn add(&mut self, seen: &Seen) {
        self.count.waiting += 1;
        match seen.standing {
            Standing::Ready => {}
            Standing::Leased { .. } => self.count.leased += 1,
            Standing::Paused { .. } => self.count.paused += 1,
            Standing::Held => self.count.held += 1,
        }
        self.oldest = self.oldest.min(seen.document);
        self.rank = self.rank.min(seen.rank);
    }

    fn join(&mut self, other: &Self) {
        self.count.waiting += other.count.waiting;
        self.count.leased += other.count.leased;
        self.count.paused += other.count.paused;
        self.count.held += other.count.held;
        self.oldest = self.oldest.min(other.oldest);
        self.rank = self.rank.min(other.rank);
    }
}

/// What one look at the queues gives.
#[derive(Default)]
struct Counted {
    recipients: HashMap<AgencyId, Count>,
    urgencies: [Count; 5],
    ages: [Count; AGES.len() + 1],
}

impl Hub {
    /// What waits, by recipient, level, province, urgency and age.
    pub async fn queue_summary(
        self: &Arc<Self>,
        request: QueueSummaryRequest,
    ) -> Result<QueueSummaryResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.summary_now(&request)).await?
    }

    fn summary_now(&self, request: &QueueSummaryRequest) -> Result<QueueSummaryResponse, Refused> {
        let directory = self.directory();
        let level =
            Level::try_from(request.level).map_err(|_| Reason::invalid("level", "is none of the levels"))?;
        let inside = Inside::new(&directory, &request.below, level)?;
        let counted = self.count_waiting(&inside)?;
        let places = places(&directory, counted.recipients.keys());
        let mut all = Count::default();
        let (mut levels, mut provinces) = (BTreeMap::<i32, Count>::new(), BTreeMap::<String, Count>::new());
        for (recipient, count) in &counted.recipients {
            let (level, province) = &places[recipient];
            all.join(count);
            levels.entry(i32::from(*level)).or_default().join(count);
            provinces.entry(province.clone()).or_default().join(count);
        }
        let mut oldest: Vec<_> = counted.recipients.iter().collect();
        oldest.sort_unstable_by_key(|(recipient, count)| (count.oldest, recipient.as_str()));
        oldest.truncate(rows(request.limit, DEFAULT_RECIPIENTS));
        let recipient = |(id, count): (&AgencyId, &Count)| {
            let (level, province) = places[id].clone();
            Ok(QueueRecipient {
                recipient: id.to_string(),
                name: directory.agency(id).map(|agency| agency.name.clone()).unwrap_or_default(),
                level: level.into(),
                province,
                count: Some(self.told(count)?),
                urgency: u32::from(4_u8.saturating_sub(count.rank)),
                connected: self.agency_contact(id).is_some_and(|contact| !contact.receiving.is_empty()),
            })
        };
        let group = |key: String, name: String, count: &Count| {
            Ok(QueueGroup { key, name, count: Some(self.told(count)?) })
        };
        let name_of = |id: &str| directory.resolve(id).map(|agency| agency.name.clone()).unwrap_or_default();
        Ok(QueueSummaryResponse {
            all: Some(self.told(&all)?),
            levels: levels
                .iter()
                .map(|(level, count)| group(level_name(*level), String::new(), count))
                .collect::<Result<_, StoreError>>()?,
            provinces: provinces
                .iter()
                .map(|(id, count)| group(id.clone(), name_of(id), count))
                .collect::<Result<_, StoreError>>()?,
            urgencies: (0..=4_u8)
                .zip(&counted.urgencies)
                .filter(|(_, count)| count.count.waiting > 0)
                .map(|(rank, count)| group((4 - rank).to_string(), String::new(), count))
                .collect::<Result<_, StoreError>>()?,
            ages: AGES
                .iter()
                .map(|(name, _)| *name)
                .chain([OLDER])
                .zip(&counted.ages)
                .filter(|(_, count)| count.count.waiting > 0)
                .map(|(name, count)| group(name.to_owned(), String::new(), count))
                .collect::<Result<_, StoreError>>()?,
            recipients: oldest.into_iter().map(recipient).collect::<Result<_, StoreError>>()?,
            recipient_count: counted.recipients.len() as u64,
            now_us: self.clock.now().0,
        })
    }

    fn count_waiting(&self, inside: &Inside<'_>) -> Result<Counted, StoreError> {
        let now = self.clock.now();
        let mut since = [0; AGES.len()];
        for (from, (_, hours)) in since.iter_mut().zip(AGES) {
            *from = self.leaf_at(now.plus_us(-hours * HOUR))?;
        }
        let mut counted = Counted::default();
        // Visited recipient by recipient.
        let mut last: Option<(AgencyId, bool)> = None;
        self.dispatcher.visit(&mut |recipient, seen| {
            let known = last.as_ref().filter(|(id, _)| id == recipient).map(|(_, counts)| *counts);
            let counts = known.unwrap_or_else(|| {
                let counts = inside.holds(recipient);
                last = Some((recipient.clone(), counts));
                counts
            });
            if !counts {
                return;
            }
            let age = since.iter().position(|from| seen.document >= *from).unwrap_or(AGES.len());
            counted.ages[age].add(&seen);
            counted.urgencies[usize::from(seen.rank.min(4))].add(&seen);
            match counted.recipients.get_mut(recipient) {
                Some(count) => count.add(&seen),
                None => counted.recipients.entry(recipient.clone()).or_default().add(&seen),
            }
        });
        Ok(counted)
    }

    /// The first leaf of this moment or later; the log's size when there is none.
    fn leaf_at(&self, at: Timestamp) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.store.head().size);
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.store.leaf(middle)?;
            let time = stored.and_then(|stored| Evidence::decode(stored.evidence).ok());
            if time.is_some_and(|evidence| evidence.event_time_us < at.0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn told(&self, count: &Count) -> Result<QueueCount, StoreError> {
        let oldest_us = if count.count.waiting == 0 { 0 } else { self.accepted_at(count.oldest)? };
        Ok(QueueCount { oldest_us, ..count.count })
    }

    fn accepted_at(&self, document: u64) -> Result<i64, StoreError> {
        if let Some(document) = self.recent.document(document) {
            return Ok(document.record.accepted_at_us);
        }
        Ok(self.store.document(document)?.map_or(0, |record| record.accepted_at_us))
    }

    /// What waits for one recipient, in the order in which it goes out.
    pub async fn queue_list(
        self: &Arc<Self>,
        request: QueueListRequest,
    ) -> Result<QueueListResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.list_now(&request)).await?
    }

    fn list_now(&self, request: &QueueListRequest) -> Result<QueueListResponse, Refused> {
        let directory = self.directory();
        let agency = directory.resolve(&request.agency).ok_or_else(|| {
            Refused::because(ReasonCode::UnknownAgency, crate::domain::id::shorten(&request.agency))
        })?;
        let after = parse_after(&request.page_token)?;
        let size = rows(request.page_size, DEFAULT_PAGE);
        let (page, next) = self.dispatcher.page(&agency.id, after, size);
        let mut entries = Vec::with_capacity(page.len());
        for seen in &page {
            entries.push(self.entry(seen)?);
        }
        let mut count = Count::default();
        let mut after = Some(After::Nothing);
        while let Some(from) = after {
            let (seen, next) = self.dispatcher.page(&agency.id, from, COUNTED);
            seen.iter().for_each(|seen| count.add(seen));
            after = next;
        }
        Ok(QueueListResponse {
            count: Some(self.told(&count)?),
            entries,
            next_page_token: next.map(print_after).unwrap_or_default(),
            now_us: self.clock.now().0,
        })
    }

    fn entry(&self, seen: &Seen) -> Result<QueueEntry, Refused> {
        let record = match self.recent.document(seen.document) {
            Some(document) => DocumentRecord::clone(&document.record),
            None => self.store.document(seen.document)?.unwrap_or_default(),
        };
        let (next_us, leased) = match seen.standing {
            Standing::Leased { until, .. } => (until.0, true),
            Standing::Paused { until } => (until.0, false),
            Standing::Ready | Standing::Held => (0, false),
        };
        let held = seen.standing == Standing::Held;
        let state = if held { TransportState::Held } else { TransportState::Ready };
        Ok(QueueEntry {
            document: seen.document,
            document_id: record.document_id,
            sender: record.sender,
            revision: record.revision,
            number: record.number,
            notation: record.notation,
            urgency: record.urgency,
            accepted_at_us: record.accepted_at_us,
            delivery_deadline_us: seen.deadline.0,
            state: state.into(),
            attempts: seen.attempts,
            next_us,
            leased,
        })
    }
}

/// Which recipients a question is about.
struct Inside<'d> {
    directory: &'d Directory,
    level: Level,
    below: Option<std::collections::HashSet<&'d AgencyId>>,
}

impl<'d> Inside<'d> {
    fn new(directory: &'d Directory, below: &str, level: Level) -> Result<Self, Reason> {
        let below = if below.is_empty() {
            None
        } else {
            let unknown = || Reason::new(ReasonCode::UnknownAgency, crate::domain::id::shorten(below));
            let root = directory.resolve(below).ok_or_else(unknown)?;
            let all = directory.agencies(Some(&root.id), Level::Unspecified, None, usize::MAX);
            Some(all.into_iter().map(|agency| &agency.id).collect())
        };
        Ok(Self { directory, level, below })
    }

    fn holds(&self, recipient: &AgencyId) -> bool {
        let level = || self.directory.agency(recipient).map(|agency| agency.level);
        self.below.as_ref().is_none_or(|below| below.contains(recipient))
            && (self.level == Level::Unspecified || level() == Some(self.level))
    }
}

/// Level and province of each.
fn places<'a>(
    directory: &Directory,
    recipients: impl Iterator<Item = &'a AgencyId>,
) -> HashMap<AgencyId, (Level, String)> {
    let place = |id: &AgencyId| {
        let level = directory.agency(id).map_or(Level::Unspecified, |agency| agency.level);
        (id.clone(), (level, province(directory, id)))
    };
    recipients.map(place).collect()
}

/// The agency at the head of the province; itself for what lies below none.
pub fn province(directory: &Directory, id: &AgencyId) -> String {
    let mut at: Option<&AgencyEntry> = directory.agency(id);
    for _ in 0..MAX_DEPTH {
        let Some(agency) = at else { break };
        if agency.level == Level::Province {
            return agency.id.to_string();
        }
        at = agency.parent.as_ref().and_then(|parent| directory.resolve(parent.as_str()));
    }
    id.to_string()
}

/// For people and scripts: `commune`.
fn level_name(level: i32) -> String {
    let level = Level::try_from(level).unwrap_or_default();
    level.as_str_name().trim_start_matches("LEVEL_").to_ascii_lowercase()
}

/// Rows of an answer.
pub fn rows(asked: u32, default: u32) -> usize {
    (if asked == 0 { default } else { asked.min(MAX_ROWS) }) as usize
}

fn print_after(after: After) -> String {
    match after {
        After::Nothing => String::new(),
        After::Ready(rank, document) => format!("r{rank}.{document}"),
        After::Away(document) => format!("a{document}"),
    }
}

fn parse_after(token: &str) -> Result<After, Refused> {
    let bad = || Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub");
    if token.is_empty() {
        return Ok(After::Nothing);
    }
    if let Some(document) = token.strip_prefix('a') {
        return document.parse().map(After::Away).map_err(|_| bad());
    }
    let (rank, document) = token.strip_prefix('r').and_then(|rest| rest.split_once('.')).ok_or_else(bad)?;
    match (rank.parse(), document.parse()) {
        (Ok(rank @ 0..=4), Ok(document)) => Ok(After::Ready(rank, document)),
        _ => Err(bad()),
    }
}
