//! Signed words of agencies about deliveries: receipts and business statuses.

use std::sync::Arc;

use prost::Message;

use super::{
    Hub,
    claim::Claim,
    intake::{Accepted, refuse_what_no_leaf_holds},
    refused::Refused,
    sequencer::{Proposal, Report},
};
use crate::{
    domain::{
        document, envelope,
        id::{AgencyId, Digest, NodeName},
    },
    proto::{EventKind, RecipientReceipt, SignedEnvelope},
};

/// Digest of the document that a receipt says it is about.
fn document_of(receipt: &SignedEnvelope) -> Option<Digest> {
    let receipt = RecipientReceipt::decode(receipt.payload.clone()).ok()?;
    Digest::from_slice(&receipt.manifest_sha256)
}

impl Hub {
    /// Takes a recipient's signed receipt.
    pub async fn acknowledge(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        let (bytes, agency) = (envelope.encoded_len() as u64, Claim::of(&envelope).agency);
        let step = self.steps.begin("acknowledge", || document_of(&envelope)).map(|step| step.by(node));
        let outcome = self.take(EventKind::ReportRejection, node, envelope, Self::prepare_receipt).await;
        let failed = outcome.as_ref().err().map(|refused| refused.code().as_str_name());
        drop(step.map(|step| step.with(|step| step.failed = failed)));
        let accepted = outcome?;
        self.presence.answered(node, bytes);
        self.heard_from(node, agency);
        Ok(accepted)
    }

    /// Takes a business status.
    pub async fn report_status(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        let agency = Claim::of(&envelope).agency;
        let accepted = self.take(EventKind::ReportRejection, node, envelope, Self::prepare_status).await?;
        self.heard_from(node, agency);
        Ok(accepted)
    }

    /// The agency of a signed message that was taken. Its receipt, not its claim, is the proof of that.
    pub(super) fn heard_from(&self, node: &NodeName, agency: Option<AgencyId>) {
        if let Some(agency) = agency {
            self.presence.signed(node, &agency);
        }
    }

    fn prepare_receipt(&self, node: NodeName, envelope: SignedEnvelope) -> Result<Proposal, Refused> {
        envelope::check_form(&envelope, envelope::RECEIPT)?;
        refuse_what_no_leaf_holds(&envelope)?;
        let checked = document::check_receipt(&envelope.payload, &self.log.origin)?;
        let agency = checked.recipient.clone();
        let report = self.report(node, envelope, envelope::RECEIPT, &agency, checked)?;
        Ok(Proposal::Receipt(Box::new(report)))
    }

    fn prepare_status(&self, node: NodeName, envelope: SignedEnvelope) -> Result<Proposal, Refused> {
        envelope::check_form(&envelope, envelope::STATUS)?;
        refuse_what_no_leaf_holds(&envelope)?;
        let (limits, now) = (&self.settings.limits, self.clock.now());
        let checked = document::check_status(&envelope.payload, limits, &self.log.origin, now)?;
        let agency = checked.from.clone();
        let report = self.report(node, envelope, envelope::STATUS, &agency, checked)?;
        Ok(Proposal::Status(Box::new(report)))
    }

    /// The node may act for the agency, and the agency signed.
    fn report<T>(
        &self,
        node: NodeName,
        envelope: SignedEnvelope,
        payload_type: &str,
        agency: &AgencyId,
        checked: T,
    ) -> Result<Report<T>, Refused> {
        let directory = self.directory();
        directory.may_act(&node, agency)?;
        let judgement = envelope::judge(&envelope, payload_type, agency, &*directory, self.clock.now())?;
        Ok(Report { node, envelope, checked, judgement })
    }
}
