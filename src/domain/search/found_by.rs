//! Terms: the values by which a leaf is found.

use std::collections::BTreeSet;

use crate::{
    domain::fold,
    proto::{DocumentInfo, Evidence, LegalValue},
};

/// A field's byte, then the value.
pub type Term = Vec<u8>;

/// Longer values are not told apart behind this many bytes.
const MAX_VALUE: usize = 400;

/// The term of a value in a field.
#[must_use]
pub fn term(field: u8, value: &str) -> Term {
    let bytes = value.as_bytes();
    let mut term = Vec::with_capacity(bytes.len() + 1);
    term.push(field);
    term.extend(&bytes[..bytes.len().min(MAX_VALUE)]);
    term
}

/// Fields.
pub mod field {
    /// Document id.
    pub const ID: u8 = b'd';
    /// Number, folded.
    pub const NUMBER: u8 = b'n';
    /// Notation, folded.
    pub const NOTATION: u8 = b'o';
    /// Year of promulgation.
    pub const YEAR: u8 = b'y';
    /// Sender.
    pub const SENDER: u8 = b's';
    /// Recipient that the event is about.
    pub const RECIPIENT: u8 = b'r';
    /// Everyone whom it concerns: sender, recipient, recipients that an acceptance names.
    pub const PARTY: u8 = b'p';
    /// Event.
    pub const EVENT: u8 = b'e';
    /// Business status.
    pub const STATUS: u8 = b'c';
    /// Reason code.
    pub const REASON: u8 = b'x';
    /// Urgency.
    pub const URGENCY: u8 = b'u';
    /// Legal value.
    pub const LEGAL: u8 = b'l';
    /// Word of the subject, folded.
    pub const WORD: u8 = b'w';
    /// On evidence about test documents.
    pub const TEST: u8 = b't';
}

/// What is indexed of one leaf.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    /// When it happened.
    pub time_us: i64,
    /// What it can be found by.
    pub terms: Vec<Term>,
}

/// What an accepted document says about all evidence of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Number within the year.
    pub number: String,
    /// Notation.
    pub notation: String,
    /// Calendar year of promulgation; 0 if that is not known.
    pub year: u32,
    /// Date of promulgation.
    pub promulgation_date: String,
    /// Name of the document's type.
    pub type_name: String,
    /// Subject.
    pub subject: String,
    /// 0 to 4.
    pub urgency: u32,
    /// By the hub's verdict in the acceptance.
    pub legal_value: LegalValue,
}

impl Accepted {
    /// From the manifest's part about the document and the verdict over its signatures.
    #[must_use]
    pub fn of(info: DocumentInfo, legal_value: LegalValue) -> Self {
        let year = info.promulgation_date.split('-').next().and_then(|year| year.parse().ok());
        Self {
            year: year.unwrap_or(0),
            number: info.number,
            notation: info.notation,
            promulgation_date: info.promulgation_date,
            type_name: info.type_name,
            subject: info.subject,
            urgency: info.urgency,
            legal_value,
        }
    }

    fn terms(&self) -> Vec<Term> {
        let mut terms = vec![
            term(field::NUMBER, &fold::line(&self.number)),
            term(field::NOTATION, &fold::line(&self.notation)),
            term(field::YEAR, &self.year.to_string()),
            term(field::URGENCY, &self.urgency.to_string()),
            term(field::LEGAL, &i32::from(self.legal_value).to_string()),
        ];
        let words: BTreeSet<String> = fold::words(&self.subject);
        terms.extend(words.iter().map(|word| term(field::WORD, word)));
        terms
    }
}

/// Whom evidence concerns: the sender, the recipients of the event, those that an acceptance names.
pub fn parties<'a>(evidence: &'a Evidence, named: &'a [String]) -> impl Iterator<Item = &'a str> {
    let spoken = evidence.sender.iter().chain(&evidence.recipients);
    let spoken = spoken.map(|party| party.agency.as_str());
    spoken.chain(named.iter().map(String::as_str)).filter(|agency| !agency.is_empty())
}

/// What a leaf is found by; with the accepted document that it is about, and whom an acceptance names.
#[must_use]
pub fn leaf(evidence: &Evidence, accepted: Option<&Accepted>, named: &[String]) -> Leaf {
    let mut terms = vec![term(field::EVENT, &evidence.event.to_string())];
    let mut put = |field: u8, value: &str| {
        if !value.is_empty() {
            terms.push(term(field, value));
        }
    };
    put(field::ID, &evidence.document_id);
    put(field::SENDER, evidence.sender.as_ref().map(|party| party.agency.as_str()).unwrap_or_default());
    evidence.recipients.iter().for_each(|party| put(field::RECIPIENT, &party.agency));
    parties(evidence, named).for_each(|agency| put(field::PARTY, agency));
    if evidence.status_code > 0 {
        put(field::STATUS, &evidence.status_code.to_string());
    }
    evidence.reasons.iter().for_each(|reason| put(field::REASON, &reason.code.to_string()));
    if evidence.test {
        put(field::TEST, "1");
    }
    terms.extend(accepted.into_iter().flat_map(Accepted::terms));
    terms.sort_unstable();
    terms.dedup();
    Leaf { time_us: evidence.event_time_us, terms }
}
