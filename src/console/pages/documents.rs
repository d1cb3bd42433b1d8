//! Searching documents.

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
    domain::{directory::Directory, reason::entry},
    hub::refused::Refused,
    proto::{EventKind, EvidenceRow, SearchFilter, SearchRequest},
};

/// Rows of a page.
const ROWS: u32 = 50;

/// The question.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    q: String,
    sender: String,
    recipient: String,
    event: String,
    from: String,
    until: String,
    after: String,
}

/// One line of an answer.
pub(crate) struct Hit {
    pub at: String,
    pub at_machine: String,
    pub event: &'static str,
    pub tone: Tone,
    pub href: String,
    pub number: String,
    pub subject: String,
    pub sender: Who,
    pub recipient: Who,
    pub recipients: u64,
    pub urgency: Option<(&'static str, Tone)>,
    pub status: String,
}

#[derive(Template)]
#[template(path = "documents.html")]
struct DocumentsPage<'a> {
    page: Page<'a>,
    asked: Asked,
    choices: Vec<Choice>,
    hits: Vec<Hit>,
    covers: String,
    next: Option<String>,
    first: Option<String>,
    wrong: Option<String>,
    nothing_asked: bool,
}

/// One choice of a list.
struct Choice {
    value: &'static str,
    text: &'static str,
    chosen: bool,
}

/// `GET /documents`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    let reader = signed.caller.reader()?;
    let lang = signed.visitor.lang;
    let request = SearchRequest {
        filter: Some(asked.filter()),
        page_size: ROWS,
        page_token: asked.after.clone(),
        ..SearchRequest::default()
    };
    let (found, wrong) = match desk.hub.search(&reader, request).await {
        Ok(found) => (found, None),
        Err(refused) => (Default::default(), Some(told(lang, &refused))),
    };
    let here = |after: &str| format!("/{}/documents?{}", lang.name(), asked.query(after));
    let words = lang.words();
    Ok(render(&DocumentsPage {
        page: Page::new(&signed.visitor, words.documents, "/documents"),
        choices: choices(words, &asked.event),
        hits: hits(lang, &desk.hub.directory(), found.rows),
        covers: format::number(lang, found.covers),
        next: Some(&found.next_page_token).filter(|token| !token.is_empty()).map(|token| here(token)),
        first: (!asked.after.is_empty()).then(|| here("")),
        nothing_asked: asked.is_empty(),
        asked,
        wrong,
    }))
}

/// Why a question was not answered.
fn told(lang: Lang, refused: &Refused) -> String {
    let reason = |reason: &crate::domain::reason::Reason| {
        let help = entry(reason.code);
        format!("{}: {}", reason.detail, lang.pick(help.help_vi, help.help_en))
    };
    refused.reasons.iter().map(reason).collect::<Vec<_>>().join(" ")
}

impl Asked {
    fn is_empty(&self) -> bool {
        let fields = [&self.q, &self.sender, &self.recipient, &self.event, &self.from, &self.until];
        fields.into_iter().all(|field| field.trim().is_empty())
    }

    /// What is searched for: words become number and notation, an id, or words of the subject.
    fn filter(&self) -> SearchFilter {
        let mut filter = SearchFilter {
            sender: self.sender.trim().to_uppercase(),
            recipient: self.recipient.trim().to_uppercase(),
            events: events(&self.event),
            from_us: format::day(self.from.trim()).map_or(0, |(begin, _)| begin),
            until_us: format::day(self.until.trim()).map_or(0, |(_, end)| end),
            ..SearchFilter::default()
        };
        read_words(self.q.trim(), &mut filter);
        filter
    }

    fn query(&self, after: &str) -> String {
        let pairs = [
            ("q", self.q.as_str()),
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("event", &self.event),
            ("from", &self.from),
            ("until", &self.until),
            ("after", after),
        ];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}", format::url(value))).collect::<Vec<_>>().join("&")
    }
}

fn read_words(text: &str, filter: &mut SearchFilter) {
    if text.is_empty() {
        return;
    }
    if text.contains(',') && !text.contains(' ') {
        filter.document_id = text.to_owned();
        return;
    }
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match text.split_once('/') {
        Some((number, notation)) if is_number(number) && !notation.is_empty() && !notation.contains(' ') => {
            filter.number = number.to_owned();
            filter.notation = notation.to_owned();
        }
        _ if is_number(text) => filter.number = text.to_owned(),
        _ => filter.subject = begun(text),
    }
}

/// The last word may be unfinished: people see what they look for before they have typed it.
fn begun(text: &str) -> String {
    let last = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    match last.chars().count() >= 2 && last.chars().all(char::is_alphanumeric) {
        true => format!("{text}*"),
        false => text.to_owned(),
    }
}

/// Events of a choice: by default what was accepted, one row a document.
fn events(choice: &str) -> Vec<i32> {
    use EventKind as E;
    let events: &[E] = match choice {
        "refused" => &[E::SubmissionRejection],
        "handed" => &[E::ContentHandover],
        "returned" => &[E::ConsignmentRejection],
        "expired" => &[E::ContentHandoverFailure, E::ContentConsignmentFailure],
        "status" => &[E::BusinessStatus, E::ConsignmentAcceptance, E::RecallRequested, E::StatusRecorded],
        "all" => &[],
        _ => &[E::SubmissionAcceptance],
    };
    events.iter().map(|event| i32::from(*event)).collect()
}

fn choices(words: &'static Words, chosen: &str) -> Vec<Choice> {
    let all = [
        ("", words.event_any),
        ("handed", words.event_group_handed),
        ("expired", words.event_group_expired),
        ("returned", words.event_group_returned),
        ("refused", words.event_group_refused),
        ("status", words.event_group_status),
        ("all", words.event_group_all),
    ];
    all.into_iter().map(|(value, text)| Choice { value, text, chosen: value == chosen }).collect()
}

/// Rows as people read them.
pub(crate) fn hits(lang: Lang, directory: &Directory, rows: Vec<EvidenceRow>) -> Vec<Hit> {
    rows.into_iter().map(|row| hit(lang, directory, row)).collect()
}

fn hit(lang: Lang, directory: &Directory, row: EvidenceRow) -> Hit {
    let event = row.event();
    let number = match (row.number.is_empty(), row.notation.is_empty()) {
        (true, true) => row.document_id.clone(),
        (_, true) => row.number.clone(),
        _ => format!("{}/{}", row.number, row.notation),
    };
    let has_page = !row.number.is_empty() || !row.notation.is_empty() || !row.subject.is_empty();
    let href = if has_page { path(lang, &row.document_id, &row.sender, row.revision) } else { String::new() };
    Hit {
        at: format::moment(lang, row.event_time_us),
        at_machine: format::machine(row.event_time_us),
        event: labels::event(lang, event),
        tone: labels::event_tone(event),
        href,
        number,
        sender: Who::of(lang, directory, &row.sender),
        recipient: Who::of(lang, directory, &row.recipient),
        recipients: row.recipient_count,
        urgency: (row.urgency > 0).then(|| labels::urgency(lang, row.urgency)),
        status: labels::status(lang, row.status_code),
        subject: row.subject,
    }
}

/// Page of a document.
pub(crate) fn path(lang: Lang, id: &str, sender: &str, revision: u64) -> String {
    let mut path = format!("/{}/document?id={}&sender={}", lang.name(), format::url(id), format::url(sender));
    if revision > 0 {
        path += &format!("&revision={revision}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(q: &str) -> SearchFilter {
        Asked { q: q.into(), ..Asked::default() }.filter()
    }

    #[test]
    fn one_field_understands_numbers_ids_and_words() {
        let found = filter("17/BC-UBND");
        assert_eq!((found.number.as_str(), found.notation.as_str()), ("17", "BC-UBND"));
        assert_eq!(filter(" 17 ").number, "17");
        assert_eq!(filter("000.01.21.H38,2026,17/BC-UBND").document_id, "000.01.21.H38,2026,17/BC-UBND");
        assert_eq!(filter("phòng, chống rét").subject, "phòng, chống rét*");
        assert_eq!(filter("kết quả k").subject, "kết quả k", "one letter begins too much");
        assert_eq!(filter("17/BC UBND").subject, "17/BC UBND*");
        assert_eq!(filter("").events, [i32::from(EventKind::SubmissionAcceptance)]);
    }

    #[test]
    fn days_are_whole_and_wrong_ones_do_not_count() {
        let asked = Asked { from: "2026-11-22".into(), until: "2026-11-22".into(), ..Asked::default() };
        let filter = asked.filter();
        assert_eq!(filter.until_us - filter.from_us, 86_400_000_000);
        assert_eq!(Asked { from: "soon".into(), ..Asked::default() }.filter().from_us, 0);
        assert_eq!(asked.query("x&y"), "from=2026-11-22&until=2026-11-22&after=x%26y");
    }
}
