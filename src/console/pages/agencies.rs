//! The directory: a tree of agencies, and each of them.

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
        people::{AgencyRow, Who},
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    domain::{
        directory::{AgencyEntry, Directory, KeyEntry},
        fold,
        id::{AgencyId, shorten},
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    proto::{AgencyContact, Level, SignerKind},
};

/// Agencies of a page.
const ROWS: usize = 100;

/// The question.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    q: String,
    level: String,
    after: String,
}

#[derive(Template)]
#[template(path = "agencies.html")]
struct AgenciesPage<'a> {
    page: Page<'a>,
    asked: Asked,
    levels: Vec<LevelChoice>,
    rows: Vec<AgencyRow>,
    total: String,
    next: Option<String>,
    first: Option<String>,
    is_tree: bool,
}

/// One level with how many agencies it has.
struct LevelChoice {
    value: &'static str,
    text: &'static str,
    chosen: bool,
    count: String,
}

/// `GET /agencies`: without a question, those at the top of the tree.
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let lang = signed.visitor.lang;
    let directory = desk.hub.directory();
    let all = directory.agencies(None, Level::Unspecified, None, usize::MAX);
    let (wanted, words) = (level(&asked.level), fold::words(&asked.q));
    let is_tree = words.is_empty() && wanted.is_none();
    let fits = |agency: &&&AgencyEntry| match is_tree {
        true => is_top(&directory, agency),
        false => wanted.is_none_or(|level| agency.level == level) && has(agency, &asked.q, &words),
    };
    let found: Vec<&AgencyEntry> = all.iter().filter(fits).copied().collect();
    let after = AgencyId::parse(&asked.after).ok();
    let rest: Vec<&AgencyEntry> = found
        .iter()
        .copied()
        .filter(|agency| after.as_ref().is_none_or(|after| agency.id > *after))
        .collect();
    let rows: Vec<AgencyRow> =
        rest.iter().take(ROWS).map(|agency| AgencyRow::of(lang, &directory, agency)).collect();
    let here = |after: &str| {
        let query = [("q", &*asked.q), ("level", &*asked.level), ("after", after)];
        let query: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
        let query: Vec<_> =
            query.iter().map(|(name, value)| format!("{name}={}", format::url(value))).collect();
        format!("/{}/agencies?{}", lang.name(), query.join("&"))
    };
    let next = rows.last().filter(|_| rest.len() > ROWS).map(|last| here(&last.who.id));
    Ok(render(&AgenciesPage {
        page: Page::new(&signed.visitor, lang.words().agencies, "/agencies"),
        levels: levels(lang, &all, &asked.level),
        total: format::number(lang, found.len() as u64),
        next,
        first: (!asked.after.is_empty()).then(|| here("")),
        rows,
        is_tree,
        asked,
    }))
}

fn level(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

const LEVELS: [(&str, Level); 5] = [
    ("central", Level::Central),
    ("province", Level::Province),
    ("district", Level::District),
    ("commune", Level::Commune),
    ("other", Level::Unspecified),
];

fn levels(lang: Lang, all: &[&AgencyEntry], chosen: &str) -> Vec<LevelChoice> {
    let choice = |(value, level): (&'static str, Level)| LevelChoice {
        value,
        text: labels::level(lang, level),
        chosen: value == chosen,
        count: format::number(lang, all.iter().filter(|agency| agency.level == level).count() as u64),
    };
    LEVELS.into_iter().map(choice).collect()
}

/// Nobody of the directory is above it.
fn is_top(directory: &Directory, agency: &AgencyEntry) -> bool {
    agency.parent.as_ref().is_none_or(|parent| directory.resolve(parent.as_str()).is_none())
}

/// Its identifiers contain the text, or its name has all the words.
fn has(agency: &AgencyEntry, text: &str, words: &std::collections::BTreeSet<String>) -> bool {
    let text = text.trim().to_uppercase();
    if text.is_empty() || agency.id.as_str().contains(&text) || agency.aliases.contains(&text) {
        return true;
    }
    let name = fold::words(&agency.name);
    words.iter().all(|word| name.iter().any(|known| known.starts_with(word.as_str())))
}

/// Which agency.
#[derive(Deserialize)]
pub(crate) struct One {
    id: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "agency.html")]
struct AgencyPage<'a> {
    page: Page<'a>,
    row: AgencyRow,
    above: Vec<Who>,
    aliases: Vec<String>,
    keys: Vec<KeyRow>,
    nodes: Vec<String>,
    below: Vec<AgencyRow>,
    next: Option<String>,
    contact: Option<Contact>,
    sent: String,
    received: String,
}

/// When it was last heard of.
struct Contact {
    receiving: bool,
    since: String,
    last: String,
    signed: String,
    waiting: String,
}

struct KeyRow {
    id: String,
    kind: &'static str,
    from: String,
    until: String,
    state: &'static str,
    tone: Tone,
}

/// `GET /agency`
pub(crate) async fn one(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<One>,
) -> Result<Response, Trouble> {
    let lang = signed.visitor.lang;
    let directory = desk.hub.directory();
    let unknown = || Reason::new(ReasonCode::UnknownAgency, shorten(&asked.id));
    let agency = directory.resolve(&asked.id).ok_or_else(unknown)?;
    let now = desk.hub.clock().now();
    let children = children(&directory, agency);
    let after = AgencyId::parse(&asked.after).ok();
    let rest: Vec<_> =
        children.into_iter().filter(|child| after.as_ref().is_none_or(|after| child.id > *after)).collect();
    let below: Vec<AgencyRow> =
        rest.iter().take(ROWS).map(|child| AgencyRow::of(lang, &directory, child)).collect();
    let path = super::super::people::path(lang, agency.id.as_str());
    let next = below.last().filter(|_| rest.len() > ROWS);
    let documents =
        |side: &str| format!("/{}/documents?{side}={}", lang.name(), format::url(agency.id.as_str()));
    Ok(render(&AgencyPage {
        page: Page::new(&signed.visitor, &agency.name, "/agencies"),
        row: AgencyRow::of(lang, &directory, agency),
        above: above(lang, &directory, agency),
        aliases: agency.aliases.clone(),
        keys: directory.keys_of(&agency.id).map(|key| key_row(lang, key, now)).collect(),
        nodes: directory.nodes_of(&agency.id).map(|node| node.name.to_string()).collect(),
        next: next.map(|last| format!("{path}&after={}", format::url(&last.who.id))),
        below,
        contact: desk.hub.agency_contact(&agency.id).map(|contact| told(lang, &contact)),
        sent: documents("sender"),
        received: documents("recipient") + "&event=all",
    }))
}

fn told(lang: Lang, contact: &AgencyContact) -> Contact {
    Contact {
        receiving: !contact.receiving.is_empty(),
        since: format::moment(lang, contact.receiving_since_us),
        last: format::moment(lang, contact.last_receiving_us),
        signed: format::moment(lang, contact.last_signed_us),
        waiting: format::number(lang, contact.waiting),
    }
}

fn children<'d>(directory: &'d Directory, agency: &AgencyEntry) -> Vec<&'d AgencyEntry> {
    let below = directory.agencies(Some(&agency.id), Level::Unspecified, None, usize::MAX);
    let is_child = |child: &&AgencyEntry| {
        let parent = child.parent.as_ref().and_then(|parent| directory.resolve(parent.as_str()));
        child.id != agency.id && parent.is_some_and(|parent| parent.id == agency.id)
    };
    below.into_iter().filter(is_child).collect()
}

/// From the top down to the one above.
fn above(lang: Lang, directory: &Directory, agency: &AgencyEntry) -> Vec<Who> {
    let parent = |agency: &&AgencyEntry| directory.resolve(agency.parent.as_ref()?.as_str());
    // The directory has no circles; ten levels are more than any country has.
    let mut above: Vec<Who> = std::iter::successors(Some(agency), |agency| parent(agency))
        .skip(1)
        .take(10)
        .map(|agency| Who::of(lang, directory, agency.id.as_str()))
        .collect();
    above.reverse();
    above
}

fn key_row(lang: Lang, key: &KeyEntry, now: Timestamp) -> KeyRow {
    let (words, key) = (lang.words(), &key.key);
    let (state, tone) = match (key.revoked_at, key.valid_until) {
        (Some(_), _) => (words.key_revoked, Tone::Bad),
        (_, Some(until)) if until <= now => (words.key_over, Tone::Bad),
        _ if now < key.valid_from => (words.key_not_yet, Tone::Waits),
        _ => (words.key_valid, Tone::Good),
    };
    KeyRow {
        id: key.public.key_id().to_string(),
        kind: if key.kind == SignerKind::Person { words.key_person } else { words.key_agency },
        from: format::moment(lang, key.valid_from.0),
        until: key.valid_until.map_or(words.without_end.to_owned(), |until| format::moment(lang, until.0)),
        state,
        tone,
    }
}
