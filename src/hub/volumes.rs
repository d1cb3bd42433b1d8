//! How much was sent and received: sums of what the daily digests say of each agency.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message;

use super::{
    Hub,
    query::damaged,
    refused::{Refused, blocking},
    search::{Reader, Scope},
};
use crate::{
    domain::{
        agency::level_of,
        day::Day,
        directory::Directory,
        id::AgencyId,
        period::{self, Period},
        reason::{Reason, ReasonCode},
    },
    proto::{AgencyDay, Deliveries, GetVolumesRequest, GetVolumesResponse, Level, VolumeGroup, VolumeRow},
};

/// Days of one answer.
const MAX_DAYS: u32 = 4_000;
/// Rows of one answer: a quarter of years for every agency of the country.
const MAX_ROWS: usize = 500_000;
/// Digests read at a time.
const STEP: usize = 64;
/// Rows of one part.
pub const PART: usize = 2_000;

/// Period, level, agency: the order of rows.
type Place = (String, i32, String);

/// What the rows are about.
struct Counting {
    period: Period,
    by: VolumeGroup,
    level: Level,
    below: Scope,
    scope: Scope,
    directory: Arc<Directory>,
    rows: BTreeMap<Place, Row>,
}

#[derive(Default)]
struct Row {
    told: VolumeRow,
    /// Agency, and what waited for and from it on its last day here.
    pending: BTreeMap<String, (u64, u64)>,
}

impl Hub {
    /// The sums, for a reader. A day counts once it is closed by its digest.
    pub async fn volumes(
        self: &Arc<Self>,
        reader: &Reader,
        request: GetVolumesRequest,
    ) -> Result<GetVolumesResponse, Refused> {
        let (hub, asked, scope) = (Arc::clone(self), request.clone(), reader.scope.clone());
        let answer = blocking(move || hub.volumes_now(scope.as_ref(), &asked)).await;
        self.record_volumes(reader, &request, answer.and_then(|answer| answer))
    }

    fn volumes_now(
        &self,
        scope: Option<&AgencyId>,
        request: &GetVolumesRequest,
    ) -> Result<GetVolumesResponse, Refused> {
        let (from, to) = (request.from_day, request.to_day);
        if from > to || to - from >= MAX_DAYS {
            return Err(Reason::invalid("from_day, to_day", format_args!("need 1 to {MAX_DAYS} days")).into());
        }
        let mut counting = self.counting(scope, request)?;
        let mut answer = GetVolumesResponse { size: self.size(), ..GetVolumesResponse::default() };
        let mut next = from;
        loop {
            let digests = self.store.digests(next, STEP)?;
            let Some(last) = digests.last().map(|digest| digest.day) else { break };
            for digest in digests.iter().filter(|digest| digest.day <= to && digest.leaf < answer.size) {
                let days = self.store.digest_agencies(digest.leaf)?.ok_or_else(|| damaged(digest.leaf))?;
                counting.take(digest.day, days, digest.leaf)?;
                answer.first_day = if answer.days == 0 { digest.day } else { answer.first_day };
                (answer.days, answer.last_day) = (answer.days + 1, digest.day);
            }
            if last >= to {
                break;
            }
            next = last + 1;
        }
        answer.rows = counting.rows.into_values().map(Row::told).collect();
        Ok(answer)
    }

    fn counting(&self, scope: Option<&AgencyId>, request: &GetVolumesRequest) -> Result<Counting, Refused> {
        let directory = self.directory();
        let unknown = |field: &str| Reason::invalid(field, "is unknown");
        let below = match request.below.as_str() {
            "" => Scope::all(),
            name => {
                let missing = || Reason::new(ReasonCode::UnknownAgency, crate::domain::id::shorten(name));
                let root = directory.resolve(name).ok_or_else(missing)?.id.clone();
                Scope::of(Some(&root), &directory)
            }
        };
        Ok(Counting {
            period: Period::try_from(request.period).map_err(|_| unknown("period"))?,
            by: VolumeGroup::try_from(request.by).map_err(|_| unknown("by"))?,
            level: Level::try_from(request.level).map_err(|_| unknown("level"))?,
            below,
            scope: Scope::of(scope, &directory),
            directory,
            rows: BTreeMap::new(),
        })
    }
}

impl Counting {
    fn take(&mut self, day: u32, agencies: Vec<Bytes>, leaf: u64) -> Result<(), Refused> {
        let period = period::name(self.period, Day(day.into()));
        for bytes in agencies {
            let said = AgencyDay::decode(bytes).map_err(|_| damaged(leaf))?;
            let inside = |scope: &Scope| scope.holds(std::iter::once(said.agency.as_str()));
            let level = self.level_of(&said.agency);
            let is_wanted = self.level == Level::Unspecified || self.level == level;
            if is_wanted && inside(&self.below) && inside(&self.scope) {
                let place = self.place(&period, level, &said.agency);
                let (name, is_new) = (self.name_of(&place.2), !self.rows.contains_key(&place));
                if is_new && self.rows.len() == MAX_ROWS {
                    let detail = format!("more than {MAX_ROWS} rows: ask for fewer days or longer periods");
                    return Err(Refused::because(ReasonCode::TooLarge, detail));
                }
                let row = self.rows.entry(place.clone()).or_default();
                if is_new {
                    let (period, level, agency) = place;
                    row.told =
                        VolumeRow { period, level, agency, name, first_day: day, ..VolumeRow::default() };
                }
                row.add(day, &said);
            }
        }
        Ok(())
    }

    fn place(&self, period: &str, level: Level, agency: &str) -> Place {
        match self.by {
            VolumeGroup::Unspecified => (period.to_owned(), 0, String::new()),
            VolumeGroup::Level => (period.to_owned(), level.into(), String::new()),
            VolumeGroup::Agency => (period.to_owned(), level.into(), agency.to_owned()),
        }
    }

    fn level_of(&self, agency: &str) -> Level {
        let registered = self.directory.resolve(agency).map_or(Level::Unspecified, |entry| entry.level);
        match registered {
            Level::Unspecified => AgencyId::parse(agency).map_or(Level::Unspecified, |id| level_of(&id)),
            level => level,
        }
    }

    fn name_of(&self, agency: &str) -> String {
        self.directory.resolve(agency).map(|entry| entry.name.clone()).unwrap_or_default()
    }
}

impl Row {
    fn add(&mut self, day: u32, said: &AgencyDay) {
        let told = &mut self.told;
        (told.sent, told.rejected, told.last_day) =
            (told.sent + said.sent, told.rejected + said.rejected, day);
        let (outgoing, incoming) = (said.outgoing.unwrap_or_default(), said.incoming.unwrap_or_default());
        add(told.outgoing.get_or_insert_default(), &outgoing);
        add(told.incoming.get_or_insert_default(), &incoming);
        self.pending.insert(said.agency.clone(), (outgoing.pending, incoming.pending));
    }

    /// What waits is no sum of days: of each agency the last one holds.
    fn told(self) -> VolumeRow {
        let mut told = self.told;
        told.agencies = self.pending.len() as u64;
        let sum = |of: fn(&(u64, u64)) -> u64| self.pending.values().map(of).sum();
        told.outgoing.get_or_insert_default().pending = sum(|pending| pending.0);
        told.incoming.get_or_insert_default().pending = sum(|pending| pending.1);
        told
    }
}

fn add(sum: &mut Deliveries, day: &Deliveries) {
    sum.consigned += day.consigned;
    sum.handed_over += day.handed_over;
    sum.refused += day.refused;
    sum.returned += day.returned;
    sum.expired += day.expired;
    sum.cancelled += day.cancelled;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(agency: &str, sent: u64, incoming: Deliveries) -> AgencyDay {
        AgencyDay { agency: agency.into(), sent, incoming: Some(incoming), ..AgencyDay::default() }
    }

    fn counting(period: Period, by: VolumeGroup) -> Counting {
        Counting {
            period,
            by,
            level: Level::Unspecified,
            below: Scope::all(),
            scope: Scope::all(),
            directory: Arc::default(),
            rows: BTreeMap::new(),
        }
    }

    fn rows(mut counting: Counting, days: &[(u32, Vec<AgencyDay>)]) -> Vec<VolumeRow> {
        for (at, agencies) in days {
            let agencies = agencies.iter().map(|day| day.encode_to_vec().into()).collect();
            counting.take(*at, agencies, 0).unwrap();
        }
        counting.rows.into_values().map(Row::told).collect()
    }

    /// 2026-09-30 and the day after: the end of a quarter.
    const LAST: u32 = 20_726;

    #[test]
    fn days_add_up_and_what_waits_is_what_the_last_day_says() {
        let waits = |consigned, pending| Deliveries { consigned, pending, ..Deliveries::default() };
        let days = [
            (LAST, vec![day("000.00.00.H38", 3, waits(5, 5)), day("000.01.21.H38", 1, waits(2, 2))]),
            (LAST + 1, vec![day("000.00.00.H38", 4, waits(1, 0))]),
        ];
        let all = rows(counting(Period::Unspecified, VolumeGroup::Unspecified), &days);
        let [all] = &all[..] else { panic!("{all:?}") };
        let incoming = all.incoming.unwrap();
        assert_eq!((all.sent, all.agencies, incoming.consigned, incoming.pending), (8, 2, 8, 2));
        assert_eq!((all.first_day, all.last_day, all.period.as_str()), (LAST, LAST + 1, ""));

        let quarters = rows(counting(Period::Quarter, VolumeGroup::Agency), &days);
        let told: Vec<_> =
            quarters.iter().map(|row| (row.period.as_str(), row.agency.as_str(), row.sent)).collect();
        let expected = [
            ("2026-Q3", "000.00.00.H38", 3),
            ("2026-Q3", "000.01.21.H38", 1),
            ("2026-Q4", "000.00.00.H38", 4),
        ];
        assert_eq!(told, expected);
        let levels = rows(counting(Period::Year, VolumeGroup::Level), &days);
        let told: Vec<_> = levels.iter().map(|row| (row.level(), row.sent)).collect();
        assert_eq!(told, [(Level::Province, 7), (Level::Commune, 1)]);
    }
}
