//! Retention and legal holds: operators decide, viewers look on.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    caller::Caller,
    grpc_status::{refuse, status},
};
use crate::{hub::Hub, proto::*, rpc::retention_service_server::RetentionService};

/// The service over a hub.
pub struct Retentions(pub Arc<Hub>);

#[tonic::async_trait]
impl RetentionService for Retentions {
    async fn get_retention(
        &self,
        request: Request<GetRetentionRequest>,
    ) -> Result<Response<GetRetentionResponse>, Status> {
        watcher(&request)?;
        Ok(Response::new(self.0.retention().await.map_err(|refused| status(&refused))?))
    }

    async fn run_retention(
        &self,
        request: Request<RunRetentionRequest>,
    ) -> Result<Response<RunRetentionResponse>, Status> {
        let operator = operator(&request)?;
        let run = self.0.run_retention(&operator, request.get_ref().dry_run).await;
        Ok(Response::new(run.map_err(|refused| status(&refused))?))
    }

    async fn place_hold(
        &self,
        request: Request<PlaceHoldRequest>,
    ) -> Result<Response<PlaceHoldResponse>, Status> {
        let operator = operator(&request)?;
        let placed = self.0.place_hold(&operator, request.into_inner()).await;
        let placed = placed.map_err(|refused| status(&refused))?;
        Ok(Response::new(PlaceHoldResponse { receipt: Some(placed.receipt) }))
    }

    async fn lift_hold(
        &self,
        request: Request<LiftHoldRequest>,
    ) -> Result<Response<LiftHoldResponse>, Status> {
        let operator = operator(&request)?;
        let lifted = self.0.lift_hold(&operator, request.into_inner()).await;
        let lifted = lifted.map_err(|refused| status(&refused))?;
        Ok(Response::new(LiftHoldResponse { receipt: Some(lifted.receipt) }))
    }

    async fn list_holds(
        &self,
        request: Request<ListHoldsRequest>,
    ) -> Result<Response<ListHoldsResponse>, Status> {
        watcher(&request)?;
        let holds = self.0.holds().await.map_err(|refused| status(&refused))?;
        Ok(Response::new(ListHoldsResponse { holds }))
    }
}

/// Name of the operator who calls.
fn operator<T>(request: &Request<T>) -> Result<String, Status> {
    let caller = Caller::from_request(request).map_err(refuse)?;
    caller.require_operator().map(|actor| actor.name).map_err(refuse)
}

fn watcher<T>(request: &Request<T>) -> Result<(), Status> {
    let caller = Caller::from_request(request).map_err(refuse)?;
    caller.require_watcher().map(drop).map_err(refuse)
}
