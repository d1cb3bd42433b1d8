//! What all pages have in common.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use super::{
    assets, labels,
    visitor::Visitor,
    words::{Lang, Words},
};
use crate::edge::caller::Role;

/// Frame of a page.
pub(crate) struct Page<'a> {
    pub lang: &'static str,
    pub words: &'static Words,
    pub theme: &'static str,
    pub title: &'a str,
    /// This page in the other language.
    pub other: String,
    pub other_lang: &'static str,
    /// Where this page is, without language, for forms that come back here.
    pub place: String,
    pub who: Option<String>,
    pub csrf: String,
    pub nav: Vec<NavItem>,
    pub style: String,
    pub script: String,
    pub icon: String,
}

/// One line of the menu.
pub(crate) struct NavItem {
    pub path: String,
    pub text: &'static str,
    pub here: bool,
    /// Key after `g`.
    pub key: &'static str,
}

/// Who sees which page. The doors behind decide: this is only the menu.
fn may_see(role: &Role, path: &str) -> bool {
    match role {
        Role::Node(_) => false,
        Role::Auditor(_) | Role::ScopedAuditor(..) => {
            ["/documents", "/agencies", "/changes", "/help"].contains(&path)
        }
        Role::Security(_) | Role::Registrar(_) => ["/agencies", "/changes", "/help"].contains(&path),
        Role::Operator(_) | Role::Viewer(_) => true,
    }
}

impl<'a> Page<'a> {
    /// A page of this title; `here` is its place in the menu.
    pub fn new(visitor: &Visitor, title: &'a str, here: &str) -> Self {
        let (lang, words) = (visitor.lang, visitor.lang.words());
        let other = lang.other();
        let signed = visitor.signed.as_ref();
        let role = signed.map(|(session, _)| &session.identity.role);
        Self {
            lang: lang.name(),
            words,
            theme: visitor.theme.name(),
            title,
            other: format!("/{}{}", other.name(), visitor.place),
            other_lang: other.name(),
            place: visitor.place.clone(),
            who: signed.map(|(session, _)| labels::identity(lang, &session.identity)),
            csrf: signed.map(|(session, _)| session.csrf.clone()).unwrap_or_default(),
            nav: role.map(|role| menu(lang, words, role, here)).unwrap_or_default(),
            style: assets::path("console.css"),
            script: assets::path("console.js"),
            icon: assets::path("icon.svg"),
        }
    }
}

impl Page<'_> {
    /// Without its own address in it, which is a secret.
    pub fn without_place(mut self) -> Self {
        self.place = "/".into();
        self
    }
}

fn menu(lang: Lang, words: &'static Words, role: &Role, here: &str) -> Vec<NavItem> {
    let all = [
        ("/", words.nav_overview, "o"),
        ("/documents", words.nav_documents, "d"),
        ("/queues", words.nav_queues, "q"),
        ("/agencies", words.nav_agencies, "a"),
        ("/nodes", words.nav_nodes, "n"),
        ("/changes", words.nav_changes, "c"),
        ("/actions", words.nav_actions, "t"),
        ("/health", words.nav_health, "h"),
        ("/help", words.nav_help, "?"),
    ];
    let seen = all.into_iter().filter(|(path, _, _)| may_see(role, path));
    let item = |(path, text, key): (&str, _, _)| NavItem {
        path: format!("/{}{path}", lang.name()),
        text,
        here: path == here,
        key,
    };
    seen.map(item).collect()
}

/// A template as an answer.
pub(crate) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page of the console can't be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
