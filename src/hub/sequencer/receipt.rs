//! Taking a recipient's signed receipt: handover, or refusal by the recipient's system.

use super::{Decision, Rejection, Report, draft::Draft, expansion::Expansions};
use crate::{
    domain::{
        delivery::{self, Taken, Transport},
        document::CheckedReceipt,
        envelope,
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::refused::Refused,
    proto::EventKind,
    store::{StoreError, Waiting, records::DeliveryRecord},
};

/// A delivery, and when its document was accepted.
struct Found {
    delivery: DeliveryRecord,
    accepted_at_us: i64,
}

impl Draft<'_> {
    /// Moves the delivery to its end, returns the first receipt for a repeat, or refuses with evidence.
    pub fn receipt(
        &mut self,
        mut report: Report<CheckedReceipt>,
        expansions: &Expansions,
    ) -> Result<Decision, Refused> {
        let payload = Digest::of(&report.envelope.payload);
        if let Some(leaf) = self.answered(&payload)? {
            return Ok(Decision::Known(leaf));
        }
        let recipient = report.checked.recipient.clone();
        if let Err(reason) = self.recheck_report(&mut report, &recipient) {
            return self.reject(report.rejection(reason));
        }
        match self.receipt_effect(&report.checked, expansions)? {
            Ok((ended, Taken::Repeated)) => {
                let leaf = final_leaf(&ended.delivery)?;
                // Answered once is answered for ever, also when its key is revoked later.
                self.put_answer(payload, leaf);
                Ok(Decision::Known(leaf))
            }
            Ok((open, Taken::Moved(moved))) => self.end_delivery(&report, payload, open, moved),
            Err(reason) => self.reject(report.rejection(reason)),
        }
    }

    fn receipt_effect(
        &self,
        checked: &CheckedReceipt,
        expansions: &Expansions,
    ) -> Result<Result<(Found, Taken), Reason>, Refused> {
        let Some(index) = self.find_document(&checked.name)? else {
            return Ok(Err(Reason::new(ReasonCode::UnknownDocument, checked.name.to_string())));
        };
        let document = self.document(index)?;
        if document.manifest_sha256 != checked.manifest_sha256.as_bytes()[..] {
            let detail = "manifest_sha256: the accepted manifest has another digest";
            return Ok(Err(Reason::new(ReasonCode::DigestMismatch, detail)));
        }
        let Some(delivery) = self.delivery(index, &checked.recipient)? else {
            let pending = expansions.is_pending(index, &checked.recipient);
            return Ok(Err(no_delivery(&checked.name, &checked.recipient, pending)));
        };
        let deadline = Timestamp(delivery.deadline_us);
        let effect = delivery::on_receipt(transport(&delivery)?, checked.outcome, self.now, deadline);
        Ok(effect.map(|effect| (Found { delivery, accepted_at_us: document.accepted_at_us }, effect)))
    }

    fn end_delivery(
        &mut self,
        report: &Report<CheckedReceipt>,
        payload: Digest,
        Found { mut delivery, accepted_at_us }: Found,
        moved: delivery::Moved,
    ) -> Result<Decision, Refused> {
        let checked = &report.checked;
        let mut evidence = self
            .event(moved.event)?
            .about(&checked.name, &checked.manifest_sha256)
            .to(&checked.recipient)
            .holding(&report.envelope)
            .after(&delivery.last_leaf_hash)
            .judged(self.verdict(&report.judgement))
            .tested(delivery.test);
        evidence.submission_time_us = accepted_at_us;
        evidence.recipients[0].node = report.node.to_string();
        if moved.state == Transport::REFUSED {
            evidence =
                evidence.because(&[Reason::new(ReasonCode::RefusedByRecipient, "see the signed receipt")]);
        }
        let feeds = vec![checked.name.sender.to_string()];
        let (leaf, hash) = self.add_leaf(&evidence, Some(delivery.document), feeds)?;
        delivery.end(moved.state, leaf, &hash);
        self.put_delivery(checked.recipient.clone(), delivery);
        self.put_answer(payload, leaf);
        Ok(Decision::New(leaf))
    }

    /// The clock went on and the directory may have changed since verification.
    pub fn recheck_report<T>(&self, report: &mut Report<T>, agency: &AgencyId) -> Result<(), Reason> {
        self.directory.may_act(&report.node, agency)?;
        report.judgement =
            envelope::recheck(&report.envelope, &report.judgement, agency, &*self.directory, self.now)?;
        Ok(())
    }

    /// Ends deliveries whose deadline passed: silence becomes signed evidence. One that can't be read stops
    /// no other.
    pub fn expire(&mut self, waiting: &[Waiting]) -> Decision {
        for entry in waiting {
            if let Err(refused) = self.expire_if_due(entry) {
                let Waiting { document, recipient, .. } = entry;
                tracing::error!(%refused, document, %recipient, "a passed deadline can't be recorded");
            }
        }
        Decision::Done
    }

    fn expire_if_due(&mut self, entry: &Waiting) -> Result<(), Refused> {
        let recipient = AgencyId::parse(&entry.recipient)?;
        let Some(delivery) = self.delivery(entry.document, &recipient)? else { return Ok(()) };
        let deadline = Timestamp(delivery.deadline_us);
        match delivery::on_deadline(transport(&delivery)?, self.now, deadline) {
            Some(moved) => self.expire_one(recipient, delivery, moved),
            None => Ok(()),
        }
    }

    fn expire_one(
        &mut self,
        recipient: AgencyId,
        mut delivery: DeliveryRecord,
        moved: delivery::Moved,
    ) -> Result<(), Refused> {
        let document = self.document(delivery.document)?;
        let name = DocumentName::parse(&document.sender, &document.document_id, document.revision)?;
        let manifest = Digest::from_slice(&document.manifest_sha256).unwrap_or(Digest([0; 32]));
        let reason = Reason::new(ReasonCode::DeadlinePassed, "the recipient did not take it over in time");
        let mut evidence = self
            .event(moved.event)?
            .about(&name, &manifest)
            .to(&recipient)
            .because(&[reason])
            .after(&delivery.last_leaf_hash)
            .tested(delivery.test);
        evidence.submission_time_us = document.accepted_at_us;
        evidence.delivery_deadline_us = delivery.deadline_us;
        let (leaf, hash) =
            self.add_leaf(&evidence, Some(delivery.document), vec![document.sender.clone()])?;
        delivery.end(moved.state, leaf, &hash);
        self.put_delivery(recipient, delivery);
        Ok(())
    }
}

pub fn transport(delivery: &DeliveryRecord) -> Result<Transport, StoreError> {
    Transport::from_wire(delivery.transport).ok_or_else(|| {
        StoreError::Damaged(format!("delivery {}/{} is in no state", delivery.document, delivery.recipient))
    })
}

/// Why there is nothing to acknowledge.
fn no_delivery(name: &DocumentName, recipient: &AgencyId, pending: bool) -> Reason {
    if pending {
        return Reason::new(ReasonCode::LeaseLost, format!("{name} was not offered to {recipient} yet"));
    }
    Reason::new(ReasonCode::NotARecipient, format!("{name} is not addressed to {recipient}"))
}

/// The leaf that ended a delivery.
fn final_leaf(delivery: &DeliveryRecord) -> Result<u64, StoreError> {
    delivery.final_leaf_plus_one.checked_sub(1).ok_or_else(|| {
        StoreError::Damaged(format!(
            "delivery {}/{} ended without a leaf",
            delivery.document, delivery.recipient
        ))
    })
}

impl<T> Report<T> {
    /// Evidence that this report was refused.
    pub fn rejection(&self, reason: Reason) -> Rejection {
        Rejection::of(EventKind::ReportRejection, &self.node, &self.envelope, vec![reason])
    }
}
