//! A business status: what an agency says it did with a document (QCVN 102).

use bytes::Bytes;

use super::{Limits, MAX_REPORT_BYTES, decode::decode, problems::Problems};
use crate::{
    domain::{
        id::{AgencyId, DocumentName},
        reason::{Reason, ReasonCode},
        status::{CHANGE_REFUSED, RECALL_ASKED, REJECTED, is_known},
        time::Timestamp,
    },
    proto::BusinessStatus,
};

/// A status whose fields keep their rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedStatus {
    /// The document.
    pub name: DocumentName,
    /// Agency that signs.
    pub from: AgencyId,
    /// With 13 the recipient that is asked, else nothing.
    pub to: Option<AgencyId>,
    /// One of the nine codes.
    pub code: u32,
    /// In words; never empty for 2, 13 and 16.
    pub description: String,
    /// When it happened, as the agency says.
    pub occurred_at: Timestamp,
}

impl CheckedStatus {
    /// The recipient whose delivery the status is about.
    #[must_use]
    pub fn recipient(&self) -> &AgencyId {
        self.to.as_ref().unwrap_or(&self.from)
    }
}

/// Checks a `BusinessStatus`; tells all problems at once.
///
/// A status may be reported long after it happened, so only a time in the future, by more than the allowed skew, is
/// `CLOCK_SKEW`.
pub fn check_status(
    payload: &Bytes,
    limits: &Limits,
    origin: &str,
    now: Timestamp,
) -> Result<CheckedStatus, Vec<Reason>> {
    let status: BusinessStatus = decode(payload, MAX_REPORT_BYTES, &[]).map_err(|reason| vec![reason])?;
    let mut problems = Problems::default();
    let name = problems.document_name(&status.sender, &status.document_id, status.revision);
    let from = problems.agency("from", &status.from);
    let to = check_to(&status, &mut problems);
    check_code(&status, &mut problems);
    check_time(status.occurred_at_us, limits, now, &mut problems);
    problems.origin(&status.hub_origin, origin);
    problems.nonce(&status.nonce);

    let checked = name.zip(from).map(|(name, from)| CheckedStatus {
        name,
        from,
        to,
        code: status.code,
        description: status.description,
        occurred_at: Timestamp(status.occurred_at_us),
    });
    problems.finish(checked)
}

/// 13 goes from the document's sender to one recipient; every other code goes to the sender and names nobody.
fn check_to(status: &BusinessStatus, problems: &mut Problems) -> Option<AgencyId> {
    if status.code != RECALL_ASKED {
        if !status.to.is_empty() {
            problems.invalid("to", "belongs to code 13 only");
        }
        return None;
    }
    if status.from != status.sender {
        problems.invalid("from", "code 13 comes from the document's sender");
    }
    problems.agency("to", &status.to)
}

fn check_code(status: &BusinessStatus, problems: &mut Problems) {
    if !is_known(status.code) {
        let detail = format!("code: {} is not one of the nine codes", status.code);
        problems.add(Reason::new(ReasonCode::UnknownStatusCode, detail));
    }
    if matches!(status.code, REJECTED | RECALL_ASKED | CHANGE_REFUSED) {
        return problems.required_reason("description", &status.description, 500);
    }
    problems.text("description", &status.description, 500);
}

fn check_time(occurred_at_us: i64, limits: &Limits, now: Timestamp, problems: &mut Problems) {
    if occurred_at_us <= 0 {
        return problems.invalid("occurred_at_us", "is required");
    }
    if Timestamp(occurred_at_us) > now.plus_us(limits.clock_skew_us) {
        let detail = "occurred_at_us: is in the future by more than the allowed skew";
        problems.add(Reason::new(ReasonCode::ClockSkew, detail));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

    fn status(code: u32) -> BusinessStatus {
        BusinessStatus {
            document_id: "000.00.00.H53,2026,17".into(),
            sender: "000.00.00.H53".into(),
            from: "H54".into(),
            code,
            occurred_at_us: NOW.0 - 1,
            hub_origin: "hub.example".into(),
            nonce: Bytes::from_static(&[1; 16]),
            ..Default::default()
        }
    }

    fn check(status: &BusinessStatus) -> Result<CheckedStatus, Vec<Reason>> {
        check_status(&status.encode_to_vec().into(), &Limits::default(), "hub.example", NOW)
    }

    fn recall() -> BusinessStatus {
        let mut recall = status(13);
        recall.from = recall.sender.clone();
        recall.to = "H54".into();
        recall.description = "Ban hành nhầm".into();
        recall
    }

    #[test]
    fn the_six_plain_codes_need_nothing_more() {
        for code in [1, 3, 4, 5, 6, 15] {
            let checked = check(&status(code)).expect("legal");
            assert_eq!((checked.code, checked.recipient().as_str()), (code, "H54"));
        }
    }

    #[test]
    fn refusals_and_recalls_need_a_reason() {
        for code in [2, 16] {
            let mut status = status(code);
            assert_eq!(check(&status).expect_err("no reason")[0].code, ReasonCode::ReasonRequired);
            status.description = "Không thuộc thẩm quyền".into();
            assert!(check(&status).is_ok());
        }
        let mut recall = recall();
        recall.description = " ".into();
        assert_eq!(check(&recall).expect_err("no reason")[0].code, ReasonCode::ReasonRequired);
    }

    #[test]
    fn a_recall_goes_from_the_sender_to_one_recipient() {
        let checked = check(&recall()).expect("legal");
        assert_eq!(checked.from.as_str(), "000.00.00.H53");
        assert_eq!(checked.recipient().as_str(), "H54");

        let mut foreign = recall();
        foreign.from = "H55".into();
        assert!(check(&foreign).expect_err("not the sender")[0].detail.starts_with("from: "));
        let mut to_nobody = recall();
        to_nobody.to.clear();
        assert_eq!(check(&to_nobody).expect_err("to nobody")[0].code, ReasonCode::BadIdentifier);
        let mut to_somebody = status(3);
        to_somebody.to = "H55".into();
        assert!(check(&to_somebody).expect_err("to")[0].detail.starts_with("to: "));
    }

    #[test]
    fn each_broken_rule_is_told() {
        type Breaks = fn(&mut BusinessStatus);
        let cases: [(Breaks, ReasonCode, &str); 9] = [
            (|s| s.code = 7, ReasonCode::UnknownStatusCode, "code"),
            (|s| s.code = 0, ReasonCode::UnknownStatusCode, "code"),
            (|s| s.sender = "x".into(), ReasonCode::BadIdentifier, "sender"),
            (|s| s.from = "x".into(), ReasonCode::BadIdentifier, "from"),
            (|s| s.description = "a\u{1}".into(), ReasonCode::InvalidField, "description"),
            (|s| s.occurred_at_us = 0, ReasonCode::InvalidField, "occurred_at_us"),
            (|s| s.occurred_at_us = i64::MAX, ReasonCode::ClockSkew, "occurred_at_us"),
            (|s| s.hub_origin.clear(), ReasonCode::WrongHub, "hub_origin"),
            (|s| s.nonce.clear(), ReasonCode::InvalidField, "nonce"),
        ];
        for (breaks, code, field) in cases {
            let mut status = status(3);
            breaks(&mut status);
            let reasons = check(&status).expect_err(field);
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert_eq!(reasons[0].code, code, "{reasons:?}");
            assert!(reasons[0].detail.starts_with(&format!("{field}: ")), "{reasons:?}");
        }
    }

    #[test]
    fn old_news_is_welcome() {
        let mut status = status(6);
        status.occurred_at_us = NOW.0 - 400 * 24 * 3_600_000_000;
        assert!(check(&status).is_ok());
    }
}
