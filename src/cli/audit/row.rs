//! A row of evidence for people, files and scripts.

use serde::Serialize;

use crate::{
    cli::events::Word,
    client::{
        calendar::{rfc3339, vietnam_time},
        readable::tail,
    },
    domain::time::Timestamp,
    proto::EvidenceRow,
};

/// Names of the columns in files, in the order of [`Row::cells`].
pub const COLUMNS: [&str; 21] = [
    "index",
    "leaf_hash",
    "event",
    "time",
    "sender",
    "node",
    "document_id",
    "revision",
    "manifest_sha256",
    "number",
    "notation",
    "promulgation_date",
    "type_name",
    "subject",
    "recipient",
    "recipient_count",
    "status_code",
    "reasons",
    "urgency",
    "legal_value",
    "erased_leaf",
];

/// Columns of exports from before there was the last one.
pub const FORMER: usize = 20;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub index: u64,
    pub leaf_hash: String,
    pub event: &'static str,
    pub time: String,
    pub sender: String,
    pub node: String,
    pub document_id: String,
    pub revision: u64,
    pub manifest_sha256: String,
    pub number: String,
    pub notation: String,
    pub promulgation_date: String,
    pub type_name: String,
    pub subject: String,
    pub recipient: String,
    pub recipient_count: u64,
    pub status_code: u32,
    pub reasons: Vec<Word>,
    pub urgency: u32,
    pub legal_value: &'static str,
    /// Leaf that says that the document's contents were erased: why the subject is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased_leaf: Option<u64>,
    #[serde(skip)]
    at: Timestamp,
}

impl From<EvidenceRow> for Row {
    fn from(row: EvidenceRow) -> Self {
        let at = Timestamp(row.event_time_us);
        let word = |reason: &crate::proto::Reason| Word {
            code: reason.code().as_str_name().into(),
            detail: reason.detail.clone(),
        };
        Self {
            index: row.index,
            leaf_hash: hex::encode(&row.leaf_hash),
            event: row.event().as_str_name(),
            time: rfc3339(at),
            reasons: row.reasons.iter().map(word).collect(),
            legal_value: match tail(row.legal_value().as_str_name(), "LEGAL_VALUE_") {
                "UNSPECIFIED" => "",
                value => value,
            },
            manifest_sha256: hex::encode(&row.manifest_sha256),
            sender: row.sender,
            node: row.node,
            document_id: row.document_id,
            revision: row.revision,
            number: row.number,
            notation: row.notation,
            promulgation_date: row.promulgation_date,
            type_name: row.type_name,
            subject: row.subject,
            recipient: row.recipient,
            recipient_count: row.recipient_count,
            status_code: row.status_code,
            urgency: row.urgency,
            erased_leaf: Some(row.erased_leaf).filter(|leaf| *leaf > 0),
            at,
        }
    }
}

impl Row {
    /// As text, in the order of [`COLUMNS`].
    pub fn cells(&self) -> [String; COLUMNS.len()] {
        [
            self.index.to_string(),
            self.leaf_hash.clone(),
            self.event.to_owned(),
            self.time.clone(),
            self.sender.clone(),
            self.node.clone(),
            self.document_id.clone(),
            self.revision.to_string(),
            self.manifest_sha256.clone(),
            self.number.clone(),
            self.notation.clone(),
            self.promulgation_date.clone(),
            self.type_name.clone(),
            self.subject.clone(),
            self.recipient.clone(),
            self.recipient_count.to_string(),
            self.status_code.to_string(),
            self.why(),
            self.urgency.to_string(),
            self.legal_value.to_owned(),
            self.erased_leaf.map(|leaf| leaf.to_string()).unwrap_or_default(),
        ]
    }

    /// Date and time in Vietnam, for people.
    pub fn when(&self) -> String {
        vietnam_time(self.at)
    }

    /// Number and notation, or the id where there is no document.
    pub fn document(&self) -> String {
        if self.number.is_empty() {
            self.document_id.clone()
        } else {
            format!("{}/{}", self.number, self.notation)
        }
    }

    /// The subject, or why there is none.
    pub fn about(&self) -> String {
        match self.erased_leaf {
            Some(leaf) => format!("(erased, leaf {leaf})"),
            None => self.subject.clone(),
        }
    }

    /// What happened, with its status code.
    pub fn what(&self) -> String {
        if self.status_code == 0 {
            self.event.to_owned()
        } else {
            format!("{} {:02}", self.event, self.status_code)
        }
    }

    /// Codes of the reasons with their details.
    pub fn why(&self) -> String {
        let words = self.reasons.iter().map(|word| format!("{}: {}", word.code, word.detail));
        words.collect::<Vec<_>>().join("; ")
    }
}
