//! Proven facts, in English and as JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    domain::id::Digest,
    proto::{EventKind, LegalValue, SignatureReport, SignerKind},
    verify::Facts,
};

/// One proven event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Where its proof was found.
    pub file: String,
    /// What happened.
    pub event: &'static str,
    /// When, by the hub's clock.
    pub time: String,
    /// Whose log it is in.
    pub hub: String,
    /// Place in the log.
    pub index: u64,
    /// Leaves of the log that it was proven in.
    pub tree_size: u64,
    /// The document, where the event is about one.
    pub document_id: Option<String>,
    /// Its sender.
    pub sender: Option<String>,
    /// Its revision.
    pub revision: Option<u64>,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Option<String>,
    /// Recipients that the event is about.
    pub recipients: Vec<String>,
    /// On acceptance: how many recipients the document went to.
    pub recipient_count: Option<u64>,
    /// Business status, where the event carries one.
    pub status_code: Option<u32>,
    /// Why, or warnings.
    pub reasons: Vec<Reason>,
    /// How the hub judged the signatures.
    pub verdict: Option<Verdict>,
}

/// A stable code with its detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The code.
    pub code: &'static str,
    /// What exactly.
    pub detail: String,
}

/// The hub's judgement over signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `ORIGINAL` or `INFORMATION` (Decision 28/2018 art. 4).
    pub legal_value: Option<&'static str>,
    /// The leaves [0, as_of_index) decide which keys were valid.
    pub as_of_index: u64,
    /// In the envelope's order.
    pub signatures: Vec<Signature>,
}

/// How one signature was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// SHA-256 of the signer's public key.
    pub key_id: String,
    /// Agency that the key was registered for.
    pub agency: String,
    /// `AGENCY` or `PERSON`.
    pub signer: Option<&'static str>,
    /// The hub's word.
    pub valid: bool,
    /// Why not.
    pub problem: Option<&'static str>,
}

impl Event {
    /// The facts that `file` proves.
    pub fn of(file: &str, facts: &Facts) -> Self {
        let evidence = facts.evidence();
        let accepted = facts.event() == EventKind::SubmissionAcceptance;
        Self {
            file: file.to_owned(),
            event: facts.event().as_str_name(),
            time: moment(facts.time().0),
            hub: facts.checkpoint().origin.clone(),
            index: facts.index(),
            tree_size: facts.tree_size(),
            document_id: facts.document().map(|name| name.document_id.to_string()),
            sender: facts.document().map(|name| name.sender.to_string()),
            revision: facts.document().map(|name| name.revision),
            manifest_sha256: facts.manifest_sha256().as_ref().map(Digest::to_string),
            recipients: facts.recipients().map(str::to_owned).collect(),
            recipient_count: accepted.then_some(evidence.recipient_count),
            status_code: Some(evidence.status_code).filter(|code| *code != 0),
            reasons: reasons(facts),
            verdict: facts.verdict().map(verdict),
        }
    }
}

/// What a proven event means.
pub fn sentence(facts: &Facts) -> String {
    let at = moment(facts.time().0);
    let hub = &facts.checkpoint().origin;
    let document = facts.document().map_or_else(|| "something".to_owned(), ToString::to_string);
    let who: Vec<_> = facts.recipients().collect();
    let who = who.join(", ");
    let code = facts.evidence().status_code;
    let what = match facts.event() {
        EventKind::SubmissionAcceptance => {
            let count = facts.evidence().recipient_count;
            let ending = if count == 1 { "" } else { "s" };
            format!("the hub {hub} accepted {document} for {count} recipient{ending}")
        }
        EventKind::SubmissionRejection => format!("the hub {hub} refused {document}"),
        EventKind::ContentConsignment => format!("{document} was at the disposal of {who}"),
        EventKind::ContentHandover => format!("{who} took {document} over, and signed that it did"),
        EventKind::ContentHandoverFailure => format!("{document} was not taken over by {who} in time"),
        EventKind::ConsignmentAcceptance => format!("{who} registered {document} (status {code})"),
        EventKind::ConsignmentRejection => format!("{who} refused {document}"),
        EventKind::BusinessStatus => format!("{who} reported status {code} for {document}"),
        EventKind::StatusParked => format!("{who} reported status {code} for {document}, not known then"),
        EventKind::StatusRecorded => format!("a status {code} of {who} for {document} was recorded"),
        EventKind::RecallRequested => format!("{document} was asked back from {who}"),
        EventKind::DirectoryChange => format!("the hub {hub} changed its directory"),
        EventKind::DailyDigest => format!("the hub {hub} closed a day"),
        EventKind::PayloadErased => format!("contents of {document} were erased by a retention rule"),
        EventKind::LegalHold => format!("the hub {hub} recorded a legal hold"),
        EventKind::LogKeyChange => {
            format!("the log of {hub} went on with another key, signed by the old and the new one")
        }
        EventKind::AuditQuery => format!("the hub {hub} recorded what auditors asked"),
        other => format!("{} of {document} {who}", other.as_str_name()),
    };
    let why = reasons(facts)
        .iter()
        .map(|reason| format!("; {}: {}", reason.code, reason.detail))
        .collect::<String>();
    format!("At {at} {}{why}.", what.trim_end())
}

/// RFC 3339 in UTC.
fn moment(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} µs after 1970"), |at| at.to_string())
}

fn reasons(facts: &Facts) -> Vec<Reason> {
    facts.reasons().map(|reason| Reason { code: reason.code.as_str_name(), detail: reason.detail }).collect()
}

fn verdict(verdict: &crate::proto::Verdict) -> Verdict {
    Verdict {
        legal_value: match verdict.legal_value() {
            LegalValue::Unspecified => None,
            LegalValue::Original => Some("ORIGINAL"),
            LegalValue::Information => Some("INFORMATION"),
        },
        as_of_index: verdict.as_of_index,
        signatures: verdict.signatures.iter().map(signature).collect(),
    }
}

fn signature(report: &SignatureReport) -> Signature {
    Signature {
        key_id: hex::encode(&report.key_id),
        agency: report.agency.clone(),
        signer: match report.signer_kind() {
            SignerKind::Unspecified => None,
            SignerKind::Agency => Some("AGENCY"),
            SignerKind::Person => Some("PERSON"),
        },
        valid: report.valid,
        problem: (!report.valid).then(|| report.problem().as_str_name()),
    }
}
