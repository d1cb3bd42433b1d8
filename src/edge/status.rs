//! The door for business statuses, watches and timelines.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{
    caller::{Caller, Role},
    grpc_status::{refuse, status},
    submission::{node, required},
};
use crate::{
    hub::{Hub, query::Viewer, watch::Until},
    proto::*,
    rpc::status_service_server::StatusService,
};

/// The service over a hub.
pub struct Statuses(pub Arc<Hub>);

#[tonic::async_trait]
impl StatusService for Statuses {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let node = node(&request)?;
        let envelope = required(request.into_inner().envelope)?;
        let accepted = self.0.report_status(&node, envelope).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(ReportResponse { receipt: Some(accepted.receipt) }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let node = node(&request)?;
        let WatchRequest { agency, cursor, once } = request.into_inner();
        let until = if once { Until::Now } else { Until::Stopped };
        let entries = self.0.watch(&node, &agency, &cursor, until).map_err(|refused| status(&refused))?;
        let answers = ReceiverStream::new(entries).map(|entry| match entry {
            Ok(entry) => Ok(WatchResponse { cursor: entry.cursor, receipt: Some(entry.receipt) }),
            Err(refused) => Err(status(&refused)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn save_cursor(
        &self,
        request: Request<SaveCursorRequest>,
    ) -> Result<Response<SaveCursorResponse>, Status> {
        let node = node(&request)?;
        let SaveCursorRequest { agency, cursor } = request.into_inner();
        self.0.save_cursor(&node, &agency, &cursor).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(SaveCursorResponse {}))
    }

    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let viewer = match &caller.identity.role {
            Role::Node(name) => Viewer::Node(name.clone()),
            Role::Operator(_) | Role::Auditor(_) => Viewer::Auditor,
        };
        let timeline = self.0.timeline(viewer, request.into_inner()).await;
        let timeline = timeline.map_err(|refused| status(&refused))?;
        Ok(Response::new(timeline))
    }
}
