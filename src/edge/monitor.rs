//! The door for those who watch the hub: alive, ready and why not. Plain HTTP, and nothing in it about a document.

mod certificates;
mod metrics;
mod page;
mod process;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Serialize;
use tokio::sync::Mutex;

use super::{
    https::{Answer, Door},
    tls::Acceptor,
};
pub use crate::hub::health::HealthLimits;
use crate::hub::{Hub, gauges::Gauges, health::Alarm};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The door over a hub.
pub struct Monitor {
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    began: Instant,
    /// The same by the clock, said once: a number that changes would look like a start.
    began_us: i64,
    /// One looks at the gauges at a time, and others soon after it take what it found.
    gauges: Mutex<Option<(Instant, Arc<Gauges>)>>,
}

/// Answer of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    /// True when the hub can accept and deliver.
    ready: bool,
    /// Told to stop: it ends what runs and takes nothing new.
    stopping: bool,
    origin: String,
    version: &'static str,
    /// What is not as it should be, the gravest first.
    conditions: Vec<Standing>,
}

#[derive(Serialize)]
struct Standing {
    condition: &'static str,
    severity: &'static str,
    title: &'static str,
    title_vi: &'static str,
    cause: String,
    since_us: i64,
    next_step: &'static str,
    next_step_vi: &'static str,
}

impl From<Alarm> for Standing {
    fn from(Alarm { condition, cause, since }: Alarm) -> Self {
        Self {
            condition: condition.name(),
            severity: condition.severity().name(),
            title: condition.title(),
            title_vi: condition.title_vi(),
            cause,
            since_us: since.0,
            next_step: condition.step(),
            next_step_vi: condition.step_vi(),
        }
    }
}

impl Monitor {
    /// A door over this hub and the acceptor of its gRPC port.
    #[must_use]
    pub fn new(hub: Arc<Hub>, acceptor: Arc<Acceptor>) -> Self {
        let began_us = hub.clock().now().0;
        Self { hub, acceptor, began: Instant::now(), began_us, gauges: Mutex::default() }
    }

    async fn get(&self, path: &str, headers: &HeaderMap) -> Answer {
        match path {
            "/metrics" => self.metrics(headers).await,
            "/healthz" => answer(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => self.readiness(),
            _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n"),
        }
    }

    fn readiness(&self) -> Answer {
        let ready = self.hub.is_ready();
        let told = Readiness {
            ready,
            stopping: self.hub.stopping().is_cancelled(),
            origin: self.hub.log().origin.clone(),
            version: env!("CARGO_PKG_VERSION"),
            conditions: self.hub.health().alarms().into_iter().map(Standing::from).collect(),
        };
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let text = serde_json::to_string(&told).unwrap_or_default();
        answer(status, JSON, text + "\n")
    }
}

impl Door for Monitor {
    type Body = Full<Bytes>;

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match *request.method() {
            Method::GET => self.get(request.uri().path(), request.headers()).await,
            Method::HEAD => without_body(self.get(request.uri().path(), request.headers()).await),
            _ => {
                let mut refusal =
                    answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this door can only be read\n");
                refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                refusal
            }
        }
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The same answer to HEAD: every header of it, and its length.
fn without_body(answer: Answer) -> Answer {
    use hyper::body::Body as _;
    let (mut parts, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Full::new(Bytes::new()))
}
