//! Events as people and scripts see them.

use serde::Serialize;

use crate::{
    client::{
        calendar::vietnam_time,
        readable::{moment, tail},
        timeline::Event,
    },
    domain::{reason::Reason, time::Timestamp},
    proto::{Evidence, SignatureReport},
};

/// A stable code with its detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Name of the code.
    pub code: String,
    /// What it is about.
    pub detail: String,
}

impl From<&Reason> for Word {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code.as_str_name().to_owned(), detail: reason.detail.clone() }
    }
}

/// Reasons of an event.
pub fn words(evidence: &Evidence) -> Vec<Word> {
    crate::client::reasons_of(evidence).iter().map(Word::from).collect()
}

/// For people: each reason on a line with what to do next.
pub fn warning_lines(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("\n  warning: {reason}\n    {}", reason.entry().help_en)).collect()
}

/// Legal value by Decision 28/2018 art. 4.
pub fn legal_value(evidence: &Evidence) -> &'static str {
    let value = evidence.verdict.as_ref().map(|verdict| verdict.legal_value()).unwrap_or_default();
    tail(value.as_str_name(), "LEGAL_VALUE_")
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct EventLine {
    /// Leaf of the log.
    pub index: u64,
    /// What happened.
    pub event: &'static str,
    /// When, RFC 3339 in Vietnam time.
    pub time: Option<String>,
    /// Document.
    pub document_id: String,
    /// Its sender.
    pub sender: String,
    /// Its revision.
    pub revision: u64,
    /// The recipient concerned; empty when all are.
    pub recipient: String,
    /// Business status code, 0 for none.
    pub status_code: u32,
    /// Why, or warnings.
    pub reasons: Vec<Word>,
    /// Valid signatures; none when the hub itself speaks.
    pub signed_by: Vec<Signer>,
    /// The person on whose word the hub did it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// Origin of the hub.
    pub hub: String,
    #[serde(skip)]
    at: Timestamp,
}

/// Who signed.
#[derive(Clone, Debug, Serialize)]
pub struct Signer {
    /// Agency.
    pub agency: String,
    /// AGENCY or PERSON.
    pub kind: &'static str,
    /// SHA-256 of the key.
    pub key_id: String,
}

impl EventLine {
    /// Of a verified event.
    pub fn new(event: &Event) -> Self {
        let evidence = &event.evidence;
        let signatures = evidence.verdict.iter().flat_map(|verdict| &verdict.signatures);
        Self {
            index: event.receipt.index,
            event: evidence.event().as_str_name(),
            time: moment(evidence.event_time_us),
            document_id: evidence.document_id.clone(),
            sender: evidence.sender.clone().unwrap_or_default().agency,
            revision: evidence.revision,
            recipient: evidence.recipients.first().map(|party| party.agency.clone()).unwrap_or_default(),
            status_code: evidence.status_code,
            reasons: words(evidence),
            signed_by: signatures.filter(|report| report.valid).map(Signer::new).collect(),
            actor: evidence.actor.clone().unwrap_or_default().name,
            hub: evidence.issuer.clone().unwrap_or_default().hub,
            at: Timestamp(evidence.event_time_us),
        }
    }

    /// What happened, with its status code.
    pub fn what(&self) -> String {
        match self.status_code {
            0 => self.event.to_owned(),
            code => format!("{} {code:02}", self.event),
        }
    }

    /// When, for people.
    pub fn when(&self) -> String {
        vietnam_time(self.at)
    }

    /// Who signed, for people.
    pub fn who(&self) -> String {
        if self.signed_by.is_empty() {
            return if self.actor.is_empty() {
                "hub".into()
            } else {
                format!("hub, on the word of {}", self.actor)
            };
        }
        self.signed_by.iter().map(Signer::shown).collect::<Vec<_>>().join("\n")
    }

    /// Why, for people.
    pub fn why(&self) -> String {
        self.reasons
            .iter()
            .map(|word| format!("{}: {}", word.code, word.detail))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Signer {
    fn new(report: &SignatureReport) -> Self {
        Self {
            agency: report.agency.clone(),
            kind: tail(report.signer_kind().as_str_name(), "SIGNER_KIND_"),
            key_id: hex::encode(&report.key_id),
        }
    }

    fn shown(&self) -> String {
        let key = self.key_id.get(..8).unwrap_or_default();
        match self.kind {
            "PERSON" => format!("{} (person, {key})", self.agency),
            _ => format!("{} ({key})", self.agency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{EventKind, Party, Receipt, SignerKind, Verdict};

    #[test]
    fn an_event_tells_who_and_why() {
        let report = |agency: &str, kind: SignerKind, valid| SignatureReport {
            agency: agency.into(),
            signer_kind: kind.into(),
            key_id: vec![0xab; 32].into(),
            valid,
            ..SignatureReport::default()
        };
        let signatures = vec![
            report("H54", SignerKind::Agency, true),
            report("H54", SignerKind::Person, true),
            report("H99", SignerKind::Agency, false),
        ];
        let evidence = Evidence {
            event: EventKind::StatusRecorded.into(),
            event_time_us: 1_795_291_200_000_000,
            recipients: vec![Party { agency: "H54".into(), ..Party::default() }],
            status_code: 3,
            reasons: vec![
                Reason::new(crate::domain::reason::ReasonCode::OutOfOrder, "03 after 06").to_proto(),
            ],
            verdict: Some(Verdict { signatures, ..Verdict::default() }),
            ..Evidence::default()
        };
        let line = EventLine::new(&Event { receipt: Receipt { index: 9, ..Receipt::default() }, evidence });
        assert_eq!(
            (line.what().as_str(), line.when().as_str()),
            ("STATUS_RECORDED 03", "2026-11-22 03:00:00")
        );
        assert_eq!(line.who(), "H54 (abababab)\nH54 (person, abababab)");
        assert_eq!(line.why(), "OUT_OF_ORDER: 03 after 06");
        let json = serde_json::to_value(&line).expect("JSON");
        assert_eq!((&json["index"], &json["recipient"]), (&9.into(), &"H54".into()));
        assert_eq!(json["signed_by"].as_array().map(Vec::len), Some(2));
    }
}
