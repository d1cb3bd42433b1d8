//! Taking business statuses: routed, ordered, parked, never dropped.

use std::sync::Arc;

use super::{
    Decision, Report,
    draft::Draft,
    expansion::{Expansions, business, take_effect},
};
use crate::{
    domain::{
        document::CheckedStatus,
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
        status,
    },
    hub::refused::Refused,
    proto::{EventKind, Evidence},
    store::records::{DeliveryRecord, DocumentRecord, ParkedRecord},
};

/// Statuses that may wait for one delivery of a document that is not there. Nine codes exist; 05 repeats.
const MAX_PARKED: usize = 64;

/// Where a status goes.
enum Target {
    Delivery(Box<(DeliveryRecord, Arc<DocumentRecord>)>),
    /// The document, or this delivery of it, is not there yet.
    Later,
}

impl Draft<'_> {
    /// Records a status; the same signed status again returns the same receipt.
    pub fn status(
        &mut self,
        mut report: Report<CheckedStatus>,
        expansions: &Expansions,
    ) -> Result<Decision, Refused> {
        let payload = Digest::of(&report.envelope.payload);
        if let Some(leaf) = self.answered(&payload)? {
            return Ok(Decision::Known(leaf));
        }
        let from = report.checked.from.clone();
        if let Err(reason) = self.recheck_report(&mut report, &from) {
            return self.reject(report.rejection(reason));
        }
        match self.target(&report.checked, expansions)? {
            Ok(Target::Delivery(found)) => {
                let (delivery, document) = *found;
                self.move_delivery(&report, payload, delivery, &document)
            }
            Ok(Target::Later) => self.park(&report, payload),
            Err(reason) => self.reject(report.rejection(reason)),
        }
    }

    fn target(
        &self,
        checked: &CheckedStatus,
        expansions: &Expansions,
    ) -> Result<Result<Target, Reason>, Refused> {
        let (name, recipient) = (&checked.name, checked.recipient());
        let Some(index) = self.find_document(name)? else { return self.room_to_park(name, recipient) };
        if let Some(delivery) = self.delivery(index, recipient)? {
            return Ok(Ok(Target::Delivery(Box::new((delivery, self.document(index)?)))));
        }
        if expansions.is_pending(index, recipient) {
            return self.room_to_park(name, recipient);
        }
        let detail = format!("{name} is not addressed to {recipient}");
        Ok(Err(Reason::new(ReasonCode::NotARecipient, detail)))
    }

    fn room_to_park(
        &self,
        name: &DocumentName,
        recipient: &AgencyId,
    ) -> Result<Result<Target, Reason>, Refused> {
        if self.parked(name, recipient)?.len() < MAX_PARKED {
            return Ok(Ok(Target::Later));
        }
        let detail = format!("{MAX_PARKED} statuses wait for {name} to {recipient} already");
        Ok(Err(Reason::new(ReasonCode::TooLarge, detail)))
    }

    fn move_delivery(
        &mut self,
        report: &Report<CheckedStatus>,
        payload: Digest,
        mut delivery: DeliveryRecord,
        document: &DocumentRecord,
    ) -> Result<Decision, Refused> {
        let checked = &report.checked;
        let manifest = Digest::from_slice(&document.manifest_sha256).unwrap_or(Digest([0; 32]));
        let effect = status::on_status(&business(&delivery), checked.code);
        let (event, reasons) = take_effect(&mut delivery, &effect);
        let mut evidence = self
            .event(event)?
            .about(&checked.name, &manifest)
            .to(checked.recipient())
            .holding(&report.envelope)
            .because(&reasons)
            .after(&delivery.last_leaf_hash)
            .judged(self.verdict(&report.judgement))
            .tested(delivery.test);
        evidence.status_code = checked.code;
        evidence.submission_time_us = document.accepted_at_us;
        let evidence = spoken(evidence, report);
        let feeds = feeds(&checked.name, checked.recipient(), checked.code);
        let (leaf, hash) = self.add_leaf(&evidence, Some(delivery.document), feeds)?;
        delivery.last_leaf_hash = bytes::Bytes::copy_from_slice(&hash);
        self.put_delivery(checked.recipient().clone(), delivery);
        self.put_answer(payload, leaf);
        Ok(Decision::New(leaf))
    }

    fn park(&mut self, report: &Report<CheckedStatus>, payload: Digest) -> Result<Decision, Refused> {
        let (checked, recipient) = (&report.checked, report.checked.recipient());
        let reason = Reason::new(ReasonCode::Parked, "kept until the document comes");
        let mut evidence = self
            .event(EventKind::StatusParked)?
            .about(&checked.name, &Digest([0; 32]))
            .to(recipient)
            .holding(&report.envelope)
            .because(&[reason])
            .judged(self.verdict(&report.judgement));
        evidence.manifest_sha256 = bytes::Bytes::new();
        evidence.status_code = checked.code;
        let (leaf, _) = self.add_leaf(&spoken(evidence, report), None, Vec::new())?;
        self.memory.parked.add(&checked.name, recipient);
        self.commit.parked.push(ParkedRecord {
            sender: checked.name.sender.to_string(),
            document_id: checked.name.document_id.to_string(),
            revision: checked.name.revision,
            recipient: recipient.to_string(),
            leaf,
            applied: false,
        });
        self.put_answer(payload, leaf);
        Ok(Decision::New(leaf))
    }
}

/// Names the node that spoke: for the document's sender (13), else for the recipient.
fn spoken(mut evidence: Evidence, report: &Report<CheckedStatus>) -> Evidence {
    if report.checked.to.is_some() {
        return evidence.by_node(report.node.as_str());
    }
    for recipient in &mut evidence.recipients {
        recipient.node = report.node.to_string();
    }
    evidence
}

/// Who hears of a status: the document's sender, and of a request (13) also the recipient that is asked.
pub fn feeds(name: &DocumentName, recipient: &AgencyId, code: u32) -> Vec<String> {
    let mut feeds = vec![name.sender.to_string()];
    if code == status::RECALL_ASKED && *recipient != name.sender {
        feeds.push(recipient.to_string());
    }
    feeds
}
