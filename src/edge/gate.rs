//! What every call passes before its handler: a hub that stops takes none, a caller has a bound of calls, and what it
//! sends is measured.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http},
};
use tower::{Layer, Service};

use super::{
    bounds::Bounds,
    caller::{Identity, PeerInfo},
    grpc_status::refuse,
    intake::stopping,
    measured::Measured,
    shares::{Share, Shares},
};

/// Calls that are answered until the end.
const ALWAYS: &str = "/grpc.health.v1.Health/";
/// Calls whose first message may come whenever it wants.
const IDLE: &str = "/truc.v1.SubmissionService/SubmitStream";

/// Bytes of messages in work, by caller.
pub type Memory = Shares<Identity>;

/// The layer.
#[derive(Clone)]
pub struct Gate {
    calls: Shares<Identity>,
    memory: Memory,
    patience: Duration,
    stopping: CancellationToken,
}

impl Gate {
    /// With these bounds; takes nothing once `stopping` is cancelled.
    #[must_use]
    pub fn new(bounds: &Bounds, memory: Memory, stopping: CancellationToken) -> Self {
        let calls = Shares::new("calls", bounds.calls_of_caller, bounds.calls);
        Self { calls, memory, patience: bounds.patience, stopping }
    }

    /// The call's place, and the call with its body measured.
    fn admit(&self, request: http::Request<Body>) -> Result<(Pass, http::Request<Body>), Status> {
        let path = request.uri().path();
        if self.stopping.is_cancelled() && !path.starts_with(ALWAYS) {
            return Err(refuse(stopping()));
        }
        // Without a name it gets its reason from every handler.
        let peer = request.extensions().get::<PeerInfo>();
        let Some(caller) = peer.and_then(|peer| peer.identity.as_ref().ok()).cloned() else {
            return Ok((None, request));
        };
        let pass = self.calls.take(&caller).map_err(refuse)?;
        let waits_for_first = path != IDLE;
        let (memory, patience) = (self.memory.clone(), self.patience);
        let measured = |body| Body::new(Measured::new(body, memory, caller, patience, waits_for_first));
        Ok((Some(Arc::new(pass)), request.map(measured)))
    }
}

type Pass = Option<Arc<Share<Identity>>>;

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Gated<S>
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
        let (pass, request) = match self.gate.admit(request) {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Kept { body, _pass: pass })))
        })
    }
}

/// An answer that keeps the call's place until it was sent.
struct Kept {
    body: Body,
    _pass: Pass,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
