//! Who is connected, and who is not.

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
        labels::Tone,
        page::{Page, render},
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    proto::{ListNodeContactsRequest, ListSessionsRequest, NodeContact, SessionInfo, Traffic},
};

/// Rows of each table.
const ROWS: u32 = 50;
/// A certificate that ends sooner deserves attention.
const SOON_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// Which part.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    away: String,
    sessions: String,
    nodes: String,
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage<'a> {
    page: Page<'a>,
    away: bool,
    open: String,
    started: String,
    sessions: Vec<SessionRow>,
    more_sessions: Option<String>,
    nodes: Vec<NodeRow>,
    more_nodes: Option<String>,
    first: Option<String>,
}

struct SessionRow {
    node: String,
    address: String,
    since: String,
    agencies: String,
    in_flight: u32,
    credit: u32,
    offered: String,
    speed: String,
    last_offer: String,
    certificate: Certificate,
}

/// When a certificate ends.
struct Certificate {
    until: String,
    tone: Tone,
}

struct NodeRow {
    node: String,
    state: &'static str,
    tone: Tone,
    since: String,
    last: String,
    agencies: u32,
    in_flight: u32,
    taken: String,
    sent: String,
    certificate: Certificate,
}

/// `GET /nodes`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let now_us = desk.hub.clock().now().0;
    let sessions = desk.hub.list_sessions(&ListSessionsRequest {
        page_token: asked.sessions.clone(),
        page_size: ROWS,
        ..ListSessionsRequest::default()
    })?;
    let away = !asked.away.is_empty();
    let nodes = desk.hub.list_node_contacts(&ListNodeContactsRequest {
        away,
        page_token: asked.nodes.clone(),
        page_size: ROWS,
        ..ListNodeContactsRequest::default()
    })?;
    let here = |name: &str, token: &str| {
        let away = if away { "away=1&" } else { "" };
        (!token.is_empty()).then(|| format!("/{}/nodes?{away}{name}={}", lang.name(), format::url(token)))
    };
    Ok(render(&NodesPage {
        page: Page::new(&signed.visitor, lang.words().nav_nodes, "/nodes"),
        away,
        open: format::number(lang, sessions.open.into()),
        started: format::moment(lang, sessions.started_us),
        more_sessions: here("sessions", &sessions.next_page_token),
        more_nodes: here("nodes", &nodes.next_page_token),
        first: (!asked.sessions.is_empty() || !asked.nodes.is_empty())
            .then(|| format!("/{}/nodes", lang.name())),
        sessions: sessions.sessions.iter().map(|session| session_row(lang, session, now_us)).collect(),
        nodes: nodes.nodes.iter().map(|node| node_row(lang, node, now_us)).collect(),
    }))
}

fn session_row(lang: Lang, session: &SessionInfo, now_us: i64) -> SessionRow {
    let traffic = session.offered.unwrap_or_default();
    SessionRow {
        node: session.node.clone(),
        address: session.address.clone(),
        since: format::moment(lang, session.since_us),
        agencies: agencies(session),
        in_flight: session.in_flight,
        credit: session.credit,
        offered: volume(lang, &traffic),
        speed: format!("{:.0} / {}", traffic.documents_per_minute, lang.words().minute),
        last_offer: format::moment(lang, session.last_offer_us),
        certificate: certificate(lang, session.certificate_until_us, now_us),
    }
}

/// The first few, and how many more.
fn agencies(session: &SessionInfo) -> String {
    let few: Vec<&str> = session.agencies.iter().take(3).map(String::as_str).collect();
    let more = (session.agency_count as usize).saturating_sub(few.len());
    if more > 0 { format!("{} +{more}", few.join(", ")) } else { few.join(", ") }
}

fn volume(lang: Lang, traffic: &Traffic) -> String {
    format!("{} ({})", format::number(lang, traffic.documents), format::size(lang, traffic.bytes))
}

fn certificate(lang: Lang, until_us: i64, now_us: i64) -> Certificate {
    let tone = match until_us.saturating_sub(now_us) {
        _ if until_us == 0 => Tone::Plain,
        left if left <= 0 => Tone::Bad,
        left if left < SOON_US => Tone::Waits,
        _ => Tone::Good,
    };
    Certificate { until: format::moment(lang, until_us), tone }
}

fn node_row(lang: Lang, node: &NodeContact, now_us: i64) -> NodeRow {
    let words = lang.words();
    let connected = node.sessions > 0 || node.fetches > 0;
    let (state, tone) = match (node.revoked, connected) {
        (true, _) => (words.node_revoked, Tone::Bad),
        (_, true) => (words.node_connected, Tone::Good),
        _ => (words.node_away, Tone::Waits),
    };
    let (taken, sent) = (node.answered.unwrap_or_default(), node.submitted.unwrap_or_default());
    NodeRow {
        node: node.node.clone(),
        state,
        tone,
        since: format::moment(lang, if connected { node.connected_since_us } else { node.left_us }),
        last: format::moment(lang, node.last_contact_us),
        agencies: node.agency_count,
        in_flight: node.in_flight,
        taken: format::number(lang, taken.documents),
        sent: format::number(lang, sent.documents),
        certificate: certificate(lang, node.certificate_until_us, now_us),
    }
}
