//! What a file proves, as data: the same in every language.

use serde::Serialize;

use crate::{
    client::readable::moment,
    domain::{id::Digest, time::Timestamp},
    proto::{LegalValue, SignerKind},
    verify::docproof::{Course, End, Erased, KeyStory, Proven, Signed},
};

/// The proven facts.
#[derive(Debug, Serialize)]
pub struct Told {
    hub: String,
    verifier_key: String,
    tree_size: u64,
    root: String,
    leaves: usize,
    signatures_verified: usize,
    document_id: String,
    sender: String,
    sender_name: Option<String>,
    revision: u64,
    manifest_sha256: Option<String>,
    number: String,
    notation: String,
    subject: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    accepted_at: Option<String>,
    acceptance_leaf: u64,
    legal_value: Option<&'static str>,
    signatures: Vec<Signature>,
    parts: Vec<Part>,
    erased: Vec<Gone>,
    counts: Counts,
    recipients: Vec<Recipient>,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Counts {
    accepted_for: u64,
    in_the_file: usize,
    missing: u64,
    taken_over: usize,
    refused_by_system: usize,
    refused_by_clerk: usize,
    expired: usize,
    cancelled: usize,
    waiting: usize,
}

#[derive(Debug, Serialize)]
struct Part {
    name: String,
    size: u64,
    sha256: String,
}

#[derive(Debug, Serialize)]
struct Gone {
    leaf: u64,
    at: Option<String>,
    policy: String,
    parts_sha256: Vec<String>,
    envelope_sha256: Option<String>,
}

#[derive(Debug, Serialize)]
struct Signature {
    key_id: String,
    agency: String,
    signer: Option<&'static str>,
    valid: bool,
    problem: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Recipient {
    recipient: String,
    name: Option<String>,
    end: &'static str,
    at: Option<String>,
    reason: String,
    status_code: u32,
    change_pending: bool,
    deadline: Option<String>,
    events: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct Event {
    leaf: u64,
    event: &'static str,
    at: Option<String>,
    status_code: u32,
}

#[derive(Debug, Serialize)]
struct Key {
    key_id: String,
    agency: String,
    signer: Option<&'static str>,
    registered_leaf: u64,
    valid_from: Option<String>,
    valid_until: Option<String>,
    revoked_leaf: Option<u64>,
    revoked_at: Option<String>,
}

impl Told {
    /// All of them.
    pub fn of(proven: &Proven) -> Self {
        let (manifest, acceptance) = (&proven.manifest, &proven.acceptance);
        let info = manifest.document.clone().unwrap_or_default();
        Self {
            hub: proven.checkpoint.origin.clone(),
            verifier_key: proven.verifier.to_string(),
            tree_size: proven.checkpoint.size,
            root: hex::encode(proven.checkpoint.root),
            leaves: proven.leaves,
            signatures_verified: proven.signatures_checked,
            document_id: manifest.document_id.clone(),
            sender: manifest.sender.clone(),
            sender_name: proven.names.get(&manifest.sender).cloned(),
            revision: manifest.revision,
            manifest_sha256: acceptance.manifest_sha256().as_ref().map(Digest::to_string),
            number: info.number,
            notation: info.notation,
            subject: info.subject,
            test: manifest.test,
            accepted_at: time(acceptance.time()),
            acceptance_leaf: acceptance.index(),
            legal_value: legal_value(proven),
            signatures: proven.signatures.iter().map(signature).collect(),
            parts: manifest.parts.iter().map(part).collect(),
            erased: proven.erased.iter().map(gone).collect(),
            counts: Counts {
                accepted_for: proven.lists.iter().map(|list| list.count).sum(),
                in_the_file: proven.recipients.len(),
                missing: proven.missing(),
                taken_over: proven.count(End::TakenOver),
                refused_by_system: proven.count(End::RefusedBySystem),
                refused_by_clerk: proven.count(End::RefusedByClerk),
                expired: proven.count(End::Expired),
                cancelled: proven.count(End::Cancelled),
                waiting: proven.count(End::Waiting),
            },
            recipients: proven.recipients.iter().map(|course| recipient(course, proven)).collect(),
            keys: proven.keys.iter().map(key).collect(),
        }
    }
}

fn legal_value(proven: &Proven) -> Option<&'static str> {
    match proven.acceptance.verdict()?.legal_value() {
        LegalValue::Unspecified => None,
        LegalValue::Original => Some("ORIGINAL"),
        LegalValue::Information => Some("INFORMATION"),
    }
}

fn signature(signed: &Signed) -> Signature {
    let report = &signed.report;
    Signature {
        key_id: hex::encode(&report.key_id),
        agency: report.agency.clone(),
        signer: signer(report.signer_kind()),
        valid: report.valid,
        problem: (!report.valid).then(|| report.problem().as_str_name()),
    }
}

fn part(part: &crate::proto::Part) -> Part {
    Part { name: part.name.clone(), size: part.size, sha256: hex::encode(&part.sha256) }
}

fn gone(erased: &Erased) -> Gone {
    Gone {
        leaf: erased.leaf,
        at: time(erased.at),
        policy: erased.policy.clone(),
        parts_sha256: erased.parts.iter().map(Digest::to_string).collect(),
        envelope_sha256: erased.envelope.as_ref().map(Digest::to_string),
    }
}

fn recipient(course: &Course, proven: &Proven) -> Recipient {
    let events = course.steps.iter().map(|step| Event {
        leaf: step.leaf,
        event: step.event.as_str_name(),
        at: time(step.at),
        status_code: step.status_code,
    });
    Recipient {
        recipient: course.recipient.to_string(),
        name: proven.names.get(course.recipient.as_str()).cloned(),
        end: course.end.code(),
        at: time(course.at),
        reason: course.reason.clone(),
        status_code: course.business.code,
        change_pending: course.business.change_pending,
        deadline: time(course.deadline),
        events: events.collect(),
    }
}

fn key(key: &KeyStory) -> Key {
    Key {
        key_id: key.key_id.to_string(),
        agency: key.agency.clone(),
        signer: signer(key.kind),
        registered_leaf: key.registered,
        valid_from: time(key.valid_from),
        valid_until: key.valid_until.and_then(time),
        revoked_leaf: key.revoked.map(|(leaf, _)| leaf),
        revoked_at: key.revoked.and_then(|(_, at)| time(at)),
    }
}

fn signer(kind: SignerKind) -> Option<&'static str> {
    match kind {
        SignerKind::Unspecified => None,
        SignerKind::Agency => Some("AGENCY"),
        SignerKind::Person => Some("PERSON"),
    }
}

fn time(at: Timestamp) -> Option<String> {
    moment(at.0)
}
