//! The senders' door.

use std::{pin::Pin, sync::Arc};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    caller::Caller,
    grpc_status::{refuse, status, stream_refusal, typed},
    shares::Shares,
};
use crate::{
    domain::{
        envelope,
        id::NodeName,
        reason::{Reason, ReasonCode},
    },
    hub::{Hub, intake::Accepted, query::digest_field},
    proto::*,
    rpc::submission_service_server::SubmissionService,
};

/// Set to `true` on the answer to a repeat.
pub const REPEAT_HEADER: &str = "truc-repeat";

/// Bytes of one upload message.
pub const MAX_CHUNK: usize = 1024 * 1024;

/// Submissions of one stream that are worked on at the same time.
const STREAM_IN_FLIGHT: usize = 256;

/// Uploads of one node at the same time: each holds up to two messages in memory, however slowly they come.
const MAX_UPLOADS_OF_NODE: usize = 16;
/// Uploads of all nodes at the same time.
const MAX_UPLOADS: usize = 512;

/// The service over a hub.
pub struct Submissions {
    hub: Arc<Hub>,
    uploads: Shares,
}

impl Submissions {
    /// The service over `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, uploads: Shares::new("uploads", MAX_UPLOADS_OF_NODE, MAX_UPLOADS) }
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
        let node = node(&request)?;
        let accepted =
            submit(&self.hub, &node, request.into_inner()).await.map_err(|refused| status(&refused))?;
        Ok(respond(accepted))
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let node = node(&request)?;
        let (answers, receiver) = mpsc::channel(STREAM_IN_FLIGHT);
        self.hub.spawn(serve_stream(Arc::clone(&self.hub), node, request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn validate(&self, request: Request<SubmitRequest>) -> Result<Response<ValidateResponse>, Status> {
        let node = node(&request)?;
        let envelope = required(request.into_inner().envelope)?;
        let valid = self.hub.validate(&node, envelope).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(valid))
    }

    async fn add_recipients(
        &self,
        request: Request<AddRecipientsRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let node = node(&request)?;
        let envelope = required(request.into_inner().envelope)?;
        let accepted = self.hub.add_recipients(&node, envelope).await.map_err(|refused| status(&refused))?;
        Ok(respond(accepted))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let node = node(&request)?;
        let _until_the_end = self.uploads.take(&node).map_err(refuse)?;
        let mut steps = request.into_inner();
        let Some(upload_request::Step::Begin(begin)) = steps.message().await?.and_then(|first| first.step)
        else {
            return Err(refuse(Reason::new(ReasonCode::Malformed, "the first message must be `begin`")));
        };
        let mut upload = self.hub.begin_upload(&node, &begin).await.map_err(|refused| status(&refused))?;
        while let Some(step) = steps.message().await? {
            let Some(upload_request::Step::Data(data)) = step.step else {
                return Err(refuse(Reason::new(ReasonCode::Malformed, "after `begin` only `data` may come")));
            };
            if data.len() > MAX_CHUNK {
                let detail = format!("data: {} bytes, at most {MAX_CHUNK} a message", data.len());
                return Err(refuse(Reason::new(ReasonCode::TooLarge, detail)));
            }
            upload.write(data).await.map_err(|refused| status(&refused))?;
        }
        Ok(Response::new(upload.finish().await.map_err(|refused| status(&refused))?))
    }

    async fn query_upload(
        &self,
        request: Request<QueryUploadRequest>,
    ) -> Result<Response<UploadResponse>, Status> {
        let node = node(&request)?;
        let digest = digest_field(&request.get_ref().sha256, "sha256").map_err(|refused| status(&refused))?;
        let held = self.hub.query_upload(&node, digest).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(held))
    }
}

/// The calling node.
pub fn node<T>(request: &Request<T>) -> Result<NodeName, Status> {
    let caller = Caller::from_request(request).map_err(refuse)?;
    caller.require_node().cloned().map_err(refuse)
}

/// An envelope that must be there.
pub fn required(envelope: Option<SignedEnvelope>) -> Result<SignedEnvelope, Status> {
    envelope.ok_or_else(|| refuse(Reason::invalid("envelope", "is missing")))
}

async fn submit(
    hub: &Arc<Hub>,
    node: &NodeName,
    request: SubmitRequest,
) -> Result<Accepted, crate::hub::refused::Refused> {
    let envelope = request.envelope.ok_or_else(|| Reason::invalid("envelope", "is missing"))?;
    hub.submit(node, envelope, request.inline_parts).await
}

fn respond(accepted: Accepted) -> Response<SubmitResponse> {
    let mut response = Response::new(SubmitResponse { receipt: Some(accepted.receipt) });
    if accepted.repeat {
        response.metadata_mut().insert(REPEAT_HEADER, tonic::metadata::MetadataValue::from_static("true"));
    }
    response
}

/// Answers come as their commits do; the bound on work in flight holds back a fast client.
async fn serve_stream(
    hub: Arc<Hub>,
    node: NodeName,
    mut requests: Streaming<SubmitStreamRequest>,
    answers: mpsc::Sender<Result<SubmitStreamResponse, Status>>,
) {
    let mut work = tokio::task::JoinSet::new();
    let mut unreadable = None;
    loop {
        tokio::select! {
            next = requests.next(), if work.len() < STREAM_IN_FLIGHT => match next {
                Some(Ok(request)) => {
                    let (hub, node, answers) = (Arc::clone(&hub), node.clone(), answers.clone());
                    work.spawn(async move {
                        // A client that went away repeats and gets the same receipt.
                        let _ = answers.send(Ok(answer(&hub, &node, request).await)).await;
                    });
                }
                Some(Err(broken)) => {
                    // Nothing after it can be read; what was taken is still answered below.
                    unreadable = Some(broken);
                    break;
                }
                None => break,
            },
            Some(_) = work.join_next() => {}
            () = answers.closed() => return,
        }
    }
    while work.join_next().await.is_some() {}
    if let Some(broken) = unreadable {
        // No receiver: the connection itself broke.
        let _ = answers.send(Err(typed(broken))).await;
    }
}

async fn answer(hub: &Arc<Hub>, node: &NodeName, request: SubmitStreamRequest) -> SubmitStreamResponse {
    use submit_stream_response::Answer;

    let outcome = submit(hub, node, request.request.unwrap_or_default()).await;
    let answer = match outcome {
        Ok(accepted) => Answer::Accepted(SubmitResponse { receipt: Some(accepted.receipt) }),
        Err(refused) => Answer::Refused(stream_refusal(&refused)),
    };
    SubmitStreamResponse { tag: request.tag, answer: Some(answer) }
}

fn capabilities(hub: &Hub) -> GetCapabilitiesResponse {
    let settings = hub.settings();
    let limits = &settings.limits;
    GetCapabilitiesResponse {
        origin: hub.log().origin.clone(),
        verifier_key: hub.log().verifier().to_string(),
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
