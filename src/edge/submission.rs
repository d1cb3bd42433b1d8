//! The senders' door.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, codegen::Bytes};

use super::{
    bounds::Bounds,
    caller::Caller,
    grpc_status::{refuse, status},
    intake::{Intake, Turned, stopping},
    meter::caller_trace,
    shares::Shares,
    submit_stream::SubmitStream,
};
use crate::{
    domain::{
        envelope,
        id::{Digest, NodeName},
        reason::{Reason, ReasonCode},
    },
    hub::{
        Hub,
        intake::Accepted,
        query::digest_field,
        steps::{Step, TraceParent},
    },
    proto::*,
    rpc::submission_service_server::SubmissionService,
};

/// Set to `true` on the answer to a repeat.
pub const REPEAT_HEADER: &str = "truc-repeat";

/// Bytes of one upload message.
pub const MAX_CHUNK: usize = 1024 * 1024;

/// Uploads of one node at the same time: each holds up to two messages in memory, however slowly they come.
const MAX_UPLOADS_OF_NODE: usize = 16;
/// Uploads of all nodes at the same time.
const MAX_UPLOADS: usize = 512;

/// The service over a hub.
pub struct Submissions {
    hub: Arc<Hub>,
    intake: Intake,
    uploads: Shares,
    patience: Duration,
}

impl Submissions {
    /// The service over `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, intake: Intake, bounds: &Bounds) -> Self {
        let uploads = Shares::new("uploads", MAX_UPLOADS_OF_NODE, MAX_UPLOADS);
        Self { hub, intake, uploads, patience: bounds.patience }
    }
}

impl Submissions {
    /// The next step of an upload. A hub that stops keeps what arrived: the upload goes on later.
    async fn next(&self, steps: &mut Streaming<UploadRequest>) -> Result<Option<UploadRequest>, Status> {
        let next = self.hub.stopping().run_until_cancelled(steps.message()).await;
        next.unwrap_or_else(|| Err(refuse(stopping())))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SubmissionService for Submissions {
    type SubmitStreamStream = Answers<SubmitStreamResponse>;

    async fn get_capabilities(
        &self,
        request: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        Ok(Response::new(capabilities(&self.hub)))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let caller = caller_trace(request.metadata());
        let accepted = submit(&self.hub, &self.intake, &node, caller, request.into_inner()).await;
        Ok(respond(accepted.map_err(Turned::status)?))
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let node = node(&self.hub, &request)?;
        let caller = caller_trace(request.metadata());
        let stream = SubmitStream {
            caller,
            hub: Arc::clone(&self.hub),
            intake: self.intake.clone(),
            patience: self.patience,
            resting: None,
            node,
            requests: request.into_inner(),
        };
        Ok(Response::new(Box::pin(stream.begin())))
    }

    async fn validate(&self, request: Request<SubmitRequest>) -> Result<Response<ValidateResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let envelope = required(request.into_inner().envelope)?;
        let envelope = self.intake.admit(&node, envelope, 0).map_err(Turned::status)?;
        let valid = self.hub.validate(&node, envelope).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(valid))
    }

    async fn add_recipients(
        &self,
        request: Request<AddRecipientsRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let envelope = required(request.into_inner().envelope)?;
        let envelope = self.intake.admit(&node, envelope, 0).map_err(Turned::status)?;
        let outcome = self.hub.add_recipients(&node, envelope).await;
        Ok(respond(self.intake.judged(&node, outcome).map_err(Turned::status)?))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let _until_the_end = self.uploads.take(&node).map_err(refuse)?;
        let mut steps = request.into_inner();
        let Some(upload_request::Step::Begin(begin)) = steps.message().await?.and_then(|first| first.step)
        else {
            return Err(refuse(Reason::new(ReasonCode::Malformed, "the first message must be `begin`")));
        };
        let mut upload = self.hub.begin_upload(&node, &begin).await.map_err(|refused| status(&refused))?;
        while let Some(step) = self.next(&mut steps).await? {
            let Some(upload_request::Step::Data(data)) = step.step else {
                return Err(refuse(Reason::new(ReasonCode::Malformed, "after `begin` only `data` may come")));
            };
            if data.len() > MAX_CHUNK {
                let detail = format!("data: {} bytes, at most {MAX_CHUNK} a message", data.len());
                return Err(refuse(Reason::new(ReasonCode::TooLarge, detail)));
            }
            self.intake.pace(&node, data.len()).await?;
            upload.write(data).await.map_err(|refused| status(&refused))?;
        }
        Ok(Response::new(upload.finish().await.map_err(|refused| status(&refused))?))
    }

    async fn query_upload(
        &self,
        request: Request<QueryUploadRequest>,
    ) -> Result<Response<UploadResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let digest = digest_field(&request.get_ref().sha256, "sha256").map_err(|refused| status(&refused))?;
        let held = self.hub.query_upload(&node, digest).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(held))
    }
}

/// The calling node; the hub notes that it called.
pub fn node<T>(hub: &Hub, request: &Request<T>) -> Result<NodeName, Status> {
    let caller = Caller::from_request(request).map_err(refuse)?;
    let node = caller.require_node().map_err(refuse)?;
    hub.presence().heard(&hub.directory(), node, caller.peer());
    Ok(node.clone())
}

/// An envelope that must be there.
pub fn required(envelope: Option<SignedEnvelope>) -> Result<SignedEnvelope, Status> {
    envelope.ok_or_else(|| refuse(Reason::invalid("envelope", "is missing")))
}

/// Lets a document in, or refuses it.
pub(super) async fn submit(
    hub: &Arc<Hub>,
    intake: &Intake,
    node: &NodeName,
    caller: Option<TraceParent>,
    request: SubmitRequest,
) -> Result<Accepted, Turned> {
    let envelope = request.envelope.ok_or_else(|| Reason::invalid("envelope", "is missing"))?;
    let step = hub.steps().begin("submit", || Some(Digest::of(&envelope.payload)));
    let step = step.map(|step| step.by(node).with(|step| step.caller = caller));
    let more = request.inline_parts.iter().map(Bytes::len).sum();
    let outcome = match intake.admit(node, envelope, more) {
        Ok(envelope) => intake.judged(node, hub.submit(node, envelope, request.inline_parts).await),
        Err(turned) => Err(turned),
    };
    drop(step.map(|step| step.with(|step| tell(step, &outcome))));
    outcome
}

/// What a submission came to. Only the one that was accepted is the first step of the document: refusals and repeats
/// may come as often as anybody likes.
fn tell(step: &mut Step, outcome: &Result<Accepted, Turned>) {
    match outcome {
        Ok(accepted) => {
            step.first = !accepted.repeat;
            step.leaf = Some(accepted.receipt.index);
        }
        Err(turned) => step.failed = Some(turned.code().as_str_name()),
    }
}

fn respond(accepted: Accepted) -> Response<SubmitResponse> {
    let mut response = Response::new(SubmitResponse { receipt: Some(accepted.receipt) });
    if accepted.repeat {
        response.metadata_mut().insert(REPEAT_HEADER, tonic::metadata::MetadataValue::from_static("true"));
    }
    response
}

fn capabilities(hub: &Hub) -> GetCapabilitiesResponse {
    let settings = hub.settings();
    let limits = &settings.limits;
    GetCapabilitiesResponse {
        origin: hub.log().origin.clone(),
        verifier_key: hub.log().verifier().to_string(),
        log_keys: hub.keys().proofs.clone(),
        max_part_bytes: limits.max_part_bytes,
        max_inline_bytes: settings.max_inline_bytes,
        max_chunk_bytes: saturate(MAX_CHUNK),
        max_manifest_bytes: saturate(limits.max_manifest_bytes.min(envelope::MAX_PAYLOAD)),
        max_recipients: saturate(limits.max_recipients),
        max_parts: saturate(limits.max_parts),
        clock_skew_us: limits.clock_skew_us,
        default_deadline_us: limits.default_deadline_us,
        hub_time_us: hub.clock().now().0,
        version: env!("CARGO_PKG_VERSION").into(),
        upload_retention_us: settings.upload_retention_us,
    }
}

fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
