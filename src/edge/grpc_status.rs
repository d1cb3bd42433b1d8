//! A refusal on the wire: gRPC status with rich details and the stable reason code. One place, one table.

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    domain::reason::{GrpcCode, Reason, Retry, entry},
    hub::refused::Refused,
    proto::{Refusal, StreamRefusal},
};

/// `google.rpc.ErrorInfo.domain` of every refusal.
pub const DOMAIN: &str = "truc";

/// Type of the `google.protobuf.Any` that holds the [`Refusal`].
pub const REFUSAL_TYPE: &str = "type.googleapis.com/truc.v1.Refusal";

/// What a client should wait before it tries again, where waiting helps.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The status of a refused call: `ErrorInfo`, `RetryInfo` where waiting helps, and the [`Refusal`].
#[must_use]
pub fn status(refused: &Refused) -> Status {
    let code = refused.code();
    let entry = entry(code);
    let mut details = ErrorDetails::with_error_info(code.as_str_name(), DOMAIN, metadata(&refused.reasons));
    if entry.retry == Retry::Later {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    let message = refused.to_string();
    let status = Status::with_error_details(grpc_code(entry.grpc), message.clone(), details);
    with_refusal(&status, message, refused)
}

/// From a reason alone.
#[must_use]
pub fn refuse(reason: Reason) -> Status {
    status(&reason.into())
}

/// The same inside a stream that goes on.
#[must_use]
pub fn stream_refusal(refused: &Refused) -> StreamRefusal {
    StreamRefusal {
        status: grpc_code(entry(refused.code()).grpc) as i32,
        message: refused.to_string(),
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
        reasons: refused.reasons.iter().take(20).map(Reason::to_proto).collect(),
        receipt: receipt.map(|receipt| receipt.encode_to_vec().into()).unwrap_or_default(),
    }
}

fn metadata(reasons: &[Reason]) -> std::collections::HashMap<String, String> {
    let detail = reasons.first().map(|reason| reason.detail.chars().take(300).collect());
    detail.map(|detail| ("detail".to_owned(), detail)).into_iter().collect()
}

/// Both use gRPC's own numbers.
fn grpc_code(code: GrpcCode) -> Code {
    Code::from(code as i32)
}
