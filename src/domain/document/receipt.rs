//! A recipient's receipt: its own system's word that it took a document over, or refuses it.

use bytes::Bytes;

use super::{MAX_REPORT_BYTES, decode::decode, problems::Problems};
use crate::{
    domain::{
        id::{AgencyId, Digest, DocumentName},
        reason::Reason,
        time::Timestamp,
    },
    proto::{Outcome, RecipientReceipt},
};

/// A receipt whose fields keep their rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedReceipt {
    /// The document.
    pub name: DocumentName,
    /// Agency that signs.
    pub recipient: AgencyId,
    /// Accepted or refused, never unspecified.
    pub outcome: Outcome,
    /// SHA-256 of the manifest payload that was received.
    pub manifest_sha256: Digest,
    /// Why it refuses; may stand empty when it accepts.
    pub reason: String,
    /// When the recipient's system says that it took it. A claim, not checked.
    pub received_at: Timestamp,
}

/// Checks a `RecipientReceipt`; tells all problems at once.
pub fn check_receipt(payload: &Bytes, origin: &str) -> Result<CheckedReceipt, Vec<Reason>> {
    let receipt: RecipientReceipt = decode(payload, MAX_REPORT_BYTES, &[]).map_err(|reason| vec![reason])?;
    let mut problems = Problems::default();
    let name = problems.document_name(&receipt.sender, &receipt.document_id, receipt.revision);
    let manifest_sha256 = problems.digest("manifest_sha256", &receipt.manifest_sha256);
    let recipient = problems.agency("recipient", &receipt.recipient);
    match receipt.outcome() {
        Outcome::Accepted => problems.text("reason", &receipt.reason, 500),
        Outcome::Refused => problems.required_reason("reason", &receipt.reason, 500),
        Outcome::Unspecified => problems.invalid("outcome", "needs ACCEPTED or REFUSED"),
    }
    if receipt.received_at_us <= 0 {
        problems.invalid("received_at_us", "is required");
    }
    problems.origin(&receipt.hub_origin, origin);

    let checked =
        name.zip(recipient).zip(manifest_sha256).map(|((name, recipient), manifest_sha256)| CheckedReceipt {
            name,
            recipient,
            outcome: receipt.outcome(),
            manifest_sha256,
            reason: receipt.reason.clone(),
            received_at: Timestamp(receipt.received_at_us),
        });
    problems.finish(checked)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::domain::reason::ReasonCode;

    fn receipt() -> RecipientReceipt {
        RecipientReceipt {
            document_id: "000.00.00.H53,2026,17".into(),
            sender: "000.00.00.H53".into(),
            revision: 1,
            manifest_sha256: Bytes::from_static(&[7; 32]),
            recipient: "H54".into(),
            outcome: Outcome::Accepted.into(),
            reason: String::new(),
            received_at_us: 1_790_000_000_000_000,
            hub_origin: "hub.example".into(),
        }
    }

    fn check(receipt: &RecipientReceipt) -> Result<CheckedReceipt, Vec<Reason>> {
        check_receipt(&receipt.encode_to_vec().into(), "hub.example")
    }

    #[test]
    fn a_plain_receipt_passes() {
        let checked = check(&receipt()).expect("legal");
        assert_eq!(checked.name.to_string(), "000.00.00.H53,2026,17 of 000.00.00.H53 (revision 1)");
        assert_eq!(checked.recipient.as_str(), "H54");
        assert_eq!(checked.manifest_sha256, Digest([7; 32]));
        assert_eq!(checked.outcome, Outcome::Accepted);
    }

    #[test]
    fn each_broken_rule_is_told() {
        type Breaks = fn(&mut RecipientReceipt);
        let cases: [(Breaks, ReasonCode, &str); 11] = [
            (|r| r.document_id.clear(), ReasonCode::InvalidField, "document_id"),
            (|r| r.sender = "h53".into(), ReasonCode::BadIdentifier, "sender"),
            (|r| r.recipient.clear(), ReasonCode::BadIdentifier, "recipient"),
            (|r| r.manifest_sha256.clear(), ReasonCode::InvalidField, "manifest_sha256"),
            (|r| r.outcome = 0, ReasonCode::InvalidField, "outcome"),
            (|r| r.outcome = 3, ReasonCode::InvalidField, "outcome"),
            (|r| r.set_outcome(Outcome::Refused), ReasonCode::ReasonRequired, "reason"),
            (|r| r.reason = "ơ".repeat(501), ReasonCode::InvalidField, "reason"),
            (|r| r.reason = "a\nb".into(), ReasonCode::InvalidField, "reason"),
            (|r| r.received_at_us = 0, ReasonCode::InvalidField, "received_at_us"),
            (|r| r.hub_origin = "other".into(), ReasonCode::WrongHub, "hub_origin"),
        ];
        for (breaks, code, field) in cases {
            let mut receipt = receipt();
            breaks(&mut receipt);
            let reasons = check(&receipt).expect_err(field);
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert_eq!(reasons[0].code, code, "{reasons:?}");
            assert!(reasons[0].detail.starts_with(&format!("{field}: ")), "{reasons:?}");
        }
    }

    #[test]
    fn a_refusal_with_its_reason_passes() {
        let mut receipt = receipt();
        receipt.set_outcome(Outcome::Refused);
        receipt.reason = "Gửi nhầm nơi nhận".into();
        assert_eq!(check(&receipt).expect("legal").outcome, Outcome::Refused);
    }

    #[test]
    fn a_large_receipt_is_refused_unread() {
        let payload = Bytes::from(vec![0; MAX_REPORT_BYTES + 1]);
        assert_eq!(check_receipt(&payload, "").expect_err("large")[0].code, ReasonCode::TooLarge);
    }
}
