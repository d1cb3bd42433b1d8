//! What a correct hub may say to a message, as of now: when it arrives, and when the writer decides it.

use truc::domain::reason::ReasonCode;
use truc::proto::*;

use super::{
    model::Model,
    said::{Said, Word},
};
use crate::common::DAY;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The leaf that answered it before.
    Known(u64),
    Refuse(i32),
    /// It is taken: a new leaf.
    Take,
}

type Check = Result<(), ReasonCode>;

impl Model {
    /// Before the queue: what may be told at once.
    pub fn on_arrival(&self, said: &Said, node: &str, now: i64) -> Verdict {
        if let Word::Change(_) = said.word {
            return Verdict::Take;
        }
        if let Some(leaf) = self.answered.get(&said.digest) {
            return as_verdict(self.may_act(node, &said.agency), Verdict::Known(*leaf));
        }
        as_verdict(self.checked(said, node, now), Verdict::Take)
    }

    fn checked(&self, said: &Said, node: &str, now: i64) -> Check {
        match &said.word {
            Word::Document(m) => {
                in_time(m.issued_at_us, now)?;
                if m.delivery_deadline_us != 0 && m.delivery_deadline_us <= now {
                    return Err(ReasonCode::InvalidField);
                }
                self.may_send(node, said, now)?;
                self.all_active(&m.recipients, m.groups.is_empty(), &m.sender)
            }
            Word::Addition(m) => {
                in_time(m.issued_at_us, now)?;
                self.may_send(node, said, now)?;
                self.all_active(&m.recipients, true, &m.sender)
            }
            Word::Status(m) if m.occurred_at_us > now + DAY => Err(ReasonCode::ClockSkew),
            _ => {
                self.may_act(node, &said.agency)?;
                self.seal_is_good(said, now)
            }
        }
    }

    /// In the writer: everything that moves is looked at again.
    pub fn on_decision(&self, said: &Said, node: &str, now: i64) -> Verdict {
        if let Some(leaf) = self.answered.get(&said.digest) {
            return Verdict::Known(*leaf);
        }
        match &said.word {
            Word::Change(_) => Verdict::Take,
            Word::Document(m) => {
                let name = (m.sender.clone(), m.document_id.clone(), m.revision);
                if self.names.contains_key(&name) {
                    return refuse(ReasonCode::Conflict);
                }
                let checked = self
                    .may_send(node, said, now)
                    .and_then(|()| self.all_active(&m.recipients, m.groups.is_empty(), &m.sender));
                as_verdict(checked, Verdict::Take)
            }
            Word::Addition(m) => self.on_addition(said, m, node, now),
            Word::Receipt(m) => self.on_receipt(said, m, node, now),
            Word::Status(m) => self.on_status(said, m, node, now),
        }
    }

    fn on_addition(&self, said: &Said, m: &Addressing, node: &str, now: i64) -> Verdict {
        let name = (m.sender.clone(), m.document_id.clone(), m.revision);
        let Some(index) = self.names.get(&name) else { return refuse(ReasonCode::UnknownDocument) };
        let document = &self.documents[index];
        if document.digest != m.manifest_sha256 {
            return refuse(ReasonCode::DigestMismatch);
        }
        if document.deadline <= now {
            return refuse(ReasonCode::DeadlinePassed);
        }
        let checked =
            self.may_send(node, said, now).and_then(|()| self.all_active(&m.recipients, true, &m.sender));
        let nobody_new = self.not_served(*index, &m.recipients).is_empty();
        as_verdict(checked, if nobody_new { Verdict::Known(*index) } else { Verdict::Take })
    }

    fn on_receipt(&self, said: &Said, m: &RecipientReceipt, node: &str, now: i64) -> Verdict {
        if let Err(code) = self.may_act(node, &said.agency).and_then(|()| self.seal_is_good(said, now)) {
            return refuse(code);
        }
        let name = (m.sender.clone(), m.document_id.clone(), m.revision);
        let Some(index) = self.names.get(&name) else { return refuse(ReasonCode::UnknownDocument) };
        if self.documents[index].digest != m.manifest_sha256 {
            return refuse(ReasonCode::DigestMismatch);
        }
        let Some(delivery) = self.deliveries.get(&(*index, m.recipient.clone())) else {
            let pending = self.is_pending(*index, &m.recipient);
            return refuse(if pending { ReasonCode::LeaseLost } else { ReasonCode::NotARecipient });
        };
        let asked = match m.outcome() {
            Outcome::Accepted => TransportState::HandedOver,
            _ => TransportState::Refused,
        };
        match (delivery.transport, delivery.end) {
            (TransportState::Ready, _) if now < delivery.deadline => Verdict::Take,
            (TransportState::Ready | TransportState::Expired, _) => refuse(ReasonCode::DeadlinePassed),
            (ended, Some(leaf)) if ended == asked => Verdict::Known(leaf),
            _ => refuse(ReasonCode::AlreadyFinal),
        }
    }

    fn on_status(&self, said: &Said, m: &BusinessStatus, node: &str, now: i64) -> Verdict {
        if let Err(code) = self.may_act(node, &said.agency).and_then(|()| self.seal_is_good(said, now)) {
            return refuse(code);
        }
        let recipient = if m.code == 13 { &m.to } else { &m.from };
        let name = (m.sender.clone(), m.document_id.clone(), m.revision);
        let Some(index) = self.names.get(&name) else { return Verdict::Take };
        let there =
            self.deliveries.contains_key(&(*index, recipient.clone())) || self.is_pending(*index, recipient);
        if there { Verdict::Take } else { refuse(ReasonCode::NotARecipient) }
    }

    pub fn may_act(&self, node: &str, agency: &str) -> Check {
        match self.nodes.get(node) {
            Some((agencies, false)) if agencies.contains(agency) => Ok(()),
            Some((_, false)) => Err(ReasonCode::NotAuthorised),
            _ => Err(ReasonCode::UnknownNode),
        }
    }

    fn may_send(&self, node: &str, said: &Said, now: i64) -> Check {
        self.may_act(node, &said.agency)?;
        if self.agencies.get(&said.agency) != Some(&AgencyState::Active) {
            return Err(ReasonCode::AgencyClosed);
        }
        self.seal_is_good(said, now)
    }

    fn seal_is_good(&self, said: &Said, now: i64) -> Check {
        match self.keys.get(&said.envelope.signatures[0].key_id[..]) {
            None => Err(ReasonCode::UnknownKey),
            Some(key) if key.revoked => Err(ReasonCode::KeyRevoked),
            Some(key) if now < key.valid_from => Err(ReasonCode::KeyNotValid),
            Some(key) if key.agency != said.agency => Err(ReasonCode::UnknownKey),
            Some(_) => Ok(()),
        }
    }

    /// Named recipients must be there and active; a group alone must mean somebody.
    fn all_active(&self, recipients: &[String], named_only: bool, sender: &str) -> Check {
        for to in recipients {
            match self.agencies.get(to) {
                None => return Err(ReasonCode::UnknownRecipient),
                Some(AgencyState::Active) => {}
                Some(_) => return Err(ReasonCode::AgencyClosed),
            }
        }
        let is_in_group = |(id, state): (&String, &AgencyState)| {
            id.ends_with("H53")
                && *state == AgencyState::Active
                && id.as_str() != crate::common::PROVINCE
                && id != sender
        };
        let somebody = !recipients.is_empty() || !named_only && self.agencies.iter().any(is_in_group);
        if somebody { Ok(()) } else { Err(ReasonCode::NoRecipients) }
    }
}

fn in_time(issued_at: i64, now: i64) -> Check {
    if (issued_at - now).abs() <= DAY { Ok(()) } else { Err(ReasonCode::ClockSkew) }
}

pub fn refuse(code: ReasonCode) -> Verdict {
    Verdict::Refuse(code.into())
}

fn as_verdict(check: Check, otherwise: Verdict) -> Verdict {
    check.map_or_else(refuse, |()| otherwise)
}
