//! The door for business statuses, watches and timelines.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{
    bounds::Bounds,
    caller::{Caller, Role},
    grpc_status::{refuse, status},
    intake::{Intake, Turned},
    shares::Shares,
    submission::{node, required},
};
use crate::{
    domain::reason::Reason,
    hub::{Hub, query::Viewer, watch::Until},
    proto::*,
    rpc::status_service_server::StatusService,
};

/// Watches of one node at the same time: each holds some entries in memory, however slowly it is read.
const MAX_WATCHES_OF_NODE: usize = 256;
/// Watches of all nodes at the same time.
const MAX_WATCHES: usize = 16 * 1024;

/// The service over a hub.
pub struct Statuses {
    hub: Arc<Hub>,
    intake: Intake,
    watches: Shares,
    patience: Duration,
}

impl Statuses {
    /// The service over `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, intake: Intake, bounds: &Bounds) -> Self {
        let watches = Shares::new("watches", MAX_WATCHES_OF_NODE, MAX_WATCHES);
        Self { hub, intake, watches, patience: bounds.patience }
    }
}

#[tonic::async_trait]
impl StatusService for Statuses {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let envelope = required(request.into_inner().envelope)?;
        let envelope = self.intake.admit(&node, envelope, 0).map_err(Turned::status)?;
        let outcome = self.hub.report_status(&node, envelope).await;
        let accepted = self.intake.judged(&node, outcome).map_err(Turned::status)?;
        Ok(Response::new(ReportResponse { receipt: Some(accepted.receipt) }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let node = node(&self.hub, &request)?;
        let WatchRequest { agency, mut cursor, once, from_now } = request.into_inner();
        if from_now {
            if !cursor.is_empty() {
                return Err(refuse(Reason::invalid("cursor", "has to be empty with from_now")));
            }
            cursor = self.hub.newest_cursor();
        }
        let share = self.watches.take(&node).map_err(refuse)?;
        let until = if once { Until::Now } else { Until::Stopped };
        let entries = self.hub.watch_with(&node, &agency, &cursor, until, self.patience);
        let entries = entries.map_err(|refused| status(&refused))?;
        let answers = ReceiverStream::new(entries).map(|entry| match entry {
            Ok(entry) => Ok(WatchResponse { cursor: entry.cursor, receipt: Some(entry.receipt) }),
            Err(refused) => Err(status(&refused)),
        });
        Ok(Response::new(Box::pin(share.kept_by(answers))))
    }

    async fn save_cursor(
        &self,
        request: Request<SaveCursorRequest>,
    ) -> Result<Response<SaveCursorResponse>, Status> {
        let node = node(&self.hub, &request)?;
        let SaveCursorRequest { agency, cursor } = request.into_inner();
        self.hub.save_cursor(&node, &agency, &cursor).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(SaveCursorResponse {}))
    }

    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let timeline = match &caller.identity.role {
            Role::Node(name) => self.hub.timeline(Viewer::Node(name.clone()), request.into_inner()).await,
            _ => {
                let reader = caller.reader().map_err(refuse)?;
                self.hub.read_timeline(&reader, request.into_inner()).await
            }
        };
        let timeline = timeline.map_err(|refused| status(&refused))?;
        Ok(Response::new(timeline))
    }
}
