//! The recipients' door.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    bounds::Bounds,
    caller::Caller,
    grpc_status::{refuse, status, stream_refusal, typed},
    intake::{Intake, Turned},
    shares::Shares,
    submission::{node, required},
};
use crate::{
    domain::{
        id::NodeName,
        reason::{Reason, ReasonCode},
    },
    hub::{
        Hub,
        query::digest_field,
        session::{Command, Event, Session},
    },
    proto::*,
    rpc::delivery_service_server::DeliveryService,
};

/// Downloads of one node at the same time: each holds some 600 KiB in memory, however slowly it is read.
const MAX_DOWNLOADS_OF_NODE: usize = 16;
/// Downloads of all nodes at the same time.
const MAX_DOWNLOADS: usize = 1024;
/// Calls of one node that wait for something to fetch.
const MAX_FETCHES_OF_NODE: usize = 256;
/// Such calls of all nodes.
const MAX_FETCHES: usize = 16 * 1024;
/// Answers of the door itself that may wait for a slow client.
const WORDS: usize = 4;

/// The service over a hub.
pub struct Deliveries {
    hub: Arc<Hub>,
    intake: Intake,
    downloads: Shares,
    fetches: Shares,
    sessions: Shares,
    patience: Duration,
}

impl Deliveries {
    /// The service over `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, intake: Intake, bounds: &Bounds) -> Self {
        Self {
            hub,
            intake,
            downloads: Shares::new("downloads", MAX_DOWNLOADS_OF_NODE, MAX_DOWNLOADS),
            fetches: Shares::new("fetches", MAX_FETCHES_OF_NODE, MAX_FETCHES),
            sessions: Shares::new("sessions", bounds.sessions_of_node, bounds.sessions),
            patience: bounds.patience,
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DeliveryService for Deliveries {
    type DeliverStream = Answers<DeliverResponse>;
    type DownloadStream = Answers<DownloadResponse>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let node = node(&self.hub, &request)?;
        let peer = Caller::from_request(&request).map_err(refuse)?.peer();
        let share = self.sessions.take(&node).map_err(refuse)?;
        let mut steps = request.into_inner();
        let first = steps.message().await?.and_then(|first| first.step);
        let Some(deliver_request::Step::Hello(hello)) = first else {
            return Err(refuse(Reason::new(ReasonCode::Malformed, "the first message must be `hello`")));
        };
        let session = self.hub.open_session_with(&node, &hello.agencies, self.patience, peer);
        let Session { agencies, commands, events } = session.map_err(|refused| status(&refused))?;
        let welcome = Welcome {
            agencies: agencies.iter().map(ToString::to_string).collect(),
            lease_us: self.hub.settings().lease_us,
        };
        let (words, heard) = mpsc::channel(WORDS);
        let (broken, ending) = mpsc::channel(1);
        let client = Client { intake: self.intake.clone(), node, commands, words };
        self.hub.spawn(client.listen(steps, broken));
        let welcome = tokio_stream::once(step(deliver_response::Step::Welcome(welcome)));
        let answers =
            ReceiverStream::new(events).map(said).merge(ReceiverStream::new(heard).map(turned_away));
        let answers = welcome.map(Ok).chain(answers);
        let answers = answers.chain(ReceiverStream::new(ending).map(|broken| Err(typed(broken))));
        Ok(Response::new(Box::pin(share.kept_by(answers))))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let _until_the_end = self.fetches.take(&node).map_err(refuse)?;
        let FetchRequest { agencies, max, wait_us } = request.into_inner();
        let wait = Duration::from_micros(u64::try_from(wait_us).unwrap_or(0));
        let offers = self.hub.fetch(&node, &agencies, max, wait).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(FetchResponse { offers }))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let envelope = required(request.into_inner().envelope)?;
        let envelope = self.intake.admit(&node, envelope, 0).map_err(Turned::status)?;
        let outcome = self.hub.acknowledge(&node, envelope).await;
        let accepted = self.intake.judged(&node, outcome).map_err(Turned::status)?;
        Ok(Response::new(AcknowledgeResponse { receipt: Some(accepted.receipt) }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let ReleaseRequest { delivery_id, lease_id } = request.into_inner();
        self.hub.release(&node, &delivery_id, lease_id).map_err(|refused| status(&refused))?;
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn extend_lease(
        &self,
        request: Request<ExtendLeaseRequest>,
    ) -> Result<Response<ExtendLeaseResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let ExtendLeaseRequest { delivery_id, lease_id } = request.into_inner();
        let lease_until_us =
            self.hub.extend_lease(&node, &delivery_id, lease_id).map_err(|refused| status(&refused))?;
        Ok(Response::new(ExtendLeaseResponse { delivery_id, lease_until_us }))
    }

    async fn download(
        &self,
        request: Request<DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let node = node(&self.hub, &request)?;
        let DownloadRequest { delivery_id, sha256, offset } = request.into_inner();
        let digest = digest_field(&sha256, "sha256").map_err(|refused| status(&refused))?;
        let share = self.downloads.take(&node).map_err(refuse)?;
        let chunks = self.hub.download(&node, &delivery_id, digest, offset).await;
        let chunks = ReceiverStream::new(chunks.map_err(|refused| status(&refused))?);
        let answers = chunks.map(|chunk| match chunk {
            Ok(data) => Ok(DownloadResponse { data }),
            Err(refused) => Err(status(&refused)),
        });
        Ok(Response::new(Box::pin(share.kept_by(answers))))
    }
}

/// The client's half of a session.
struct Client {
    intake: Intake,
    node: NodeName,
    commands: mpsc::Sender<Command>,
    /// The door's own answers, boxed: a channel makes room for many.
    words: mpsc::Sender<Box<StepRefused>>,
}

impl Client {
    /// Ends the session when the client ends or breaks its stream; what broke it is the last answer.
    async fn listen(self, mut steps: Streaming<DeliverRequest>, broken: mpsc::Sender<Status>) {
        loop {
            let next = tokio::select! {
                next = steps.next() => next,
                () = self.commands.closed() => return,
            };
            let request = match next {
                Some(Ok(request)) => request,
                Some(Err(status)) => {
                    // Its one place is free. No receiver: the connection itself broke.
                    let _ = broken.try_send(status);
                    return;
                }
                None => return,
            };
            let Some(step) = request.step else { continue };
            if !self.pass_on(step).await {
                return;
            }
        }
    }

    /// False when the session is over.
    async fn pass_on(&self, step: deliver_request::Step) -> bool {
        match self.command(step) {
            Ok(None) => true,
            Ok(Some(command)) => self.commands.send(command).await.is_ok(),
            Err(turned) => {
                let refusal = Some(turned.stream_refusal());
                let refused = StepRefused { delivery_id: String::new(), refusal };
                let answer = self.words.send(Box::new(refused));
                tokio::select! {
                    told = answer => told.is_ok(),
                    () = self.commands.closed() => false,
                }
            }
        }
    }

    fn command(&self, step: deliver_request::Step) -> Result<Option<Command>, Turned> {
        use deliver_request::Step;

        Ok(match step {
            Step::Hello(_) => None,
            Step::Credit(more) => Some(Command::Credit(more)),
            Step::Acknowledge(request) => {
                let envelope = request.envelope.unwrap_or_default();
                Some(Command::Acknowledge(self.intake.admit(&self.node, envelope, 0)?))
            }
            Step::Release(request) => {
                Some(Command::Release { delivery_id: request.delivery_id, lease: request.lease_id })
            }
            Step::Extend(request) => {
                Some(Command::Extend { delivery_id: request.delivery_id, lease: request.lease_id })
            }
        })
    }
}

fn said(event: Event) -> Result<DeliverResponse, Status> {
    use deliver_response::Step;

    Ok(step(match event {
        Event::Offer(offer) => Step::Offer(*offer),
        Event::Acknowledged(accepted) => {
            Step::Acknowledged(AcknowledgeResponse { receipt: Some(accepted.receipt) })
        }
        Event::Extended { delivery_id, until_us } => {
            Step::Extended(ExtendLeaseResponse { delivery_id, lease_until_us: until_us })
        }
        Event::Refused { delivery_id, refused } => {
            Step::Refused(StepRefused { delivery_id, refusal: Some(stream_refusal(&refused)) })
        }
        Event::Goodbye => Step::Goodbye(Goodbye {}),
        Event::Ended(refused) => return Err(status(&refused)),
    }))
}

#[expect(clippy::boxed_local, reason = "it comes so out of the channel")]
fn turned_away(refused: Box<StepRefused>) -> Result<DeliverResponse, Status> {
    Ok(step(deliver_response::Step::Refused(*refused)))
}

fn step(step: deliver_response::Step) -> DeliverResponse {
    DeliverResponse { step: Some(step) }
}
