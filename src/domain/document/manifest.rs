//! The manifest and later addressings: the rules in the comments of `manifest.proto`.

use bytes::Bytes;
use jiff::{civil::Date, tz::Offset};

use super::{
    Limits,
    decode::{Repeated, decode},
    problems::Problems,
};
use crate::{
    domain::{
        agency,
        id::{Digest, DocumentName, MAX_DOCUMENT_ID},
        reason::{Reason, ReasonCode},
        text,
        time::Timestamp,
    },
    proto::{Addressing, DocumentInfo, Manifest, Operation, Part, Reference, ReferenceKind, Secrecy},
};

/// Most groups, references, appendixes and places of a manifest.
const MAX_LIST: usize = 100;

/// Most recipients of a test document.
const MAX_TEST_RECIPIENTS: usize = 16;
/// Deadline of a test document that names none, and the latest.
const TEST_DEADLINE_US: i64 = 10 * 60 * 1_000_000;
const MAX_TEST_DEADLINE_US: i64 = 3_600 * 1_000_000;

/// A manifest whose fields keep their rules.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedManifest {
    /// What names the document for ever.
    pub name: DocumentName,
    /// The message; its document is there.
    pub manifest: Manifest,
    /// Calendar year of promulgation, part of the natural key.
    pub year: u32,
    /// By when it has to be taken over: as given, or by the hub's default.
    pub deadline: Timestamp,
    /// Words that refuse nothing. These rules have none; later steps that know more add theirs.
    pub warnings: Vec<Reason>,
}

/// An addressing whose fields keep their rules.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedAddressing {
    /// The document that was accepted before.
    pub name: DocumentName,
    /// The message.
    pub addressing: Addressing,
    /// SHA-256 of the accepted manifest payload.
    pub manifest_sha256: Digest,
}

/// Checks a `Manifest` and tells all problems at once, each with its field.
///
/// A document that is marked as a state secret is `STATE_SECRET` and nothing else: not a word about it is repeated.
pub fn check_manifest(
    payload: &Bytes,
    limits: &Limits,
    origin: &str,
    now: Timestamp,
) -> Result<CheckedManifest, Vec<Reason>> {
    let bounds: [Repeated; 4] = [
        (5, "recipients", limits.max_recipients),
        (6, "groups", MAX_LIST),
        (11, "parts", limits.max_parts),
        (12, "references", MAX_LIST),
    ];
    let manifest: Manifest =
        decode(payload, limits.max_manifest_bytes, &bounds).map_err(|reason| vec![reason])?;
    if manifest.document.as_ref().is_some_and(|info| info.secrecy != i32::from(Secrecy::None)) {
        return Err(vec![Reason::new(ReasonCode::StateSecret, "document.secrecy: needs to be NONE")]);
    }

    let mut problems = Problems::default();
    let name = problems.document_name(&manifest.sender, &manifest.document_id, manifest.revision);
    problems.nonce(&manifest.nonce);
    problems.addressees(&manifest.recipients, &manifest.groups);
    check_issued_at(manifest.issued_at_us, limits, now, &mut problems);
    let deadline = if manifest.test {
        check_test(&manifest, now, &mut problems)
    } else {
        check_deadline(manifest.delivery_deadline_us, limits, now, &mut problems)
    };
    problems.origin(&manifest.hub_origin, origin);
    let year = match &manifest.document {
        Some(info) => check_info(info, now, &mut problems),
        None => problems.keep(Err(Reason::invalid("document", "is required"))),
    };
    for (at, part) in manifest.parts.iter().enumerate() {
        check_part(&format!("parts[{at}]"), part, limits, &mut problems);
    }
    for (at, reference) in manifest.references.iter().enumerate() {
        check_reference(&format!("references[{at}]"), reference, &mut problems);
    }
    check_operation(&manifest, &mut problems);

    let checked = name.zip(year).map(|(name, year)| CheckedManifest {
        name,
        manifest,
        year,
        deadline,
        warnings: Vec::new(),
    });
    problems.finish(checked)
}

/// Checks an `Addressing` and tells all problems at once, each with its field.
pub fn check_addressing(
    payload: &Bytes,
    limits: &Limits,
    origin: &str,
    now: Timestamp,
) -> Result<CheckedAddressing, Vec<Reason>> {
    let bounds: [Repeated; 2] = [(5, "recipients", limits.max_recipients), (6, "groups", MAX_LIST)];
    let addressing: Addressing =
        decode(payload, limits.max_manifest_bytes, &bounds).map_err(|reason| vec![reason])?;
    let mut problems = Problems::default();
    let name = problems.document_name(&addressing.sender, &addressing.document_id, addressing.revision);
    let manifest_sha256 = problems.digest("manifest_sha256", &addressing.manifest_sha256);
    problems.addressees(&addressing.recipients, &addressing.groups);
    check_issued_at(addressing.issued_at_us, limits, now, &mut problems);
    problems.origin(&addressing.hub_origin, origin);

    let checked = name.zip(manifest_sha256).map(|(name, manifest_sha256)| CheckedAddressing {
        name,
        addressing,
        manifest_sha256,
    });
    problems.finish(checked)
}

fn check_issued_at(issued_at_us: i64, limits: &Limits, now: Timestamp, problems: &mut Problems) {
    let distance = now.distance_us(Timestamp(issued_at_us));
    if distance > limits.clock_skew_us {
        let detail = format!("issued_at_us: {} s from the hub's clock", distance / 1_000_000);
        problems.add(Reason::new(ReasonCode::ClockSkew, detail));
    }
}

fn check_deadline(given_us: i64, limits: &Limits, now: Timestamp, problems: &mut Problems) -> Timestamp {
    let Some(deadline) = Timestamp::given(given_us) else { return now.plus_us(limits.default_deadline_us) };
    if deadline <= now {
        problems.invalid("delivery_deadline_us", "needs to be in the future");
    }
    if deadline > now.plus_us(limits.max_deadline_us) {
        let days = limits.max_deadline_us / 86_400_000_000;
        problems.invalid("delivery_deadline_us", format_args!("at most {days} days ahead"));
    }
    deadline
}

/// Nothing that counts can pass for a test: notes what is wrong, answers the deadline.
fn check_test(manifest: &Manifest, now: Timestamp, problems: &mut Problems) -> Timestamp {
    let crowds = [
        ("parts", manifest.parts.len(), 0),
        ("groups", manifest.groups.len(), 0),
        ("references", manifest.references.len(), 0),
        ("recipients", manifest.recipients.len(), MAX_TEST_RECIPIENTS),
    ];
    for (field, count, most) in crowds {
        if count > most {
            problems.invalid(field, format_args!("{count}, at most {most} in a test document"));
        }
    }
    if manifest.operation != i32::from(Operation::New) {
        problems.invalid("operation", "a test document is always NEW");
    }
    let Some(deadline) = Timestamp::given(manifest.delivery_deadline_us) else {
        return now.plus_us(TEST_DEADLINE_US);
    };
    if deadline <= now || deadline > now.plus_us(MAX_TEST_DEADLINE_US) {
        problems.invalid("delivery_deadline_us", "at most one hour ahead in a test document");
    }
    deadline
}

/// Notes what is wrong; answers the year of promulgation.
fn check_info(info: &DocumentInfo, now: Timestamp, problems: &mut Problems) -> Option<u32> {
    problems.required_text("document.number", &info.number, 11);
    problems.text("document.notation", &info.notation, 30);
    let date = problems.keep(check_promulgation_date(&info.promulgation_date, now));
    problems.text("document.place", &info.place, 50);
    problems.required_text("document.type_name", &info.type_name, 100);
    problems.required_text("document.subject", &info.subject, 500);
    problems.text("document.content", &info.content, 500);
    if let Some(signer) = &info.signer {
        problems.text("document.signer.competence", &signer.competence, 100);
        problems.text("document.signer.position", &signer.position, 100);
        problems.text("document.signer.full_name", &signer.full_name, 50);
    }
    if info.urgency > 4 {
        problems.invalid("document.urgency", format_args!("{} is unknown, needs 0 to 4", info.urgency));
    }
    check_date_or_empty("document.due_date", &info.due_date, problems);
    problems.text("document.sphere", &info.sphere, 100);
    check_texts("document.appendixes", &info.appendixes, 200, problems);
    check_texts("document.to_places", &info.to_places, 150, problems);
    if info.steering_type > 3 {
        let rule = format_args!("{} is unknown, needs 0 to 3", info.steering_type);
        problems.invalid("document.steering_type", rule);
    }
    date.and_then(|date| u32::try_from(date.year()).ok())
}

fn check_promulgation_date(text: &str, now: Timestamp) -> Result<Date, Reason> {
    let field = "document.promulgation_date";
    let date = parse_date(text).ok_or_else(|| Reason::invalid(field, "needs a date as YYYY-MM-DD"))?;
    if vietnam_date(now).is_none_or(|today| date > today) {
        return Err(Reason::invalid(field, "is in the future"));
    }
    Ok(date)
}

fn check_date_or_empty(field: &str, text: &str, problems: &mut Problems) {
    if !text.is_empty() && parse_date(text).is_none() {
        problems.invalid(field, "needs a date as YYYY-MM-DD");
    }
}

fn check_texts(field: &str, texts: &[String], most: usize, problems: &mut Problems) {
    if texts.len() > MAX_LIST {
        let detail = format!("{field}: {}, at most {MAX_LIST}", texts.len());
        return problems.add(Reason::new(ReasonCode::TooLarge, detail));
    }
    for (at, text) in texts.iter().enumerate() {
        problems.text(&format!("{field}[{at}]"), text, most);
    }
}

fn check_part(field: &str, part: &Part, limits: &Limits, problems: &mut Problems) {
    problems.keep(check_file_name(&format!("{field}.name"), &part.name));
    problems.keep(text::check_bytes(&format!("{field}.media_type"), &part.media_type, 0..=100));
    if part.size > limits.max_part_bytes {
        let detail = format!("{field}.size: {} bytes, at most {}", part.size, limits.max_part_bytes);
        problems.add(Reason::new(ReasonCode::TooLarge, detail));
    }
    problems.digest(&format!("{field}.sha256"), &part.sha256);
}

/// A name to show; recipients also make files of it.
fn check_file_name(field: &str, name: &str) -> Result<(), Reason> {
    text::check_bytes(field, name, 1..=255)?;
    if name.contains(['/', '\\']) || matches!(name, "." | "..") {
        return Err(Reason::invalid(field, "needs a plain file name"));
    }
    Ok(())
}

fn check_reference(field: &str, reference: &Reference, problems: &mut Problems) {
    let named = |name: &str| format!("{field}.{name}");
    if reference.kind() == ReferenceKind::Unspecified {
        problems.invalid(&named("kind"), "is required");
    }
    // Old documents are quoted as they were: abbreviated identifiers are let through.
    if !reference.organ_id.is_empty() && !agency::is_alias(&reference.organ_id) {
        let detail = format!("{field}.organ_id: needs 1 to 35 of 0-9 A-Z .");
        problems.add(Reason::new(ReasonCode::BadIdentifier, detail));
    }
    if reference.document_id.is_empty() && reference.number.is_empty() {
        problems.invalid(field, "needs document_id or number");
    }
    problems.keep(text::check_bytes(&named("document_id"), &reference.document_id, 0..=MAX_DOCUMENT_ID));
    problems.text(&named("number"), &reference.number, 11);
    problems.text(&named("notation"), &reference.notation, 30);
    check_date_or_empty(&named("promulgation_date"), &reference.promulgation_date, problems);
}

fn check_operation(manifest: &Manifest, problems: &mut Problems) {
    let Ok(operation) = Operation::try_from(manifest.operation) else {
        return problems.invalid("operation", format_args!("{} is unknown", manifest.operation));
    };
    let needed = match operation {
        Operation::New => return problems.text("operation_reason", &manifest.operation_reason, 500),
        Operation::Recall => ReferenceKind::Recalls,
        Operation::Update => ReferenceKind::Updates,
        Operation::Replacement => ReferenceKind::Replaces,
    };
    problems.required_reason("operation_reason", &manifest.operation_reason, 500);
    if !manifest.references.iter().any(|reference| reference.kind() == needed) {
        problems.invalid("references", format_args!("needs one of kind {}", needed.as_str_name()));
    }
}

/// A real day, written `YYYY-MM-DD` and in no other way.
fn parse_date(text: &str) -> Option<Date> {
    let shape = b"9999-99-99";
    let written_so = text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'9' => byte.is_ascii_digit(),
            _ => byte == *shape,
        });
    written_so.then(|| text.parse().ok()).flatten()
}

/// Today in Vietnam (UTC+7, no summer time).
fn vietnam_date(now: Timestamp) -> Option<Date> {
    let now = jiff::Timestamp::from_microsecond(now.0).ok()?;
    Some(Offset::constant(7).to_datetime(now).date())
}

#[cfg(test)]
mod tests;
