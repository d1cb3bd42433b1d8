//! Collects everything that is wrong, and the checks that several messages share.

use crate::{
    domain::{
        id::{AgencyId, Digest, DocumentName, shorten},
        reason::{Reason, ReasonCode},
        text,
    },
    proto::RecipientGroup,
};

/// Most reasons in one answer: they have to fit into the trailers of a call.
const MOST: usize = 50;

/// What is wrong with a message, in the order of its fields.
#[derive(Default)]
pub(super) struct Problems {
    reasons: Vec<Reason>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, reason: Reason) {
        if self.reasons.len() < MOST {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn invalid(&mut self, field: &str, rule: impl std::fmt::Display) {
        self.add(Reason::invalid(field, rule));
    }

    /// Keeps what is right and notes what is not.
    pub(super) fn keep<T>(&mut self, checked: Result<T, Reason>) -> Option<T> {
        checked.map_err(|reason| self.add(reason)).ok()
    }

    /// The value if it is there and nothing was noted.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<Reason>> {
        if self.more > 0 {
            let detail = format!("and {} more problems", self.more);
            self.reasons.push(Reason::new(ReasonCode::InvalidField, detail));
        }
        match value {
            Some(value) if self.reasons.is_empty() => Ok(value),
            _ => Err(self.reasons),
        }
    }

    pub(super) fn text(&mut self, field: &str, text: &str, most: usize) {
        self.keep(text::check(field, text, 0..=most));
    }

    pub(super) fn required_text(&mut self, field: &str, text: &str, most: usize) {
        self.keep(text::check(field, text, 1..=most));
    }

    /// A text that this message can't do without; missing it is `REASON_REQUIRED`.
    pub(super) fn required_reason(&mut self, field: &str, text: &str, most: usize) {
        if text.trim().is_empty() {
            self.add(Reason::new(ReasonCode::ReasonRequired, format!("{field}: is required")));
        }
        self.text(field, text, most);
    }

    pub(super) fn agency(&mut self, field: &str, text: &str) -> Option<AgencyId> {
        self.keep(AgencyId::parse(text).map_err(|reason| reason.of_field(field)))
    }

    pub(super) fn digest(&mut self, field: &str, bytes: &[u8]) -> Option<Digest> {
        let digest = Digest::from_slice(bytes);
        if digest.is_none() {
            self.invalid(field, format_args!("has {} bytes, needs 32", bytes.len()));
        }
        digest
    }

    pub(super) fn nonce(&mut self, bytes: &[u8]) {
        if bytes.len() != 16 {
            self.invalid("nonce", format_args!("has {} bytes, needs 16", bytes.len()));
        }
    }

    pub(super) fn origin(&mut self, given: &str, ours: &str) {
        if given != ours {
            let detail = format!("hub_origin: is {:?}, this hub is {ours:?}", shorten(given));
            self.add(Reason::new(ReasonCode::WrongHub, detail));
        }
    }

    /// Notes a bad sender and a bad document id, both.
    pub(super) fn document_name(&mut self, sender: &str, id: &str, revision: u64) -> Option<DocumentName> {
        self.agency("sender", sender);
        match DocumentName::parse(sender, id, revision) {
            Err(noted) if noted.code == ReasonCode::BadIdentifier => None,
            name => self.keep(name),
        }
    }

    /// Recipients are looked up in the directory later; here only their form counts.
    pub(super) fn addressees(&mut self, recipients: &[String], groups: &[RecipientGroup]) {
        if recipients.is_empty() && groups.is_empty() {
            self.add(Reason::new(ReasonCode::NoRecipients, "recipients, groups: both are empty"));
        }
        for (at, group) in groups.iter().enumerate() {
            if crate::proto::Level::try_from(group.level).is_err() {
                self.invalid(&format!("groups[{at}].level"), format_args!("{} is unknown", group.level));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted_and_few_are_told() {
        let mut problems = Problems::default();
        for _ in 0..70 {
            problems.nonce(&[]);
        }
        let reasons = problems.finish(Some(())).expect_err("problems");
        assert_eq!(reasons.len(), MOST + 1);
        assert_eq!(reasons[MOST].detail, "and 20 more problems");
    }

    #[test]
    fn a_bad_sender_and_a_bad_id_are_both_told() {
        let mut problems = Problems::default();
        assert!(problems.document_name("h53", "", 0).is_none());
        let codes: Vec<ReasonCode> =
            problems.finish(Some(())).expect_err("both").into_iter().map(|r| r.code).collect();
        assert_eq!(codes, [ReasonCode::BadIdentifier, ReasonCode::InvalidField]);
    }
}
