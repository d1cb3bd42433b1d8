//! Taking business statuses: routed, ordered, parked, never dropped.

use super::{
    Decision, Rejection, Report,
    draft::Draft,
    expansion::{Expansions, business, take_effect},
};
use crate::{
    domain::{
        document::CheckedStatus,
        evidence::Tell,
        id::{AgencyId, Digest},
        reason::{Reason, ReasonCode},
        status,
    },
    hub::refused::Refused,
    proto::EventKind,
    store::records::{DeliveryRecord, ParkedRecord},
};

/// Where a status goes.
enum Target {
    Delivery(DeliveryRecord, Digest),
    /// The document, or this delivery of it, is not there yet.
    Later,
}

impl Draft<'_> {
    /// Records a status; the same signed status again returns the same receipt.
    pub fn status(
        &mut self,
        report: &Report<CheckedStatus>,
        expansions: &Expansions,
    ) -> Result<Decision, Refused> {
        let payload = Digest::of(&report.envelope.payload);
        if let Some(leaf) = self.answered(&payload)? {
            return Ok(Decision::Leaf(leaf));
        }
        let recipient = report.checked.recipient().clone();
        match self.target(report, &recipient, expansions)? {
            Ok(Target::Delivery(delivery, manifest)) => {
                self.move_delivery(report, payload, recipient, delivery, &manifest)
            }
            Ok(Target::Later) => self.park(report, payload, &recipient),
            Err(reason) => self.reject(&Rejection {
                event: EventKind::ReportRejection,
                node: report.node.clone(),
                name: Some(report.checked.name.clone()),
                message: payload,
                reasons: vec![reason],
            }),
        }
    }

    fn target(
        &self,
        report: &Report<CheckedStatus>,
        recipient: &AgencyId,
        expansions: &Expansions,
    ) -> Result<Result<Target, Reason>, Refused> {
        let checked = &report.checked;
        if let Err(reason) = self.recheck_report(report, &checked.from) {
            return Ok(Err(reason));
        }
        let Some(index) = self.find_document(&checked.name)? else { return Ok(Ok(Target::Later)) };
        let manifest = Digest::from_slice(&self.document(index)?.manifest_sha256).unwrap_or(Digest([0; 32]));
        Ok(match self.delivery(index, recipient)? {
            Some(delivery) => Ok(Target::Delivery(delivery, manifest)),
            None if expansions.is_pending(index, recipient) => Ok(Target::Later),
            None => Err(Reason::new(
                ReasonCode::NotARecipient,
                format!("{} is not addressed to {recipient}", checked.name),
            )),
        })
    }

    fn move_delivery(
        &mut self,
        report: &Report<CheckedStatus>,
        payload: Digest,
        recipient: AgencyId,
        mut delivery: DeliveryRecord,
        manifest: &Digest,
    ) -> Result<Decision, Refused> {
        let checked = &report.checked;
        let effect = status::on_status(&business(&delivery), checked.code);
        let (event, reasons) = take_effect(&mut delivery, &effect);
        let mut evidence = self
            .event(event)?
            .about(&checked.name, manifest)
            .to(&recipient)
            .holding(&report.envelope)
            .because(&reasons)
            .after(&delivery.last_leaf_hash)
            .judged(self.verdict(&report.judgement));
        evidence.status_code = checked.code;
        let (leaf, hash) = self.add_leaf(&evidence, Some(delivery.document), feeds(checked, &recipient))?;
        delivery.last_leaf_hash = bytes::Bytes::copy_from_slice(&hash);
        self.put_delivery(recipient, delivery);
        self.put_answer(payload, leaf);
        Ok(Decision::Leaf(leaf))
    }

    fn park(
        &mut self,
        report: &Report<CheckedStatus>,
        payload: Digest,
        recipient: &AgencyId,
    ) -> Result<Decision, Refused> {
        let checked = &report.checked;
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
        let (leaf, _) = self.add_leaf(&evidence, None, Vec::new())?;
        self.commit.parked.push(ParkedRecord {
            sender: checked.name.sender.to_string(),
            document_id: checked.name.document_id.to_string(),
            revision: checked.name.revision,
            recipient: recipient.to_string(),
            leaf,
            applied: false,
        });
        self.put_answer(payload, leaf);
        Ok(Decision::Leaf(leaf))
    }
}

/// A status goes to the document's sender; a request of the sender goes to the recipient (and both see it).
fn feeds(checked: &CheckedStatus, recipient: &AgencyId) -> Vec<String> {
    let mut feeds = vec![checked.name.sender.to_string()];
    if checked.from == checked.name.sender && *recipient != checked.name.sender {
        feeds.push(recipient.to_string());
    }
    feeds
}
