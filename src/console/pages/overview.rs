//! What happens now.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    documents::{Hit, hits},
    health::{self, AlarmRow},
};
use crate::{
    console::{
        Desk,
        flows::{self, Compared, Flows, Hours},
        format,
        page::{Page, render},
        trouble::Trouble,
        visitor::Signed,
        words::{Lang, Words},
    },
    proto::{
        EventKind, GetFlowsRequest, GetFlowsResponse, GetOverviewResponse, HandoverTimes, SearchFilter,
        SearchRequest,
    },
};

/// Events at the foot of the page.
const NEWEST: u32 = 12;
/// What is worth a line there.
const EVENTS: [EventKind; 11] = [
    EventKind::SubmissionAcceptance,
    EventKind::SubmissionRejection,
    EventKind::ContentHandover,
    EventKind::ContentHandoverFailure,
    EventKind::ContentConsignmentFailure,
    EventKind::ConsignmentAcceptance,
    EventKind::ConsignmentRejection,
    EventKind::BusinessStatus,
    EventKind::RecallRequested,
    EventKind::AdminAction,
    EventKind::DeliveryCancelled,
];

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    page: Page<'a>,
    at: String,
    alarms: Vec<AlarmRow>,
    today: Vec<Compared>,
    times: Option<(String, String)>,
    flows: Option<Flows>,
    counting: bool,
    behind: Option<String>,
    hours: Option<Hours>,
    facts: Vec<Fact>,
    small: Vec<Fact>,
    newest: Vec<Hit>,
}

/// A number with its name.
struct Fact {
    name: &'static str,
    value: String,
    href: String,
}

/// `GET /`
pub(crate) async fn page(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let seen = desk.hub.overview().await?;
    let filter = SearchFilter { events: EVENTS.map(i32::from).to_vec(), ..SearchFilter::default() };
    let request = SearchRequest { filter: Some(filter), page_size: NEWEST, ..SearchRequest::default() };
    let newest = desk.hub.search(&signed.caller.reader()?, request).await?;
    let words = lang.words();
    let flows = flows(&desk).await;
    let day = flows.days.first();
    Ok(render(&OverviewPage {
        page: Page::new(&signed.visitor, words.overview, "/"),
        at: format::moment(lang, desk.hub.clock().now().0),
        alarms: health::alarms(lang, &desk.hub),
        today: flows::compared(lang, &flows),
        times: day.and_then(|day| day.times.as_ref()).and_then(|times| times_told(lang, times)),
        flows: Flows::draw(lang, &flows),
        counting: flows.from_us == 0,
        behind: (flows.covers < flows.size).then(|| format::number(lang, flows.covers)),
        hours: Hours::draw(lang, &flows),
        facts: facts(lang, words, &seen),
        small: small(lang, words, &seen),
        newest: hits(lang, &desk.hub.directory(), newest.rows),
    }))
}

/// A hub that does not count its log has no flows: the page says so.
async fn flows(desk: &Desk) -> GetFlowsResponse {
    desk.hub.flows(&GetFlowsRequest::default()).await.unwrap_or_default()
}

fn times_told(lang: Lang, times: &HandoverTimes) -> Option<(String, String)> {
    (times.count > 0).then(|| (format::span(lang, times.p50_us), format::span(lang, times.p99_us)))
}

fn facts(lang: Lang, words: &Words, seen: &GetOverviewResponse) -> Vec<Fact> {
    let fact = |name, value, path: &str| Fact {
        name,
        value: format::number(lang, value),
        href: if path.is_empty() { String::new() } else { format!("/{}{path}", lang.name()) },
    };
    vec![
        fact(words.documents_held, seen.documents, "/documents"),
        fact(words.waiting_now, seen.waiting, "/queues"),
        fact(words.leased_now, seen.leased, "/queues"),
        fact(words.sessions_now, seen.sessions.into(), "/nodes"),
    ]
}

fn small(lang: Lang, words: &Words, seen: &GetOverviewResponse) -> Vec<Fact> {
    let fact = |name, value| Fact { name, value, href: String::new() };
    let count = |name, value| fact(name, format::number(lang, value));
    vec![
        count(words.expanding_now, seen.expanding),
        count(words.agencies_count, seen.agencies),
        count(words.nodes_count, seen.nodes),
        count(words.leaves_count, seen.leaves),
        fact(words.bodies_count, format::size(lang, seen.body_bytes)),
        count(words.index_lag, seen.index_lag),
        fact(words.hub_name, seen.origin.clone()),
        fact(words.version, seen.version.clone()),
    ]
}
