//! The operators' door.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    caller::Caller,
    grpc_status::{refuse, status},
};
use crate::{
    hub::{Hub, refused::Refused},
    proto::*,
    rpc::operator_service_server::OperatorService,
};

/// The service over a hub.
pub struct Operators(pub Arc<Hub>);

#[tonic::async_trait]
impl OperatorService for Operators {
    async fn get_overview(
        &self,
        request: Request<GetOverviewRequest>,
    ) -> Result<Response<GetOverviewResponse>, Status> {
        watcher(&request)?;
        answer(self.0.overview().await)
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        watcher(&request)?;
        answer(self.0.why(request.into_inner()).await)
    }

    async fn queue_summary(
        &self,
        request: Request<QueueSummaryRequest>,
    ) -> Result<Response<QueueSummaryResponse>, Status> {
        watcher(&request)?;
        answer(self.0.queue_summary(request.into_inner()).await)
    }

    async fn queue_list(
        &self,
        request: Request<QueueListRequest>,
    ) -> Result<Response<QueueListResponse>, Status> {
        watcher(&request)?;
        answer(self.0.queue_list(request.into_inner()).await)
    }

    async fn act(&self, request: Request<ActRequest>) -> Result<Response<ActResponse>, Status> {
        let actor = operator(&request)?;
        answer(self.0.act(&actor, request.into_inner()).await)
    }

    async fn list_actions(
        &self,
        request: Request<ListActionsRequest>,
    ) -> Result<Response<ListActionsResponse>, Status> {
        watcher(&request)?;
        answer(self.0.list_actions(request.into_inner()).await)
    }

    async fn approve(&self, request: Request<ApproveRequest>) -> Result<Response<ApproveResponse>, Status> {
        let actor = operator(&request)?;
        answer(self.0.approve(&actor, request.into_inner()).await)
    }

    async fn undo(&self, request: Request<UndoRequest>) -> Result<Response<UndoResponse>, Status> {
        let actor = operator(&request)?;
        answer(self.0.undo(&actor, request.into_inner()).await)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        watcher(&request)?;
        answer(self.0.list_sessions(request.get_ref()))
    }

    async fn list_node_contacts(
        &self,
        request: Request<ListNodeContactsRequest>,
    ) -> Result<Response<ListNodeContactsResponse>, Status> {
        watcher(&request)?;
        answer(self.0.list_node_contacts(request.get_ref()))
    }

    async fn list_agency_contacts(
        &self,
        request: Request<ListAgencyContactsRequest>,
    ) -> Result<Response<ListAgencyContactsResponse>, Status> {
        watcher(&request)?;
        answer(self.0.list_agency_contacts(request.get_ref()))
    }

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<GetFlowsResponse>, Status> {
        watcher(&request)?;
        answer(self.0.flows(request.get_ref()).await)
    }
}

fn answer<T>(outcome: Result<T, Refused>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|refused| status(&refused))
}

fn watcher<T>(request: &Request<T>) -> Result<(), Status> {
    let caller = Caller::from_request(request).map_err(refuse)?;
    caller.require_watcher().map(drop).map_err(refuse)
}

fn operator<T>(request: &Request<T>) -> Result<Actor, Status> {
    Caller::from_request(request).and_then(|caller| caller.require_operator()).map_err(refuse)
}
