//! Signed words of agencies about deliveries: receipts and business statuses.

use std::sync::Arc;

use super::{
    Hub,
    intake::{Accepted, accepted, blocking},
    refused::Refused,
    sequencer::{Proposal, Report},
};
use crate::{
    domain::{
        document::{self, CheckedReceipt, CheckedStatus},
        envelope,
        id::{AgencyId, NodeName},
        reason::ReasonCode,
    },
    proto::{EventKind, SignedEnvelope},
};

/// A receipt or status is small: it stands whole in the evidence.
const MAX_PAYLOAD: usize = document::MAX_REPORT_BYTES;

impl Hub {
    /// Takes a recipient's signed receipt.
    pub async fn acknowledge(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        let (hub, owner, signed) = (Arc::clone(self), node.clone(), envelope.clone());
        let answer = match blocking(move || hub.prepare_receipt(owner, signed)).await? {
            Ok(report) => self.sequencer.propose(Proposal::Receipt(Box::new(report))).await,
            Err(refused) => self.reject(EventKind::ReportRejection, node, &envelope, refused).await,
        };
        accepted(answer?)
    }

    /// Takes a business status.
    pub async fn report_status(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        let (hub, owner, signed) = (Arc::clone(self), node.clone(), envelope.clone());
        let answer = match blocking(move || hub.prepare_status(owner, signed)).await? {
            Ok(report) => self.sequencer.propose(Proposal::Status(Box::new(report))).await,
            Err(refused) => self.reject(EventKind::ReportRejection, node, &envelope, refused).await,
        };
        accepted(answer?)
    }

    fn prepare_receipt(
        &self,
        node: NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Report<CheckedReceipt>, Refused> {
        check_size(&envelope)?;
        envelope::check_form(&envelope, envelope::RECEIPT)?;
        let checked = document::check_receipt(&envelope.payload, &self.log.origin)?;
        let agency = checked.recipient.clone();
        self.report(node, envelope, envelope::RECEIPT, &agency, checked)
    }

    fn prepare_status(
        &self,
        node: NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Report<CheckedStatus>, Refused> {
        check_size(&envelope)?;
        envelope::check_form(&envelope, envelope::STATUS)?;
        let now = self.clock.now();
        let checked =
            document::check_status(&envelope.payload, &self.settings.limits, &self.log.origin, now)?;
        let agency = checked.from.clone();
        self.report(node, envelope, envelope::STATUS, &agency, checked)
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
        Ok(Report { as_of: directory.version(), node, envelope, checked, judgement })
    }
}

fn check_size(envelope: &SignedEnvelope) -> Result<(), Refused> {
    if envelope.payload.len() <= MAX_PAYLOAD {
        return Ok(());
    }
    let detail =
        format!("payload: {} bytes, at most {MAX_PAYLOAD} for a receipt or status", envelope.payload.len());
    Err(Refused::because(ReasonCode::TooLarge, detail))
}
