//! What waits, and for whom.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use crate::{
    console::{
        Desk, format,
        labels::{self, Tone},
        page::{Page, render},
        people::Who,
        trouble::Trouble,
        visitor::Signed,
        words::{Lang, Words},
    },
    domain::directory::Directory,
    edge::caller::Role,
    proto::{
        Level, QueueCount, QueueEntry, QueueGroup, QueueListRequest, QueueRecipient, QueueSummaryRequest,
    },
};

/// Recipients of a page.
const RECIPIENTS: u32 = 100;
/// Documents of a page.
const DOCUMENTS: u32 = 100;

/// Which part.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    below: String,
    level: String,
}

#[derive(Template)]
#[template(path = "queues.html")]
struct QueuesPage<'a> {
    page: Page<'a>,
    asked: Asked,
    choices: Vec<(&'static str, &'static str, bool)>,
    all: Count,
    groups: Vec<Group>,
    recipients: Vec<RecipientRow>,
    told: String,
    at: String,
}

/// Numbers of a group.
pub(crate) struct Count {
    pub waiting: String,
    pub leased: String,
    pub paused: String,
    pub held: String,
    pub oldest: String,
    pub is_old: bool,
}

/// One way to divide what waits.
struct Group {
    title: &'static str,
    rows: Vec<Bar>,
}

struct Bar {
    name: String,
    count: Count,
    /// Share of the largest, for the bar: 0 to 100.
    share: u64,
}

struct RecipientRow {
    who: Who,
    path: String,
    level: &'static str,
    count: Count,
    urgency: Option<(&'static str, Tone)>,
    connected: bool,
}

/// A delivery that waits longer is told in red.
const OLD_US: i64 = 24 * 3_600 * 1_000_000;

impl Count {
    pub fn of(lang: Lang, count: Option<&QueueCount>, now_us: i64) -> Self {
        let count = count.cloned().unwrap_or_default();
        let age = if count.oldest_us == 0 { 0 } else { now_us - count.oldest_us };
        let number = |value| if value == 0 { "–".to_owned() } else { format::number(lang, value) };
        Self {
            waiting: format::number(lang, count.waiting),
            leased: number(count.leased),
            paused: number(count.paused),
            held: number(count.held),
            oldest: if count.oldest_us == 0 { "–".to_owned() } else { format::span(lang, age) },
            is_old: age > OLD_US,
        }
    }
}

/// `GET /queues`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let words = lang.words();
    let levels = [Level::Unspecified, Level::Central, Level::Province, Level::District, Level::Commune];
    let level = levels.into_iter().find(|level| name(*level) == asked.level).unwrap_or(Level::Unspecified);
    let summary = desk
        .hub
        .queue_summary(QueueSummaryRequest {
            below: asked.below.trim().to_uppercase(),
            level: level.into(),
            limit: RECIPIENTS,
        })
        .await?;
    let (directory, now_us) = (desk.hub.directory(), summary.now_us);
    let groups = [
        (words.by_level, groups(lang, words, &summary.levels, now_us, level_name)),
        (words.by_age, groups(lang, words, &summary.ages, now_us, age_name)),
        (words.by_urgency, groups(lang, words, &summary.urgencies, now_us, urgency_name)),
        (words.by_province, groups(lang, words, &summary.provinces, now_us, own_name)),
    ];
    let text =
        |level: Level| if level == Level::Unspecified { words.all } else { labels::level(lang, level) };
    Ok(render(&QueuesPage {
        page: Page::new(&signed.visitor, words.nav_queues, "/queues"),
        choices: levels.into_iter().map(|one| (name(one), text(one), one == level)).collect(),
        all: Count::of(lang, summary.all.as_ref(), now_us),
        groups: groups
            .into_iter()
            .map(|(title, rows)| Group { title, rows })
            .filter(|group| !group.rows.is_empty())
            .collect(),
        recipients: summary.recipients.iter().map(|row| recipient(lang, &directory, row, now_us)).collect(),
        told: format!(
            "{} / {}",
            format::number(lang, summary.recipients.len() as u64),
            format::number(lang, summary.recipient_count)
        ),
        at: format::moment(lang, now_us),
        asked,
    }))
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Unspecified => "",
        Level::Central => "central",
        Level::Province => "province",
        Level::District => "district",
        Level::Commune => "commune",
    }
}

type Naming = fn(Lang, &Words, &QueueGroup) -> String;

fn groups(lang: Lang, words: &Words, told: &[QueueGroup], now_us: i64, naming: Naming) -> Vec<Bar> {
    let waiting = |group: &QueueGroup| group.count.as_ref().map_or(0, |count| count.waiting);
    let most = told.iter().map(waiting).max().unwrap_or(0).max(1);
    let some = told.iter().filter(|group| waiting(group) > 0);
    some.map(|group| Bar {
        name: naming(lang, words, group),
        count: Count::of(lang, group.count.as_ref(), now_us),
        share: (waiting(group) * 100).div_ceil(most),
    })
    .collect()
}

fn level_name(lang: Lang, _: &Words, group: &QueueGroup) -> String {
    let level = Level::from_str_name(&group.key)
        .or_else(|| Level::from_str_name(&format!("LEVEL_{}", group.key.to_uppercase())))
        .or_else(|| group.key.parse().ok().and_then(|number: i32| Level::try_from(number).ok()));
    level.map_or(group.key.clone(), |level| labels::level(lang, level).to_owned())
}

fn age_name(_: Lang, words: &Words, group: &QueueGroup) -> String {
    match group.key.as_str() {
        "1h" => words.age_hour,
        "24h" => words.age_day,
        "72h" => words.age_three_days,
        "older" => words.age_older,
        other => return other.to_owned(),
    }
    .to_owned()
}

fn urgency_name(lang: Lang, _: &Words, group: &QueueGroup) -> String {
    group.key.parse().map_or(group.key.clone(), |urgency| labels::urgency(lang, urgency).0.to_owned())
}

fn own_name(_: Lang, _: &Words, group: &QueueGroup) -> String {
    if group.name.is_empty() { group.key.clone() } else { group.name.clone() }
}

fn recipient(lang: Lang, directory: &Directory, row: &QueueRecipient, now_us: i64) -> RecipientRow {
    RecipientRow {
        who: Who::of(lang, directory, &row.recipient),
        path: path(lang, &row.recipient),
        level: labels::level(lang, row.level()),
        count: Count::of(lang, row.count.as_ref(), now_us),
        urgency: (row.urgency > 0).then(|| labels::urgency(lang, row.urgency)),
        connected: row.connected,
    }
}

/// Queue of an agency.
pub(crate) fn path(lang: Lang, agency: &str) -> String {
    format!("/{}/queue?agency={}", lang.name(), format::url(agency))
}

/// Which queue.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct One {
    agency: String,
    after: String,
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage<'a> {
    page: Page<'a>,
    who: Who,
    count: Count,
    rows: Vec<EntryRow>,
    next: Option<String>,
    first: Option<String>,
    act: Option<String>,
    at: String,
}

struct EntryRow {
    number: String,
    href: String,
    sender: Who,
    urgency: (&'static str, Tone),
    accepted: String,
    deadline: String,
    state: &'static str,
    tone: Tone,
    attempts: u32,
    next: String,
}

/// `GET /queue`
pub(crate) async fn one(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<One>,
) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let request = QueueListRequest {
        agency: asked.agency.clone(),
        page_token: asked.after.clone(),
        page_size: DOCUMENTS,
    };
    let list = desk.hub.queue_list(request).await?;
    let directory = desk.hub.directory();
    let who = Who::of(lang, &directory, &asked.agency);
    let here = path(lang, &asked.agency);
    let next = Some(&list.next_page_token).filter(|token| !token.is_empty());
    let is_operator = matches!(signed.caller.identity.role, Role::Operator(_));
    let title = who.title().to_owned();
    Ok(render(&QueuePage {
        page: Page::new(&signed.visitor, &title, "/queues"),
        count: Count::of(lang, list.count.as_ref(), list.now_us),
        rows: list.entries.iter().map(|entry| entry_row(lang, &directory, entry)).collect(),
        next: next.map(|token| format!("{here}&after={}", format::url(token))),
        first: (!asked.after.is_empty()).then_some(here),
        act: is_operator.then(|| format!("/{}/act?agency={}", lang.name(), format::url(&asked.agency))),
        at: format::moment(lang, list.now_us),
        who,
    }))
}

fn entry_row(lang: Lang, directory: &Directory, entry: &QueueEntry) -> EntryRow {
    let words = lang.words();
    let (state, tone) = match entry.leased {
        true => (words.with_session, Tone::Plain),
        false => labels::transport(lang, entry.state()),
    };
    EntryRow {
        number: match entry.number.is_empty() && entry.notation.is_empty() {
            true => entry.document_id.clone(),
            false => format!("{}/{}", entry.number, entry.notation),
        },
        href: super::documents::path(lang, &entry.document_id, &entry.sender, entry.revision),
        sender: Who::of(lang, directory, &entry.sender),
        urgency: labels::urgency(lang, entry.urgency),
        accepted: format::moment(lang, entry.accepted_at_us),
        deadline: format::moment(lang, entry.delivery_deadline_us),
        state,
        tone,
        attempts: entry.attempts,
        next: format::moment(lang, entry.next_us),
    }
}
