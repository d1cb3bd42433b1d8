//! What was changed in the directory.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use prost::Message;
use serde::Deserialize;

use crate::{
    console::{
        Desk, format, labels,
        page::{Page, render},
        people::Who,
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    domain::directory::Directory,
    edge::caller::Role,
    hub::search::Reader,
    proto::{
        AgencyState, DirectoryChange, EventKind, Evidence, SearchFilter, SearchRequest,
        directory_change::Change,
    },
};

/// Changes of a page: each is read from the log.
const ROWS: u32 = 40;

/// Which page.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Asked {
    after: String,
}

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage<'a> {
    page: Page<'a>,
    rows: Vec<Row>,
    next: Option<String>,
    first: bool,
}

struct Row {
    index: u64,
    at: String,
    at_machine: String,
    what: &'static str,
    who: Vec<Who>,
    detail: String,
    reason: String,
}

/// `GET /changes`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let lang = signed.visitor.lang;
    let reader = reader(&signed)?;
    let filter = SearchFilter { events: vec![EventKind::DirectoryChange.into()], ..SearchFilter::default() };
    let request = SearchRequest {
        filter: Some(filter),
        page_size: ROWS,
        page_token: asked.after.clone(),
        ..SearchRequest::default()
    };
    let found = desk.hub.search(&reader, request).await?;
    let directory = desk.hub.directory();
    let mut rows = Vec::with_capacity(found.rows.len());
    for row in &found.rows {
        // The search was answered and, for auditors, recorded: its rows are what may be seen.
        let receipt = desk.hub.receipt(row.index).await?;
        rows.extend(line(lang, &directory, row.index, receipt.evidence));
    }
    let next = Some(&found.next_page_token).filter(|token| !token.is_empty());
    Ok(render(&ChangesPage {
        page: Page::new(&signed.visitor, lang.words().changes, "/changes"),
        rows,
        next: next.map(|token| format!("/{}/changes?after={}", lang.name(), format::url(token))),
        first: asked.after.is_empty(),
    }))
}

/// The directory is open to everybody who may sign in; auditors are recorded and see their part.
fn reader(signed: &Signed) -> Result<Reader, Trouble> {
    match &signed.caller.identity.role {
        Role::Security(name) | Role::Registrar(name) => {
            Ok(Reader { name: name.clone(), recorded: false, scope: None })
        }
        _ => Ok(signed.caller.reader()?),
    }
}

fn line(lang: Lang, directory: &Directory, index: u64, evidence: bytes::Bytes) -> Option<Row> {
    let evidence = Evidence::decode(evidence).ok()?;
    let change = DirectoryChange::decode(evidence.directory_change.clone()).ok()?;
    let (what, who, detail) = told(lang, directory, change.change);
    Some(Row {
        index,
        at: format::moment(lang, evidence.event_time_us),
        at_machine: format::machine(evidence.event_time_us),
        what,
        who,
        detail,
        reason: change.reason,
    })
}

fn told(lang: Lang, directory: &Directory, change: Option<Change>) -> (&'static str, Vec<Who>, String) {
    let words = lang.words();
    let who = |id: &str| vec![Who::of(lang, directory, id)];
    match change {
        Some(Change::PutAgency(agency)) => (words.change_agency, who(&agency.organ_id), agency.name),
        Some(Change::SetAgencyState(set)) => {
            let state = AgencyState::try_from(set.state).unwrap_or_default();
            (words.change_state, who(&set.organ_id), labels::agency_state(lang, state).0.to_owned())
        }
        Some(Change::PutNode(node)) => {
            let agencies = node.agencies.iter().take(5).flat_map(|id| who(id)).collect();
            let more = node.agencies.len().saturating_sub(5);
            let more =
                if more > 0 { format!(" +{}", format::number(lang, more as u64)) } else { String::new() };
            (words.change_node, agencies, node.name + &more)
        }
        Some(Change::RevokeNode(node)) => (words.change_node_revoked, Vec::new(), node.name),
        Some(Change::AddKey(key)) => (words.change_key, who(&key.agency), short_key(&key.key_id)),
        Some(Change::RevokeKey(key)) => (words.change_key_revoked, Vec::new(), short_key(&key.key_id)),
        #[allow(unreachable_patterns)] // kinds to come
        _ => (words.change_other, Vec::new(), String::new()),
    }
}

/// Enough of a key's id to tell it from others.
fn short_key(id: &[u8]) -> String {
    let hex = hex::encode(id);
    hex.get(..16).map_or(hex.clone(), |short| format!("{short}…"))
}
