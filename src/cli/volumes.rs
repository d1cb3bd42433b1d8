//! `truc volumes`: how many documents agencies sent and received, by period.

use serde::Serialize;

use super::{Connection, Exit, Failure, Output, presence::say, table::table, verify::docproof::Language};
use crate::{
    client::readable::tail,
    daily,
    domain::day::Day,
    hub::clock::Clock,
    proto::{Deliveries, GetVolumesRequest, GetVolumesResponse, Level, VolumeGroup, VolumePeriod, VolumeRow},
};

/// Days before today that are told when no first day is given: some more than a quarter of a year.
const BACK: i64 = 92;

/// Tells how many documents agencies sent and received, and how many were taken over in time. For operators and auditors.
///
/// The numbers are sums of the hub's signed daily digests: a day counts once it has ended (UTC+7). An auditor of a subtree
/// is told of that subtree.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// First day, YYYY-MM-DD; the newest 92 days if left out.
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Option<u32>,
    /// Last day; yesterday if left out.
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Option<u32>,
    /// One line for each of these. Weeks begin on Monday.
    #[arg(long, value_enum, default_value_t = Period::Month)]
    period: Period,
    /// One line for each of these.
    #[arg(long, value_enum, default_value_t = Group::Level)]
    by: Group,
    /// Only this agency and those below it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    below: String,
    /// Only agencies of this level.
    #[arg(long, value_enum)]
    level: Option<OfLevel>,
    /// As CSV, for spreadsheets.
    #[arg(long)]
    csv: bool,
    /// Language of the head line and of the levels.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Period {
    Day,
    Week,
    Month,
    Quarter,
    Year,
    All,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Group {
    Agency,
    Level,
    All,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OfLevel {
    Central,
    Province,
    District,
    Commune,
}

#[derive(Serialize)]
struct Answer {
    first_day: Option<String>,
    last_day: Option<String>,
    /// Of the days asked for, those that are closed and counted.
    days: u32,
    size: u64,
    rows: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    period: String,
    first_day: String,
    last_day: String,
    level: &'static str,
    agency: String,
    name: String,
    agencies: u64,
    sent: u64,
    rejected: u64,
    outgoing: Counts,
    incoming: Counts,
}

#[derive(Serialize)]
struct Counts {
    deliveries: u64,
    handed_over: u64,
    refused: u64,
    returned: u64,
    expired: u64,
    cancelled: u64,
    pending: u64,
    /// Of the deliveries that were taken over or missed their deadline: taken over. In per cent.
    on_time: Option<f64>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        if self.csv && output.json() {
            return Err(Failure::new(Exit::Usage, "--csv and --json exclude each other"));
        }
        let client = self.connection.client().await?;
        let mut parts = client.audit().get_volumes(self.request()?).await?.into_inner();
        let mut told = GetVolumesResponse::default();
        while let Some(part) = parts.message().await? {
            let rows = std::mem::take(&mut told.rows).into_iter().chain(part.rows).collect();
            told = GetVolumesResponse { rows, ..part };
        }
        let answer = answer(&told);
        if self.csv {
            output.line(&csv(&answer, self.lang)?);
            return Ok(());
        }
        output.print(&answer, |answer| shown(answer, self.lang));
        Ok(())
    }

    fn request(&self) -> Result<GetVolumesRequest, Failure> {
        let today = Day::of(Clock::system().now());
        let at = |day: Day| u32::try_from(day.0).unwrap_or(0);
        let to_day = self.to.unwrap_or_else(|| at(today.plus(-1)));
        let from_day = self.from.unwrap_or_else(|| at(Day(to_day.into()).plus(1 - BACK)));
        if from_day > to_day {
            return Err(Failure::new(Exit::Usage, "--from is after --to"));
        }
        Ok(GetVolumesRequest {
            from_day,
            to_day,
            period: self.period.to_proto().into(),
            by: self.by.to_proto().into(),
            below: self.below.clone(),
            level: self.level.map_or(Level::Unspecified, OfLevel::to_proto).into(),
        })
    }
}

impl Period {
    fn to_proto(self) -> VolumePeriod {
        match self {
            Self::Day => VolumePeriod::Day,
            Self::Week => VolumePeriod::Week,
            Self::Month => VolumePeriod::Month,
            Self::Quarter => VolumePeriod::Quarter,
            Self::Year => VolumePeriod::Year,
            Self::All => VolumePeriod::Unspecified,
        }
    }
}

impl Group {
    fn to_proto(self) -> VolumeGroup {
        match self {
            Self::Agency => VolumeGroup::Agency,
            Self::Level => VolumeGroup::Level,
            Self::All => VolumeGroup::Unspecified,
        }
    }
}

impl OfLevel {
    fn to_proto(self) -> Level {
        match self {
            Self::Central => Level::Central,
            Self::Province => Level::Province,
            Self::District => Level::District,
            Self::Commune => Level::Commune,
        }
    }
}

fn day(text: &str) -> Result<u32, String> {
    daily::parse_date(text).ok_or_else(|| format!("{text:?} is not a day such as 2026-11-27"))
}

fn date(day: u32) -> String {
    Day(day.into()).to_string()
}

fn answer(told: &GetVolumesResponse) -> Answer {
    let some = told.days > 0;
    Answer {
        first_day: some.then(|| date(told.first_day)),
        last_day: some.then(|| date(told.last_day)),
        days: told.days,
        size: told.size,
        rows: told.rows.iter().map(line).collect(),
    }
}

fn line(row: &VolumeRow) -> Line {
    Line {
        period: row.period.clone(),
        first_day: date(row.first_day),
        last_day: date(row.last_day),
        level: tail(row.level().as_str_name(), "LEVEL_"),
        agency: row.agency.clone(),
        name: row.name.clone(),
        agencies: row.agencies,
        sent: row.sent,
        rejected: row.rejected,
        outgoing: counts(row.outgoing),
        incoming: counts(row.incoming),
    }
}

fn counts(of: Option<Deliveries>) -> Counts {
    let of = of.unwrap_or_default();
    let due = of.handed_over + of.expired;
    Counts {
        deliveries: of.consigned,
        handed_over: of.handed_over,
        refused: of.refused,
        returned: of.returned,
        expired: of.expired,
        cancelled: of.cancelled,
        pending: of.pending,
        on_time: (due > 0).then(|| (of.handed_over as f64 * 1_000.0 / due as f64).round() / 10.0),
    }
}

/// Columns: what an official calls them.
fn head(lang: Language) -> [&'static str; 16] {
    [
        say(lang, "period", "kỳ báo cáo"),
        say(lang, "level", "cấp"),
        say(lang, "agency", "mã định danh"),
        say(lang, "name", "cơ quan, đơn vị"),
        say(lang, "agencies", "số cơ quan"),
        say(lang, "documents sent", "văn bản đi"),
        say(lang, "refused by the hub", "trục từ chối"),
        say(lang, "sent to recipients", "lượt gửi đi"),
        say(lang, "of these taken over", "nơi nhận đã tiếp nhận"),
        say(lang, "documents received", "văn bản đến"),
        say(lang, "taken over", "đã tiếp nhận"),
        say(lang, "refused, returned", "từ chối, trả lại"),
        say(lang, "expired", "quá hạn"),
        say(lang, "cancelled", "đã hủy"),
        say(lang, "waiting at the end", "còn chờ cuối kỳ"),
        say(lang, "in time, %", "đúng hạn, %"),
    ]
}

fn cells(line: &Line, lang: Language) -> [String; 16] {
    let (to, from) = (&line.outgoing, &line.incoming);
    [
        line.period.clone(),
        level_word(line.level, lang).to_owned(),
        line.agency.clone(),
        line.name.clone(),
        line.agencies.to_string(),
        line.sent.to_string(),
        line.rejected.to_string(),
        to.deliveries.to_string(),
        to.handed_over.to_string(),
        from.deliveries.to_string(),
        from.handed_over.to_string(),
        (from.refused + from.returned).to_string(),
        from.expired.to_string(),
        from.cancelled.to_string(),
        from.pending.to_string(),
        from.on_time.map(|share| share.to_string()).unwrap_or_default(),
    ]
}

fn level_word(level: &str, lang: Language) -> &'static str {
    match level {
        "CENTRAL" => say(lang, "central", "trung ương"),
        "PROVINCE" => say(lang, "province", "tỉnh"),
        "DISTRICT" => say(lang, "district", "huyện"),
        "COMMUNE" => say(lang, "commune", "xã"),
        _ => "",
    }
}

fn csv(answer: &Answer, lang: Language) -> Result<String, Failure> {
    let failed = |error: String| Failure::new(Exit::File, error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head(lang)).map_err(|error| failed(error.to_string()))?;
    for line in &answer.rows {
        writer.write_record(cells(line, lang)).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

fn shown(answer: &Answer, lang: Language) -> String {
    let (Some(first), Some(last)) = (&answer.first_day, &answer.last_day) else {
        let none = "No day of these is closed yet: a day counts once it has ended (UTC+7).";
        return say(lang, none, "Chưa có ngày nào được chốt: mỗi ngày được tính sau khi kết thúc (UTC+7).")
            .into();
    };
    let mut lines = table(head(lang));
    lines.add_rows(answer.rows.iter().map(|line| cells(line, lang)));
    let (days, size) = (answer.days, answer.size);
    match lang {
        Language::En => format!(
            "{lines}\n{days} days, {first} to {last}, from the signed digests of a log of {size} leaves."
        ),
        Language::Vi => format!(
            "{lines}\n{days} ngày, từ {first} đến {last}, theo bản chốt ngày đã ký trong sổ {size} mục."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> GetVolumesResponse {
        let incoming =
            Deliveries { consigned: 9, handed_over: 7, expired: 2, pending: 1, ..Deliveries::default() };
        let row = VolumeRow {
            period: "2026-Q4".into(),
            level: Level::Commune.into(),
            agency: "000.01.21.H38".into(),
            name: "UBND xã \"Tả Van\", thị xã Sa Pa".into(),
            sent: 4,
            incoming: Some(incoming),
            ..VolumeRow::default()
        };
        GetVolumesResponse { rows: vec![row], days: 2, first_day: 20_726, last_day: 20_727, size: 8 }
    }

    #[test]
    fn both_languages_and_csv_tell_the_same_numbers() {
        let answer = answer(&told());
        for (lang, words) in [(Language::En, "documents received"), (Language::Vi, "văn bản đến")] {
            let csv = csv(&answer, lang).unwrap();
            assert!(csv.starts_with(say(lang, "period,", "kỳ báo cáo,")) && csv.contains(words), "{csv}");
            let row = csv::Reader::from_reader(csv.as_bytes()).records().next().unwrap().unwrap();
            let row: Vec<_> = row.iter().collect();
            assert_eq!((row[0], row[3]), ("2026-Q4", "UBND xã \"Tả Van\", thị xã Sa Pa"));
            assert_eq!(row[9..], ["9", "7", "0", "2", "0", "1", "77.8"]);
            assert!(shown(&answer, lang).contains("2026-09-30"), "{}", shown(&answer, lang));
        }
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["rows"][0]["incoming"]["on_time"], 77.8);
    }

    #[test]
    fn no_closed_day_is_said() {
        let empty = answer(&GetVolumesResponse::default());
        assert!(shown(&empty, Language::Vi).contains("Chưa có ngày nào"));
    }
}
