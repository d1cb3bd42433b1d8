//! The outermost layer of the gRPC port: counts every call and names it, so that a caller's question finds its lines in
//! the log.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use http_body::{Frame, SizeHint};
use prost::Message as _;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        Bytes,
        http::{self, HeaderMap, HeaderValue},
    },
};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::caller::{PeerInfo, Role};
use crate::{
    hub::{
        meters::{Count, Histogram},
        steps::TraceParent,
    },
    proto::DESCRIPTORS,
};

/// Names a call: taken over from the caller where it is short and plain, else made here; told in the answer.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C Trace Context.
pub const TRACE_PARENT: &str = "traceparent";

/// Where calls are logged: `[logging] filter = "info,truc::calls=debug"`.
const LOG: &str = "truc::calls";
const MAX_REQUEST_ID: usize = 64;
/// gRPC knows the codes 0 to 16.
const CODES: usize = 17;
/// Services that are not in our own descriptors.
const OTHERS: [(&str, &[&str]); 2] = [
    ("grpc.health.v1.Health", &["Check", "List", "Watch"]),
    ("grpc.reflection.v1.ServerReflection", &["ServerReflectionInfo"]),
];

/// What the calls of one method came to.
pub struct Method {
    /// Its service, such as `truc.v1.SubmissionService`; `other` for all that do not exist.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Calls begun.
    pub started: Count,
    /// Calls ended, by gRPC code.
    pub ended: [Count; CODES],
    /// Time until a call ended; streams live long.
    pub times: Histogram,
    running: AtomicI64,
}

impl Method {
    fn new(service: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            service: service.to_owned(),
            name: name.to_owned(),
            started: Count::default(),
            ended: std::array::from_fn(|_| Count::default()),
            times: Histogram::of_times(),
            running: AtomicI64::new(0),
        })
    }

    /// Calls under way.
    #[must_use]
    pub fn running(&self) -> i64 {
        self.running.load(Relaxed)
    }
}

/// All methods, known from the start: what strangers ask for makes no new ones.
pub struct Calls {
    methods: HashMap<String, Arc<Method>>,
    other: Arc<Method>,
    /// Begins the ids of this process.
    prefix: u32,
    next: AtomicU64,
}

impl Default for Calls {
    fn default() -> Self {
        let mut methods = HashMap::new();
        let mut enter = |service: &str, name: &str| {
            methods.insert(format!("/{service}/{name}"), Method::new(service, name));
        };
        let ours = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
        for file in &ours.file {
            for service in &file.service {
                let full = format!("{}.{}", file.package(), service.name());
                service.method.iter().for_each(|method| enter(&full, method.name()));
            }
        }
        for (service, names) in OTHERS {
            names.iter().for_each(|name| enter(service, name));
        }
        let prefix = getrandom::u32().unwrap_or(0);
        Self { methods, other: Method::new("other", "other"), prefix, next: AtomicU64::new(0) }
    }
}

impl Calls {
    /// Every method, in order.
    #[must_use]
    pub fn methods(&self) -> Vec<&Method> {
        let mut all: Vec<_> = self.methods.values().chain([&self.other]).map(|method| &**method).collect();
        all.sort_by(|one, next| (&one.service, &one.name).cmp(&(&next.service, &next.name)));
        all
    }

    fn method(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.methods.get(path).unwrap_or(&self.other))
    }

    fn request_id(&self, given: &HeaderMap) -> String {
        let plain = |id: &&str| {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(legal)
        };
        let given = given.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain);
        given.map_or_else(
            || format!("{:08x}-{:08x}", self.prefix, self.next.fetch_add(1, Relaxed)),
            str::to_owned,
        )
    }
}

/// The caller's trace, from the headers of its call.
#[must_use]
pub fn caller_trace(metadata: &tonic::metadata::MetadataMap) -> Option<TraceParent> {
    TraceParent::parse(metadata.get(TRACE_PARENT)?.to_str().ok()?)
}

/// The layer.
#[derive(Clone)]
pub struct Meter(pub Arc<Calls>);

impl<S> Layer<S> for Meter {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { calls: Arc::clone(&self.0), inner }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub struct Metered<S> {
    calls: Arc<Calls>,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut call = Call::begin(&self.calls, &request);
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request));
        let told = async move {
            let mut answer = answer.await.inspect_err(|_| call.end(Code::Unknown))?;
            if let Ok(id) = HeaderValue::from_str(&call.request_id) {
                answer.headers_mut().insert(REQUEST_ID, id);
            }
            if let Some(code) = code_of(answer.headers()) {
                call.end(code);
                return Ok(answer);
            }
            Ok(answer.map(|body| Body::new(Counted { body, call })))
        };
        Box::pin(told.instrument(span))
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// A call under way; one that is dropped before its end was cancelled.
struct Call {
    method: Arc<Method>,
    began: Instant,
    request_id: String,
    /// Who called, where that is to be logged.
    caller: String,
    span: tracing::Span,
    ended: bool,
}

impl Call {
    fn begin(calls: &Calls, request: &http::Request<Body>) -> Self {
        let method = calls.method(request.uri().path());
        method.started.add(1);
        method.running.fetch_add(1, Relaxed);
        let request_id = calls.request_id(request.headers());
        let parent = request.headers().get(TRACE_PARENT).and_then(|parent| parent.to_str().ok());
        let trace = parent.and_then(TraceParent::parse).map(|parent| hex::encode(parent.trace));
        let span = tracing::info_span!("call", rpc = method.name, request_id, trace_id = trace);
        let logged = tracing::enabled!(target: LOG, tracing::Level::DEBUG);
        let caller = if logged { caller(request.extensions().get()) } else { String::new() };
        Self { method, began: Instant::now(), request_id, caller, span, ended: false }
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.began.elapsed();
        self.method.running.fetch_sub(1, Relaxed);
        self.method.times.took(took);
        if let Some(count) = self.method.ended.get(code as usize) {
            count.add(1);
        }
        let _entered = self.span.enter();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(target: LOG, code = ?code, took_us, caller = self.caller, "a call ended");
    }
}

/// Who called, as far as logs may know: nodes by name, persons by what they do.
fn caller(peer: Option<&PeerInfo>) -> String {
    let Some(Ok(identity)) = peer.map(|peer| &peer.identity) else { return "nobody".into() };
    match &identity.role {
        Role::Node(name) => format!("node {name}"),
        Role::Auditor(_) | Role::ScopedAuditor(..) => "auditor".into(),
        Role::Operator(_) => "operator".into(),
        Role::Security(_) => "security".into(),
        Role::Registrar(_) => "registrar".into(),
        Role::Viewer(_) => "viewer".into(),
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// An answer on its way. Its last frame tells what the call came to.
struct Counted {
    body: Body,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end(code);
                }
            }
            Some(Err(status)) => self.call.end(status.code()),
            None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// What a call came to: answer, and how often each code was counted.
    async fn call(path: &str, answer: http::Response<Body>) -> (http::Response<Body>, Arc<Calls>) {
        let calls = Arc::<Calls>::default();
        let inner =
            service_fn(move |_| std::future::ready(Ok::<_, std::convert::Infallible>(answer.clone_parts())));
        let request = http::Request::post(path).header(REQUEST_ID, "mine-1").body(Body::empty()).unwrap();
        let answer = Meter(Arc::clone(&calls)).layer(inner).oneshot(request).await.unwrap();
        (answer, calls)
    }

    trait CloneParts {
        fn clone_parts(&self) -> Self;
    }

    impl CloneParts for http::Response<Body> {
        fn clone_parts(&self) -> Self {
            let unread = http_body_util::Full::new(Bytes::from_static(b"unread"));
            let mut copy = http::Response::new(Body::new(unread));
            *copy.headers_mut() = self.headers().clone();
            copy
        }
    }

    const SUBMIT: &str = "/truc.v1.SubmissionService/Submit";

    fn counted(calls: &Calls, path: &str) -> Vec<(usize, u64)> {
        let method = calls.method(path);
        let counts = method.ended.iter().enumerate().map(|(code, count)| (code, count.get()));
        assert_eq!(method.running(), 0);
        counts.filter(|(_, count)| *count > 0).collect()
    }

    #[tokio::test]
    async fn a_refusal_is_counted_by_its_code() {
        let refused = Status::failed_precondition("no").into_http();
        let (answer, calls) = call(SUBMIT, refused).await;
        assert_eq!(counted(&calls, SUBMIT), [(Code::FailedPrecondition as usize, 1)]);
        assert_eq!(answer.headers()[REQUEST_ID], "mine-1");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_was_cancelled() {
        let (answer, calls) = call(SUBMIT, http::Response::new(Body::empty())).await;
        assert_eq!(calls.method(SUBMIT).running(), 1);
        drop(answer);
        assert_eq!(counted(&calls, SUBMIT), [(Code::Cancelled as usize, 1)]);
    }

    #[tokio::test]
    async fn strangers_make_no_new_methods() {
        let before = Calls::default().methods().len();
        let path = "/truc.v1.SubmissionService/Sumbit";
        let (_, calls) = call(path, Status::unimplemented("no").into_http()).await;
        assert_eq!(counted(&calls, "/x/y"), [(Code::Unimplemented as usize, 1)]);
        assert_eq!(calls.methods().len(), before);
        assert!(before > 30, "{before}");
    }

    #[test]
    fn only_plain_ids_are_taken_over() {
        let calls = Calls::default();
        let given = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            calls.request_id(&headers)
        };
        assert_eq!(given("a-1_B.2"), "a-1_B.2");
        for bad in ["", "a b", "a\"b", "ệ", &"a".repeat(65)] {
            assert_ne!(given(bad), bad);
        }
        assert_ne!(given(""), given(""));
    }
}
