//! What flows between the four levels, as a picture: senders on the left, recipients on the right.

use std::collections::BTreeMap;

use super::{format, labels, words::Lang};
use crate::proto::{GetFlowsResponse, HandoverTimes, Level, Totals};

const WIDTH: f64 = 940.0;
const TOP: f64 = 40.0;
const ROW: f64 = 92.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = WIDTH - 250.0;
const BAR: f64 = 12.0;
const WIDEST: f64 = 26.0;
const LEVELS: [Level; 4] = [Level::Central, Level::Province, Level::District, Level::Commune];

/// The picture with the table that says the same.
pub(crate) struct Flows {
    pub width: f64,
    pub height: f64,
    pub senders: Vec<Post>,
    pub recipients: Vec<Post>,
    pub links: Vec<Link>,
    pub rows: Vec<Row>,
    pub told: String,
}

/// A level on one side.
pub(crate) struct Post {
    pub x: f64,
    pub y: f64,
    pub top: f64,
    pub high: f64,
    pub name: &'static str,
    pub volume: String,
    pub waiting: String,
    pub stuck: String,
}

/// A flow between two levels.
pub(crate) struct Link {
    pub path: String,
    pub wide: String,
    pub class: &'static str,
    pub title: String,
}

/// The same in words.
pub(crate) struct Row {
    pub from: &'static str,
    pub to: &'static str,
    pub deliveries: String,
    pub handed: String,
    pub failed: String,
    pub p50: String,
    pub p99: String,
    pub waiting: String,
    pub oldest: String,
    pub stuck: String,
    pub is_stuck: bool,
}

/// One pair of levels today.
#[derive(Default)]
struct Pair {
    deliveries: u64,
    handed: u64,
    failed: u64,
    times: HandoverTimes,
    waiting: u64,
    stuck: u64,
    oldest_us: i64,
}

impl Flows {
    /// Of today; `None` when nothing flows and nothing waits.
    pub fn draw(lang: Lang, told: &GetFlowsResponse) -> Option<Self> {
        let pairs = pairs(told);
        if pairs.is_empty() {
            return None;
        }
        let most = pairs.values().map(Pair::size).max().unwrap_or(1).max(1);
        let wide = |pair: &Pair| (WIDEST * (pair.size() as f64 / most as f64).sqrt()).max(2.5);
        let side = |recipients: bool| {
            let post = |at: usize| post(lang, &pairs, at, recipients, &wide);
            (0..LEVELS.len()).map(post).collect::<Vec<Post>>()
        };
        let (senders, recipients) = (side(false), side(true));
        let mut used = [[0.0; 4]; 2];
        let mut links = Vec::new();
        for (&(from, to), pair) in &pairs {
            let wide = wide(pair);
            let (start, end) = (senders[from].top + used[0][from], recipients[to].top + used[1][to]);
            used[0][from] += wide;
            used[1][to] += wide;
            links.push(link(lang, (from, to), pair, wide, start + wide / 2.0, end + wide / 2.0));
        }
        // What is stuck lies on top.
        links.sort_by_key(|link| link.class == "stuck");
        let rows: Vec<Row> =
            pairs.iter().map(|(pair, told_of)| row(lang, *pair, told_of, told.now_us)).collect();
        let told = rows
            .iter()
            .map(|row| format!("{} – {}: {}", row.from, row.to, row.deliveries))
            .collect::<Vec<_>>();
        Some(Self {
            width: WIDTH,
            height: TOP + ROW * 4.0,
            senders,
            recipients,
            links,
            rows,
            told: told.join("; "),
        })
    }
}

impl Pair {
    /// What decides how wide it is drawn.
    fn size(&self) -> u64 {
        self.deliveries.max(self.handed).max(self.waiting)
    }
}

fn place(level: i32) -> Option<usize> {
    LEVELS.iter().position(|known| i32::from(*known) == level)
}

fn pairs(told: &GetFlowsResponse) -> BTreeMap<(usize, usize), Pair> {
    let mut pairs: BTreeMap<(usize, usize), Pair> = BTreeMap::new();
    for flow in told.days.first().iter().flat_map(|day| &day.flows) {
        if let (Some(from), Some(to)) = (place(flow.from), place(flow.to)) {
            let pair = pairs.entry((from, to)).or_default();
            pair.deliveries = flow.deliveries;
            pair.handed = flow.handed_over;
            pair.failed = flow.refused + flow.expired + flow.cancelled;
            pair.times = flow.times.clone().unwrap_or_default();
        }
    }
    for flow in &told.waiting {
        if let (Some(from), Some(to)) = (place(flow.from), place(flow.to)) {
            let pair = pairs.entry((from, to)).or_default();
            pair.waiting = flow.deliveries;
            pair.stuck = flow.stuck;
            pair.oldest_us = flow.oldest_us;
        }
    }
    pairs
}

fn post(
    lang: Lang,
    pairs: &BTreeMap<(usize, usize), Pair>,
    at: usize,
    recipients: bool,
    wide: &impl Fn(&Pair) -> f64,
) -> Post {
    let own = || {
        pairs
            .iter()
            .filter(|((from, to), _)| at == if recipients { *to } else { *from })
            .map(|(_, pair)| pair)
    };
    let sum = |field: fn(&Pair) -> u64| own().map(field).sum::<u64>();
    let high = own().map(wide).sum::<f64>().max(6.0);
    let y = TOP + ROW * (at as f64 + 0.5);
    let some = |value: u64| if value > 0 { format::number(lang, value) } else { String::new() };
    Post {
        x: if recipients { RIGHT } else { LEFT - BAR },
        y,
        top: y - high / 2.0,
        high,
        name: labels::level(lang, LEVELS[at]),
        volume: format::number(lang, sum(|pair| pair.deliveries)),
        waiting: some(sum(|pair| pair.waiting)),
        stuck: some(sum(|pair| pair.stuck)),
    }
}

fn link(lang: Lang, (from, to): (usize, usize), pair: &Pair, wide: f64, start: f64, end: f64) -> Link {
    let middle = (LEFT + RIGHT) / 2.0;
    let class = match pair {
        Pair { stuck: 1.., .. } => "stuck",
        Pair { deliveries: 0, handed: 0, .. } => "idle",
        _ => "flows",
    };
    let (from, to) = (labels::level(lang, LEVELS[from]), labels::level(lang, LEVELS[to]));
    Link {
        path: format!("M{LEFT} {start:.1}C{middle} {start:.1} {middle} {end:.1} {RIGHT} {end:.1}"),
        wide: format!("{wide:.1}"),
        class,
        title: format!("{from} → {to}: {}", format::number(lang, pair.deliveries)),
    }
}

fn row(lang: Lang, (from, to): (usize, usize), pair: &Pair, now_us: i64) -> Row {
    let number = |value: u64| if value == 0 { "–".to_owned() } else { format::number(lang, value) };
    let time = |us: i64| if pair.times.count == 0 { "–".to_owned() } else { format::span(lang, us) };
    Row {
        from: labels::level(lang, LEVELS[from]),
        to: labels::level(lang, LEVELS[to]),
        deliveries: number(pair.deliveries),
        handed: number(pair.handed),
        failed: number(pair.failed),
        p50: time(pair.times.p50_us),
        p99: time(pair.times.p99_us),
        waiting: number(pair.waiting),
        oldest: if pair.oldest_us == 0 {
            "–".to_owned()
        } else {
            format::span(lang, now_us - pair.oldest_us)
        },
        stuck: number(pair.stuck),
        is_stuck: pair.stuck > 0,
    }
}

/// A total of today beside yesterday's at the same minute.
pub(crate) struct Compared {
    pub name: &'static str,
    pub value: String,
    pub before: String,
    pub is_bad: bool,
}

/// Today against yesterday.
pub(crate) fn compared(lang: Lang, told: &GetFlowsResponse) -> Vec<Compared> {
    let words = lang.words();
    let (today, before) = (told.today.unwrap_or_default(), told.yesterday_until_now.unwrap_or_default());
    let one = |name, field: fn(&Totals) -> u64, is_bad: bool| Compared {
        name,
        value: format::number(lang, field(&today)),
        before: change(lang, field(&today), field(&before)),
        is_bad: is_bad && field(&today) > 0,
    };
    vec![
        one(words.today_documents, |totals| totals.documents, false),
        one(words.today_deliveries, |totals| totals.deliveries, false),
        one(words.today_handed, |totals| totals.handed_over, false),
        one(words.today_failed, |totals| totals.failed, true),
    ]
}

/// "yesterday 120 (+15%)".
fn change(lang: Lang, today: u64, before: u64) -> String {
    let was = format!("{} {}", lang.words().yesterday_until_now, format::number(lang, before));
    if before == 0 {
        return was;
    }
    let percent = (today as f64 / before as f64 - 1.0) * 100.0;
    format!("{was} ({percent:+.0}%)")
}

/// Deliveries of each hour, today's bars before yesterday's.
pub(crate) struct Hours {
    pub bars: Vec<Hour>,
    pub most: String,
    pub told: String,
}

/// One hour; lengths are SVG units.
pub(crate) struct Hour {
    pub x: usize,
    pub label: String,
    pub today_y: String,
    pub today_high: String,
    pub before_y: String,
    pub before_high: String,
    pub title: String,
}

/// Height of the bars' area.
const HIGH: f64 = 110.0;
const HOUR: usize = 26;

impl Hours {
    /// Of today and yesterday; `None` when both are empty.
    pub fn draw(lang: Lang, told: &GetFlowsResponse) -> Option<Self> {
        let hours = |day: usize| -> Vec<u64> {
            let day = told.days.get(day).map(|day| &day.hours[..]).unwrap_or_default();
            (0..24).map(|at| day.get(at).map_or(0, |totals| totals.deliveries)).collect()
        };
        let (today, before) = (hours(0), hours(1));
        let most = today.iter().chain(&before).copied().max().unwrap_or(0);
        if most == 0 {
            return None;
        }
        let high = |value: u64| HIGH * value as f64 / most as f64;
        let bar = |at: usize| Hour {
            x: 8 + at * HOUR,
            label: if at.is_multiple_of(3) { format!("{at}h") } else { String::new() },
            today_y: format!("{:.1}", 10.0 + HIGH - high(today[at])),
            today_high: format!("{:.1}", high(today[at])),
            before_y: format!("{:.1}", 10.0 + HIGH - high(before[at])),
            before_high: format!("{:.1}", high(before[at])),
            title: format!("{at}h: {}, {} {}", today[at], lang.words().yesterday, before[at]),
        };
        let busy = (0..24).filter(|at| today[*at] > 0).map(|at| format!("{at}h: {}", today[at]));
        Some(Self {
            bars: (0..24).map(bar).collect(),
            most: format::number(lang, most),
            told: busy.collect::<Vec<_>>().join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{DayFlows, Flow, WaitingFlow};

    fn told() -> GetFlowsResponse {
        let flow = |from: Level, to: Level, deliveries| Flow {
            from: from.into(),
            to: to.into(),
            deliveries,
            ..Flow::default()
        };
        let stuck = WaitingFlow {
            from: Level::Central.into(),
            to: Level::Commune.into(),
            deliveries: 7,
            oldest_us: 1,
            stuck: 2,
        };
        let flows =
            vec![flow(Level::Province, Level::Commune, 100), flow(Level::Commune, Level::District, 25)];
        GetFlowsResponse {
            days: vec![DayFlows { flows, ..DayFlows::default() }],
            waiting: vec![stuck],
            now_us: 3_600_000_001,
            ..GetFlowsResponse::default()
        }
    }

    #[test]
    fn what_is_stuck_shows_and_nothing_is_made_up() {
        let drawn = Flows::draw(Lang::Vi, &told()).expect("something flows");
        assert_eq!(drawn.links.len(), 3);
        assert_eq!(drawn.links[2].class, "stuck", "on top");
        assert_eq!(drawn.recipients[3].stuck, "2");
        assert_eq!(drawn.senders[1].volume, "100");
        let stuck = drawn.rows.iter().find(|row| row.is_stuck).expect("a row");
        assert_eq!((stuck.waiting.as_str(), stuck.oldest.as_str(), stuck.p50.as_str()), ("7", "1 giờ", "–"));
        assert!(Flows::draw(Lang::Vi, &GetFlowsResponse::default()).is_none());
        assert!(Hours::draw(Lang::Vi, &told()).is_none());
    }

    #[test]
    fn flows_that_begin_at_one_level_lie_beside_each_other() {
        let drawn = Flows::draw(Lang::En, &told()).expect("something flows");
        for side in [&drawn.senders, &drawn.recipients] {
            for pair in side.windows(2) {
                assert!(pair[0].top + pair[0].high <= pair[1].top, "levels don't overlap");
            }
        }
    }

    #[test]
    fn a_change_is_told_only_against_something() {
        assert_eq!(change(Lang::En, 5, 0), "same time yesterday 0");
        assert_eq!(change(Lang::En, 15, 10), "same time yesterday 10 (+50%)");
    }
}
