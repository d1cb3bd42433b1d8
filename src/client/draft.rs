//! A document before it is signed.

use std::path::{Path, PathBuf};

use super::calendar::vietnam_date;
use crate::{
    domain::{
        id::Digest,
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    proto::{DocumentInfo, Level, Manifest, Operation, Part, RecipientGroup, Reference, SignerInfo},
};

/// What a sender says about a document. What is left empty is not sent, but for the defaults named here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Sending agency.
    pub sender: String,
    /// Recipient agencies.
    pub recipients: Vec<String>,
    /// Groups of recipients; see [`communes_of`] and [`all_below`].
    pub groups: Vec<RecipientGroup>,
    /// Name for ever. `None`: `SENDER,YEAR,NUMBER/NOTATION`.
    pub document_id: Option<String>,
    /// 0 for the first issue.
    pub revision: u64,
    /// Number within the year.
    pub number: String,
    /// Notation.
    pub notation: String,
    /// Date of promulgation, `YYYY-MM-DD`. `None`: today in Vietnam.
    pub date: Option<String>,
    /// Name of the type, such as "Công văn".
    pub type_name: String,
    /// Trích yếu.
    pub subject: String,
    /// Signature line.
    pub signer: Option<SignerInfo>,
    /// 0 to 4.
    pub urgency: u32,
    /// Reply expected by, `YYYY-MM-DD`.
    pub due_date: String,
    /// By when it must be taken over. `None`: the hub's default.
    pub deadline: Option<Timestamp>,
    /// True when paper goes as well.
    pub paper: bool,
    /// What the package does.
    pub operation: Operation,
    /// Why, where the operation needs it.
    pub operation_reason: String,
    /// Other documents.
    pub references: Vec<Reference>,
    /// Attachments, by path, in their order.
    pub files: Vec<PathBuf>,
    /// A test document: see `Manifest.test`.
    pub test: bool,
}

/// What is added when the draft is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue<'a> {
    /// 16 random bytes.
    pub nonce: [u8; 16],
    /// When.
    pub at: Timestamp,
    /// For which hub.
    pub origin: &'a str,
    /// The attachments, one for each of the draft's files.
    pub parts: Vec<Part>,
}

impl Draft {
    /// The manifest to sign. Rules are the hub's: nothing is checked here.
    #[must_use]
    pub fn manifest(&self, issue: Issue<'_>) -> Manifest {
        let date = self.date.clone().unwrap_or_else(|| vietnam_date(issue.at));
        Manifest {
            document_id: self.document_id.clone().unwrap_or_else(|| self.default_id(&date)),
            revision: self.revision,
            nonce: issue.nonce.to_vec().into(),
            sender: self.sender.clone(),
            recipients: self.recipients.clone(),
            groups: self.groups.clone(),
            issued_at_us: issue.at.0,
            delivery_deadline_us: self.deadline.map_or(0, |deadline| deadline.0),
            hub_origin: issue.origin.to_owned(),
            parts: issue.parts,
            references: self.references.clone(),
            operation: self.operation.into(),
            operation_reason: self.operation_reason.clone(),
            test: self.test,
            document: Some(DocumentInfo {
                number: self.number.clone(),
                notation: self.notation.clone(),
                promulgation_date: date,
                type_name: self.type_name.clone(),
                subject: self.subject.clone(),
                signer: self.signer.clone(),
                urgency: self.urgency,
                due_date: self.due_date.clone(),
                paper: self.paper,
                ..DocumentInfo::default()
            }),
        }
    }

    fn default_id(&self, date: &str) -> String {
        let year = date.split('-').next().unwrap_or_default();
        let slash = if self.notation.is_empty() { "" } else { "/" };
        format!("{},{year},{}{slash}{}", self.sender, self.number, self.notation)
    }
}

/// All communes below an agency.
#[must_use]
pub fn communes_of(root: &str) -> RecipientGroup {
    RecipientGroup { root: root.to_owned(), level: Level::Commune.into() }
}

/// Everything below an agency.
#[must_use]
pub fn all_below(root: &str) -> RecipientGroup {
    RecipientGroup { root: root.to_owned(), level: Level::Unspecified.into() }
}

/// The attachment that a file makes: shown by the file's own name, never by its path.
pub fn part(path: &Path, size: u64, sha256: &Digest) -> Result<Part, Reason> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Reason::new(ReasonCode::InvalidField, format!("{}: needs a file name in UTF-8", path.display()))
    })?;
    Ok(Part {
        name: name.to_owned(),
        media_type: media_type(name).to_owned(),
        size,
        sha256: sha256.to_bytes(),
    })
}

/// By the ending of the name, as IANA lists them.
fn media_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref().unwrap_or_default() {
        "pdf" => "application/pdf",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        "xml" | "edxml" => "application/xml",
        "json" => "application/json",
        "zip" => "application/zip",
        "p7s" => "application/pkcs7-signature",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "tif" | "tiff" => "image/tiff",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A draft that every hub takes.
    pub fn draft() -> Draft {
        Draft {
            sender: "000.00.00.H53".into(),
            recipients: vec!["H54".into()],
            number: "17".into(),
            notation: "BC-UBND".into(),
            type_name: "Báo cáo".into(),
            subject: "Kết quả quý III".into(),
            ..Draft::default()
        }
    }

    /// An issue at a time on 21 November in UTC and 22 November in Vietnam.
    pub fn issue(parts: Vec<Part>) -> Issue<'static> {
        Issue { nonce: [9; 16], at: Timestamp(1_795_291_200_000_000), origin: "hub.test/log", parts }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{testing::*, *};
    use crate::{
        domain::document::{Limits, check_manifest},
        proto::ReferenceKind,
    };

    #[test]
    fn a_plain_draft_keeps_the_rules() {
        let manifest = draft().manifest(issue(Vec::new()));
        assert_eq!(manifest.document_id, "000.00.00.H53,2026,17/BC-UBND");
        let info = manifest.document.as_ref().expect("there");
        assert_eq!(info.promulgation_date, "2026-11-22");
        let payload = manifest.encode_to_vec().into();
        let at = Timestamp(manifest.issued_at_us);
        check_manifest(&payload, &Limits::default(), "hub.test/log", at).expect("legal");
    }

    #[test]
    fn everything_arrives_in_the_manifest() {
        let reference = Reference {
            kind: ReferenceKind::Recalls.into(),
            organ_id: "000.00.00.H53".into(),
            document_id: "old".into(),
            ..Reference::default()
        };
        let whole = Draft {
            groups: vec![communes_of("H55"), all_below("H56")],
            document_id: Some("my own".into()),
            revision: 2,
            date: Some("2025-12-31".into()),
            signer: Some(SignerInfo { full_name: "Nguyễn Văn A".into(), ..SignerInfo::default() }),
            urgency: 3,
            due_date: "2026-12-01".into(),
            deadline: Some(Timestamp(1_795_291_200_000_001)),
            paper: true,
            operation: Operation::Recall,
            operation_reason: "sai nội dung".into(),
            references: vec![reference.clone()],
            ..draft()
        };
        let part = part(Path::new("/somewhere/Báo cáo.PDF"), 5, &Digest([1; 32])).expect("a name");
        let manifest = whole.manifest(issue(vec![part.clone()]));
        assert_eq!((manifest.document_id.as_str(), manifest.revision), ("my own", 2));
        assert_eq!(manifest.groups[0].level(), Level::Commune);
        assert_eq!(manifest.groups[1], RecipientGroup { root: "H56".into(), level: 0 });
        assert_eq!(manifest.delivery_deadline_us, 1_795_291_200_000_001);
        assert_eq!((manifest.operation(), manifest.references), (Operation::Recall, vec![reference]));
        assert_eq!(manifest.operation_reason, "sai nội dung");
        assert_eq!(manifest.nonce[..], [9; 16]);
        assert_eq!(manifest.parts, [part]);
        let info = manifest.document.expect("there");
        assert_eq!((info.urgency, info.paper, info.due_date.as_str()), (3, true, "2026-12-01"));
        assert_eq!(info.promulgation_date, "2025-12-31");
        assert_eq!(info.signer.expect("there").full_name, "Nguyễn Văn A");
    }

    #[test]
    fn the_default_id_does_without_a_notation() {
        let draft = Draft { notation: String::new(), date: Some("2025-01-02".into()), ..draft() };
        assert_eq!(draft.manifest(issue(Vec::new())).document_id, "000.00.00.H53,2025,17");
    }

    #[test]
    fn a_part_shows_no_path() {
        let part = part(Path::new("../secret/Báo cáo.PDF"), 5, &Digest([1; 32])).expect("a name");
        assert_eq!((part.name.as_str(), part.media_type.as_str()), ("Báo cáo.PDF", "application/pdf"));
        assert_eq!(
            super::part(Path::new(".."), 0, &Digest([1; 32])).expect_err("none").code,
            ReasonCode::InvalidField
        );
        assert_eq!(media_type("README"), "application/octet-stream");
    }
}
