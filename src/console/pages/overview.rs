//! What happens now.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};

use super::documents::{Hit, hits};
use crate::{
    console::{
        Desk, format,
        page::{Page, render},
        trouble::Trouble,
        visitor::Signed,
        words::{Lang, Words},
    },
    proto::{GetOverviewResponse, SearchRequest},
};

/// Events at the foot of the page.
const NEWEST: u32 = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    page: Page<'a>,
    at: String,
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
    signed.caller.require_operator()?;
    let lang = signed.visitor.lang;
    let seen = desk.hub.overview().await?;
    let request = SearchRequest { page_size: NEWEST, ..SearchRequest::default() };
    let newest = desk.hub.search(&signed.caller.reader()?, request).await?;
    let words = lang.words();
    Ok(render(&OverviewPage {
        page: Page::new(&signed.visitor, words.overview, "/"),
        at: format::moment(lang, desk.hub.clock().now().0),
        facts: facts(lang, words, &seen),
        small: small(lang, words, &seen),
        newest: hits(lang, &desk.hub.directory(), newest.rows),
    }))
}

fn facts(lang: Lang, words: &Words, seen: &GetOverviewResponse) -> Vec<Fact> {
    let fact = |name, value, path: &str| Fact {
        name,
        value: format::number(lang, value),
        href: if path.is_empty() { String::new() } else { format!("/{}{path}", lang.name()) },
    };
    vec![
        fact(words.documents_held, seen.documents, "/documents"),
        fact(words.waiting_now, seen.waiting, ""),
        fact(words.leased_now, seen.leased, ""),
        fact(words.sessions_now, seen.sessions.into(), ""),
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
