//! One document.

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
        Desk, format,
        labels::{self, Tone},
        page::{Page, render},
        people::Who,
        picture::{MAX_ROWS, Timeline},
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    domain::{
        directory::Directory,
        reason::{ReasonCode, entry},
    },
    edge::caller::Role,
    hub::recipients::{ORDER, Wanted},
    proto::{
        EventKind, Evidence, EvidenceRow, GetTimelineRequest, GetTimelineResponse, LegalValue, Receipt,
        RecipientState, SearchFilter, SearchRequest, TransportState, WhyRecipient, WhyRequest, WhyResponse,
        WhyTotals,
    },
};

/// Events of a page.
const EVENTS: u32 = 200;

/// Which document.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub id: String,
    pub sender: String,
    pub revision: u64,
    /// Page of events.
    events: String,
    /// First recipient of the page.
    skip: usize,
    /// Only recipients in this state.
    state: String,
    /// Only this recipient.
    recipient: String,
}

#[derive(Template)]
#[template(path = "document.html")]
struct DocumentPage<'a> {
    page: Page<'a>,
    head: Head,
    roll: Vec<Group>,
    told: String,
    why: Vec<WhyRow>,
    act: Option<String>,
    picture: Timeline,
    recipients: Vec<RecipientRow>,
    shown: String,
    pages: Pages,
    asked_recipient: String,
    events: Vec<EventRow>,
    more_events: Option<String>,
    bundle: String,
    bundle_name: String,
}

/// What the document says of itself.
struct Head {
    title: String,
    subject: String,
    kind: String,
    date: String,
    urgency: (&'static str, Tone),
    sender: Who,
    id: String,
    revision: u64,
    accepted: String,
    digest: String,
    legal: &'static str,
}

/// Recipients in one state, and where they are listed.
struct Group {
    count: String,
    name: &'static str,
    tone: Tone,
    href: String,
    is_shown: bool,
}

/// Ways to other recipients.
#[derive(Default)]
struct Pages {
    all: Option<String>,
    first: Option<String>,
    previous: Option<String>,
    next: Option<String>,
    last: Option<String>,
}

struct RecipientRow {
    who: Who,
    state: &'static str,
    tone: Tone,
    status: String,
    pending: bool,
    attempts: u32,
    next: String,
    deadline: String,
}

/// Why one recipient does not have it.
struct WhyRow {
    who: Who,
    says: String,
    owner: &'static str,
    since: String,
    next: String,
    help: String,
    act: String,
}

struct EventRow {
    index: u64,
    at: String,
    at_machine: String,
    event: &'static str,
    tone: Tone,
    about: Vec<Who>,
    status: String,
    reasons: Vec<(String, String, &'static str)>,
    receipt: String,
}

/// `GET /document`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let reader = signed.caller.reader()?;
    let lang = signed.visitor.lang;
    let directory = desk.hub.directory();
    let timeline = desk.hub.read_timeline(&reader, asked.first_page()).await?;
    let here = Asked { sender: timeline.sender.clone(), ..asked.clone() };
    let events = match asked.events.as_str() {
        "" => (timeline.events.clone(), timeline.next_page_token.clone()),
        _ => {
            let more = desk.hub.read_timeline(&reader, asked.page()).await?;
            (more.events, more.next_page_token)
        }
    };
    let why = why(&desk, &signed, &here).await?;
    let row = desk.hub.search(&reader, here.acceptance()).await?.rows.into_iter().next().unwrap_or_default();
    let wanted = here.wanted(&directory);
    let of = desk.hub.read_recipients(&reader, here.first_page(), wanted.clone()).await?;
    let shown: Vec<_> = of.states.iter().collect();
    let mut decoded: Vec<Evidence> = timeline.events.iter().filter_map(evidence).collect();
    decoded.extend(of.events);
    let picture = Timeline::draw(lang, &directory, timeline.accepted_at_us, &decoded, &shown);
    let head = head(lang, &directory, &timeline, &row);
    let title = head.title.clone();
    Ok(render(&DocumentPage {
        page: Page::new(&signed.visitor, &title, "/documents"),
        roll: roll(lang, &here, &wanted, &of.counts),
        told: why.as_ref().and_then(|why| why.totals).map_or_else(String::new, |totals| told(lang, &totals)),
        why: why
            .iter()
            .flat_map(|why| &why.recipients)
            .map(|one| why_row(lang, &directory, &here, one))
            .collect(),
        act: matches!(signed.caller.identity.role, Role::Operator(_)).then(|| here.act(lang, "")),
        picture,
        recipients: shown.iter().map(|state| recipient(lang, &directory, state)).collect(),
        shown: format!(
            "{}–{} / {}",
            format::number(lang, (wanted.skip + 1).min(wanted.skip + shown.len()) as u64),
            format::number(lang, (wanted.skip + shown.len()) as u64),
            format::number(lang, of.found)
        ),
        pages: here.pages(lang, of.found),
        asked_recipient: here.recipient.clone(),
        events: events.0.iter().filter_map(|receipt| event_row(lang, &directory, &here, receipt)).collect(),
        more_events: Some(&events.1)
            .filter(|token| !token.is_empty())
            .map(|token| here.path(lang, token, asked.skip) + "#evidence"),
        bundle: here.file(lang, "bundle"),
        bundle_name: super::files::bundle_name(&title),
        head,
    }))
}

/// Why it waits; for those who may see queues.
async fn why(desk: &Arc<Desk>, signed: &Signed, here: &Asked) -> Result<Option<WhyResponse>, Trouble> {
    if signed.caller.require_watcher().is_err() {
        return Ok(None);
    }
    let request = WhyRequest {
        document_id: here.id.clone(),
        sender: here.sender.clone(),
        revision: here.revision,
        page_size: MAX_ROWS as u32,
        ..WhyRequest::default()
    };
    Ok(Some(desk.hub.why(request).await?))
}

/// "61 / 63 recipients have it; missing 2".
fn told(lang: Lang, totals: &WhyTotals) -> String {
    let words = lang.words();
    let number = |value| format::number(lang, value);
    let missing = totals.recipients.saturating_sub(totals.delivered);
    let have = format!("{} / {} {}", number(totals.delivered), number(totals.recipients), words.delivered_of);
    if missing == 0 { have } else { format!("{have}; {} {}", words.why_missing, number(missing)) }
}

fn why_row(lang: Lang, directory: &Directory, here: &Asked, one: &WhyRecipient) -> WhyRow {
    WhyRow {
        who: Who::of(lang, directory, &one.recipient),
        says: lang.pick(&one.says_vi, &one.says_en).clone(),
        owner: labels::owner(lang, one.owner()),
        since: format::moment(lang, one.since_us),
        next: format::moment(lang, one.next_us),
        help: lang.pick(&one.help_vi, &one.help_en).clone(),
        act: here.act(lang, &one.recipient),
    }
}

impl Asked {
    /// Form of an action on this document, or on one recipient of it.
    fn act(&self, lang: Lang, recipient: &str) -> String {
        let path = self.plain(lang).replacen("/document?", "/act?", 1);
        if recipient.is_empty() { path } else { format!("{path}&agency={}", format::url(recipient)) }
    }

    fn first_page(&self) -> GetTimelineRequest {
        GetTimelineRequest {
            document_id: self.id.clone(),
            sender: self.sender.clone(),
            revision: self.revision,
            page_token: String::new(),
            page_size: EVENTS,
        }
    }

    fn page(&self) -> GetTimelineRequest {
        GetTimelineRequest { page_token: self.events.clone(), ..self.first_page() }
    }

    /// The leaf of its acceptance, which says what it is about.
    fn acceptance(&self) -> SearchRequest {
        let filter = SearchFilter {
            document_id: self.id.clone(),
            sender: self.sender.clone(),
            events: vec![EventKind::SubmissionAcceptance.into()],
            ..SearchFilter::default()
        };
        SearchRequest { filter: Some(filter), page_size: 1, ..SearchRequest::default() }
    }

    fn wanted(&self, directory: &Directory) -> Wanted {
        let name = self.recipient.trim().to_uppercase();
        let named = || directory.resolve(&name).map_or_else(|| name.clone(), |entry| entry.id.to_string());
        Wanted {
            state: ORDER.into_iter().find(|state| word(*state) == self.state),
            recipient: (!name.is_empty()).then(named),
            skip: self.skip,
            limit: MAX_ROWS,
        }
    }

    /// Only the recipients in one state.
    fn only(&self, lang: Lang, state: TransportState) -> String {
        let only = Self { state: word(state), recipient: String::new(), ..self.clone() };
        only.path(lang, "", 0) + "#recipients"
    }

    fn pages(&self, lang: Lang, found: u64) -> Pages {
        let (found, skip) = (usize::try_from(found).unwrap_or(usize::MAX), self.skip);
        let to = |at: usize| Some(self.path(lang, "", at) + "#recipients");
        let is_part = !self.state.is_empty() || !self.recipient.is_empty();
        let all = Self { state: String::new(), recipient: String::new(), ..self.clone() };
        let last = found.saturating_sub(1) / MAX_ROWS * MAX_ROWS;
        Pages {
            all: is_part.then(|| all.path(lang, "", 0) + "#recipients"),
            first: if skip > 0 { to(0) } else { None },
            previous: if skip > MAX_ROWS { to(skip - MAX_ROWS) } else { None },
            next: if skip + MAX_ROWS < found { to(skip + MAX_ROWS) } else { None },
            last: if skip + 2 * MAX_ROWS < found { to(last) } else { None },
        }
    }

    fn path(&self, lang: Lang, events: &str, skip: usize) -> String {
        let mut path = super::documents::path(lang, &self.id, &self.sender, self.revision);
        for (name, value) in [("state", &self.state), ("recipient", &self.recipient)] {
            if !value.is_empty() {
                path += &format!("&{name}={}", format::url(value));
            }
        }
        if !events.is_empty() {
            path += &format!("&events={}", format::url(events));
        }
        if skip > 0 {
            path += &format!("&skip={skip}");
        }
        path
    }

    fn plain(&self, lang: Lang) -> String {
        super::documents::path(lang, &self.id, &self.sender, self.revision)
    }

    fn file(&self, lang: Lang, kind: &str) -> String {
        self.plain(lang).replacen("/document?", &format!("/document/{kind}?"), 1)
    }
}

fn evidence(receipt: &Receipt) -> Option<Evidence> {
    Evidence::decode(receipt.evidence.clone()).ok()
}

fn head(lang: Lang, directory: &Directory, timeline: &GetTimelineResponse, row: &EvidenceRow) -> Head {
    let words = lang.words();
    let number = [row.number.as_str(), row.notation.as_str()];
    let number = number.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("/");
    Head {
        title: if number.is_empty() { timeline.document_id.clone() } else { number },
        subject: row.subject.clone(),
        kind: row.type_name.clone(),
        date: row.promulgation_date.clone(),
        urgency: labels::urgency(lang, row.urgency),
        sender: Who::of(lang, directory, &timeline.sender),
        id: timeline.document_id.clone(),
        revision: timeline.revision,
        accepted: format::moment(lang, timeline.accepted_at_us),
        digest: hex::encode(&timeline.manifest_sha256),
        legal: match row.legal_value() {
            LegalValue::Original => words.legal_original,
            LegalValue::Information => words.legal_information,
            LegalValue::Unspecified => words.unknown,
        },
    }
}

/// "61 handed over", "2 waiting": each leads to those recipients.
fn roll(lang: Lang, here: &Asked, wanted: &Wanted, counts: &[u64; ORDER.len()]) -> Vec<Group> {
    let some = ORDER.into_iter().zip(counts).rev().filter(|(_, count)| **count > 0);
    some.map(|(state, count)| {
        let (name, tone) = group(lang, state);
        Group {
            count: format::number(lang, *count),
            name,
            tone,
            href: here.only(lang, state),
            is_shown: wanted.state == Some(state),
        }
    })
    .collect()
}

/// A state in an address, e.g. `handed-over`.
fn word(state: TransportState) -> String {
    let name = state.as_str_name();
    name.strip_prefix("TRANSPORT_STATE_").unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

fn group(lang: Lang, state: TransportState) -> (&'static str, Tone) {
    let words = lang.words();
    match state {
        TransportState::HandedOver => (words.roll_handed, Tone::Good),
        TransportState::Refused => (words.roll_refused, Tone::Bad),
        TransportState::Expired => (words.roll_expired, Tone::Bad),
        TransportState::Cancelled => (words.roll_cancelled, Tone::Plain),
        TransportState::Held => (words.roll_held, Tone::Waits),
        _ => (words.roll_waiting, Tone::Waits),
    }
}

fn recipient(lang: Lang, directory: &Directory, state: &RecipientState) -> RecipientRow {
    let (name, tone) = labels::transport(lang, state.transport());
    RecipientRow {
        who: Who::of(lang, directory, &state.recipient),
        state: name,
        tone,
        status: labels::status(lang, state.status_code),
        pending: state.change_pending,
        attempts: state.attempts,
        next: format::moment(lang, state.next_attempt_us),
        deadline: format::moment(lang, state.delivery_deadline_us),
    }
}

fn event_row(lang: Lang, directory: &Directory, here: &Asked, receipt: &Receipt) -> Option<EventRow> {
    let evidence = evidence(receipt)?;
    let event = evidence.event();
    let reason = |reason: &crate::proto::Reason| {
        let code = ReasonCode::try_from(reason.code).unwrap_or_default();
        let help = entry(code);
        (code.as_str_name().to_owned(), reason.detail.clone(), lang.pick(help.help_vi, help.help_en))
    };
    Some(EventRow {
        index: receipt.index,
        at: format::moment(lang, evidence.event_time_us),
        at_machine: format::machine(evidence.event_time_us),
        event: labels::event(lang, event),
        tone: labels::event_tone(event),
        about: evidence.recipients.iter().map(|party| Who::of(lang, directory, &party.agency)).collect(),
        status: labels::status(lang, evidence.status_code),
        reasons: evidence.reasons.iter().map(reason).collect(),
        receipt: format!("{}&leaf={}", here.file(lang, "receipt"), receipt.index),
    })
}
