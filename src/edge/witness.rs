//! The witness's door: C2SP tlog-witness. Whoever reaches it may ask; only what a followed log signed has an effect.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
};
use tokio::{sync::Semaphore, time::timeout};

use super::https::{Answer, Door};
use crate::{
    hub::witness::{Reply, Witness},
    tlog::witness::{MAX_REQUEST, NotCosigned},
};

/// Where requests go, below the address of the door.
pub const ADD_CHECKPOINT: &str = "/add-checkpoint";

const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";
/// Requests that are read or judged at the same time: each is in memory, and may wait for the disk.
const AT_A_TIME: usize = 16;
/// A request waits so long for its turn, and then has so long to come wholly.
const PATIENCE: Duration = Duration::from_secs(5);

/// The door of a witness.
pub struct WitnessDoor {
    witness: Arc<Witness>,
    turns: Semaphore,
}

impl WitnessDoor {
    /// The door of this witness.
    #[must_use]
    pub fn new(witness: Arc<Witness>) -> Self {
        Self { witness, turns: Semaphore::new(AT_A_TIME) }
    }

    /// Answers a request to [`ADD_CHECKPOINT`].
    pub async fn add_checkpoint(&self, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            let mut refusal = told(StatusCode::METHOD_NOT_ALLOWED, "POST a checkpoint");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return refusal;
        }
        let Ok(Ok(_turn)) = timeout(PATIENCE, self.turns.acquire()).await else {
            let mut busy = told(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being judged");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return busy;
        };
        let body = match timeout(PATIENCE, Limited::new(request.into_body(), MAX_REQUEST).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return told(StatusCode::PAYLOAD_TOO_LARGE, "larger than any request of this protocol");
            }
            Ok(Err(_)) => return told(StatusCode::BAD_REQUEST, "the request broke off"),
            Err(_) => return told(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
        };
        match String::from_utf8(body.into()) {
            Ok(body) => answer_of(self.witness.add_checkpoint(body).await),
            Err(_) => told(StatusCode::BAD_REQUEST, "not text"),
        }
    }
}

impl Door for WitnessDoor {
    type Body = Full<bytes::Bytes>;

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            ADD_CHECKPOINT => self.add_checkpoint(request).await,
            _ => told(StatusCode::NOT_FOUND, "there is /add-checkpoint"),
        }
    }
}

/// The standard's status for each outcome.
fn answer_of(reply: Reply) -> Answer {
    let refused = match reply {
        Reply::Cosigned(line) => return answer(StatusCode::OK, TEXT, line),
        Reply::UnknownOrigin => {
            return told(StatusCode::NOT_FOUND, "this witness does not follow this log");
        }
        Reply::Failed => {
            return told(StatusCode::INTERNAL_SERVER_ERROR, "this witness has trouble with its disk");
        }
        Reply::NotCosigned(refused) => refused,
    };
    let words = refused.to_string();
    match refused {
        NotCosigned::Malformed(_) | NotCosigned::OldIsLarger => told(StatusCode::BAD_REQUEST, &words),
        NotCosigned::NotSigned => told(StatusCode::FORBIDDEN, &words),
        NotCosigned::Conflict { known } => answer(StatusCode::CONFLICT, SIZE, format!("{known}\n")),
        NotCosigned::NotConsistent { .. } => told(StatusCode::UNPROCESSABLE_ENTITY, &words),
    }
}

fn told(status: StatusCode, words: &str) -> Answer {
    answer(status, TEXT, format!("{words}\n"))
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
