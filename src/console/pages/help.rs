//! Keys, words, and what to do about each reason.

use askama::Template;
use axum::response::Response;

use crate::{
    console::{
        labels,
        page::{Page, render},
        visitor::Signed,
    },
    domain::reason::{ReasonCode, entry},
    proto::EventKind,
};

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage<'a> {
    page: Page<'a>,
    events: Vec<(&'static str, &'static str)>,
    reasons: Vec<(&'static str, &'static str)>,
}

/// `GET /help`
pub(crate) async fn page(signed: Signed) -> Response {
    let lang = signed.visitor.lang;
    let events = (1..128).filter_map(|number| EventKind::try_from(number).ok());
    let reasons = (1..128).filter_map(|number| ReasonCode::try_from(number).ok());
    render(&HelpPage {
        page: Page::new(&signed.visitor, lang.words().help, "/help"),
        events: events.map(|event| (event.as_str_name(), labels::event(lang, event))).collect(),
        reasons: reasons
            .map(|code| (code.as_str_name(), lang.pick(entry(code).help_vi, entry(code).help_en)))
            .collect(),
    })
}
