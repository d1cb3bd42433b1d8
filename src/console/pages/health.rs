//! What is not as it should be.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    console::{
        Desk, format,
        labels::Tone,
        page::{Page, render},
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    hub::{
        Hub,
        health::{ALL, Severity},
    },
};

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage<'a> {
    page: Page<'a>,
    ready: bool,
    alarms: Vec<AlarmRow>,
    watched: Vec<(&'static str, &'static str)>,
    facts: Vec<(&'static str, String)>,
    scrub: Option<(String, String, String)>,
    at: String,
}

/// A condition that stands.
pub(crate) struct AlarmRow {
    pub title: &'static str,
    pub name: &'static str,
    pub severity: &'static str,
    pub tone: Tone,
    pub cause: String,
    pub since: String,
    pub step: &'static str,
}

/// `GET /health`
pub(crate) async fn page(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let words = lang.words();
    let seen = desk.hub.overview().await?;
    let alarms = alarms(lang, &desk.hub);
    let scrub = desk.hub.health().scrub().map(|scrub| {
        let finished = format::moment(lang, scrub.finished_us);
        (finished, format::size(lang, scrub.bytes), format::number(lang, scrub.damaged))
    });
    let number = |value| format::number(lang, value);
    Ok(render(&HealthPage {
        page: Page::new(&signed.visitor, words.health, "/health"),
        ready: desk.hub.is_ready(),
        watched: ALL.iter().map(|known| (known.name(), lang.pick(known.title_vi(), known.title()))).collect(),
        facts: vec![
            (words.leaves_count, number(seen.leaves)),
            (words.bodies_count, format::size(lang, seen.body_bytes)),
            (words.index_lag, number(seen.index_lag)),
            (words.syncs, number(seen.syncs)),
            (words.written, format::size(lang, seen.written_bytes)),
            (words.hub_name, seen.origin),
            (words.version, seen.version),
        ],
        at: format::moment(lang, desk.hub.clock().now().0),
        alarms,
        scrub,
    }))
}

/// What stands now, the gravest first.
pub(crate) fn alarms(lang: Lang, hub: &Hub) -> Vec<AlarmRow> {
    let words = lang.words();
    let mut standing = hub.health().alarms();
    standing.sort_by_key(|alarm| alarm.condition.severity());
    let row = |alarm: crate::hub::health::Alarm| {
        let known = alarm.condition;
        let (severity, tone) = match known.severity() {
            Severity::Critical => (words.severity_critical, Tone::Bad),
            Severity::Serious => (words.severity_serious, Tone::Bad),
            Severity::Warning => (words.severity_warning, Tone::Waits),
        };
        AlarmRow {
            title: lang.pick(known.title_vi(), known.title()),
            name: known.name(),
            severity,
            tone,
            cause: alarm.cause,
            since: format::moment(lang, alarm.since.0),
            step: lang.pick(known.step_vi(), known.step()),
        }
    };
    standing.into_iter().map(row).collect()
}
