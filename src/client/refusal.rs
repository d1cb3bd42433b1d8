//! What a refused call says: reasons, a pause, and the receipt of the refusal.

use std::{error::Error, time::Duration};

use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    domain::reason::{Reason, ReasonCode, Retry, entry},
    proto::{self, Receipt, StreamRefusal},
};

/// Type of the detail that holds the reasons.
const REFUSAL_TYPE: &str = "type.googleapis.com/truc.v1.Refusal";
/// `google.rpc.ErrorInfo.domain` of the hub's refusals.
const DOMAIN: &str = "truc";

/// A refusal as far as it could be read. Nothing in it is verified.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusal {
    /// The hub's reasons; none when the transport failed or the answer was not the hub's.
    pub reasons: Vec<Reason>,
    /// Evidence of the refusal with its proof, when it was recorded.
    pub receipt: Option<Receipt>,
    /// How long to wait, when waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Reads the details of a status: the whole list of reasons, or the one of `ErrorInfo`.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default().details;
        let refusal = details.iter().find(|any| any.type_url == REFUSAL_TYPE);
        if let Some(Ok(refusal)) = refusal.map(|any| proto::Refusal::decode(any.value.as_slice())) {
            return Self { retry_after, ..Self::from_proto(refusal) };
        }
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let reason = info.map(|info| {
            let code = ReasonCode::from_str_name(&info.reason).unwrap_or_default();
            Reason::new(code, status.message())
        });
        Self { reasons: reason.into_iter().collect(), receipt: None, retry_after }
    }

    /// Reads a refusal that came inside a stream.
    #[must_use]
    pub fn of_stream(refused: &StreamRefusal) -> Self {
        proto::Refusal::decode(refused.refusal.clone()).map(Self::from_proto).unwrap_or_default()
    }

    fn from_proto(refusal: proto::Refusal) -> Self {
        let reasons = refusal.reasons.into_iter().map(|reason| Reason::new(reason.code(), reason.detail));
        let receipt = (!refusal.receipt.is_empty()).then(|| Receipt::decode(refusal.receipt).ok()).flatten();
        Self { reasons: reasons.collect(), receipt, retry_after: None }
    }

    /// The first reason's code.
    #[must_use]
    pub fn code(&self) -> Option<ReasonCode> {
        self.reasons.first().map(|reason| reason.code)
    }
}

/// True when the very same call may succeed later: the connection broke, or the hub says so.
#[must_use]
pub fn is_passing(status: &Status) -> bool {
    // A status that came over the wire has no local source.
    if status.source().is_some() || status.code() == Code::Unavailable {
        return true;
    }
    Refusal::of(status).code().is_some_and(|code| entry(code).retry == Retry::Later)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A status as the hub makes it.
    pub fn refused(status: Code, reasons: &[Reason], receipt: Option<&Receipt>) -> Status {
        let refusal = proto::Refusal {
            reasons: reasons.iter().map(Reason::to_proto).collect(),
            receipt: receipt.map(|receipt| receipt.encode_to_vec().into()).unwrap_or_default(),
        };
        let any = prost_types::Any { type_url: REFUSAL_TYPE.into(), value: refusal.encode_to_vec() };
        let rich =
            tonic_types::pb::Status { code: status as i32, message: "refused".into(), details: vec![any] };
        Status::with_details(status, "refused", rich.encode_to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic_types::ErrorDetails;

    use super::{testing::refused, *};

    #[test]
    fn all_reasons_and_the_receipt_are_read() {
        let reasons = [
            Reason::new(ReasonCode::UnknownRecipient, "recipients[0]: H99"),
            Reason::new(ReasonCode::ClockSkew, "issued_at_us"),
        ];
        let receipt = Receipt { index: 7, evidence: Bytes::from_static(b"leaf"), ..Receipt::default() };
        let refusal = Refusal::of(&refused(Code::FailedPrecondition, &reasons, Some(&receipt)));
        assert_eq!(refusal.reasons, reasons);
        assert_eq!(refusal.receipt, Some(receipt));
        assert_eq!(Refusal::of(&refused(Code::FailedPrecondition, &reasons, None)).receipt, None);
    }

    #[test]
    fn error_info_alone_is_enough() {
        let mut details = ErrorDetails::with_error_info("BUSY", "truc", std::collections::HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let refusal = Refusal::of(&status);
        assert_eq!(refusal.reasons, [Reason::new(ReasonCode::Busy, "full")]);
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(1500)));
        assert!(is_passing(&status));
    }

    #[test]
    fn other_domains_and_garbage_say_nothing() {
        let details = ErrorDetails::with_error_info("BUSY", "elsewhere", std::collections::HashMap::new());
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        assert_eq!(Refusal::of(&status), Refusal::default());
        assert!(!is_passing(&status));
        let garbage = Status::with_details(Code::Internal, "x", Bytes::from_static(b"\xff\xff"));
        assert_eq!(Refusal::of(&garbage), Refusal::default());
        let refused = StreamRefusal { refusal: Bytes::from_static(b"\xff"), ..StreamRefusal::default() };
        assert_eq!(Refusal::of_stream(&refused), Refusal::default());
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let broken: Box<dyn Error + Send + Sync> = Box::new(std::io::Error::other("cable cut"));
        assert!(is_passing(&Status::from_error(broken)));
        assert!(is_passing(&Status::unavailable("stopping")));
        let conflict = Reason::new(ReasonCode::Conflict, "");
        assert!(!is_passing(&refused(Code::AlreadyExists, &[conflict], None)));
        assert!(!is_passing(&Status::internal("bug")));
    }
}
