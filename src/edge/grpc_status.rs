//! A refusal on the wire: gRPC status with rich details and the stable reason code. One place, one table.

use std::{sync::LazyLock, time::Duration};

use prost::Message;
use tonic::{Code, Status, body::Body, codegen::http};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    domain::reason::{GrpcCode, MAX_DETAIL, MAX_TOLD, Reason, ReasonCode, Retry, cut, entry},
    hub::{meters::Count, refused::Refused},
    proto::{Refusal, StreamRefusal},
};

/// `google.rpc.ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "truc";

/// Type of the `google.protobuf.Any` that holds the [`Refusal`].
pub const REFUSAL_TYPE: &str = "type.googleapis.com/truc.v1.Refusal";

/// Bytes of a status message: the details tell the rest.
const MAX_MESSAGE: usize = 240;

/// Characters of the transport's own words that are passed on.
const MAX_TRANSPORT_WORDS: usize = 200;

/// What a client should wait before it tries again, where waiting helps.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// The same where somebody has to make room first.
const ROOM_AFTER: Duration = Duration::from_secs(5);

/// The status of a refused call: `ErrorInfo`, `RetryInfo` where waiting helps, and the [`Refusal`].
#[must_use]
pub fn status(refused: &Refused) -> Status {
    status_after(refused, pause_of(refused.code()))
}

fn pause_of(code: ReasonCode) -> Duration {
    if code == ReasonCode::DiskFull { ROOM_AFTER } else { RETRY_AFTER }
}

/// [`status`] for a caller that should wait so long.
#[must_use]
pub fn status_after(refused: &Refused, pause: Duration) -> Status {
    let code = refused.code();
    count(code);
    let entry = entry(code);
    let mut details = ErrorDetails::with_error_info(code.as_str_name(), DOMAIN, metadata(&refused.reasons));
    if entry.retry == Retry::Later {
        details.set_retry_info(Some(pause));
    }
    let message = cut(&refused.to_string(), MAX_MESSAGE).to_owned();
    let status = Status::with_error_details(grpc_code(entry.grpc), message.clone(), details);
    with_refusal(&status, message, refused)
}

/// From a reason alone.
#[must_use]
pub fn refuse(reason: Reason) -> Status {
    status(&reason.into())
}

/// Gives a status that the transport made the form of a refusal: what can't be read is `MALFORMED`, what is too large
/// `TOO_LARGE`. Refusals, which have details, and what gRPC itself defines (an unknown method, say) stay as they are.
#[must_use]
pub fn typed(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let code = match status.code() {
        // No handler answers INTERNAL: it comes from decoding, framing and decompressing what a client sent.
        Code::Internal => ReasonCode::Malformed,
        Code::OutOfRange | Code::ResourceExhausted => ReasonCode::TooLarge,
        _ => return status,
    };
    let detail: String = status.message().chars().take(MAX_TRANSPORT_WORDS).collect();
    refuse(Reason::new(code, detail))
}

/// [`typed`] for an answer that consists of a status alone, as a layer of the server.
#[must_use]
pub fn typed_answer(answer: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => typed(status).into_http(),
        _ => answer,
    }
}

/// How often each reason was told since the process started.
pub fn told() -> impl Iterator<Item = (ReasonCode, u64)> {
    let codes = (0..).zip(TOLD.iter());
    codes.filter_map(|(code, count)| Some((ReasonCode::try_from(code).ok()?, count.get())))
}

/// Reason codes have numbers below this one.
const CODES: usize = 256;
/// For the whole process: refusals are made in many places, and this is the one way that they all go.
static TOLD: LazyLock<Box<[Count]>> = LazyLock::new(|| (0..CODES).map(|_| Count::default()).collect());

fn count(code: ReasonCode) {
    if let Some(count) = usize::try_from(code as i32).ok().and_then(|at| TOLD.get(at)) {
        count.add(1);
    }
}

/// The same inside a stream that goes on.
#[must_use]
pub fn stream_refusal(refused: &Refused) -> StreamRefusal {
    stream_refusal_after(refused, pause_of(refused.code()))
}

/// [`stream_refusal`] for a caller that should wait so long.
#[must_use]
pub fn stream_refusal_after(refused: &Refused, pause: Duration) -> StreamRefusal {
    count(refused.code());
    let entry = entry(refused.code());
    let pause_us = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    StreamRefusal {
        retry_after_us: if entry.retry == Retry::Later { pause_us } else { 0 },
        status: grpc_code(entry.grpc) as i32,
        message: cut(&refused.to_string(), MAX_MESSAGE).to_owned(),
        refusal: refusal(refused).encode_to_vec().into(),
    }
}

/// Appends the refusal to the standard details.
fn with_refusal(status: &Status, message: String, refused: &Refused) -> Status {
    let mut rich = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    let value = refusal(refused).encode_to_vec();
    rich.details.push(prost_types::Any { type_url: REFUSAL_TYPE.into(), value });
    Status::with_details(status.code(), message, rich.encode_to_vec().into())
}

fn refusal(refused: &Refused) -> Refusal {
    let receipt = refused.receipt.as_ref();
    Refusal {
        reasons: refused.reasons.iter().take(MAX_TOLD).map(Reason::to_proto).collect(),
        receipt: receipt.map(|receipt| receipt.encode_to_vec().into()).unwrap_or_default(),
    }
}

fn metadata(reasons: &[Reason]) -> std::collections::HashMap<String, String> {
    let detail = reasons.first().map(|reason| cut(&reason.detail, MAX_DETAIL).to_owned());
    detail.map(|detail| ("detail".to_owned(), detail)).into_iter().collect()
}

/// Both use gRPC's own numbers.
fn grpc_code(code: GrpcCode) -> Code {
    Code::from(code as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(status: &Status) -> Option<(String, String)> {
        status.get_details_error_info().map(|info| (info.domain, info.reason))
    }

    #[test]
    fn every_reason_that_is_told_is_counted() {
        let count = |wanted: ReasonCode| told().find(|(code, _)| *code == wanted).map(|(_, count)| count);
        for code in (0..10_000).filter_map(|code| ReasonCode::try_from(code).ok()) {
            let before = count(code).expect("has its place");
            let refused = Refused::because(code, "");
            let (_, _) = (status(&refused), stream_refusal(&refused));
            // Other tests refuse too.
            assert!(count(code) >= Some(before + 2), "{code:?}");
        }
    }

    #[test]
    fn what_the_transport_refuses_gets_a_reason() {
        for (made, reason_code) in [
            (Status::internal("failed to decode Protobuf message"), ReasonCode::Malformed),
            (Status::out_of_range("decoded message length too large"), ReasonCode::TooLarge),
            (Status::resource_exhausted("size limit exceeded while decompressing"), ReasonCode::TooLarge),
        ] {
            let status = typed(made);
            assert_eq!(status.code(), Code::InvalidArgument);
            assert_eq!(reason(&status), Some((DOMAIN.into(), reason_code.as_str_name().into())));
        }
    }

    #[test]
    fn the_longest_refusal_fits_into_the_trailers_of_common_clients() {
        let reasons = vec![Reason::new(ReasonCode::InvalidField, "ệ".repeat(5_000)); 1_000];
        let evidence =
            crate::proto::Evidence { reasons: vec![reasons[0].to_proto(); MAX_TOLD], ..Default::default() };
        let receipt = crate::proto::Receipt {
            evidence: [evidence.encode_to_vec(), vec![0; 500]].concat().into(),
            path: vec![vec![0; 32].into(); 30],
            checkpoint: "x".repeat(300),
            ..Default::default()
        };
        let status = status(&Refused { reasons, receipt: Some(Box::new(receipt)) });
        let headers = status.into_http::<Body>().headers().clone();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes < 8 * 1024, "{bytes} bytes");
    }

    #[test]
    fn refusals_and_grpcs_own_answers_stay() {
        let refused = refuse(Reason::new(ReasonCode::WrongOffset, "continue at offset 7"));
        let again = typed(refused.clone());
        assert_eq!((again.code(), again.details()), (refused.code(), refused.details()));
        assert_eq!(typed(Status::unimplemented("no such method")).code(), Code::Unimplemented);
    }

    #[test]
    fn only_an_answer_without_reason_is_changed() {
        let made: http::Response<Body> = Status::internal("Unexpected EOF").into_http();
        let status = Status::from_header_map(typed_answer(made).headers()).expect("a status");
        assert_eq!(reason(&status).expect("typed").1, "MALFORMED");
        let good = typed_answer(http::Response::new(Body::empty()));
        assert!(Status::from_header_map(good.headers()).is_none());
    }
}
